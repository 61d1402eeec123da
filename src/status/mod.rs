//! How things stand: one sentence an instance, its nights, sizes and trends, and what to do next.
//!
//! All of it is computed from local state, without opening a repository: the configuration, the ledger, the history, and
//! what the last run that had the repository open noted down ([`gather`]). Nothing here prints.

mod concern;
mod error;
mod gather;
mod known;
mod nights;
mod overview;
mod sentence;
mod strips;
mod trend;
mod words;

pub use concern::{Concern, Severity};
pub use error::ErrorTold;
pub use gather::{GatherError, gather};
pub use known::{
    Catalogue, Known, KnownCopy, KnownError, KnownProof, KnownReceipt, KnownSnapshot, Store,
};
pub use nights::{Night, NightState, NightlyRow, nights};
pub use overview::{CopyState, InstanceStatus, NextRun, Overview, Point, Reading, overview};
pub use sentence::{concern, sentence};
pub use strips::DAYS;
pub use trend::{Anomaly, anomalies, days_until_full};
pub use words::{Language, age, long_duration};

#[cfg(test)]
mod tests;
