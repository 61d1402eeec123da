//! Deploying an instance: a plan that is shown, a sequence in which nothing is replaced before it is saved, and
//! ways back.
//!
//! A deployment is a [`Record`] in the home, written before each step that changes something: whoever finds one
//! that did not end knows how far it came. [`sequence`] holds the order of the steps, [`failure`] what follows
//! when one of them fails, [`review`] and [`expire`] the stacks that go by themselves.

pub mod expire;
pub mod failure;
pub mod health;
pub mod history;
pub mod http;
pub mod images;
pub mod migrations;
pub mod plan;
pub mod request;
pub mod review;
pub mod rollback;
pub mod sequence;
pub mod settings;

mod adopt;
mod error;
mod files;
mod record;
#[cfg(test)]
mod testing;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::compose::{Compose, ComposeError, Engine, Redactor};
use crate::event::{Event, Observer, StopFlag};

pub use error::DeployError;
pub use record::{ImageUse, Kind, Record, State};

/// What every step works with.
pub struct Tools {
    /// Compose.
    pub compose: Compose,
    /// Docker.
    pub engine: Engine,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who listens.
    pub observer: Arc<dyn Observer>,
    /// Set when somebody asks to stop.
    pub stop: Arc<StopFlag>,
    /// What must not be told.
    pub redactor: Redactor,
}

/// How often something that is waited for is looked at.
const BEAT: Duration = Duration::from_millis(500);

impl Tools {
    /// A named step begins.
    fn begin(&self, step: &'static str) {
        self.observer.event(&Event::StepStarted { step, total_bytes: None });
    }

    /// Says something that is good to know.
    fn notice(&self, item: &str, message: &str) {
        let (item, message) = (item.to_owned(), self.redactor.hide(message));
        self.observer.event(&Event::Notice { item, message });
    }

    /// Says something that needs attention.
    fn warn(&self, item: &str, message: &str) {
        let (item, message) = (item.to_owned(), self.redactor.hide(message));
        self.observer.event(&Event::Warning { item, message });
    }

    /// Compose's own words may repeat a value.
    fn hidden(&self, error: DeployError) -> DeployError {
        match error {
            DeployError::Compose(ComposeError::Failed { program, status, said }) => {
                let said = self.redactor.hide(&said);
                DeployError::Compose(ComposeError::Failed { program, status, said })
            }
            other => other,
        }
    }

    /// Waits a moment; fails if somebody asked to stop.
    fn pause(&self, time: Duration) -> Result<(), DeployError> {
        let mut rest = time;
        while !rest.is_zero() {
            self.check_stop()?;
            let part = rest.min(Duration::from_millis(100));
            std::thread::sleep(part);
            rest -= part;
        }
        self.check_stop()
    }

    /// Fails if somebody asked to stop.
    fn check_stop(&self) -> Result<(), DeployError> {
        if self.stop.is_stopped() { Err(DeployError::Interrupted) } else { Ok(()) }
    }
}
