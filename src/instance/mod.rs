//! What is backed up: instances, their configuration, and their nightly run.

mod compose;
pub mod config;
mod job;
mod lock;
pub mod migrate;
mod mount;
mod run;
mod server;
mod shrink;
mod standard_dump;

pub use job::{Job, Step, Went};
pub use lock::{InstanceLock, LockError, lock};
pub use mount::{MountError, require_mount};
pub use run::{PlanOptions, RunError, RunOutcome, database_source, distinct, plan, run, tree_path};
pub use server::database_server;
