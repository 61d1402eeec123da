//! The writing: one thread walks the trees and hands out chunks, several fetch and write them.
//!
//! A file appears under its name only when all of it is written. Further names of a hard-linked file
//! come after all files, and the metadata of directories last, deepest first.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::event::{Event, Observer, StopFlag};
use crate::ops::browse::{TreeWalk, display_path};
use crate::repository::{ChunkWalk, Fetcher, Repository, RepositoryError, read_directory};
use crate::snapshot::{ChunkRef, Node, NodeKind};
use crate::target::files::{Created, FileWriter, FilesTarget, TargetOptions};

use super::plan::{Pending, Start, TREE_CACHE, join};
use super::select::Selection;
use super::{RestoreError, RestoreOutcome, RestorePlan, verify};

/// Opened segments of small files kept while they are written.
const CONTENT_CACHE: usize = 48 << 20;
/// Chunks handed out ahead of the writers.
const AHEAD: usize = 64;

/// A file being written by several threads.
struct OpenFile<'t> {
    path: Vec<u8>,
    node: Node,
    /// Until the file is finished or given up.
    writer: RwLock<Option<FileWriter<'t>>>,
    /// Pieces not yet written, and one while they are still being handed out.
    open_pieces: AtomicUsize,
    has_failed: AtomicBool,
}

/// One chunk of a file.
struct Piece<'t> {
    file: Arc<OpenFile<'t>>,
    /// Where it begins in the stream of the file's content.
    offset: u64,
    chunk: ChunkRef,
}

/// What all threads share.
struct Shared<'a> {
    fetcher: &'a Fetcher<'a>,
    observer: &'a dyn Observer,
    stop: &'a StopFlag,
    outcome: Mutex<RestoreOutcome>,
    bytes: AtomicU64,
}

impl Shared<'_> {
    fn outcome(&self) -> std::sync::MutexGuard<'_, RestoreOutcome> {
        self.outcome.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn failed(&self, path: &[u8], message: &str) {
        let item = if path.is_empty() { "/".to_owned() } else { display_path(path) };
        self.outcome().failed.push((item.clone(), message.to_owned()));
        self.observer.event(&Event::ItemFailed { item, message: message.to_owned() });
    }

    fn write_pieces(&self, pieces: &Receiver<Piece<'_>>) {
        for piece in pieces {
            let file = &piece.file;
            if !file.has_failed.load(Ordering::Relaxed)
                && !self.stop.is_stopped()
                && let Err(message) = self.write_piece(&piece)
            {
                self.fail_file(file, &message);
            }
            self.release(file);
        }
    }

    fn write_piece(&self, piece: &Piece<'_>) -> Result<(), String> {
        let bytes = self.fetcher.chunk(&piece.chunk).map_err(|error| error.to_string())?;
        let len = bytes.len() as u64;
        let writer = piece.file.writer.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = writer.as_ref() {
            writer.write_at(piece.offset, &bytes).map_err(|error| error.to_string())?;
        }
        self.bytes.fetch_add(len, Ordering::Relaxed);
        self.observer.event(&Event::Progress { bytes: len, items: 0 });
        Ok(())
    }

    fn fail_file(&self, file: &OpenFile<'_>, message: &str) {
        if !file.has_failed.swap(true, Ordering::SeqCst) {
            self.failed(&file.path, message);
        }
    }

    /// Lets go of one piece; whoever lets go of the last finishes the file.
    fn release(&self, file: &Arc<OpenFile<'_>>) {
        if file.open_pieces.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        let writer = file.writer.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(writer) = writer else { return };
        if file.has_failed.load(Ordering::SeqCst) || self.stop.is_stopped() {
            // Dropped unfinished, it leaves nothing behind.
            return;
        }
        match writer.finish(&file.node) {
            Ok(()) => {
                self.outcome().files += 1;
                self.observer.event(&Event::Progress { bytes: 0, items: 1 });
            }
            Err(error) => self.fail_file(file, &error.to_string()),
        }
    }
}

