//! The plan: counts what will be written, kept, replaced and removed. Changes nothing.

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::event::StopFlag;
use crate::id::SnapshotId;
use crate::ops::browse;
use crate::repository::{Fetcher, Repository, RepositoryError, read_directory};
use crate::snapshot::{Node, NodeKind, Snapshot, StreamRef};

use super::select::Selection;
use super::{Overwrite, RestoreError, RestoreOptions, RestorePlan};

/// Opened segments kept while directories are read.
pub(super) const TREE_CACHE: usize = 16 << 20;
/// How many entries that would be removed are named.
const NAMED_REMOVALS: usize = 1000;

/// A directory of the snapshot that is to be restored, with its path below the target.
pub(super) struct Pending {
    pub path: Vec<u8>,
    pub content: StreamRef,
    /// Whether everything in it is wanted (else its entries must fit an include pattern).
    pub is_wanted: bool,
}

/// Where a restore begins: a directory whose entries go into the target, or one other entry.
pub(super) enum Start {
    Directory(Pending),
    Entry(Box<Node>),
}

impl Start {
    pub fn of(
        fetcher: &Fetcher<'_>,
        snapshot: &Snapshot,
        options: &RestoreOptions,
    ) -> Result<Self, RestoreError> {
        let not_found = |error: browse::BrowseError| match error {
            browse::BrowseError::Repository(error) => RestoreError::Repository(error),
            _ => RestoreError::NotFound(browse::display_path(&options.subpath)),
        };
        let node = browse::resolve(fetcher, snapshot, &options.subpath).map_err(not_found)?;
        Ok(match (node.kind, &node.content) {
            (NodeKind::Directory, Some(content)) => Self::Directory(Pending {
                path: Vec::new(),
                content: content.clone(),
                is_wanted: options.include.is_empty(),
            }),
            _ => Self::Entry(Box::new(node)),
        })
    }
}

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
    let fetcher = Fetcher::new(repository, TREE_CACHE);
    let selection = Selection::new(&options)?;
    let start = Start::of(&fetcher, &snapshot, &options)?;
    let mut planner = Planner {
        selection,
        target_exists: fs::symlink_metadata(target).is_ok(),
        freed: 0,
        plan: RestorePlan {
            id,
            snapshot,
            target: target.to_owned(),
            options,
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
    match start {
        Start::Entry(node) => planner.entry(&[], &node),
        Start::Directory(first) => planner.directories(&fetcher, first, stop)?,
    }
    let plan = planner.plan;
    let needed = plan.bytes.saturating_sub(planner.freed);
    match plan.free_bytes {
        Some(free) if free < needed => {
            Err(RestoreError::NoSpace { target: target.display().to_string(), free, needed })
        }
        _ => Ok(plan),
    }
}

struct Planner {
    selection: Selection,
    target_exists: bool,
    /// Bytes of files that will be replaced.
    freed: u64,
    plan: RestorePlan,
}

impl Planner {
    fn directories(
        &mut self,
        fetcher: &Fetcher<'_>,
        first: Pending,
        stop: &StopFlag,
    ) -> Result<(), RestoreError> {
        let mut pending = vec![first];
        while let Some(directory) = pending.pop() {
            if stop.is_stopped() {
                return Err(RepositoryError::Interrupted.into());
            }
            let mut names = Vec::new();
            let wants_names = self.plan.options.delete
                && directory.is_wanted
                && self.plan.is_of_source(&directory.path);
            let mut is_empty = true;
            let read = read_directory(fetcher, &directory.content, |node| {
                is_empty = false;
                if wants_names {
                    names.push(node.name.clone());
                }
                self.node(&directory, node, &mut pending);
                Ok::<(), RestoreError>(())
            });
            let is_whole = match read {
                Ok(()) => true,
                // One directory that is damaged does not keep the others from being restored. The
                // restore will tell of it. Without anything of the first there are no others.
                Err(RestoreError::Repository(error))
                    if error.is_damage() && !(is_empty && directory.path.is_empty()) =>
                {
                    false
                }
                Err(error) => return Err(error),
            };
            if wants_names && is_whole {
                self.removals(&directory.path, &names);
            }
        }
        Ok(())
    }

    fn node(&mut self, directory: &Pending, mut node: Node, pending: &mut Vec<Pending>) {
        let path = join(&directory.path, &node.name);
        let is_directory = node.kind == NodeKind::Directory;
        if self.selection.is_excluded(&path, is_directory) {
            return;
        }
        let is_wanted = self.selection.is_wanted(&path, is_directory, directory.is_wanted);
        if is_directory && let Some(content) = node.content.take() {
            self.plan.directories += u64::from(is_wanted);
            pending.push(Pending { path, content, is_wanted });
        } else if is_wanted {
            self.entry(&directory.path, &node);
        }
    }

    fn entry(&mut self, directory: &[u8], node: &Node) {
        let path = join(directory, &node.name);
        let existing = self.existing(&path);
        if node.kind != NodeKind::File || node.is_further_link {
            self.plan.others += 1;
            return;
        }
        match existing {
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

    fn removals(&mut self, directory: &[u8], names: &[Vec<u8>]) {
        let path = self.plan.target.join(std::ffi::OsStr::from_bytes(directory));
        let Ok(entries) = fs::read_dir(&path) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let relative = join(directory, name.as_bytes());
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if names.binary_search_by(|known| known.as_slice().cmp(name.as_bytes())).is_ok()
                || self.selection.is_excluded(&relative, is_directory)
            {
                continue;
            }
            self.plan.removed_count += 1;
            if self.plan.removed.len() < NAMED_REMOVALS {
                self.plan.removed.push(entry.path());
            }
        }
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
