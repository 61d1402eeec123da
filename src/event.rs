//! What happens, told to whoever listens: progress bars, JSON lines, the journal.
//!
//! The engine never prints. It sends [`Event`]s to an [`Observer`]; the command line decides what
//! becomes of them. Trouble with one file is an event, not an error: the run goes on.

use std::fmt::Display;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A named step began (`"snapshot"`, `"check"`), with the bytes it expects, if known.
    StepStarted {
        /// Name of the step.
        step: &'static str,
        /// Bytes expected, if known.
        total_bytes: Option<u64>,
    },
    /// Bytes and items done in this step since the last such event.
    Progress {
        /// Bytes handled.
        bytes: u64,
        /// Files, tables or packs finished.
        items: u64,
    },
    /// What is being worked on now.
    Working {
        /// Path or stream name, as people read it.
        item: String,
    },
    /// Something a person may want to know; nothing is missing because of it.
    Notice {
        /// What it concerns.
        item: String,
        /// One line.
        message: String,
    },
    /// Something went wrong with one item; nothing that should be there is missing.
    Warning {
        /// What it concerns.
        item: String,
        /// One line.
        message: String,
    },
    /// One item could not be read, stored or restored: the result is incomplete.
    ItemFailed {
        /// What it concerns.
        item: String,
        /// One line.
        message: String,
    },
    /// The step ended.
    StepFinished {
        /// Name of the step.
        step: &'static str,
    },
}

/// A number with its noun, as a sentence has it: `1 file`, `2 files`, `0 directories`.
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    if count == N::from(1) {
        return format!("{count} {noun}");
    }
    match noun.strip_suffix('y') {
        Some(stem) => format!("{count} {stem}ies"),
        None => format!("{count} {noun}s"),
    }
}

/// Listens. Called from several threads at once; must not block for long.
pub trait Observer: Send + Sync {
    /// Takes note of `event`.
    fn event(&self, event: &Event);
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: &Event) {}
}

/// Remembers everything, for tests and summaries.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<Vec<Event>>);

impl Recorder {
    /// What was told so far.
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl Observer for Recorder {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(event.clone());
    }
}

/// Asks everything at work to stop at the next safe place. Set by Ctrl-C and SIGTERM.
#[derive(Debug, Default)]
pub struct StopFlag(AtomicBool);

impl StopFlag {
    /// Nobody asked yet.
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Asks for the stop.
    pub fn stop(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether somebody asked.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nouns_follow_their_numbers() {
        assert_eq!(counted(1_u64, "file"), "1 file");
        assert_eq!(counted(0_usize, "file"), "0 files");
        assert_eq!(counted(2_u64, "directory"), "2 directories");
        assert_eq!(counted(21_u64, "index object"), "21 index objects");
    }
}
