//! What is remembered of a deployment.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How far a deployment came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum State {
    /// It began. Nothing was replaced.
    Begun,
    /// The compose file and containers are being replaced.
    Replacing,
    /// The earlier one is being put back.
    RollingBack {
        /// Its number.
        to: u32,
    },
    /// It is what it should be.
    Good,
    /// It ended before anything was replaced.
    Dropped,
    /// It failed, and the earlier one is back.
    RolledBack {
        /// Its number.
        to: u32,
    },
    /// It failed and was left as it is.
    Stuck,
}

impl State {
    /// Whether it came to an end.
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Good | Self::Dropped | Self::RolledBack { .. } | Self::Stuck)
    }

    /// For people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Begun | Self::Replacing | Self::RollingBack { .. } => "unfinished",
            Self::Good => "good",
            Self::Dropped => "not begun",
            Self::RolledBack { .. } => "rolled back",
            Self::Stuck => "FAILED",
        }
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Kind {
    /// A deployment.
    Deploy,
    /// An earlier one put back.
    Rollback {
        /// Its number.
        to: u32,
        /// Whether databases were put back, too.
        with_data: bool,
    },
}

/// An image of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageUse {
    /// As the compose files name it.
    pub name: String,
    /// Its id here.
    pub id: String,
    /// As the deployed file names it: by a registry's digest, or by a name of our own that stays.
    pub reference: String,
}

/// One deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this form.
    pub v: u32,
    /// Its number, from 1.
    pub number: u32,
    /// What was done.
    #[serde(flatten)]
    pub kind: Kind,
    /// How far it came.
    #[serde(flatten)]
    pub state: State,
    /// When it began.
    pub begun: Timestamp,
    /// When it ended.
    #[serde(default)]
    pub ended: Option<Timestamp>,
    /// Commit of the application, if its image says so.
    #[serde(default)]
    pub commit: Option<String>,
    /// Images by service.
    #[serde(default)]
    pub images: BTreeMap<String, ImageUse>,
    /// Snapshot of what was there before, as hexadecimal digits.
    #[serde(default)]
    pub snapshot: Option<String>,
    /// When that was made.
    #[serde(default)]
    pub saved: Option<Timestamp>,
    /// Migrations that were applied before; `None`: not known.
    #[serde(default)]
    pub migrations: Option<Vec<String>>,
    /// Number of the one that was good before; 0 if there was none.
    #[serde(default)]
    pub since: u32,
    /// Why it failed.
    #[serde(default)]
    pub reason: Option<String>,
}

impl Record {
    /// Which version runs when this one is good: of a rollback, the one that was put back.
    pub const fn version(&self) -> u32 {
        match self.kind {
            Kind::Deploy => self.number,
            Kind::Rollback { to, .. } => to,
        }
    }
}
