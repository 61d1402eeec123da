//! People are told of what nobody runs: what is stale, the week, what waits to be sent.

use std::sync::Arc;
use std::thread::JoinHandle;

use jiff::{SignedDuration, Timestamp};

use crate::cli::after;
use crate::cli::context::Context;
use crate::cli::settings::Sources;

/// How often somebody looks.
const INTERVAL: SignedDuration = SignedDuration::from_mins(10);

/// Looks from time to time, in a thread of its own: no job waits for it.
#[derive(Debug, Default)]
pub struct Teller {
    last: Option<Timestamp>,
    at_work: Option<JoinHandle<()>>,
}

impl Teller {
    /// Looks if it is time to, and the last look is over.
    pub fn look(&mut self, context: &Context, now: Timestamp) {
        let is_new = |last: Timestamp| now.duration_since(last).abs() >= INTERVAL;
        let is_idle = self.at_work.as_ref().is_none_or(JoinHandle::is_finished);
        if !is_idle || !self.last.is_none_or(is_new) {
            return;
        }
        self.last = Some(now);
        let global = crate::cli::args::Global { instance: None, ..context.global.clone() };
        let observer = Arc::clone(&context.observer);
        let look = move || {
            // A wrong configuration is told by whoever reads it again.
            if let Ok(sources) = Sources::gather(&global) {
                after::look(&sources, observer.as_ref());
            }
        };
        // Without a thread it is looked again the next time.
        self.at_work = std::thread::Builder::new().name("notify".to_owned()).spawn(look).ok();
    }
}
