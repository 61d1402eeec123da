//! From paths to open directories, never through a link and never upwards.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::{Errno, Result};

use crate::snapshot::check_name;

use super::{TargetError, lock};

/// Directories kept open.
const KEPT_OPEN: usize = 64;
/// Most bytes resolved at once: the kernel takes 4095.
const MAX_PIECE: usize = 3000;
/// Directories are opened to find what is in them, not to be read.
const FLAGS: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Where an entry belongs.
pub(super) struct Location {
    pub(super) dir: Arc<OwnedFd>,
    pub(super) name: CString,
    /// Its path, for people and for the links to it.
    pub(super) path: Vec<u8>,
}

fn refuse(path: &[u8], reason: String) -> TargetError {
    TargetError::UnsafePath { path: path.escape_ascii().to_string(), reason }
}

/// Error if a part of `path` is none of a tree's names. The empty path is the target.
pub(super) fn check(path: &[u8]) -> std::result::Result<(), TargetError> {
    if path.is_empty() {
        return Ok(());
    }
    path.split(|byte| *byte == b'/').try_for_each(check_name).map_err(|error| refuse(path, error.0))
}

/// The path of the directory it is in, which is not checked, and its name.
pub(super) fn split(path: &[u8]) -> std::result::Result<(&[u8], CString), TargetError> {
    let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&path[..0], path),
    };
    check_name(name).map_err(|error| refuse(path, error.0))?;
    if parent.is_empty() && name.len() != path.len() {
        return Err(refuse(path, "it is absolute".to_owned()));
    }
    let name = CString::new(name).map_err(|error| refuse(path, error.to_string()))?;
    Ok((parent, name))
}

/// The directories of the target, those last used kept open.
#[derive(Debug)]
pub(super) struct Directories {
    root: Arc<OwnedFd>,
    open: Mutex<Open>,
    has_openat2: AtomicBool,
}

#[derive(Debug, Default)]
struct Open {
    by_path: HashMap<Vec<u8>, (Arc<OwnedFd>, u64)>,
    uses: u64,
}

impl Open {
    fn get(&mut self, path: &[u8]) -> Option<Arc<OwnedFd>> {
        self.uses += 1;
        let (fd, used) = self.by_path.get_mut(path)?;
        *used = self.uses;
        Some(fd.clone())
    }

    fn insert(&mut self, path: &[u8], fd: Arc<OwnedFd>) {
        if self.by_path.len() >= KEPT_OPEN
            && let Some(oldest) =
                self.by_path.iter().min_by_key(|(_, (_, used))| *used).map(|(path, _)| path.clone())
        {
            self.by_path.remove(&oldest);
        }
        self.by_path.insert(path.to_vec(), (fd, self.uses));
    }
}

impl Directories {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root: Arc::new(root), open: Mutex::default(), has_openat2: AtomicBool::new(true) }
    }

    /// The directory `path`, which was checked.
    pub(super) fn get(&self, path: &[u8]) -> Result<Arc<OwnedFd>> {
        if path.is_empty() {
            return Ok(self.root.clone());
        }
        let (mut fd, mut rest) = {
            let mut open = lock(&self.open);
            if let Some(fd) = open.get(path) {
                return Ok(fd);
            }
            self.nearest(&mut open, path)
        };
        while !rest.is_empty() {
            let (piece, after) = first_piece(rest);
            fd = Arc::new(self.resolve(fd.as_fd(), piece)?);
            rest = after;
        }
        lock(&self.open).insert(path, fd.clone());
        Ok(fd)
    }

    /// The nearest directory above that is open, and the way from there.
    fn nearest<'p>(&self, open: &mut Open, path: &'p [u8]) -> (Arc<OwnedFd>, &'p [u8]) {
        let mut end = path.len();
        while let Some(slash) = path[..end].iter().rposition(|byte| *byte == b'/') {
            if let Some(fd) = open.get(&path[..slash]) {
                return (fd, &path[slash + 1..]);
            }
            end = slash;
        }
        (self.root.clone(), path)
    }

    fn resolve(&self, dir: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        if self.has_openat2.load(Ordering::Relaxed) {
            match openat2(dir, path, FLAGS, Mode::empty(), resolve) {
                // Linux before 5.6, or a sandbox that does not know the call.
                Err(Errno::NOSYS | Errno::PERM) => self.has_openat2.store(false, Ordering::Relaxed),
                // Something was renamed meanwhile and the kernel is not sure.
                Err(Errno::AGAIN) => {}
                result => return result,
            }
        }
        resolve_by_names(dir, path)
    }

    /// Forgets `path` and everything below, which was removed.
    pub(super) fn forget(&self, path: &[u8]) {
        lock(&self.open).by_path.retain(|open, _| {
            let rest = open.strip_prefix(path);
            !rest.is_some_and(|rest| path.is_empty() || rest.is_empty() || rest[0] == b'/')
        });
    }
}

/// The same as `openat2`, name by name.
pub(super) fn resolve_by_names(dir: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    let mut fd = None;
    for name in path.split(|byte| *byte == b'/') {
        let from = fd.as_ref().map_or(dir, OwnedFd::as_fd);
        fd = Some(openat(from, name, FLAGS, Mode::empty())?);
    }
    fd.ok_or(Errno::NOENT)
}

/// As many names as the kernel takes at once, and the rest.
fn first_piece(path: &[u8]) -> (&[u8], &[u8]) {
    if path.len() <= MAX_PIECE {
        return (path, &[]);
    }
    let last = path[..MAX_PIECE].iter().rposition(|byte| *byte == b'/');
    // Without one the first name is longer than that, and the kernel will say so.
    match last.or_else(|| path.iter().position(|byte| *byte == b'/')) {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (path, &[]),
    }
}
