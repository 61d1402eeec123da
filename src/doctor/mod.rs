//! Doctor: looks at everything a night needs, before the night does.
//!
//! One check a file, all in [`CHECKS`]. A check changes nothing, but for a session object at the repository that it
//! removes again. What it cannot look at because something else is wrong it leaves out: that is told already.

mod ask;
mod copies;
mod database;
mod docker;
mod key;
mod past;
mod place;
mod schedule;
mod secrets;
mod stack;
mod time;
mod visitor;

use std::path::Path;
use std::sync::Arc;

use crate::clock::Clock;
use crate::event::{Observer, StopFlag};
use crate::instance::config::{Environment, Instance};
use crate::repository::Repository;
use crate::status::{Catalogue, InstanceStatus};

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Hint,
    /// The night will do, but somebody should look.
    Warning,
    /// The night will fail, or what it stores is in danger.
    Error,
}

impl Level {
    /// The word for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Hint => "hint",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it is.
    pub level: Level,
    /// One sentence, without a full stop.
    pub text: String,
    /// The command that mends it, or what else to do.
    pub mend: Option<String>,
}

impl Finding {
    fn ok(text: impl Into<String>) -> Self {
        Self { level: Level::Ok, text: text.into(), mend: None }
    }

    fn new(level: Level, text: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { level, text: text.into(), mend: Some(mend.into()) }
    }

    fn hint(text: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(Level::Hint, text, mend)
    }

    fn warning(text: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(Level::Warning, text, mend)
    }

    fn error(text: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(Level::Error, text, mend)
    }
}

/// Why the repository did not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// The instance that is looked at, and what is needed for it.
pub struct Patient<'a> {
    /// The instance.
    pub instance: &'a Instance,
    /// The configuration file.
    pub config: &'a Path,
    /// Where state is kept.
    pub state_dir: &'a Path,
    /// The repository, opened as a run opens it.
    pub repository: Result<&'a Repository, Trouble>,
    /// How the instance stands.
    pub status: &'a InstanceStatus,
    /// Its snapshots, as the last run noted them down.
    pub catalogue: &'a Catalogue,
    /// Time.
    pub clock: &'a dyn Clock,
    /// Environment variables.
    pub environment: Environment<'a>,
    /// Set when somebody asks to stop.
    pub stop: Arc<StopFlag>,
    /// Who listens.
    pub observer: Arc<dyn Observer>,
}

/// A check.
type Check = fn(&Patient<'_>) -> Vec<Finding>;

/// All of them by name, in the order of a night.
const CHECKS: &[(&str, Check)] = &[
    ("mount", place::mount),
    ("repository", place::repository),
    ("space", place::space),
    ("clock", time::clock),
    ("docker", docker::docker),
    ("database", database::database),
    ("paths", stack::paths),
    ("mounts", stack::mounts),
    ("secrets", secrets::secrets),
    ("key", key::key),
    ("copies", copies::copies),
    ("schedule", schedule::schedule),
    ("past", past::past),
    ("visitor", visitor::visitor),
];

/// Names of all checks, in their order.
pub fn names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|(name, _)| *name)
}

/// Does those checks whose name `is_wanted`; gives each finding with the name of its check, as soon as it is known.
pub fn examine(
    patient: &Patient<'_>,
    is_wanted: impl Fn(&str) -> bool,
    mut told: impl FnMut(&'static str, Finding),
) {
    for (name, check) in CHECKS {
        if !is_wanted(name) || patient.stop.is_stopped() {
            continue;
        }
        for finding in check(patient) {
            told(name, finding);
        }
    }
}
