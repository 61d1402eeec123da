//! Why a home was not put back.

use std::io;
use std::path::{Path, PathBuf};

use crate::instance::RunError;
use crate::ops::restore::RestoreError;
use crate::ops::restore_database::RestoreDatabaseError;
use crate::target::postgres::DatabaseError;

/// Why a home was not put back.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The file system.
    #[error("cannot {doing} {}: {error}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The files of the snapshot.
    #[error(transparent)]
    Files(#[from] RestoreError),
    /// Some files could not be restored, so nothing was replaced.
    #[error("{count} entries could not be restored, the first is {first}; nothing was replaced")]
    NotWhole {
        /// How many.
        count: u64,
        /// One of them.
        first: String,
    },
    /// A database of the snapshot.
    #[error(transparent)]
    Restore(Box<RestoreDatabaseError>),
    /// A database.
    #[error(transparent)]
    Database(Box<DatabaseError>),
    /// The server.
    #[error(transparent)]
    Server(#[from] Box<RunError>),
    /// Docker or compose.
    #[error("`{command}` failed: {reason}")]
    Docker {
        /// Program and first words.
        command: String,
        /// What it said.
        reason: String,
    },
    /// It would do something that nobody can mean.
    #[error("{message}")]
    Refused {
        /// What.
        message: String,
        /// What to do.
        hint: String,
    },
    /// It failed after containers were stopped, and everything is as it was.
    #[error("{error}; everything was put back as it was")]
    TakenBack {
        /// Why.
        error: Box<HomeError>,
    },
    /// It failed, and putting everything back failed, too.
    #[error("{error}; and it could not be put back: {reason}")]
    Stuck {
        /// Why.
        error: Box<HomeError>,
        /// Why not back.
        reason: Box<HomeError>,
        /// The instance.
        instance: String,
    },
    /// Everything is in its place, but a container is not well.
    #[error("everything is in place, but {what}")]
    Unwell {
        /// Which, and how it is.
        what: String,
        /// The instance.
        instance: String,
    },
    /// Somebody asked to stop.
    #[error("stopped on request; nothing was replaced")]
    Interrupted,
}

impl HomeError {
    /// For the file system.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { doing, path, error }
    }

    /// For what is refused.
    pub(super) fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { message: message.into(), hint: hint.into() }
    }
}

impl From<RestoreDatabaseError> for HomeError {
    fn from(error: RestoreDatabaseError) -> Self {
        Self::Restore(Box::new(error))
    }
}

impl From<DatabaseError> for HomeError {
    fn from(error: DatabaseError) -> Self {
        Self::Database(Box::new(error))
    }
}
