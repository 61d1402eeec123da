//! The plan: counts what will be written, kept, replaced and removed. Changes nothing.

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::event::StopFlag;
use crate::id::SnapshotId;
use crate::repository::{DirectoryReader, Fetcher, Repository, RepositoryError};
use crate::snapshot::{Node, NodeKind, Snapshot, StreamRef};
use crate::target::files::existing_names;

use super::guard::Guard;
use super::links::Links;
use super::select::Selection;
use super::walk::{Directory, Visitor, walk};
use super::{Overwrite, RestoreError, RestoreOptions, RestorePlan};

/// Opened segments kept while directories are read.
pub(super) const TREE_CACHE: usize = 16 << 20;
/// How many entries that would be removed are named.
const NAMED_REMOVALS: usize = 1000;

/// Joins a directory's path below the target and a name in it.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = directory.to_vec();
    if !path.is_empty() && !name.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Computes what a restore would do.
pub fn plan(
    repository: &Repository,
    id: SnapshotId,
    snapshot: Snapshot,
    target: &Path,
    options: RestoreOptions,
    stop: &StopFlag,
) -> Result<RestorePlan, RestoreError> {
    check_place(target)?;
    let fetcher = Fetcher::new(repository, TREE_CACHE);
    let mut planner = Planner {
        fetcher: &fetcher,
        selection: Selection::new(&options)?,
        guard: Guard::new(repository.own_directories()),
        target_exists: fs::symlink_metadata(target).is_ok(),
        freed: 0,
        links: Links::default(),
        is_empty: true,
        plan: RestorePlan {
            id,
            snapshot: snapshot.clone(),
            target: target.to_owned(),
            options: options.clone(),
            files: 0,
            directories: 0,
            others: 0,
            bytes: 0,
            kept: 0,
            replaced: 0,
            removed: Vec::new(),
            removed_count: 0,
            free_bytes: free_bytes(target),
        },
    };
    walk(&fetcher, &snapshot, &options, stop, &mut planner)?;
    let links = std::mem::take(&mut planner.links);
    links.without_first(&fetcher, &snapshot.root, stop, |path, node| {
        if node.kind == NodeKind::File {
            planner.plan.others -= 1;
            planner.file(&path, &node);
        }
        Ok::<(), RestoreError>(())
    })?;
    let plan = planner.plan;
    let needed = plan.bytes.saturating_sub(planner.freed);
    match plan.free_bytes {
        Some(free) if free < needed => {
            Err(RestoreError::NoSpace { target: target.display().to_string(), free, needed })
        }
        _ => Ok(plan),
    }
}

struct Planner<'p> {
    fetcher: &'p Fetcher<'p>,
    selection: Selection,
    guard: Guard,
    target_exists: bool,
    /// Bytes of files that will be replaced.
    freed: u64,
    links: Links,
    /// Nothing was seen yet.
    is_empty: bool,
    plan: RestorePlan,
}

