//! Reads back what was imported, and compares it with the other repository.

use std::collections::HashSet;
use std::io::Read;

use crate::event::{Event, StopFlag};
use crate::ops::browse::display_path;
use crate::ops::tree::join;
use crate::repository::{DirectoryReader, Fetcher, Repository, RepositoryError, StreamBytes};
use crate::snapshot::{Node, Snapshot, StreamRef};
use crate::source::foreign::{
    ForeignContent, ForeignNode, ForeignRepository, ForeignSnapshot, TreeName,
};

use super::databases::is_made;
use super::{CACHE, ImportError};

/// Something that is not here as it is there.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// Where in the snapshot.
    pub path: String,
    /// What differs.
    pub what: &'static str,
}

impl Difference {
    /// As it is told.
    pub(super) fn event(&self) -> Event {
        let message = format!("read back, it differs from the original: {}", self.what);
        Event::ItemFailed { item: self.path.clone(), message }
    }
}

/// Compares the snapshot `original` of `foreign` with what became of it, everything of both. What is known to be torn differs by
/// nature and is passed over.
pub fn verify(
    foreign: &dyn ForeignRepository,
    original: &ForeignSnapshot,
    target: &Repository,
    imported: &Snapshot,
    (stop, told): (&StopFlag, &dyn Fn(&Difference)),
) -> Result<Vec<Difference>, ImportError> {
    let fetcher = Fetcher::new(target, CACHE);
    let mut comparing = Comparing {
        foreign,
        fetcher: &fetcher,
        imported,
        same: HashSet::new(),
        found: Vec::new(),
        told,
    };
    let mut pending = vec![(Vec::new(), original.root, imported.root.clone())];
    while let Some((path, tree, stream)) = pending.pop() {
        if stop.is_stopped() {
            return Err(RepositoryError::Interrupted.into());
        }
        comparing.directory(&path, &tree, &stream, &mut pending)?;
    }
    Ok(comparing.found)
}

struct Comparing<'a, 'r> {
    foreign: &'a dyn ForeignRepository,
    fetcher: &'a Fetcher<'r>,
    imported: &'a Snapshot,
    /// Contents that were compared: what they are there, and here.
    same: HashSet<([u8; 32], Vec<u8>)>,
    found: Vec<Difference>,
    told: &'a dyn Fn(&Difference),
}

type Pending = Vec<(Vec<u8>, TreeName, StreamRef)>;

impl Comparing<'_, '_> {
    fn differs(&mut self, path: &[u8], what: &'static str) {
        let difference = Difference { path: display_path(path), what };
        (self.told)(&difference);
        self.found.push(difference);
    }

    /// Whether this pair is met for the first time.
    fn is_new(&mut self, there: [u8; 32], here: &StreamRef) -> bool {
        self.same.insert((there, format!("{:?}", here.key()).into_bytes()))
    }

    fn directory(
        &mut self,
        path: &[u8],
        tree: &TreeName,
        stream: &StreamRef,
        pending: &mut Pending,
    ) -> Result<(), ImportError> {
        let mut here = DirectoryReader::new(self.fetcher, stream);
        for there in self.foreign.directory(tree, &mut |_, _| {})? {
            let found = self.next_but_made(&mut here, path, Some(&there.node.name))?;
            let path = join(path, &there.node.name);
            match found {
                Some(node) if node.name == there.node.name => {
                    self.entry(&path, &there, &node, pending)?
                }
                _ => {
                    self.differs(&path, "it is missing, or something else is in its place");
                    return Ok(());
                }
            }
        }
        if let Some(node) = self.next_but_made(&mut here, path, None)? {
            self.differs(&join(path, &node.name), "it is not in the original");
        }
        Ok(())
    }

    /// The next entry here, without what was made of a dump and is not `wanted`.
    fn next_but_made(
        &self,
        here: &mut DirectoryReader<'_, '_>,
        directory: &[u8],
        wanted: Option<&[u8]>,
    ) -> Result<Option<Node>, RepositoryError> {
        loop {
            match here.next_node()? {
                Some(node)
                    if wanted != Some(&node.name)
                        && is_made(self.imported, &join(directory, &node.name)) => {}
                other => return Ok(other),
            }
        }
    }

    fn entry(
        &mut self,
        path: &[u8],
        there: &ForeignNode,
        here: &Node,
        pending: &mut Pending,
    ) -> Result<(), ImportError> {
        let bare = Node {
            content: None,
            hard_link: None,
            is_further_link: false,
            is_torn: false,
            ..here.clone()
        };
        if bare != there.node {
            self.differs(path, "kind, owner, mode, time or attributes");
        }
        match (&there.content, &here.content) {
            _ if here.is_torn || here.is_further_link => {}
            (ForeignContent::Directory(tree), Some(stream)) => {
                if self.is_new(*tree, stream) {
                    pending.push((path.to_vec(), *tree, stream.clone()));
                }
            }
            (ForeignContent::File { pieces, size }, Some(stream)) => {
                let name = super::tree::name_of(pieces);
                if *size != stream.len {
                    self.differs(path, "its size");
                } else if self.is_new(name, stream) && !self.is_same(&there.content, stream) {
                    self.differs(path, "its content");
                }
            }
            (ForeignContent::Nothing, None) => {}
            _ => self.differs(path, "its content is missing"),
        }
        Ok(())
    }

    fn is_same(&self, there: &ForeignContent, here: &StreamRef) -> bool {
        let mut is_same = false;
        self.foreign.read(there, &mut |reader: &mut dyn Read| {
            let ours = digest(&mut StreamBytes::new(self.fetcher, here));
            let theirs = digest(reader);
            is_same = ours.is_some() && ours == theirs;
        });
        is_same
    }
}

/// The hash of all bytes; `None` if they cannot be read.
fn digest(reader: &mut dyn Read) -> Option<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(reader).ok()?;
    Some(hasher.finalize())
}
