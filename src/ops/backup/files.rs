//! Turns a walked directory into trees: unchanged files by their remembered nodes, others by reading.

use std::sync::Arc;

use crate::event::{Event, Observer};
use crate::index::{DirectoryState, FileState};
use crate::ops::browse::display_path;
use crate::repository::{DirectoryBuilder, Ingest, RepositoryError, Session};
use crate::snapshot::{Extent, Node, NodeReader, try_encode_node};
use crate::source::files::{FileContent, FileStamp, TreeVisitor, Trouble};

use super::BackupCounts;
use super::content::ContentStore;

/// A file changed this recently may change again within the same time stamp: it is not remembered.
const RACY_NANOS: i128 = 2_000_000_000;
/// Progress is told after this many bytes or files.
const PROGRESS_BYTES: u64 = 1 << 20;
const PROGRESS_FILES: u64 = 256;

/// A directory whose entries are arriving.
struct OpenDirectory {
    node: Node,
    path: Vec<u8>,
    builder: DirectoryBuilder,
    /// What is remembered of it.
    previous: DirectoryState,
    /// Where in `previous.files` the next name is looked for.
    at: usize,
    /// What will be remembered.
    next: Vec<FileState>,
    /// Whether `next` differs from `previous`.
    is_changed: bool,
}

/// Stores the entries of one source of files.
pub(super) struct FileVisitor<'v, 'i, 's> {
    pub ingest: &'v mut Ingest<'i>,
    pub session: &'v Session<'s>,
    pub content: &'v mut ContentStore,
    pub observer: &'v Arc<dyn Observer>,
    pub counts: &'v mut BackupCounts,
    /// Why the source is not complete.
    pub incomplete: Vec<String>,
    root: String,
    tree_path: Vec<u8>,
    now: i128,
    generation: i64,
    /// Whether what is learnt is for later runs, too.
    pub remembers: bool,
    stack: Vec<OpenDirectory>,
    /// The root's own node, once it is complete.
    pub result: Option<Node>,
    pending_bytes: u64,
    pending_files: u64,
    /// The next entry is stored without some of its attributes: it is looked at again next time.
    lacks_attributes: bool,
}

impl<'v, 'i, 's> FileVisitor<'v, 'i, 's> {
    /// For the source remembered as `root`, whose content appears in the tree at `tree_path`.
    pub fn new(
        ingest: &'v mut Ingest<'i>,
        session: &'v Session<'s>,
        content: &'v mut ContentStore,
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
            incomplete: Vec::new(),
            root,
            tree_path,
            now,
            generation,
            remembers: true,
            stack: Vec::new(),
            result: None,
            pending_bytes: 0,
            pending_files: 0,
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
        let mut reader = NodeReader::default();
        reader.push(record);
        let Ok(Some(node)) = reader.next_node() else { return Ok(false) };
        let Some(content) = node.content else { return Ok(true) };
        // A list's own chunks would have to be read to know the rest: such a file is read again.
        Ok(content.depth == 0 && self.ingest.are_stored(&content.chunks, self.session)?)
    }

    /// What is remembered of the directory no longer has the current file.
    fn forget(&mut self) {
        if let Some(directory) = self.stack.last_mut() {
            directory.is_changed = true;
        }
    }

    fn remember(&mut self, node: &Node, stamp: &FileStamp) {
        let Some(directory) = self.stack.last_mut() else { return };
        directory.is_changed = true;
        if self.now - stamp.ctime.max(stamp.mtime) < RACY_NANOS || stamp.links > 1 {
            return;
        }
        let mut record = Vec::new();
        if try_encode_node(node, &mut record).is_err() {
            return;
        }
        directory.next.push(FileState {
            name: node.name.clone(),
            inode: stamp.inode,
            size: stamp.size,
            mtime: stamp.mtime,
            ctime: stamp.ctime,
            node: record,
        });
    }
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
        let previous = index.directory_state(&self.root, path)?;
        self.stack.push(OpenDirectory {
            node,
            path: path.to_vec(),
            builder: DirectoryBuilder::new(),
            is_changed: previous.is_none(),
            previous: previous.unwrap_or_default(),
            at: 0,
            next: Vec::new(),
        });
        Ok(())
    }

    fn is_unchanged(&mut self, name: &[u8], stamp: &FileStamp) -> Result<bool, RepositoryError> {
        let Some(directory) = self.stack.last_mut() else { return Ok(false) };
        let files = &directory.previous.files;
        while files.get(directory.at).is_some_and(|file| file.name.as_slice() < name) {
            directory.at += 1;
            directory.is_changed = true;
        }
        let Some(file) = files.get(directory.at).filter(|file| file.name == name) else {
            return Ok(false);
        };
        directory.at += 1;
        let is_same = (file.inode, file.size, file.mtime, file.ctime)
            == (stamp.inode, stamp.size, stamp.mtime, stamp.ctime);
        if !is_same || stamp.links > 1 {
            directory.is_changed = true;
            return Ok(false);
        }
        let is_current = directory.previous.generation == self.generation;
        let file = file.clone();
        if !is_current && !self.still_stored(&file.node)? {
            return Ok(false);
        }
        let Some(directory) = self.stack.last_mut() else { return Ok(false) };
        directory.is_changed |= !is_current;
        directory.builder.push_encoded(self.ingest, name, &file.node)?;
        directory.next.push(file);
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
        let stored = self.content.store(self.ingest, content, &mut progress)?;
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
            self.forget();
        } else if is_whole {
            self.remember(&node, stamp);
        } else {
            self.forget();
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
        directory.node.content = Some(directory.builder.finish(self.ingest)?);
        let is_changed = directory.is_changed || directory.at < directory.previous.files.len();
        if is_changed && self.remembers {
            let state = DirectoryState { generation: self.generation, files: directory.next };
            let index = self.session.repository().index();
            index.stage_state(&self.root, &directory.path, &state)?;
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
