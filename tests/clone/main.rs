//! Anonymized copies: real servers, a snapshot of one, the copy in the other, and a search by other means for
//! anything of the originals in what came.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/servers.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod servers;

mod faults;
mod killed;
mod more;
mod refused;
mod ssh;
mod stage;
mod subset;
mod whole;