impl Visitor for Planner<'_> {
    fn enter(&mut self, directory: &Directory) -> Result<bool, RestoreError> {
        if !directory.path.is_empty() {
            self.is_empty = false;
            self.plan.directories += u64::from(directory.is_wanted);
        }
        Ok(true)
    }

    fn entry(&mut self, path: Vec<u8>, node: Node) -> Result<(), RestoreError> {
        self.is_empty = false;
        self.links.note(&path, &node);
        if node.kind == NodeKind::File && !node.is_further_link {
            self.file(&path, &node);
        } else {
            self.plan.others += 1;
        }
        Ok(())
    }

    fn leave(
        &mut self,
        directory: &Directory,
        damage: Option<RepositoryError>,
    ) -> Result<(), RestoreError> {
        match damage {
            // Without anything of the first directory there are no others. Of those that are
            // damaged the restore will tell.
            Some(error) if directory.path.is_empty() && self.is_empty => Err(error.into()),
            Some(_) => Ok(()),
            None if self.plan.deletes_in(directory) => {
                self.removals(&directory.path, &directory.content);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Planner<'_> {
    fn file(&mut self, path: &[u8], node: &Node) {
        match self.existing(path) {
            Some(found) if keeps(self.plan.options.overwrite, &found, node) => {
                self.plan.kept += 1;
                return;
            }
            Some(found) => {
                self.plan.replaced += 1;
                self.freed += found.blocks().saturating_mul(512);
            }
            None => {}
        }
        self.plan.files += 1;
        self.plan.bytes += node.content.as_ref().map_or(0, |content| content.len);
    }

    fn existing(&self, path: &[u8]) -> Option<Metadata> {
        if !self.target_exists {
            return None;
        }
        let path = self.plan.target.join(std::ffi::OsStr::from_bytes(path));
        fs::symlink_metadata(path).ok()
    }

    fn removals(&mut self, directory: &[u8], content: &StreamRef) {
        let place = self.plan.target.join(std::ffi::OsStr::from_bytes(directory));
        let stays = self.guard.of(&place, content);
        let mut known = NamesOf::new(self.fetcher, content);
        let (selection, plan) = (&self.selection, &mut self.plan);
        // What cannot be listed now will be told when it is removed.
        let _ = existing_names(&place, directory.is_empty(), |name, is_directory| {
            let is_excluded = || selection.is_excluded(&join(directory, name), is_directory);
            if known.has(name) || stays.has(name) || is_excluded() {
                return;
            }
            plan.removed_count += 1;
            if plan.removed.len() < NAMED_REMOVALS {
                plan.removed.push(place.join(std::ffi::OsStr::from_bytes(name)));
            }
        });
    }
}

/// The names of one of the snapshot's directories, asked for in ascending order.
pub(super) struct NamesOf<'f, 'r> {
    nodes: DirectoryReader<'f, 'r>,
    next: Option<Vec<u8>>,
    is_damaged: bool,
}

impl<'f, 'r> NamesOf<'f, 'r> {
    pub fn new(fetcher: &'f Fetcher<'r>, content: &StreamRef) -> Self {
        let nodes = DirectoryReader::new(fetcher, content);
        let mut names = Self { nodes, next: None, is_damaged: false };
        names.advance();
        names
    }

    /// Whether `name`, which comes after the one asked for before, is in the directory, or may be
    /// because not all of it can be read.
    pub fn has(&mut self, name: &[u8]) -> bool {
        while self.next.as_deref().is_some_and(|next| next < name) {
            self.advance();
        }
        self.is_damaged || self.next.as_deref() == Some(name)
    }

    fn advance(&mut self) {
        let node = self.nodes.next_node();
        self.is_damaged |= node.is_err();
        self.next = node.ok().flatten().map(|node| node.name);
    }
}

/// Whether a file that is there stays as it is.
fn keeps(overwrite: Overwrite, found: &Metadata, node: &Node) -> bool {
    match overwrite {
        Overwrite::Always => false,
        Overwrite::Never => true,
        Overwrite::IfChanged => {
            found.is_file()
                && found.len() == node.size()
                && found.mtime() == node.mtime
                && u32::try_from(found.mtime_nsec()) == Ok(node.mtime_nanos)
        }
    }
}

/// Error if something else stands where the target, or a directory above it, is to be.
fn check_place(target: &Path) -> Result<(), RestoreError> {
    for place in target.ancestors() {
        match fs::metadata(place) {
            Ok(found) if found.is_dir() => return Ok(()),
            Ok(_) => return Err(RestoreError::NotADirectory(place.to_owned())),
            // A link to nothing.
            Err(_) if place.is_symlink() => {
                return Err(RestoreError::NotADirectory(place.to_owned()));
            }
            Err(_) => {}
        }
    }
    Ok(())
}

/// Bytes free where the target is or will be.
fn free_bytes(target: &Path) -> Option<u64> {
    let mut place: PathBuf = std::path::absolute(target).ok()?;
    loop {
        if let Ok(stat) = rustix::fs::statvfs(&place) {
            return Some(stat.f_bavail.saturating_mul(stat.f_frsize));
        }
        if !place.pop() {
            return None;
        }
    }
}
