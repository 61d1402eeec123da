//! The history: what was done to each instance, and how it ended, kept below the state directory.
//!
//! The ledger says what is due; this says what happened. A run is written down when it begins, after each
//! step and when it ends, so that one that was killed is seen as what it is: begun and never ended. One file of JSON lines
//! an instance, only ever added to; a line that was cut off, or is of a later version, is passed over.

mod file;
mod process;
mod record;
mod run;

pub use file::{History, HistoryError};
pub use process::Process;
pub use record::{Begun, Ended, Happened, Measured, Record, StepDone};
pub use run::{Run, RunState, Told, assemble};

#[cfg(test)]
mod tests;
