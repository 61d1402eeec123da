//! The calendar: when people mean something to happen.
//!
//! [`CronLine`] is a crontab line of five fields; [`CronLine::next_after`] says when it is next, in a time
//! zone with all its odd hours. Nothing here asks for the time.

mod cron;
mod occurrence;
mod span;
mod spread;
mod systemd;

pub use cron::{CronError, CronLine};
pub use span::{CalendarSpan, SpanError};
pub use spread::spread;

#[cfg(test)]
mod tests;
