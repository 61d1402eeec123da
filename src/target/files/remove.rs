//! Removing what is not in the tree, without ever leaving it.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, unlinkat};
use rustix::io::{Errno, Result};

use crate::source::files::directory::{Entry, Listing, open_directory};
use crate::source::files::stat::{file_type, identity, stat_at, stat_open};

use super::{FilesTarget, TargetError};

/// Room for the names of one directory; one with more is listed in parts.
const LISTING_BYTES: usize = 8 << 20;

/// What became of entries that are not in the tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files and directories removed.
    pub count: u64,
    /// Paths below the target that could not be removed, and why.
    pub failed: Vec<(Vec<u8>, String)>,
}

/// Shows the names in the directory `path` as it is now, ascending, with whether they are directories. A
/// link in its place is followed only if `follow` says so.
pub fn existing_names(
    path: &Path,
    follow: bool,
    mut visit: impl FnMut(&[u8], bool),
) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let flags = if follow { flags } else { flags | OFlags::NOFOLLOW };
    let dir = openat(CWD, path, flags, Mode::empty())?;
    let mut names = Listing::new(dir, LISTING_BYTES);
    while let Some(entry) = names.next_name()? {
        visit(entry.name.to_bytes(), is_directory(names.dir(), &entry));
    }
    Ok(())
}

impl FilesTarget<'_> {
    /// Removes everything in a directory that `keeps` does not keep, if the options say so; it is asked
    /// for each name, ascending, with whether that is a directory. One that cannot be removed does not
    /// keep the others. Other mounted file systems are left alone.
    pub fn remove_extra(
        &self,
        path: &[u8],
        mut keeps: impl FnMut(&[u8], bool) -> bool,
    ) -> std::result::Result<Removed, TargetError> {
        if !self.options.delete {
            return Ok(Removed::default());
        }
        let dir = self.directory(path)?;
        let failed = |error| self.io(path, "list the directory", error);
        let mut names = Listing::new(open_directory(&*dir, c".").map_err(failed)?, LISTING_BYTES);
        let mut removed = Removed::default();
        while let Some(entry) = names.next_name().map_err(failed)? {
            let name = entry.name.to_bytes();
            let is_directory = is_directory(names.dir(), &entry);
            if !self.is_own_temporary(name) && !keeps(name, is_directory) {
                self.remove_one(names.dir(), path, &entry.name, &mut removed);
            }
        }
        Ok(removed)
    }

    fn remove_one(&self, dir: &OwnedFd, path: &[u8], name: &CStr, removed: &mut Removed) {
        let mut entry = path.to_vec();
        if !entry.is_empty() {
            entry.push(b'/');
        }
        entry.extend_from_slice(name.to_bytes());
        self.directories.forget(&entry);
        match remove_tree(dir, name) {
            Ok(count) => removed.count += count,
            Err(Errno::NOENT) => {}
            Err(error) => {
                let reason = format!("cannot be removed: {}", io::Error::from(error));
                removed.failed.push((entry, reason));
            }
        }
    }
}

/// Also on file systems whose listings do not tell.
fn is_directory(dir: &OwnedFd, entry: &Entry) -> bool {
    match entry.kind {
        FileType::Unknown => {
            stat_at(dir, &entry.name).is_ok_and(|stat| file_type(&stat) == FileType::Directory)
        }
        kind => kind == FileType::Directory,
    }
}

struct Level {
    names: Listing,
    name: CString,
}

impl Level {
    fn open(parent: &OwnedFd, name: &CStr, device: u64) -> Result<Self> {
        let fd = open_directory(parent, name)?;
        if identity(&stat_open(&fd)?).0 != device {
            return Err(Errno::BUSY);
        }
        Ok(Self { names: Listing::new(fd, LISTING_BYTES), name: name.to_owned() })
    }
}

/// Removes `name` with everything in it and counts. Levels are on a stack of our own, with a
/// descriptor each: what is deeper than their limit is an error.
pub(super) fn remove_tree(dir: &OwnedFd, name: &CStr) -> Result<u64> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) => return Ok(1),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error),
    }
    let device = identity(&stat_open(dir)?).0;
    let mut levels = vec![Level::open(dir, name, device)?];
    let mut removed = 0;
    while let Some(level) = levels.last_mut() {
        if let Some(entry) = level.names.next_name()? {
            match unlinkat(level.names.dir(), &entry.name, AtFlags::empty()) {
                Ok(()) => removed += 1,
                Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => {
                    let below = Level::open(level.names.dir(), &entry.name, device)?;
                    levels.push(below);
                }
                Err(error) => return Err(error),
            }
            continue;
        }
        let Some(done) = levels.pop() else { break };
        let parent = levels.last().map_or(dir, |level| level.names.dir());
        unlinkat(parent, &done.name, AtFlags::REMOVEDIR)?;
        removed += 1;
    }
    Ok(removed)
}
