//! The writing: one thread walks the trees and hands out chunks, several fetch and write them.
//!
//! A file appears under its name only when all of it is written. A directory gets its metadata when
//! everything in it is done, so that only those on the way to what is being written are kept. Further
//! names of a hard-linked file come after all files; until then they and their directories are kept.

use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::event::{Event, Observer, StopFlag};
use crate::ops::browse::display_path;
use crate::repository::{ChunkWalk, Fetcher, Repository, RepositoryError};
use crate::snapshot::{ChunkRef, Node, NodeKind};
use crate::target::files::{Created, FileWriter, FilesTarget, TargetError, TargetOptions};

use super::guard::Guard;
use super::links::Links;
use super::plan::{NamesOf, TREE_CACHE, join};
use super::select::Selection;
use super::walk::{Directory, Visitor, walk};
use super::{RestoreError, RestoreOutcome, RestorePlan, verify};

/// Opened segments of small files kept while they are written.
const CONTENT_CACHE: usize = 48 << 20;
/// Chunks handed out ahead of the writers.
const AHEAD: usize = 64;

/// A directory in which something is still to be done.
struct OpenDirectory {
    path: Vec<u8>,
    /// What it gets in the end; `None` if it is to stay as it is.
    node: Option<Node>,
    /// It is there: made, or found. Those that are only on the way may never be.
    is_made: AtomicBool,
    /// Is finished after it.
    parent: Option<Arc<OpenDirectory>>,
}

