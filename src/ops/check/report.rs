//! What a check found, and who is told.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::event::{Event, Observer};
use crate::id::SnapshotId;

/// Problems kept; more are only counted, so that a lost disk does not fill the memory too.
const MAX_PROBLEMS: usize = 10_000;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Good to know.
    Notice,
    /// Something is damaged that no snapshot needs.
    Warning,
    /// Something is damaged, missing or not to be trusted.
    Error,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// Path of the object it is about.
    pub object: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// A snapshot that cannot be restored whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AffectedSnapshot {
    /// Which.
    pub id: SnapshotId,
    /// Of which instance.
    pub instance: String,
    /// Its start, nanoseconds since 1970.
    pub time: i64,
    /// Whether it was complete when it was made.
    pub is_complete: bool,
    /// The first thousand paths that cannot be restored whole, fit to print; a directory of which entries are
    /// lost ends in `/`. Further names of a hard-linked file are not listed: its first name is.
    pub paths: Vec<String>,
    /// How many there are.
    pub total: u64,
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct CheckCounts {
    /// Key slots.
    pub key_slots: u64,
    /// Index objects.
    pub index_objects: u64,
    /// Objects of sessions.
    pub session_objects: u64,
    /// Condemned objects.
    pub condemned_objects: u64,
    /// Receipts.
    pub receipts: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Packs listed.
    pub packs: u64,
    /// Packs read whole.
    pub packs_read: u64,
    /// Bytes of them.
    pub bytes_read: u64,
    /// Different directories read.
    pub directories: u64,
    /// Files in them.
    pub files: u64,
    /// Chunks of them looked up.
    pub chunks: u64,
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CheckReport {
    /// What is wrong, in the order of finding.
    pub problems: Vec<Problem>,
    /// Problems that were counted but not kept.
    pub problems_left_out: u64,
    /// Errors among all problems.
    pub errors: u64,
    /// Warnings among all problems.
    pub warnings: u64,
    /// Snapshots that cannot be restored whole, oldest first.
    pub affected: Vec<AffectedSnapshot>,
    /// How much was looked at.
    pub counts: CheckCounts,
}

impl CheckReport {
    /// Whether nothing is damaged (notices do not count).
    pub fn is_clean(&self) -> bool {
        self.errors == 0 && self.warnings == 0
    }
}

/// Collects the report; shared between threads.
pub(super) struct Findings<'o> {
    pub observer: &'o dyn Observer,
    report: Mutex<CheckReport>,
}

impl<'o> Findings<'o> {
    pub fn new(observer: &'o dyn Observer) -> Self {
        Self { observer, report: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, CheckReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn count(&self, count: impl FnOnce(&mut CheckCounts)) {
        count(&mut self.lock().counts);
    }

    pub fn affected(&self, snapshot: AffectedSnapshot) {
        self.lock().affected.push(snapshot);
    }

    pub fn error(&self, object: &dyn std::fmt::Display, message: impl Into<String>, hint: &str) {
        self.add(Severity::Error, object, message.into(), hint);
    }

    pub fn warning(&self, object: &dyn std::fmt::Display, message: impl Into<String>, hint: &str) {
        self.add(Severity::Warning, object, message.into(), hint);
    }

    pub fn notice(&self, object: &dyn std::fmt::Display, message: impl Into<String>, hint: &str) {
        self.add(Severity::Notice, object, message.into(), hint);
    }

    pub fn add(
        &self,
        severity: Severity,
        object: &dyn std::fmt::Display,
        message: String,
        hint: &str,
    ) {
        let (item, text) = (object.to_string(), message.clone());
        self.observer.event(&match severity {
            Severity::Error => Event::ItemFailed { item, message: text },
            Severity::Warning => Event::Warning { item, message: text },
            Severity::Notice => Event::Notice { item, message: text },
        });
        let mut report = self.lock();
        match severity {
            Severity::Error => report.errors += 1,
            Severity::Warning => report.warnings += 1,
            Severity::Notice => {}
        }
        if report.problems.len() >= MAX_PROBLEMS {
            report.problems_left_out += 1;
            return;
        }
        let (object, hint) = (object.to_string(), hint.to_owned());
        report.problems.push(Problem { severity, object, message, hint });
    }

    pub fn has_errors(&self) -> bool {
        self.lock().errors > 0
    }

    pub fn into_report(self) -> CheckReport {
        self.report.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A named step, told to the observer from its beginning to its end.
pub(super) struct Step<'o> {
    observer: &'o dyn Observer,
    name: &'static str,
}

impl<'o> Step<'o> {
    pub fn begin(observer: &'o dyn Observer, name: &'static str, total_bytes: Option<u64>) -> Self {
        observer.event(&Event::StepStarted { step: name, total_bytes });
        Self { observer, name }
    }

    pub fn progress(&self, bytes: u64, items: u64) {
        self.observer.event(&Event::Progress { bytes, items });
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.observer.event(&Event::StepFinished { step: self.name });
    }
}
