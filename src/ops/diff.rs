//! What differs between two trees. Subtrees that are the same stream are not looked into.

use crate::event::StopFlag;
use crate::repository::{DirectoryReader, Fetcher, RepositoryError};
use crate::snapshot::{Node, NodeKind, Snapshot, StreamRef};

use super::browse::{BrowseError, resolve};
use super::tree::join;

/// How an entry differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Only in the new tree.
    Added,
    /// Only in the old tree.
    Removed,
    /// Its bytes (the target of a link, the number of a device) differ. A file stored with other chunk sizes counts
    /// as this too: telling it apart would mean reading it.
    Content,
    /// Only mode, owner, time or extended attributes differ.
    Metadata,
    /// It is something else: a directory where a file was.
    Type,
}

/// One difference.
#[derive(Debug, Clone)]
pub struct DiffEntry {
    /// Path below the compared directories.
    pub path: Vec<u8>,
    /// How.
    pub change: Change,
    /// As it was.
    pub old: Option<Node>,
    /// As it is.
    pub new: Option<Node>,
}

/// How many files, how many bytes, and how many entries that are no files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Tally {
    /// Files.
    pub files: u64,
    /// Their sizes together.
    pub bytes: u64,
    /// Directories, links and so on.
    pub others: u64,
}

impl Tally {
    fn count(&mut self, node: &Node) {
        if node.kind == NodeKind::File {
            self.files += 1;
            self.bytes = self.bytes.saturating_add(node.size());
        } else {
            self.others += 1;
        }
    }
}

/// All differences in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct DiffSummary {
    /// Only in the new tree.
    pub added: Tally,
    /// Only in the old tree.
    pub removed: Tally,
    /// With other content; bytes are those of the new tree.
    pub changed: Tally,
    /// With other metadata only.
    pub metadata: u64,
    /// Now something else.
    pub types: u64,
}

/// A side of the comparison: a snapshot and a path in it.
#[derive(Debug, Clone, Copy)]
pub struct Side<'s> {
    /// Which snapshot.
    pub snapshot: &'s Snapshot,
    /// Path in its tree; empty for all of it.
    pub path: &'s [u8],
}

/// The entries of one directory, with one entry of foresight.
struct Entries<'f, 'r> {
    reader: DirectoryReader<'f, 'r>,
    next: Option<Node>,
}

impl<'f, 'r> Entries<'f, 'r> {
    fn new(fetcher: &'f Fetcher<'r>, directory: &StreamRef) -> Result<Self, RepositoryError> {
        let mut reader = DirectoryReader::new(fetcher, directory);
        let next = reader.next_node()?;
        Ok(Self { reader, next })
    }

    fn take(&mut self) -> Result<Option<Node>, RepositoryError> {
        let taken = self.next.take();
        if taken.is_some() {
            self.next = self.reader.next_node()?;
        }
        Ok(taken)
    }
}

/// A pair of directories at the same path; one of them may be missing.
struct Level<'f, 'r> {
    path: Vec<u8>,
    old: Option<Entries<'f, 'r>>,
    new: Option<Entries<'f, 'r>>,
}

impl Level<'_, '_> {
    /// The entries of the next name.
    fn next_pair(&mut self) -> Result<(Option<Node>, Option<Node>), RepositoryError> {
        let (old, new) = (name(self.old.as_ref()), name(self.new.as_ref()));
        let (takes_old, takes_new) = match (old, new) {
            (Some(old), Some(new)) => (old <= new, new <= old),
            (old, new) => (old.is_some(), new.is_some()),
        };
        let take = |side: &mut Option<Entries<'_, '_>>, wanted| match side {
            Some(entries) if wanted => entries.take(),
            _ => Ok(None),
        };
        Ok((take(&mut self.old, takes_old)?, take(&mut self.new, takes_new)?))
    }
}

fn name<'n>(entries: Option<&'n Entries<'_, '_>>) -> Option<&'n [u8]> {
    entries.and_then(|entries| entries.next.as_ref()).map(|node| node.name.as_slice())
}

