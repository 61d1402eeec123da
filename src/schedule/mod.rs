//! When things happen by themselves: what is due, what was done, units of systemd.

mod due;
mod ledger;
mod task;
pub mod units;

pub use due::{Decision, Slot, decide, due_at};
pub use ledger::{Entry, Ledger, LedgerError};
pub use task::{EXPIRE_LINE, REVIEWS, Task};
