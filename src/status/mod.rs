//! How things stand: one sentence an instance, its nights, sizes and trends, and what to do next.
//!
//! All of it is computed from local state, without opening a repository: the configuration, the ledger, the history, and
//! what the last run that had the repository open noted down ([`gather`]). Nothing here prints.

mod gather;
mod known;
mod nights;
mod overview;
mod sentence;
mod trend;
mod words;

pub use gather::{GatherError, gather};
pub use known::{
    Catalogue, Known, KnownCopy, KnownError, KnownProof, KnownReceipt, KnownSnapshot, Store,
};
pub use nights::{Night, NightState, NightlyRow, nights};
pub use overview::{
    Concern, CopyState, DAYS, ErrorTold, InstanceStatus, NextRun, Overview, Point, Reading,
    Severity, overview,
};
pub use sentence::{concern, sentence};
pub use trend::{Anomaly, anomalies, days_until_full};
pub use words::{Language, age, long_duration};

#[cfg(test)]
mod tests;
