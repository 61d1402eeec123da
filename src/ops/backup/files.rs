//! Turns a walked directory into trees: unchanged files by their remembered nodes, others by reading.

use std::sync::Arc;

use crate::event::{Event, Observer};
use crate::index::{FileState, Index, IndexError, RowSet, StateReader, StateWriter};
use crate::ops::browse::display_path;
use crate::repository::{DirectoryBuilder, Ingest, RepositoryError, Session};
use crate::snapshot::{Extent, Node, NodeReader, StreamRef, try_encode_node};
use crate::source::files::{FileContent, FileStamp, TreeVisitor, Trouble};

use super::BackupCounts;
use super::content::{ContentStore, WHOLE_FILE_BYTES};
use super::reasons::Reasons;

/// A file changed this recently may change again within the same time stamp: it is not remembered.
const RACY_NANOS: i128 = 2_000_000_000;
/// No file has this inode number: what is remembered with it is never taken for unchanged.
const NO_INODE: u64 = 0;
/// Progress is told after this many bytes or files.
const PROGRESS_BYTES: u64 = 1 << 20;
const PROGRESS_FILES: u64 = 256;

/// A directory whose entries are arriving.
struct OpenDirectory {
    node: Node,
    path: Vec<u8>,
    builder: DirectoryBuilder,
    /// What is remembered of it, from the next name on.
    previous: Option<StateReader>,
    /// How many files of `previous` came first, none left out or changed.
    same: u64,
    /// What will be remembered, once that is something else than `previous`.
    next: Option<StateWriter>,
    /// Whether anything will.
    remembers: bool,
}

impl OpenDirectory {
    /// What is remembered of the directory is not what it has.
    fn change(&mut self, root: &str, index: &Index) -> Result<(), IndexError> {
        if self.next.is_some() || !self.remembers {
            return Ok(());
        }
        let mut next = StateWriter::new(root, &self.path);
        // Not kept so far: there may be millions, and most often nothing changes.
        let mut again = match self.same {
            0 => None,
            _ => index.read_state(root, &self.path)?,
        };
        for _ in 0..self.same {
            let Some(again) = &mut again else { break };
            let Some(file) = again.next_file(index)? else { break };
            next.push(index, &file)?;
        }
        self.next = Some(next);
        Ok(())
    }

    /// The remembered file of this name. Those before it are gone.
    fn take(
        &mut self,
        name: &[u8],
        root: &str,
        index: &Index,
    ) -> Result<Option<FileState>, IndexError> {
        let Some(mut previous) = self.previous.take() else { return Ok(None) };
        let found = loop {
            match previous.peek(index)? {
                Some(file) if file.name.as_slice() < name => {
                    previous.next_file(index)?;
                    self.change(root, index)?;
                }
                Some(file) if file.name == name => break previous.next_file(index)?,
                _ => break None,
            }
        };
        self.previous = Some(previous);
        Ok(found)
    }
}

/// Stores the entries of one source of files.
pub(super) struct FileVisitor<'v, 'i, 's> {
    pub ingest: &'v mut Ingest<'i>,
    pub session: &'v Session<'s>,
    pub content: &'v mut ContentStore<'i>,
    pub observer: &'v Arc<dyn Observer>,
    pub counts: &'v mut BackupCounts,
    /// Why the source is not complete.
    pub incomplete: Reasons,
    root: String,
    tree_path: Vec<u8>,
    now: i128,
    generation: i64,
    /// Whether what is learnt is for later runs, too.
    pub remembers: bool,
    /// The rows of the directories that were met, among what is remembered of the root.
    pub met: RowSet,
    stack: Vec<OpenDirectory>,
    /// The root's own node, once it is complete.
    pub result: Option<Node>,
    pending_bytes: u64,
    pending_files: u64,
    /// The content of the next file when it was last stored.
    earlier: Option<StreamRef>,
    /// The next entry is stored without some of its attributes: it is looked at again next time.
    lacks_attributes: bool,
}

