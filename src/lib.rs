//! Encrypted, deduplicating snapshots of web applications and their databases.

pub mod clock;
pub mod event;
pub mod id;
pub mod store;
