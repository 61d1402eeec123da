//! Restore: a snapshot's tree back into a directory. The plan first, then the writing.

mod apply;
mod guard;
mod links;
mod plan;
mod select;
mod verify;
mod walk;

use std::path::PathBuf;

use crate::id::SnapshotId;
use crate::repository::RepositoryError;
use crate::snapshot::Snapshot;
pub use crate::target::files::Overwrite;

pub use apply::apply;
pub use plan::plan;

/// Choices of a restore.
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// Only what lies at or below this path of the tree.
    pub subpath: Vec<u8>,
    /// Only what fits one of these patterns (restic-like globs); empty: everything.
    pub include: Vec<String>,
    /// Not what fits one of these.
    pub exclude: Vec<String>,
    /// Files already there.
    pub overwrite: Overwrite,
    /// Leave runs of zeros as holes.
    pub sparse: bool,
    /// Owners by number, not by name.
    pub numeric_owner: bool,
    /// Remove what is in the target's directories but not in the snapshot.
    pub delete: bool,
    /// Read everything back and compare.
    pub verify: bool,
    /// Files that are kept get owner, mode and the like of the snapshot all the same.
    pub metadata_of_kept: bool,
}

/// What a restore will do.
#[derive(Debug, Clone)]
pub struct RestorePlan {
    /// Which snapshot.
    pub id: SnapshotId,
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Into which directory.
    pub target: PathBuf,
    /// How.
    pub options: RestoreOptions,
    /// Files to write, directories, other entries.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Links, pipes, devices.
    pub others: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Files that are there already and stay as they are.
    pub kept: u64,
    /// Files that are there and will be replaced.
    pub replaced: u64,
    /// Entries that `delete` will remove (the first thousand).
    pub removed: Vec<PathBuf>,
    /// How many there are in all.
    pub removed_count: u64,
    /// Bytes free at the target, if known.
    pub free_bytes: Option<u64>,
}

impl RestorePlan {
    /// Whether nothing in the snapshot is wanted.
    pub fn is_empty(&self) -> bool {
        self.files + self.directories + self.others + self.kept == 0
    }

    /// Whether the directory at `path` below the target is part of a backed-up directory. The others
    /// (the way to a source, the place of a dump) exist only in the tree: what is in them on disk is
    /// none of the snapshot's business.
    fn is_of_source(&self, path: &[u8]) -> bool {
        let full = plan::join(&trimmed(&self.options.subpath), path);
        self.snapshot.sources.iter().filter(|source| source.kind == "files").any(|source| {
            full.strip_prefix(source.path.as_slice())
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/' || source.path.is_empty())
        })
    }
}

impl RestorePlan {
    /// Whether what the snapshot does not have is removed from this directory.
    fn deletes_in(&self, directory: &walk::Directory) -> bool {
        self.options.delete && directory.is_wanted && self.is_of_source(&directory.path)
    }
}

/// A path of the tree without slashes around it.
fn trimmed(path: &[u8]) -> Vec<u8> {
    let mut path = path;
    while let Some(rest) = path.strip_prefix(b"/") {
        path = rest;
    }
    while let Some(rest) = path.strip_suffix(b"/") {
        path = rest;
    }
    path.to_vec()
}

/// What a restore did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreOutcome {
    /// Files written.
    pub files: u64,
    /// Files kept.
    pub kept: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Bytes read back and found equal.
    pub verified_bytes: u64,
    /// What could not be restored: path and reason (the first thousand).
    pub failed: Vec<(String, String)>,
    /// How many there are in all.
    pub failed_count: u64,
}

/// How many failures are named in the outcome; all of them are told as they come.
const NAMED_FAILURES: usize = 1000;

impl RestoreOutcome {
    fn add_failed(&mut self, item: String, reason: String) {
        self.failed_count += 1;
        if self.failed.len() < NAMED_FAILURES {
            self.failed.push((item, reason));
        }
    }
}

/// Why a restore did not happen or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The target failed.
    #[error(transparent)]
    Target(#[from] crate::target::files::TargetError),
    /// A pattern that is none.
    #[error("{0}")]
    Pattern(String),
    /// No such path in the snapshot.
    #[error("`{0}` is not in the snapshot")]
    NotFound(String),
    /// No entry fits the patterns.
    #[error("nothing in the snapshot fits {0}")]
    NothingFits(String),
    /// A file stands where the target is to be, or a directory above it.
    #[error("{} is not a directory; nothing was written", .0.display())]
    NotADirectory(PathBuf),
    /// Not enough room.
    #[error("{target} has {free} bytes free, but {needed} are needed")]
    NoSpace {
        /// Where.
        target: String,
        /// Free bytes.
        free: u64,
        /// Needed bytes.
        needed: u64,
    },
}
