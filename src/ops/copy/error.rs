//! Why nothing was copied.

use crate::event::counted;
use crate::repository::RepositoryError;
use crate::store::{Location, StoreError};

/// A copy that could not be made, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The repository, its store, or that of the copy failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// Both ends are one place.
    #[error("{location} cannot be copied to itself")]
    Same {
        /// Where.
        location: Location,
    },
    /// The place holds something that is no copy of this repository.
    #[error("cannot copy to {location}: {found}")]
    NotEmpty {
        /// Where.
        location: Location,
        /// What is there.
        found: String,
    },
    /// There was a copy here, and there is nothing now.
    #[error(
        "{location} is empty, but it held a copy of this repository ({}); is the right disk mounted there?",
        counted(*objects, "object")
    )]
    Vanished {
        /// Where.
        location: Location,
        /// How many objects it held.
        objects: usize,
    },
    /// The source lost all its snapshots.
    #[error(
        "{location} has no snapshot any more, but its copy at {copy} has {}, which nobody forgot: nothing is copied",
        counted(*snapshots, "snapshot")
    )]
    Emptied {
        /// Where.
        location: Location,
        /// Where the copy is.
        copy: Location,
        /// How many it has.
        snapshots: usize,
    },
    /// The source changes faster than it can be copied.
    #[error("packs went away from {location} again and again while they were copied")]
    Restless {
        /// Where.
        location: Location,
    },
}

impl From<StoreError> for CopyError {
    fn from(error: StoreError) -> Self {
        Self::Repository(error.into())
    }
}

impl From<crate::index::IndexError> for CopyError {
    fn from(error: crate::index::IndexError) -> Self {
        Self::Repository(error.into())
    }
}