impl<'v, 'i, 's> FileVisitor<'v, 'i, 's> {
    /// For the source remembered as `root`, whose content appears in the tree at `tree_path`.
    pub fn new(
        ingest: &'v mut Ingest<'i>,
        session: &'v Session<'s>,
        content: &'v mut ContentStore<'i>,
        observer: &'v Arc<dyn Observer>,
        counts: &'v mut BackupCounts,
        root: String,
        tree_path: Vec<u8>,
    ) -> Result<Self, RepositoryError> {
        let repository = session.repository();
        let now = repository.environment().clock.now().as_nanosecond();
        let generation = repository.index().loss_generation()?;
        Ok(Self {
            ingest,
            session,
            content,
            observer,
            counts,
            incomplete: Reasons::default(),
            root,
            tree_path,
            now,
            generation,
            remembers: true,
            met: RowSet::default(),
            stack: Vec::new(),
            result: None,
            pending_bytes: 0,
            pending_files: 0,
            earlier: None,
            lacks_attributes: false,
        })
    }

    fn full_path(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.tree_path.clone();
        if let Some(directory) = self.stack.last()
            && !directory.path.is_empty()
        {
            path.push(b'/');
            path.extend_from_slice(&directory.path);
        }
        if !name.is_empty() && !self.stack.is_empty() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        path
    }

    fn tick(&mut self, bytes: u64, files: u64) {
        self.pending_bytes += bytes;
        self.pending_files += files;
        if self.pending_bytes >= PROGRESS_BYTES || self.pending_files >= PROGRESS_FILES {
            self.tell_progress();
        }
    }

    /// Tells what was not told yet.
    pub fn tell_progress(&mut self) {
        let (bytes, items) = (self.pending_bytes, self.pending_files);
        (self.pending_bytes, self.pending_files) = (0, 0);
        self.observer.event(&Event::Progress { bytes, items });
    }

    fn push(&mut self, node: Node) -> Result<(), RepositoryError> {
        match self.stack.last_mut() {
            Some(directory) => directory.builder.push(self.ingest, &node),
            None => {
                self.result = Some(node);
                Ok(())
            }
        }
    }

    /// Whether all chunks of a remembered node are still usable.
    fn still_stored(&mut self, record: &[u8]) -> Result<bool, RepositoryError> {
        let Some(node) = node_of(record) else { return Ok(false) };
        let Some(content) = node.content else { return Ok(true) };
        // A list's own chunks would have to be read to know the rest: such a file is read again.
        Ok(content.depth == 0 && self.ingest.are_stored(&content.chunks, self.session)?)
    }

    /// What is remembered of the directory no longer has the current file.
    fn forget(&mut self) -> Result<(), RepositoryError> {
        let index = self.session.repository().index();
        if let Some(directory) = self.stack.last_mut() {
            directory.change(&self.root, index)?;
        }
        Ok(())
    }

    /// Remembers the file for the next run: as unchanged for as long as its `stamp` is the same, or, if that
    /// `is_settled` not, only as what its next version is likely to resemble.
    fn remember(
        &mut self,
        node: &Node,
        stamp: &FileStamp,
        is_settled: bool,
    ) -> Result<(), RepositoryError> {
        self.forget()?;
        let is_racy = self.now - stamp.ctime.max(stamp.mtime) < RACY_NANOS;
        let is_settled = is_settled && !is_racy;
        let len = node.content.as_ref().map_or(0, |content| content.len);
        if !is_settled && len <= WHOLE_FILE_BYTES as u64 {
            return Ok(());
        }
        let mut record = Vec::new();
        if try_encode_node(node, &mut record).is_err() {
            return Ok(());
        }
        let state = FileState {
            name: node.name.clone(),
            inode: if is_settled { stamp.inode } else { NO_INODE },
            size: stamp.size,
            mtime: stamp.mtime,
            ctime: stamp.ctime,
            node: record,
        };
        self.remember_state(&state)
    }

    fn remember_state(&mut self, state: &FileState) -> Result<(), RepositoryError> {
        let index = self.session.repository().index();
        match self.stack.last_mut().and_then(|directory| directory.next.as_mut()) {
            Some(next) => Ok(next.push(index, state)?),
            None => Ok(()),
        }
    }
}

/// A remembered node.
fn node_of(record: &[u8]) -> Option<Node> {
    let mut reader = NodeReader::default();
    reader.push(record);
    reader.next_node().ok().flatten()
}

