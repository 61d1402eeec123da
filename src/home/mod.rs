//! An instance's home put back as a snapshot has it: everything is loaded beside first, looked at, and only then
//! exchanged with what is live, which is kept for `undo`.
//!
//! What is going on is written down ([`Operation`]) before each step that changes something, beside the home and
//! on its file system. So whoever comes after one that was killed knows how far it came: before the exchange
//! nothing was touched and what was loaded is thrown away; from there on it goes on to the end, or takes everything back.

mod database;
mod error;
mod exchange;
mod file;
mod journal;
mod plan;
mod reflink;
mod restore;
mod stack;
mod undo;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::SignedDuration;

use crate::clock::Clock;
use crate::event::{Event, Observer, StopFlag};
use crate::instance::config::Instance;
use crate::instance::database_server;
use crate::target::postgres::Cluster;

pub use error::HomeError;
pub use journal::{Database, Item, Journal, Kind, Operation, Phase};
pub use plan::{HomeOptions, HomePlan, Mode, plan};
pub use restore::{HomeOutcome, finish, restore, take_back};
pub use stack::Stack;
pub use undo::{HomeUndo, plan_undo, undo};

/// What every step works with.
pub struct Work<'a> {
    /// The instance whose home it is.
    pub instance: &'a Instance,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Set when somebody asks to stop.
    pub stop: Arc<StopFlag>,
    /// Who listens.
    pub observer: Arc<dyn Observer>,
    /// How long containers may take to be well.
    pub patience: SignedDuration,
}

impl Work<'_> {
    /// The home.
    pub fn home(&self) -> &Path {
        &self.instance.home.value
    }

    /// What is known of operations on it.
    pub fn journal(&self) -> Result<Journal, HomeError> {
        Journal::open(self.home())
    }

    /// The server of its databases; `None` if it has none.
    fn cluster(&self) -> Result<Option<Cluster>, HomeError> {
        let Some(config) = &self.instance.postgres else { return Ok(None) };
        let server = database_server(Some(config), "restore", &self.stop, &self.observer);
        Ok(Some(Cluster::new(server.map_err(Box::new)?, Arc::clone(&self.stop))))
    }

    /// A named step begins.
    fn begin(&self, step: &'static str) {
        self.observer.event(&Event::StepStarted { step, total_bytes: None });
    }
}

/// Removes what was kept long enough. Gives what is gone.
pub fn drop_expired(work: &Work<'_>) -> Result<Vec<Operation>, HomeError> {
    let journal = work.journal()?;
    let now = work.clock.now();
    let mut gone = Vec::new();
    for operation in journal.kept()? {
        if operation.until.is_some_and(|until| until <= now) {
            journal.remove(&operation)?;
            gone.push(operation);
        }
    }
    Ok(gone)
}

/// The directory of `operation` in the journal, for people.
pub fn kept_at(journal: &Journal, operation: &Operation) -> PathBuf {
    journal.outgoing(operation.number)
}
