//! Looking into a snapshot: listing directories, finding files, resolving paths.

use crate::event::StopFlag;
use crate::repository::{Fetcher, RepositoryError};
use crate::snapshot::{Node, Snapshot};

/// Why a path in a snapshot cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum BrowseError {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// No such path.
    #[error("`{path}` is not in the snapshot")]
    NotFound {
        /// As given.
        path: String,
    },
    /// A file where a directory is needed.
    #[error("`{path}` in the snapshot is not a directory")]
    NotADirectory {
        /// As given.
        path: String,
    },
    /// A pattern that is none.
    #[error("`{pattern}` is not a pattern: {reason}")]
    Pattern {
        /// As given.
        pattern: String,
        /// Why.
        reason: String,
    },
}

/// A node with its path in the tree (components joined by `/`, no leading slash).
#[derive(Debug, Clone)]
pub struct Located {
    /// Path in the tree.
    pub path: Vec<u8>,
    /// The node.
    pub node: Node,
}

/// The node at `path` (leading and trailing `/` are ignored; an empty path is the root, as a directory node without a name).
pub fn resolve(
    fetcher: &Fetcher<'_>,
    snapshot: &Snapshot,
    path: &[u8],
) -> Result<Node, BrowseError> {
    let _ = (fetcher, snapshot, path);
    todo!()
}

/// Visits everything at and below `path`, depth first, names ascending; with `recursive` false only the entries of that one directory.
pub fn walk(
    fetcher: &Fetcher<'_>,
    snapshot: &Snapshot,
    path: &[u8],
    recursive: bool,
    stop: &StopFlag,
    visit: &mut dyn FnMut(&Located) -> Result<(), BrowseError>,
) -> Result<(), BrowseError> {
    let _ = (fetcher, snapshot, path, recursive, stop, visit);
    todo!()
}
