//! Encrypted, deduplicating snapshots of web applications and their databases.

// Test support that is shared with the tests of the public interface names us as they do.
#[cfg(test)]
extern crate self as mrs_backup;

pub mod anonymize;
pub mod calendar;
mod cbor;
pub mod chunker;
pub mod cli;
pub mod clock;
pub mod clone;
pub mod compose;
pub mod crypto;
pub mod deploy;
pub mod doctor;
pub mod event;
pub mod history;
pub mod id;
pub mod index;
pub mod instance;
pub mod metrics;
pub mod ops;
pub mod pack;
pub mod postgres;
pub mod report;
pub mod repository;
pub mod schedule;
pub mod snapshot;
pub mod source;
pub mod status;
pub mod store;
pub mod target;