/// Tells `visit` what differs between `old` and `new`, depth first, names ascending.
pub fn diff(
    fetcher: &Fetcher<'_>,
    old: Side<'_>,
    new: Side<'_>,
    stop: &StopFlag,
    visit: &mut dyn FnMut(DiffEntry) -> Result<(), BrowseError>,
) -> Result<DiffSummary, BrowseError> {
    let old = resolve(fetcher, old.snapshot, old.path)?;
    let mut new = resolve(fetcher, new.snapshot, new.path)?;
    let mut differ = Differ { fetcher, visit, summary: DiffSummary::default(), stack: Vec::new() };
    if (old.kind, new.kind) == (NodeKind::Directory, NodeKind::Directory) {
        // What is compared is what is in them: the directories themselves may have other names.
        differ.open(Vec::new(), Some(&old), Some(&new))?;
    } else {
        let path = std::mem::take(&mut new.name);
        new.name.clone_from(&old.name);
        differ.pair(path, Some(old), Some(new))?;
    }
    while let Some(level) = differ.stack.last_mut() {
        if stop.is_stopped() {
            return Err(RepositoryError::Interrupted.into());
        }
        let (old, new) = level.next_pair()?;
        let Some(node) = new.as_ref().or(old.as_ref()) else {
            differ.stack.pop();
            continue;
        };
        let path = join(&level.path, &node.name);
        differ.pair(path, old, new)?;
    }
    Ok(differ.summary)
}

struct Differ<'f, 'r, 'v> {
    fetcher: &'f Fetcher<'r>,
    visit: &'v mut dyn FnMut(DiffEntry) -> Result<(), BrowseError>,
    summary: DiffSummary,
    stack: Vec<Level<'f, 'r>>,
}

impl Differ<'_, '_, '_> {
    /// Looks at one path of both trees.
    fn pair(
        &mut self,
        path: Vec<u8>,
        old: Option<Node>,
        new: Option<Node>,
    ) -> Result<(), BrowseError> {
        let change = match (&old, &new) {
            (Some(old), Some(new)) => compare(old, new),
            (Some(_), None) => Some(Change::Removed),
            (None, Some(_)) => Some(Change::Added),
            (None, None) => None,
        };
        self.open(path.clone(), old.as_ref(), new.as_ref())?;
        let Some(change) = change else { return Ok(()) };
        let summary = &mut self.summary;
        match (change, &old, &new) {
            (Change::Added, _, Some(new)) => summary.added.count(new),
            (Change::Removed, Some(old), _) => summary.removed.count(old),
            (Change::Content, _, Some(new)) => summary.changed.count(new),
            (Change::Metadata, ..) => summary.metadata += 1,
            _ => summary.types += 1,
        }
        (self.visit)(DiffEntry { path, change, old, new })
    }

    /// Has the directories among `old` and `new` compared next, if they differ.
    fn open(
        &mut self,
        path: Vec<u8>,
        old: Option<&Node>,
        new: Option<&Node>,
    ) -> Result<(), RepositoryError> {
        let directory = |node: Option<&Node>| {
            node.filter(|node| node.kind == NodeKind::Directory)
                .and_then(|node| node.content.clone())
        };
        let (old, new) = (directory(old), directory(new));
        if old == new {
            return Ok(());
        }
        let fetcher = self.fetcher;
        let entries =
            |side: Option<StreamRef>| side.map(|side| Entries::new(fetcher, &side)).transpose();
        let (old, new) = (entries(old)?, entries(new)?);
        self.stack.push(Level { path, old, new });
        Ok(())
    }
}

/// How two entries of the same name differ, apart from what is below them.
fn compare(old: &Node, new: &Node) -> Option<Change> {
    if old.kind != new.kind {
        return Some(Change::Type);
    }
    if old.is_further_link || new.is_further_link {
        // Content and metadata are at the first name, where they are compared.
        return (old.is_further_link != new.is_further_link).then_some(Change::Metadata);
    }
    let content = |node: &Node| {
        let content = node.content.clone().filter(|_| node.kind == NodeKind::File);
        (content, node.size(), node.extents.clone(), node.link_target.clone(), node.device)
    };
    if content(old) != content(new) {
        return Some(Change::Content);
    }
    let plain = |node: &Node| {
        let mut node = node.clone();
        // Numbers of hard link groups mean nothing outside of their snapshot.
        (node.content, node.hard_link) = (None, None);
        node
    };
    (plain(old) != plain(new)).then_some(Change::Metadata)
}
