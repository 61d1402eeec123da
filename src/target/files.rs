//! Restoring files and directories.
//!
//! Neither the tree that is restored nor what is already in the target is trusted. Every path is
//! resolved from the open target directory downwards and never through a symbolic link, so nothing is
//! written outside. A file is written under another name (`.mrs-restore-….tmp`) and renamed when it is
//! whole: whoever looks sees the old file or the new one, also after a restore that was killed.

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use crate::event::{Event, Observer};
use crate::snapshot::Node;
use crate::source::files::directory::open_directory;
use crate::source::files::names::Names;
use crate::source::files::stat::{file_type, identity, stat_at, stat_open};

mod metadata;
mod other;
mod paths;
mod place;
mod remove;
mod writer;

#[cfg(test)]
mod tests;

pub use remove::{Removed, existing_names};
pub use writer::{Created, FileWriter};

use metadata::Handle;
use paths::{Directories, Location};

/// What happens to files that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// They are replaced.
    #[default]
    Always,
    /// They are replaced if size or modification time differ.
    IfChanged,
    /// They stay as they are.
    Never,
}

/// How a tree is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TargetOptions {
    /// What happens to files that are there already.
    pub overwrite: Overwrite,
    /// Long runs of zeros become holes.
    pub sparse: bool,
    /// Owners by number, even if a user of the recorded name exists.
    pub numeric_owner: bool,
    /// What is not in the tree is removed ([`FilesTarget::remove_extra`]).
    pub delete: bool,
    /// Every file is on the disk before it gets its name.
    pub sync: bool,
}

/// Why an entry cannot be restored. The others can.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The path is none that a tree may have.
    #[error("`{path}` is not restored: {reason}")]
    UnsafePath {
        /// As it is recorded, escaped.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something else is where it belongs, and is not to be replaced.
    #[error("{}: {what} is in the way", path.display())]
    InTheWay {
        /// Where.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// A further link came before the first of its group, or without it.
    #[error("{}: the file it is a further name of was not restored", path.display())]
    LinkMissing {
        /// Where.
        path: PathBuf,
    },
    /// The node contradicts itself or the call.
    #[error("{}: {reason}", path.display())]
    BadNode {
        /// Where.
        path: PathBuf,
        /// How.
        reason: &'static str,
    },
    /// The system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Its answer.
        source: io::Error,
    },
}

/// The first name of a hard link group.
#[derive(Debug, Clone)]
struct FirstLink {
    path: Vec<u8>,
    identity: (u64, u64),
}

/// A directory that a tree is restored into. May be used from several threads at once.
///
/// Paths are relative to the target, names joined by `/`; the empty path is the target itself.
pub struct FilesTarget<'o> {
    path: PathBuf,
    options: TargetOptions,
    observer: &'o dyn Observer,
    names: Names,
    directories: Directories,
    /// By group number.
    links: Mutex<HashMap<u64, FirstLink>>,
    /// Directories that were there before and are to stay as they are.
    kept: Mutex<HashSet<Vec<u8>>>,
    /// What was warned of once and is not told again.
    warned: Mutex<HashSet<String>>,
    first_temporary: u64,
    temporaries: AtomicU64,
}