/// Does what the plan says. One entry that cannot be restored does not stop the others.
pub fn apply(
    repository: &Repository,
    plan: &RestorePlan,
    stop: &StopFlag,
    observer: &Arc<dyn Observer>,
) -> Result<RestoreOutcome, RestoreError> {
    observer.event(&Event::StepStarted { step: "restore", total_bytes: Some(plan.bytes) });
    let target = FilesTarget::open(
        &plan.target,
        TargetOptions {
            overwrite: plan.options.overwrite,
            sparse: plan.options.sparse,
            numeric_owner: plan.options.numeric_owner,
            delete: plan.options.delete,
            ..TargetOptions::default()
        },
        observer.as_ref(),
    )?;
    let content = Fetcher::new(repository, CONTENT_CACHE);
    let trees = Fetcher::new(repository, TREE_CACHE);
    let shared = Shared {
        fetcher: &content,
        observer: observer.as_ref(),
        stop,
        outcome: Mutex::default(),
        bytes: AtomicU64::new(0),
    };
    let selection = Selection::new(&plan.options)?;
    let (further_links, directories) = std::thread::scope(|scope| {
        let (pieces, to_write) = bounded(AHEAD);
        let workers = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        for _ in 0..workers {
            let (input, shared) = (to_write.clone(), &shared);
            scope.spawn(move || shared.write_pieces(&input));
        }
        drop(to_write);
        let mut writer = Writer {
            plan,
            target: &target,
            trees: &trees,
            shared: &shared,
            selection: &selection,
            pieces,
            further_links: Vec::new(),
            first_links: BTreeSet::new(),
            directories: Vec::new(),
        };
        writer.run().map(|()| (writer.further_links, writer.directories))
    })?;
    for (path, node) in further_links {
        if let Err(error) = target.make_other(&path, &node) {
            shared.failed(&path, &error.to_string());
        }
    }
    for (path, node) in directories.iter().rev() {
        if let Err(error) = target.finish_directory(path, node) {
            shared.failed(path, &error.to_string());
        }
    }
    if stop.is_stopped() {
        return Err(RepositoryError::Interrupted.into());
    }
    let mut outcome = std::mem::take(&mut *shared.outcome());
    outcome.bytes = shared.bytes.load(Ordering::Relaxed);
    observer.event(&Event::StepFinished { step: "restore" });
    if plan.options.verify {
        verify::verify(repository, plan, &trees, stop, observer, &mut outcome)?;
    }
    Ok(outcome)
}

/// The thread that walks.
struct Writer<'w, 'a> {
    plan: &'w RestorePlan,
    target: &'w FilesTarget<'w>,
    trees: &'w Fetcher<'a>,
    shared: &'w Shared<'a>,
    selection: &'w Selection,
    pieces: Sender<Piece<'w>>,
    further_links: Vec<(Vec<u8>, Node)>,
    /// The hard link groups whose first name is among what is restored.
    first_links: BTreeSet<u64>,
    directories: Vec<(Vec<u8>, Node)>,
}

