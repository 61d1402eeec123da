//! Why there is no anonymized copy.

use crate::anonymize::{Leak, Problem, RulesError, Trouble};
use crate::ops::browse::BrowseError;
use crate::ops::restore_database::RestoreDatabaseError;
use crate::repository::RepositoryError;
use crate::target::postgres::DatabaseError;

use super::commands::CommandFailed;

/// Everything that keeps a copy from being made, found before anything was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub Vec<Problem>);

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = self.0.first().map_or_else(String::new, ToString::to_string);
        match self.0.len() {
            0 | 1 => f.write_str(&first),
            count => write!(f, "{count} problems, first: {first}"),
        }
    }
}

/// Why there is no anonymized copy.
#[derive(Debug, thiserror::Error)]
pub enum CloneError {
    /// The rules cannot be read.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// It must not be made, or the rules do not fit.
    #[error("the copy is refused: {0}; nothing was written")]
    Refused(Refusal),
    /// Something that was removed elsewhere would have been copied.
    #[error("the copy was stopped: {0}; the target is as it was")]
    Leak(Leak),
    /// A row cannot be rewritten.
    #[error("the copy was stopped: {0}; the target is as it was")]
    Trouble(Trouble),
    /// The repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A path in the snapshot.
    #[error(transparent)]
    Browse(#[from] BrowseError),
    /// The database.
    #[error(transparent)]
    Restore(Box<RestoreDatabaseError>),
    /// The server.
    #[error(transparent)]
    Database(Box<DatabaseError>),
    /// A command failed when the copy was in its place already.
    #[error("the copy is in its place in {to}, but after it {error}")]
    After {
        /// The target.
        to: String,
        /// What failed.
        error: CommandFailed,
    },
    /// The side that has the originals ended it.
    #[error("the other side ended it: {reason}; the target is as it was")]
    Remote {
        /// What it said.
        reason: String,
        /// The copy must not be made.
        is_refused: bool,
    },
    /// What came from the other side, or went there, is not whole.
    #[error("the copy did not arrive whole: {0}; the target is as it was")]
    Line(String),
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// What is stored is damaged, or a directory cannot be written.
    #[error("{what}: {reason}")]
    Io {
        /// What.
        what: String,
        /// Why.
        reason: String,
    },
}

impl From<RestoreDatabaseError> for CloneError {
    fn from(error: RestoreDatabaseError) -> Self {
        Self::Restore(Box::new(error))
    }
}

impl From<DatabaseError> for CloneError {
    fn from(error: DatabaseError) -> Self {
        Self::Database(Box::new(error))
    }
}

impl CloneError {
    /// Whether something half made is left on the target.
    pub(super) fn leaves_something(&self) -> bool {
        match self {
            Self::Restore(error) => matches!(**error, RestoreDatabaseError::Left { .. }),
            _ => false,
        }
    }

    /// A refusal for one reason.
    pub fn refused(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Refused(Refusal(vec![Problem::of(place, what)]))
    }

    /// A directory or file that cannot be written.
    pub fn io(what: impl Into<String>, error: &dyn std::fmt::Display) -> Self {
        Self::Io { what: what.into(), reason: error.to_string() }
    }
}