impl std::fmt::Debug for FilesTarget<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilesTarget")
            .field("path", &self.path)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A lock whose holder panicked is still good here: everything is inserted whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'o> FilesTarget<'o> {
    /// Opens the directory `target`, and makes it with those above it if it is missing. A link in this
    /// path is followed: the user gave it. `observer` is told of metadata that cannot be set, once
    /// for each cause, and of extra entries that cannot be removed.
    pub fn open(
        target: &Path,
        options: TargetOptions,
        observer: &'o dyn Observer,
    ) -> Result<Self, TargetError> {
        let failed =
            |action| move |source| TargetError::Io { path: target.to_owned(), action, source };
        std::fs::create_dir_all(target).map_err(failed("make the directory"))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, target, flags, Mode::empty())
            .map_err(|error| failed("open the directory")(error.into()))?;
        Ok(Self {
            path: target.to_owned(),
            options,
            observer,
            names: Names::of_system(),
            directories: Directories::new(root),
            links: Mutex::default(),
            kept: Mutex::default(),
            warned: Mutex::default(),
            // Random enough not to meet another restore's; a name that exists is never used anyway.
            first_temporary: RandomState::new().hash_one(std::process::id()),
            temporaries: AtomicU64::new(0),
        })
    }

    fn io(&self, path: &[u8], action: &'static str, error: Errno) -> TargetError {
        TargetError::Io { path: self.full(path), action, source: error.into() }
    }

    /// The path as people know it.
    fn full(&self, path: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt as _;
        if path.is_empty() {
            return self.path.clone();
        }
        self.path.join(std::ffi::OsStr::from_bytes(path))
    }

    /// The open directory `path`.
    fn directory(&self, path: &[u8]) -> Result<Arc<OwnedFd>, TargetError> {
        paths::check(path)?;
        self.directories.get(path).map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR => TargetError::InTheWay {
                path: self.full(path),
                what: "something that is no directory, or a symbolic link,",
            },
            error => self.io(path, "open the directory", error),
        })
    }

    /// The open directory an entry belongs into, and its name there.
    fn locate(&self, path: &[u8]) -> Result<Location, TargetError> {
        let (parent, name) = paths::split(path)?;
        Ok(Location { dir: self.directory(parent)?, name, path: path.to_vec() })
    }

    /// Tells of something that will happen again and again, once.
    fn warn_once(&self, key: String, path: &[u8], message: impl FnOnce() -> String) {
        if lock(&self.warned).insert(key) {
            let item = self.full(path).display().to_string();
            self.observer.event(&Event::Warning { item, message: message() });
        }
    }

    fn temporary_name(&self) -> CString {
        let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
        let number = self.first_temporary.wrapping_add(number);
        // Neither digits nor the rest have a zero byte.
        CString::new(format!(".mrs-restore-{number:016x}.tmp")).unwrap_or_default()
    }

    /// Whether `name` is that of a file this restore is writing.
    fn is_own_temporary(&self, name: &[u8]) -> bool {
        let number = name
            .strip_prefix(b".mrs-restore-")
            .and_then(|rest| rest.strip_suffix(b".tmp"))
            .and_then(|digits| str::from_utf8(digits).ok())
            .and_then(|digits| u64::from_str_radix(digits, 16).ok());
        number.is_some_and(|number| {
            number.wrapping_sub(self.first_temporary) < self.temporaries.load(Ordering::Relaxed)
        })
    }

    /// Makes a directory, for nobody else to enter until [`finish_directory`](Self::finish_directory)
    /// gives it its metadata. One that is there is used. Anything else in its place is replaced with
    /// [`Overwrite::Always`], a link without following it, and an error otherwise.
    pub fn make_directory(&self, path: &[u8]) -> Result<(), TargetError> {
        if path.is_empty() {
            self.keep_if_never(path);
            return Ok(());
        }
        let Location { dir, name, .. } = self.locate(path)?;
        let make = || mkdirat(&dir, &name, Mode::RWXU);
        let failed = |error| self.io(path, "make the directory", error);
        match make() {
            Err(Errno::EXIST) => {}
            result => return result.map_err(failed),
        }
        let stat = stat_at(&dir, &name).map_err(failed)?;
        if file_type(&stat) == FileType::Directory {
            self.keep_if_never(path);
            return Ok(());
        }
        if self.options.overwrite != Overwrite::Always {
            return Err(self.in_the_way(path, file_type(&stat)));
        }
        unlinkat(&dir, &name, AtFlags::empty())
            .map_err(|error| self.io(path, "remove what is in the way", error))?;
        self.directories.forget(path);
        make().map_err(failed)
    }

    fn keep_if_never(&self, path: &[u8]) {
        if self.options.overwrite == Overwrite::Never {
            lock(&self.kept).insert(path.to_vec());
        }
    }

    fn in_the_way(&self, path: &[u8], kind: FileType) -> TargetError {
        let what = match kind {
            FileType::Directory => "a directory",
            FileType::Symlink => "a symbolic link",
            FileType::RegularFile => "a file",
            _ => "something else",
        };
        TargetError::InTheWay { path: self.full(path), what }
    }

    /// Gives a directory its owner, mode, attributes and times. To be called when everything in it is
    /// done, the deepest first. With [`Overwrite::Never`] directories that were there are left alone.
    pub fn finish_directory(&self, path: &[u8], node: &Node) -> Result<(), TargetError> {
        if lock(&self.kept).remove(path) {
            return Ok(());
        }
        let dir = self.directory(path)?;
        let readable = open_directory(&*dir, c".")
            .map_err(|error| self.io(path, "open the directory", error))?;
        self.set_metadata(path, &Handle::Open(readable.as_fd()), node)
    }

    /// Gives a file that was kept as it is the owner, mode, attributes and times of its node.
    pub fn finish_kept(&self, path: &[u8], node: &Node) -> Result<(), TargetError> {
        let Location { dir, name, .. } = self.locate(path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat(&dir, &name, flags, Mode::empty())
            .map_err(|error| self.io(path, "open the file", error))?;
        self.set_metadata(path, &Handle::Open(file.as_fd()), node)
    }

    /// Remembers the first name of a hard link group.
    fn remember_link(&self, node: &Node, path: &[u8], identity: (u64, u64)) {
        if let Some(group) = node.hard_link {
            lock(&self.links).insert(group, FirstLink { path: path.to_vec(), identity });
        }
    }

    fn remember_open_link(
        &self,
        node: &Node,
        path: &[u8],
        file: &OwnedFd,
    ) -> Result<(), TargetError> {
        if node.hard_link.is_some() {
            let stat = stat_open(file).map_err(|error| self.io(path, "look at it", error))?;
            self.remember_link(node, path, identity(&stat));
        }
        Ok(())
    }
}