impl<'w> Writer<'w, '_> {
    fn run(&mut self) -> Result<(), RestoreError> {
        match Start::of(self.trees, &self.plan.snapshot, &self.plan.options)? {
            Start::Entry(node) => self.entry(Vec::new(), *node)?,
            Start::Directory(first) => {
                let mut pending = vec![first];
                while let Some(directory) = pending.pop() {
                    if self.shared.stop.is_stopped() {
                        return Ok(());
                    }
                    self.directory(&directory, &mut pending)?;
                }
            }
        }
        self.links_without_first()
    }

    /// Hard links whose first name, which has the content, is not selected: the first of them that
    /// is gets it, and the others become links to that.
    fn links_without_first(&mut self) -> Result<(), RestoreError> {
        let groups = self.further_links.iter().filter_map(|(_, node)| node.hard_link);
        let mut missing: BTreeSet<u64> =
            groups.filter(|group| !self.first_links.contains(group)).collect();
        let mut walk = TreeWalk::new(self.trees, b"", &self.plan.snapshot.root);
        while !missing.is_empty() && !self.shared.stop.is_stopped() {
            let found = match walk.next_entry() {
                Ok(Some(found)) => found,
                Ok(None) => break,
                // The links that are still without content are told when they are made.
                Err(error) if error.is_damage() => break,
                Err(error) => return Err(error.into()),
            };
            walk.enter(&found);
            let Some(group) = found.node.hard_link.filter(|_| !found.node.is_further_link) else {
                continue;
            };
            let is_of_group = |(_, node): &(_, Node)| node.hard_link == Some(group);
            if missing.remove(&group)
                && let Some(at) = self.further_links.iter().position(is_of_group)
            {
                let (path, link) = self.further_links.remove(at);
                self.entry(path, Node { name: link.name, ..found.node })?;
            }
        }
        Ok(())
    }

    fn directory(
        &mut self,
        directory: &Pending,
        pending: &mut Vec<Pending>,
    ) -> Result<(), RestoreError> {
        let first_child = pending.len();
        let mut names = BTreeSet::new();
        let deletes = self.plan.options.delete
            && directory.is_wanted
            && self.plan.is_of_source(&directory.path);
        let trees = self.trees;
        let read = read_directory(trees, &directory.content, |node| {
            if deletes {
                names.insert(node.name.clone());
            }
            self.node(directory, node, pending)
        });
        // So that the first name is taken from the stack first, in the order of the backup.
        pending[first_child..].reverse();
        match read {
            Ok(()) => {}
            Err(RestoreError::Repository(error)) if error.is_damage() => {
                self.shared.failed(&directory.path, &error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        if deletes {
            self.keep_excluded(&directory.path, &mut names);
            match self.target.remove_extra(&directory.path, &names) {
                Ok(removed) => {
                    for (path, reason) in &removed.failed {
                        self.shared.failed(path, reason);
                    }
                }
                Err(error) => self.shared.failed(&directory.path, &error.to_string()),
            }
        }
        Ok(())
    }

    fn node(
        &mut self,
        directory: &Pending,
        mut node: Node,
        pending: &mut Vec<Pending>,
    ) -> Result<(), RestoreError> {
        let path = join(&directory.path, &node.name);
        let is_directory = node.kind == NodeKind::Directory;
        if self.selection.is_excluded(&path, is_directory) {
            return Ok(());
        }
        let is_wanted = self.selection.is_wanted(&path, is_directory, directory.is_wanted);
        if is_directory && let Some(content) = node.content.take() {
            if is_wanted {
                self.make_parents(&directory.path, directory.is_wanted)?;
                // A directory that exists only in the tree says nothing of one that is there already.
                let place = self.plan.target.join(std::ffi::OsStr::from_bytes(&path));
                let is_told = self.plan.is_of_source(&path) || place.symlink_metadata().is_err();
                match self.target.make_directory(&path) {
                    Ok(()) if is_told => self.directories.push((path.clone(), node)),
                    Ok(()) => {}
                    Err(error) => {
                        self.shared.failed(&path, &error.to_string());
                        return Ok(());
                    }
                }
            }
            pending.push(Pending { path, content, is_wanted });
            return Ok(());
        }
        if is_wanted {
            self.make_parents(&directory.path, directory.is_wanted)?;
            self.entry(path, node)?;
        }
        Ok(())
    }

    /// Directories that are not wanted themselves, but hold something that is.
    fn make_parents(&self, directory: &[u8], is_wanted: bool) -> Result<(), RestoreError> {
        if is_wanted || directory.is_empty() {
            return Ok(());
        }
        for (at, byte) in directory.iter().enumerate() {
            if *byte == b'/' {
                self.target.make_directory(&directory[..at])?;
            }
        }
        Ok(self.target.make_directory(directory)?)
    }

    /// What the exclude patterns leave out of the restore is not removed from the target either.
    fn keep_excluded(&self, directory: &[u8], names: &mut BTreeSet<Vec<u8>>) {
        let place = self.plan.target.join(std::ffi::OsStr::from_bytes(directory));
        let Ok(entries) = std::fs::read_dir(place) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().as_bytes().to_vec();
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if self.selection.is_excluded(&join(directory, &name), is_directory) {
                names.insert(name);
            }
        }
    }

    fn entry(&mut self, path: Vec<u8>, node: Node) -> Result<(), RestoreError> {
        let path = if path.is_empty() { node.name.clone() } else { path };
        if node.is_further_link {
            self.further_links.push((path, node));
            return Ok(());
        }
        self.first_links.extend(node.hard_link);
        if node.kind != NodeKind::File {
            if let Err(error) = self.target.make_other(&path, &node) {
                self.shared.failed(&path, &error.to_string());
            }
            return Ok(());
        }
        match self.target.create_file(&path, &node) {
            Ok(Created::KeepExisting) => {
                self.shared.outcome().kept += 1;
                Ok(())
            }
            Ok(Created::Write(writer)) => self.hand_out(path, node, writer),
            Err(error) => {
                self.shared.failed(&path, &error.to_string());
                Ok(())
            }
        }
    }

    fn hand_out(
        &self,
        path: Vec<u8>,
        node: Node,
        writer: FileWriter<'w>,
    ) -> Result<(), RestoreError> {
        let content = node.content.clone().unwrap_or_default();
        let file = Arc::new(OpenFile {
            path,
            node,
            writer: RwLock::new(Some(writer)),
            open_pieces: AtomicUsize::new(1),
            has_failed: AtomicBool::new(false),
        });
        let mut walk = ChunkWalk::new(self.trees, &content);
        let mut offset = 0;
        loop {
            match walk.next_chunk() {
                Ok(Some(chunk)) => {
                    file.open_pieces.fetch_add(1, Ordering::SeqCst);
                    let piece = Piece { file: Arc::clone(&file), offset, chunk };
                    offset += u64::from(chunk.len);
                    if self.pieces.send(piece).is_err() {
                        return Err(RepositoryError::Internal("the writers are gone").into());
                    }
                }
                Ok(None) if offset == content.len => break,
                Ok(None) => {
                    let message =
                        format!("its content has {offset} bytes instead of {}", content.len);
                    self.shared.fail_file(&file, &message);
                    break;
                }
                Err(error) => {
                    self.shared.fail_file(&file, &error.to_string());
                    break;
                }
            }
        }
        self.shared.release(&file);
        Ok(())
    }
}
