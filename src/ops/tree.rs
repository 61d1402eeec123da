//! Walking trees. They are finite (a directory is named by the hash of what is in it), but they may be
//! deeper than any stack, and small ones may unfold to very many paths, for directories share their content:
//! both walks here keep their own stack, and [`fold`] looks at each different directory once.

use std::collections::HashMap;
use std::ops::AddAssign;

use crate::event::StopFlag;
use crate::repository::{DirectoryReader, Fetcher, RepositoryError};
use crate::snapshot::{Node, NodeKind, StreamKey, StreamRef};

use super::browse::Located;

/// Appends `name` to `path`; gives the length to go back to.
fn descend(path: &mut Vec<u8>, name: &[u8]) -> usize {
    let len = path.len();
    if len > 0 {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    len
}

/// `directory` and `name` joined.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = directory.to_vec();
    descend(&mut path, name);
    path
}

/// Entries depth first, names ascending. The caller says which directories to enter.
pub struct TreeWalk<'f, 'r> {
    fetcher: &'f Fetcher<'r>,
    /// Open directories with the lengths of their paths.
    stack: Vec<(DirectoryReader<'f, 'r>, usize)>,
    path: Vec<u8>,
}

impl<'f, 'r> TreeWalk<'f, 'r> {
    /// A walk through the entries of `directory`, which lies at `path`.
    pub fn new(fetcher: &'f Fetcher<'r>, path: &[u8], directory: &StreamRef) -> Self {
        let stack = vec![(DirectoryReader::new(fetcher, directory), path.len())];
        Self { fetcher, stack, path: path.to_vec() }
    }

    /// The next entry. After an error the walk goes on behind the directory that failed.
    pub fn next_entry(&mut self) -> Result<Option<Located>, RepositoryError> {
        while let Some((directory, len)) = self.stack.last_mut() {
            self.path.truncate(*len);
            match directory.next_node() {
                Ok(Some(node)) => {
                    let path = join(&self.path, &node.name);
                    return Ok(Some(Located { path, node }));
                }
                Ok(None) => {
                    self.stack.pop();
                }
                Err(error) => {
                    self.stack.pop();
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// Goes into the directory just returned: its entries come next.
    pub fn enter(&mut self, entry: &Located) {
        if let (NodeKind::Directory, Some(content)) = (entry.node.kind, &entry.node.content) {
            self.path.clone_from(&entry.path);
            self.stack.push((DirectoryReader::new(self.fetcher, content), self.path.len()));
        }
    }

    /// Path of the directory whose reading failed, right after [`TreeWalk::next_entry`] failed.
    pub fn failed_path(&self) -> &[u8] {
        &self.path
    }
}

/// What is added up over a tree.
pub(super) trait Folder {
    /// The sum.
    type Total: Copy + Default + AddAssign;

    /// A directory seen for the first time, before its entries.
    fn open(&mut self, path: &[u8], directory: &StreamRef) -> Result<(), RepositoryError>;

    /// An entry of such a directory (an entry that is a directory, too); `path` is the directory's.
    fn entry(&mut self, path: &[u8], node: &Node) -> Result<Self::Total, RepositoryError>;

    /// The directory could not be read (to its end).
    fn unreadable(
        &mut self,
        path: &[u8],
        error: RepositoryError,
    ) -> Result<Self::Total, RepositoryError>;
}

/// Sums of directories already seen: 40 bytes or so for each different directory.
#[derive(Debug)]
pub(super) struct Known<T>(HashMap<StreamKey, T>);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Copy> Known<T> {
    /// The sum of a directory, if it was seen.
    pub fn get(&self, directory: &StreamRef) -> Option<T> {
        self.0.get(&directory.key()).copied()
    }
}

struct Open<'f, 'r, T> {
    key: StreamKey,
    reader: DirectoryReader<'f, 'r>,
    /// Length of the path above it.
    parent_len: usize,
    total: T,
}

/// The sum over everything below `root`. Directories in `known` are not read again.
pub(super) fn fold<F: Folder>(
    fetcher: &Fetcher<'_>,
    root: &StreamRef,
    known: &mut Known<F::Total>,
    folder: &mut F,
    stop: &StopFlag,
) -> Result<F::Total, RepositoryError> {
    if let Some(total) = known.get(root) {
        return Ok(total);
    }
    let open = |directory: &StreamRef, parent_len| Open {
        key: directory.key(),
        reader: DirectoryReader::new(fetcher, directory),
        parent_len,
        total: F::Total::default(),
    };
    let mut path = Vec::new();
    folder.open(&path, root)?;
    let mut stack = vec![open(root, 0)];
    while let Some(top) = stack.last_mut() {
        if stop.is_stopped() {
            return Err(RepositoryError::Interrupted);
        }
        match top.reader.next_node() {
            Ok(Some(node)) => {
                top.total += folder.entry(&path, &node)?;
                let (NodeKind::Directory, Some(content)) = (node.kind, &node.content) else {
                    continue;
                };
                if let Some(total) = known.get(content) {
                    top.total += total;
                    continue;
                }
                let parent_len = descend(&mut path, &node.name);
                folder.open(&path, content)?;
                stack.push(open(content, parent_len));
                continue;
            }
            Ok(None) => {}
            Err(error) if error.is_damage() => top.total += folder.unreadable(&path, error)?,
            Err(error) => return Err(error),
        }
        let Some(done) = stack.pop() else { break };
        known.0.insert(done.key, done.total);
        path.truncate(done.parent_len);
        match stack.last_mut() {
            Some(parent) => parent.total += done.total,
            None => return Ok(done.total),
        }
    }
    Ok(F::Total::default())
}
