//! Deploying with a real engine and both generations of compose: first and further deployments, failures with and
//! without migrations, ways back, interruptions.

mod life;
mod stack;
#[path = "../support/mod.rs"]
mod support;
