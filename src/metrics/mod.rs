//! Metrics in the form of OpenMetrics, for Prometheus and its kin.
//!
//! Every instance has every series, also if it failed or was never backed up: what is missing raises no alarm. A moment that
//! never was is 0. Names and units follow the conventions of Prometheus; `docs/monitoring.md` lists them.

mod file;
mod series;

pub use file::{TextfileError, write_textfile};
pub use series::render;

#[cfg(test)]
mod tests;
