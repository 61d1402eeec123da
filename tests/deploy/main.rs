//! Deploying with a real engine and both generations of compose: first and further deployments, failures with and
//! without migrations, ways back, interruptions, stacks that go by themselves, data of a real PostgreSQL.

mod data;
mod killed;
mod life;
mod registry;
mod review;
mod stack;
#[path = "../support/mod.rs"]
mod support;
mod told;
