//! A deployed application: where it lives, what of it is saved, and where to.

mod lock;
mod mount;

pub use lock::{InstanceLock, LockError, lock};
pub use mount::{MountError, require_mount};
