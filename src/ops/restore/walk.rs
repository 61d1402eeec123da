//! The walk that plan, restore and verification share: what of a snapshot is wanted, depth first, names
//! ascending. Memory grows with the depth of the tree, not with the number of its entries.

use crate::event::StopFlag;
use crate::ops::browse;
use crate::repository::{DirectoryReader, Fetcher, RepositoryError};
use crate::snapshot::{Node, NodeKind, Snapshot, StreamRef};

use super::RestoreError;
use super::select::Selection;
use super::{RestoreOptions, plan::join};

/// A directory of the snapshot on the way to what is wanted.
pub(super) struct Directory {
    /// Below the target; empty for what goes into the target itself.
    pub path: Vec<u8>,
    /// Itself.
    pub node: Node,
    /// Its nodes.
    pub content: StreamRef,
    /// Whether everything in it is wanted (else its entries must fit an include pattern).
    pub is_wanted: bool,
}

/// Is shown what is wanted.
pub(super) trait Visitor {
    /// A directory; what is wanted of it follows, then [`leave`](Self::leave). With `false` neither comes.
    fn enter(&mut self, directory: &Directory) -> Result<bool, RestoreError>;

    /// Anything but a directory, wanted.
    fn entry(&mut self, path: Vec<u8>, node: Node) -> Result<(), RestoreError>;

    /// The end of the directory entered last, or of what could be read of it.
    fn leave(
        &mut self,
        directory: &Directory,
        damage: Option<RepositoryError>,
    ) -> Result<(), RestoreError>;
}

struct Level<'f, 'r> {
    directory: Directory,
    reader: DirectoryReader<'f, 'r>,
}

/// Shows `visitor` what `options` want of `snapshot`.
pub(super) fn walk(
    fetcher: &Fetcher<'_>,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    stop: &StopFlag,
    visitor: &mut dyn Visitor,
) -> Result<(), RestoreError> {
    let selection = Selection::new(options)?;
    let not_found = |error: browse::BrowseError| match error {
        browse::BrowseError::Repository(error) => RestoreError::Repository(error),
        _ => RestoreError::NotFound(browse::display_path(&options.subpath)),
    };
    let mut start = browse::resolve(fetcher, snapshot, &options.subpath).map_err(not_found)?;
    let content = match (start.kind, start.content.take()) {
        (NodeKind::Directory, Some(content)) => content,
        (_, content) => {
            start.content = content;
            return visitor.entry(start.name.clone(), start);
        }
    };
    let is_wanted = options.include.is_empty();
    let first = Directory { path: Vec::new(), node: start, content, is_wanted };
    let mut stack = Vec::new();
    descend(fetcher, first, &mut stack, visitor)?;
    while let Some(level) = stack.last_mut() {
        if stop.is_stopped() {
            return Err(RepositoryError::Interrupted.into());
        }
        let damage = match level.reader.next_node() {
            Ok(Some(node)) => {
                let below = select(&selection, &level.directory, node, visitor)?;
                if let Some(below) = below {
                    descend(fetcher, below, &mut stack, visitor)?;
                }
                continue;
            }
            Ok(None) => None,
            // One directory that is damaged does not keep the others from being restored.
            Err(error) if error.is_damage() => Some(error),
            Err(error) => return Err(error.into()),
        };
        if let Some(left) = stack.pop() {
            visitor.leave(&left.directory, damage)?;
        }
    }
    Ok(())
}

fn descend<'f, 'r>(
    fetcher: &'f Fetcher<'r>,
    directory: Directory,
    stack: &mut Vec<Level<'f, 'r>>,
    visitor: &mut dyn Visitor,
) -> Result<(), RestoreError> {
    if visitor.enter(&directory)? {
        let reader = DirectoryReader::new(fetcher, &directory.content);
        stack.push(Level { directory, reader });
    }
    Ok(())
}

/// Shows one entry; gives it if it is a directory to go into.
fn select(
    selection: &Selection,
    parent: &Directory,
    mut node: Node,
    visitor: &mut dyn Visitor,
) -> Result<Option<Directory>, RestoreError> {
    let path = join(&parent.path, &node.name);
    let is_directory = node.kind == NodeKind::Directory;
    if selection.is_excluded(&path, is_directory) {
        return Ok(None);
    }
    let is_wanted = selection.is_wanted(&path, is_directory, parent.is_wanted);
    if is_directory && let Some(content) = node.content.take() {
        return Ok(Some(Directory { path, node, content, is_wanted }));
    }
    if is_wanted {
        visitor.entry(path, node)?;
    }
    Ok(None)
}
