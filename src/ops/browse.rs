//! Looking into a snapshot: listing directories, finding files, resolving paths.

use crate::event::StopFlag;
use crate::repository::{DirectoryReader, Fetcher, RepositoryError};
use crate::snapshot::{Node, NodeKind, Snapshot};

pub use super::display::{display_path, parse_path};
pub use super::find::{FindOptions, find};
pub use super::tree::TreeWalk;

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

/// The components of `path`; more than one slash in a row counts as one.
fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

/// `path` as [`Located`] has it.
fn normal(path: &[u8]) -> Vec<u8> {
    components(path).collect::<Vec<_>>().join(&b'/')
}

/// The node at `path` (leading and trailing `/` are ignored; an empty path is the root, as a directory node without a name).
pub fn resolve(
    fetcher: &Fetcher<'_>,
    snapshot: &Snapshot,
    path: &[u8],
) -> Result<Node, BrowseError> {
    let mut node = Node::new("", NodeKind::Directory);
    node.content = Some(snapshot.root.clone());
    for name in components(path) {
        let (NodeKind::Directory, Some(content)) = (node.kind, &node.content) else {
            return Err(BrowseError::NotADirectory { path: display_path(path) });
        };
        let mut directory = DirectoryReader::new(fetcher, content);
        node = loop {
            match directory.next_node()? {
                Some(node) if node.name == name => break node,
                // Names ascend: a greater one means that it does not come any more.
                Some(node) if node.name.as_slice() < name => {}
                _ => return Err(BrowseError::NotFound { path: display_path(path) }),
            }
        };
    }
    Ok(node)
}

/// Visits what is at and below `path`, depth first, names ascending.
///
/// A `path` that is no directory is visited itself. Of a directory the entries are visited; with
/// `recursive` also all below them, and before them the directory itself (the root has no name and is not visited).
pub fn walk(
    fetcher: &Fetcher<'_>,
    snapshot: &Snapshot,
    path: &[u8],
    recursive: bool,
    stop: &StopFlag,
    visit: &mut dyn FnMut(&Located) -> Result<(), BrowseError>,
) -> Result<(), BrowseError> {
    let start = Located { path: normal(path), node: resolve(fetcher, snapshot, path)? };
    let (NodeKind::Directory, Some(content)) = (start.node.kind, &start.node.content) else {
        return visit(&start);
    };
    if recursive && !start.path.is_empty() {
        visit(&start)?;
    }
    let mut walk = TreeWalk::new(fetcher, &start.path, content);
    while let Some(entry) = walk.next_entry()? {
        if stop.is_stopped() {
            return Err(RepositoryError::Interrupted.into());
        }
        visit(&entry)?;
        if recursive {
            walk.enter(&entry);
        }
    }
    Ok(())
}
