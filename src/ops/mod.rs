//! What people do with a repository: back up, restore, check, look.
//!
//! Each operation takes an open [`Repository`](crate::repository::Repository), tells an
//! [`Observer`](crate::event::Observer) what happens, and stops at the next safe place when the
//! [`StopFlag`](crate::event::StopFlag) is set.

pub mod archive;
pub mod backup;
pub mod browse;
pub mod check;
pub mod copy;
pub mod diff;
mod display;
pub mod dump;
pub mod dump_database;
mod find;
pub mod forget;
pub mod import;
mod pack_head;
pub mod prune;
pub mod rebuild;
pub mod reencrypt;
pub mod repair;
pub mod restore;
pub mod restore_database;
pub mod retention;
pub mod stats;
pub mod test_restore;
mod tree;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