/// A file being written by several threads.
struct OpenFile<'t> {
    path: Vec<u8>,
    node: Node,
    /// Until the file is finished or given up.
    writer: RwLock<Option<FileWriter<'t>>>,
    /// Pieces not yet written, and one while they are still being handed out.
    open_pieces: AtomicUsize,
    has_failed: AtomicBool,
    /// Where it is in, until it is finished.
    directory: Mutex<Option<Arc<OpenDirectory>>>,
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
    target: &'a FilesTarget<'a>,
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
        self.outcome().add_failed(item.clone(), message.to_owned());
        self.observer.event(&Event::ItemFailed { item, message: message.to_owned() });
    }

    /// Lets go of a directory; whoever is the last gives it its metadata and lets go of the one above.
    fn leave(&self, directory: Option<Arc<OpenDirectory>>) {
        let mut left = directory;
        while let Some(directory) = left.take().and_then(Arc::into_inner) {
            if directory.is_made.into_inner()
                && let Some(node) = directory.node
                && let Err(error) = self.target.finish_directory(&directory.path, &node)
            {
                self.failed(&directory.path, &error.to_string());
            }
            left = directory.parent;
        }
    }

    /// Makes the further names, and finishes what was kept open for them.
    fn make_links(&self, links: Vec<FurtherLink>, is_wanted: bool) {
        for link in links {
            if is_wanted && let Err(error) = self.target.make_other(&link.path, &link.node) {
                self.failed(&link.path, &error.to_string());
            }
            // Also when it was stopped: what is there is to look as it should.
            self.leave(link.directory);
        }
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
        if let Some(writer) = writer {
            self.finish(file, writer);
        }
        self.leave(file.directory.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn finish(&self, file: &OpenFile<'_>, writer: FileWriter<'_>) {
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
        target: &target,
        fetcher: &content,
        observer: observer.as_ref(),
        stop,
        outcome: Mutex::default(),
        bytes: AtomicU64::new(0),
    };
    let selection = Selection::new(&plan.options)?;
    let (walked, further_links) = std::thread::scope(|scope| {
        let (pieces, to_write) = bounded(AHEAD);
        let workers = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        for _ in 0..workers {
            let (input, shared) = (to_write.clone(), &shared);
            scope.spawn(move || shared.write_pieces(&input));
        }
        drop(to_write);
        let mut writer = Writer {
            plan,
            trees: &trees,
            shared: &shared,
            selection,
            guard: Guard::new(repository.own_directories()),
            pieces,
            stack: Vec::new(),
            links: Links::default(),
            further_links: Vec::new(),
        };
        (writer.run(), writer.further_links)
    });
    shared.make_links(further_links, walked.is_ok());
    walked?;
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

/// A further name of a hard-linked file.
struct FurtherLink {
    path: Vec<u8>,
    node: Node,
    directory: Option<Arc<OpenDirectory>>,
}

/// The thread that walks.
struct Writer<'w, 'a> {
    plan: &'w RestorePlan,
    trees: &'w Fetcher<'a>,
    shared: &'w Shared<'a>,
    selection: Selection,
    guard: Guard,
    pieces: Sender<Piece<'w>>,
    /// The directories on the way to the current entry.
    stack: Vec<Arc<OpenDirectory>>,
    links: Links,
    further_links: Vec<FurtherLink>,
}

impl Visitor for Writer<'_, '_> {
    fn enter(&mut self, directory: &Directory) -> Result<bool, RestoreError> {
        let path = directory.path.clone();
        // A directory that exists only in the tree says nothing of one that is there already, and
        // neither does one that is only on the way to what is wanted.
        let place = self.plan.target.join(std::ffi::OsStr::from_bytes(&path));
        let is_told = !path.is_empty()
            && (directory.is_wanted && self.plan.is_of_source(&path)
                || place.symlink_metadata().is_err());
        let node = is_told.then(|| directory.node.clone());
        let is_made = AtomicBool::new(path.is_empty());
        let parent = self.stack.last().cloned();
        self.stack.push(Arc::new(OpenDirectory { path, node, is_made, parent }));
        if directory.is_wanted
            && let Err(error) = self.make_directories()
        {
            self.shared.failed(&directory.path, &error.to_string());
            self.stack.pop();
            return Ok(false);
        }
        Ok(true)
    }

    fn entry(&mut self, path: Vec<u8>, node: Node) -> Result<(), RestoreError> {
        if let Err(error) = self.make_directories() {
            self.shared.failed(&path, &error.to_string());
            return Ok(());
        }
        self.links.note(&path, &node);
        if node.is_further_link {
            let directory = self.stack.last().cloned();
            self.further_links.push(FurtherLink { path, node, directory });
            return Ok(());
        }
        let directory = self.stack.last().cloned();
        self.first_name(path, node, directory)
    }

    fn leave(
        &mut self,
        directory: &Directory,
        damage: Option<RepositoryError>,
    ) -> Result<(), RestoreError> {
        match damage {
            Some(error) => self.shared.failed(&directory.path, &error.to_string()),
            None if self.plan.deletes_in(directory) => self.remove_extra(directory),
            None => {}
        }
        self.shared.leave(self.stack.pop());
        Ok(())
    }
}

impl<'w> Writer<'w, '_> {
    fn run(&mut self) -> Result<(), RestoreError> {
        let (plan, trees, stop) = (self.plan, self.trees, self.shared.stop);
        let walked = walk(trees, &plan.snapshot, &plan.options, stop, self);
        while let Some(directory) = self.stack.pop() {
            self.shared.leave(Some(directory));
        }
        walked?;
        let links = std::mem::take(&mut self.links);
        links.without_first(trees, &plan.snapshot.root, stop, |path, node| {
            let at = self.further_links.iter().position(|link| link.path == path);
            match at.map(|at| self.further_links.remove(at)) {
                Some(link) => self.first_name(path, node, link.directory),
                None => Ok(()),
            }
        })
    }

    /// Makes the directories on the way that are not there yet.
    fn make_directories(&self) -> Result<(), TargetError> {
        let is_made = |directory: &Arc<OpenDirectory>| directory.is_made.load(Ordering::SeqCst);
        let first = self.stack.iter().rposition(is_made).map_or(0, |made| made + 1);
        for directory in &self.stack[first..] {
            self.shared.target.make_directory(&directory.path)?;
            directory.is_made.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    fn remove_extra(&self, directory: &Directory) {
        let place = self.plan.target.join(std::ffi::OsStr::from_bytes(&directory.path));
        let stays = self.guard.of(&place, &directory.content);
        let mut known = NamesOf::new(self.trees, &directory.content);
        let removed = self.shared.target.remove_extra(&directory.path, |name, is_directory| {
            // What the exclude patterns leave out of the restore is not removed from the target either.
            known.has(name)
                || stays.has(name)
                || self.selection.is_excluded(&join(&directory.path, name), is_directory)
        });
        match removed {
            Ok(removed) => {
                for (path, reason) in &removed.failed {
                    self.shared.failed(path, reason);
                }
            }
            Err(error) => self.shared.failed(&directory.path, &error.to_string()),
        }
    }

    /// Makes anything but a directory or a further name.
    fn first_name(
        &self,
        path: Vec<u8>,
        node: Node,
        directory: Option<Arc<OpenDirectory>>,
    ) -> Result<(), RestoreError> {
        let made = match node.kind {
            NodeKind::File => self.shared.target.create_file(&path, &node),
            _ => match self.shared.target.make_other(&path, &node) {
                Ok(()) => {
                    self.shared.leave(directory);
                    return Ok(());
                }
                Err(error) => Err(error),
            },
        };
        match made {
            Ok(Created::Write(writer)) => return self.hand_out(path, node, writer, directory),
            Ok(Created::KeepExisting) => {
                self.shared.outcome().kept += 1;
                if self.plan.options.metadata_of_kept
                    && let Err(error) = self.shared.target.finish_kept(&path, &node)
                {
                    self.shared.failed(&path, &error.to_string());
                }
            }
            Err(error) => self.shared.failed(&path, &error.to_string()),
        }
        self.shared.leave(directory);
        Ok(())
    }

    fn hand_out(
        &self,
        path: Vec<u8>,
        node: Node,
        writer: FileWriter<'w>,
        directory: Option<Arc<OpenDirectory>>,
    ) -> Result<(), RestoreError> {
        let content = node.content.clone().unwrap_or_default();
        let file = Arc::new(OpenFile {
            path,
            node,
            writer: RwLock::new(Some(writer)),
            open_pieces: AtomicUsize::new(1),
            has_failed: AtomicBool::new(false),
            directory: Mutex::new(directory),
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