/// A remembered node in hard link `group`, if it was in another one: devices may have other numbers once a
/// machine was started anew, and further names of the file are about to be put into this one.
fn regrouped(record: &[u8], group: Option<u64>) -> Option<Vec<u8>> {
    // With a single name its times tell whether it had more.
    let mut node = group.and_then(|_| node_of(record)).filter(|node| node.hard_link != group)?;
    node.hard_link = group;
    let mut record = Vec::new();
    try_encode_node(&node, &mut record).ok().map(|()| record)
}

/// The first `len` bytes of the data: a node whose extents say more than its content has is refused.
fn cut_extents(mut extents: Vec<Extent>, len: u64) -> Vec<Extent> {
    let mut left = len;
    extents.retain_mut(|extent| {
        extent.len = extent.len.min(left);
        left -= extent.len;
        extent.len > 0
    });
    extents
}

impl TreeVisitor for FileVisitor<'_, '_, '_> {
    type Error = RepositoryError;

    fn enter_directory(&mut self, node: Node, path: &[u8]) -> Result<(), RepositoryError> {
        self.ingest.check_stop()?;
        self.lacks_attributes = false;
        let index = self.session.repository().index();
        let previous = index.read_state(&self.root, path)?;
        let is_new = previous.is_none();
        if let Some(previous) = &previous {
            self.met.insert(previous.row());
        }
        self.stack.push(OpenDirectory {
            node,
            path: path.to_vec(),
            builder: DirectoryBuilder::new(),
            previous,
            same: 0,
            next: (is_new && self.remembers).then(|| StateWriter::new(&self.root, path)),
            remembers: self.remembers,
        });
        Ok(())
    }

    fn is_unchanged(
        &mut self,
        name: &[u8],
        stamp: &FileStamp,
        group: Option<u64>,
    ) -> Result<bool, RepositoryError> {
        self.earlier = None;
        let index = self.session.repository().index();
        let Some(directory) = self.stack.last_mut() else { return Ok(false) };
        let generation = directory.previous.as_ref().map(|previous| previous.generation);
        let Some(mut file) = directory.take(name, &self.root, index)? else { return Ok(false) };
        let is_same = (file.inode, file.size, file.mtime, file.ctime)
            == (stamp.inode, stamp.size, stamp.mtime, stamp.ctime);
        let is_current = generation == Some(self.generation);
        if !is_same || (!is_current && !self.still_stored(&file.node)?) {
            self.earlier = node_of(&file.node).and_then(|node| node.content);
            self.forget()?;
            return Ok(false);
        }
        let other_group = regrouped(&file.node, group);
        if !is_current || other_group.is_some() {
            self.forget()?;
        }
        file.node = other_group.unwrap_or(file.node);
        self.remember_state(&file)?;
        let Some(directory) = self.stack.last_mut() else { return Ok(false) };
        directory.same += u64::from(directory.next.is_none());
        directory.builder.push_encoded(self.ingest, name, &file.node)?;
        self.counts.files += 1;
        self.counts.unchanged_files += 1;
        self.counts.bytes += stamp.size;
        self.tick(stamp.size, 1);
        Ok(true)
    }

    fn file(
        &mut self,
        mut node: Node,
        stamp: &FileStamp,
        content: &mut FileContent,
    ) -> Result<(), RepositoryError> {
        let is_whole = !std::mem::take(&mut self.lacks_attributes);
        let path = self.full_path(&node.name);
        let (observer, pending) = (Arc::clone(self.observer), &mut self.pending_bytes);
        let mut progress = |bytes: u64| {
            *pending += bytes;
            if *pending >= PROGRESS_BYTES {
                observer.event(&Event::Progress { bytes: std::mem::take(pending), items: 0 });
            }
        };
        let mut earlier = self.earlier.take();
        let earlier = &mut |_: &_| earlier.take();
        let stored = self.content.store(self.ingest, content, &mut progress, earlier)?;
        let trouble = match stored.read_error {
            Some(error) => Some(format!("reading stopped: {error}")),
            None if content.is_torn() => Some("it became shorter while it was read".to_owned()),
            None if content.changed_while_reading() => {
                Some("it changed while it was read".to_owned())
            }
            None => None,
        };
        self.counts.files += 1;
        self.counts.bytes += stamp.size;
        node.extents = content.extents().map(|extents| cut_extents(extents, stored.content.len));
        node.sparse_size = node.extents.as_ref().map(|_| stamp.size);
        node.content = Some(stored.content);
        if let Some(message) = trouble {
            node.is_torn = true;
            let item = display_path(&path);
            self.incomplete.push(format!("{item}: {message}"));
            self.observer.event(&Event::ItemFailed { item, message });
            self.remember(&node, stamp, false)?;
        } else if is_whole {
            self.remember(&node, stamp, true)?;
        } else {
            self.forget()?;
        }
        self.tick(0, 1);
        self.push(node)
    }

    fn other(&mut self, node: Node) -> Result<(), RepositoryError> {
        self.lacks_attributes = false;
        self.counts.others += 1;
        self.push(node)
    }

    fn leave_directory(&mut self) -> Result<(), RepositoryError> {
        let Some(mut directory) = self.stack.pop() else { return Ok(()) };
        self.counts.directories += 1;
        let index = self.session.repository().index();
        if let Some(previous) = &mut directory.previous
            && (previous.peek(index)?.is_some() || previous.is_damaged())
        {
            directory.change(&self.root, index)?;
        }
        directory.node.content = Some(directory.builder.finish(self.ingest)?);
        if let Some(next) = directory.next {
            next.finish(index, self.generation)?;
        }
        self.push(directory.node)
    }

    fn trouble(&mut self, path: &[u8], trouble: Trouble) -> Result<(), RepositoryError> {
        let mut full = self.tree_path.clone();
        if !path.is_empty() {
            full.push(b'/');
            full.extend_from_slice(path);
        }
        let item = display_path(&full);
        let event = match trouble {
            Trouble::Vanished => {
                self.counts.warnings += 1;
                Event::Warning { item, message: "it was gone before it could be opened".to_owned() }
            }
            Trouble::SkippedSocket => {
                Event::Notice { item, message: "sockets are not stored".to_owned() }
            }
            Trouble::SkippedMount => Event::Notice {
                item,
                message: "another file system is mounted there, which is not entered".to_owned(),
            },
            Trouble::SkippedOwn => Event::Notice {
                item,
                message: "the repository, or its local index: it is not stored in itself"
                    .to_owned(),
            },
            Trouble::Unreadable(message) => {
                self.incomplete.push(format!("{item}: {message}"));
                Event::ItemFailed { item, message }
            }
            Trouble::WithoutAttributes(message) => {
                self.lacks_attributes = true;
                let message = format!("stored without its extended attributes: {message}");
                self.incomplete.push(format!("{item}: {message}"));
                Event::ItemFailed { item, message }
            }
        };
        self.observer.event(&event);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::NodeKind;

    #[test]
    fn a_node_follows_its_group_to_another_number() {
        let record = |hard_link| {
            let mut record = Vec::new();
            let content = Some(StreamRef::default());
            let node = Node { hard_link, content, mode: 0o640, ..Node::new(b"x", NodeKind::File) };
            try_encode_node(&node, &mut record).unwrap();
            record
        };
        assert_eq!(regrouped(&record(Some(1)), Some(1)), None);
        assert_eq!(regrouped(&record(Some(1)), Some(2)), Some(record(Some(2))));
        assert_eq!(regrouped(&record(None), Some(2)), Some(record(Some(2))));
        assert_eq!(regrouped(&record(None), None), None);
    }

    #[test]
    fn extents_end_with_the_content() {
        let extents = |lens: &[u64]| -> Vec<Extent> {
            lens.iter().zip(0..).map(|(len, at)| Extent { offset: at * 100, len: *len }).collect()
        };
        let all = extents(&[10, 20, 30]);
        for (len, kept) in
            [(60, &[10, 20, 30][..]), (35, &[10, 20, 5]), (30, &[10, 20]), (4, &[4]), (0, &[])]
        {
            assert_eq!(cut_extents(all.clone(), len), extents(kept), "{len}");
        }
    }
}
