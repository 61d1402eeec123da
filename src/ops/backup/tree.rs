//! The directories above the sources: where each source's content appears in the snapshot's tree.

use std::collections::BTreeMap;

use crate::repository::{DirectoryBuilder, Ingest, RepositoryError};
use crate::snapshot::{Node, NodeKind, StreamRef};

/// Two sources that want the same place in the tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two sources want the same place `{path}` in the snapshot")]
pub struct PlaceTaken {
    /// The place.
    pub path: String,
}

/// A place in the tree above the sources.
#[derive(Debug)]
enum Place {
    Directory(BTreeMap<Vec<u8>, Place>),
    Leaf(Box<Node>),
}

/// The tree above the sources' own nodes.
#[derive(Debug, Default)]
pub(in crate::ops) struct Scaffold {
    root: BTreeMap<Vec<u8>, Place>,
}

impl Scaffold {
    /// Puts `node` at `path`; its name becomes the path's last component.
    pub fn insert(&mut self, path: &[u8], mut node: Node) -> Result<(), PlaceTaken> {
        let taken = || PlaceTaken { path: String::from_utf8_lossy(path).into_owned() };
        let mut components: Vec<&[u8]> =
            path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
        let last = components.pop().ok_or_else(taken)?;
        let mut directory = &mut self.root;
        for name in components {
            let place =
                directory.entry(name.to_vec()).or_insert_with(|| Place::Directory(BTreeMap::new()));
            match place {
                Place::Directory(entries) => directory = entries,
                Place::Leaf(_) => return Err(taken()),
            }
        }
        if directory.contains_key(last) {
            return Err(taken());
        }
        node.name = last.to_vec();
        directory.insert(last.to_vec(), Place::Leaf(Box::new(node)));
        Ok(())
    }

    /// Stores what is in the directory `name` of the root, and gives its entries, names ascending.
    pub fn finish_directory(
        mut self,
        name: &[u8],
        ingest: &mut Ingest<'_>,
    ) -> Result<Vec<Node>, RepositoryError> {
        let Some(Place::Directory(entries)) = self.root.remove(name) else { return Ok(Vec::new()) };
        entries.into_iter().map(|(name, place)| store_place(ingest, name, place)).collect()
    }

    /// Stores the directories and gives the root.
    pub fn finish(self, ingest: &mut Ingest<'_>) -> Result<StreamRef, RepositoryError> {
        Ok(store_directory(ingest, self.root)?.0)
    }
}

/// Seconds since 1970, and nanoseconds.
type Time = (i64, u32);

/// Stores what is at a place, and gives its node.
fn store_place(
    ingest: &mut Ingest<'_>,
    name: Vec<u8>,
    place: Place,
) -> Result<Node, RepositoryError> {
    match place {
        Place::Leaf(node) => Ok(*node),
        Place::Directory(entries) => {
            let (content, time) = store_directory(ingest, entries)?;
            let mut node = Node::new(name, NodeKind::Directory);
            node.mode = 0o755;
            (node.mtime, node.mtime_nanos) = time;
            node.content = Some(content);
            Ok(node)
        }
    }
}

/// Stores a directory that exists only in the tree. It has the newest time of what is in it: the run's own
/// would make another tree of it every night. Gives that time, too.
fn store_directory(
    ingest: &mut Ingest<'_>,
    entries: BTreeMap<Vec<u8>, Place>,
) -> Result<(StreamRef, Time), RepositoryError> {
    let mut builder = DirectoryBuilder::new();
    let mut newest = None;
    for (name, place) in entries {
        let node = store_place(ingest, name, place)?;
        newest = newest.max(Some((node.mtime, node.mtime_nanos)));
        builder.push(ingest, &node)?;
    }
    Ok((builder.finish(ingest)?, newest.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_once() {
        let file = || Node::new("", NodeKind::File);
        let mut scaffold = Scaffold::default();
        assert_eq!(scaffold.insert(b"postgres/mrs.dump", file()), Ok(()));
        assert_eq!(scaffold.insert(b"/postgres/globals.sql", file()), Ok(()));
        for path in [&b"postgres"[..], b"postgres/mrs.dump", b"postgres/mrs.dump/x", b"", b"/"] {
            assert!(scaffold.insert(path, file()).is_err(), "{}", String::from_utf8_lossy(path));
        }
    }
}
