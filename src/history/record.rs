//! The lines of a history.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::instance::{Job, Step};

use super::Process;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Record {
    /// A run began.
    Begun(Begun),
    /// One of its steps came to an end.
    Step(StepDone),
    /// The run came to an end.
    Ended(Ended),
    /// How large the repository was after a run.
    Measured(Measured),
    /// Something else was done: a deployment, a restore.
    Happened(Happened),
}

/// A run began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    /// Its name, in every line about it and in its JSON lines.
    pub run: String,
    /// When.
    pub time: Timestamp,
    /// Jobs of the schedule it is for; none if single steps were asked for.
    pub jobs: Vec<Job>,
    /// What it is going to do, in order.
    pub steps: Vec<Step>,
    /// Who does it.
    pub process: Process,
}

/// One step came to an end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepDone {
    /// Of which run.
    pub run: String,
    /// Which.
    pub step: Step,
    /// `ok`, `incomplete`, `failed`, `interrupted`, `not-tried`.
    pub result: String,
    /// Its exit code; none if it was not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// How long it took.
    #[serde(default)]
    pub seconds: f64,
    /// Bytes it stored, sent or freed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Of a snapshot: the bytes that are in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// The snapshot it made or proved, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Copies that could not be brought up to date.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
    /// Why it failed, or was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The command to run next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A run came to an end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Which.
    pub run: String,
    /// When.
    pub time: Timestamp,
    /// `ok`, `incomplete`, `failed`, `interrupted`.
    pub result: String,
    /// Its exit code.
    pub exit_code: u8,
    /// Why nothing was tried, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The command to run next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Sizes after a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// When.
    pub time: Timestamp,
    /// Bytes of all packs.
    pub repository_bytes: u64,
    /// Bytes free at the repository, if its store can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
}

/// Something that is no job: shown as a mark beside the snapshots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Happened {
    /// When.
    pub time: Timestamp,
    /// `deploy`, `rollback`, `clone`, `restore`, `undo`.
    pub kind: String,
    /// `ok` or `failed`.
    pub result: String,
    /// One line for people.
    pub text: String,
}

impl Record {
    /// When it was written, if it says so.
    pub fn time(&self) -> Option<Timestamp> {
        match self {
            Self::Begun(begun) => Some(begun.time),
            Self::Ended(ended) => Some(ended.time),
            Self::Measured(measured) => Some(measured.time),
            Self::Happened(happened) => Some(happened.time),
            Self::Step(_) => None,
        }
    }
}
