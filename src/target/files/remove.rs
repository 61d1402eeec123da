//! Removing what is not in the tree, without ever leaving it.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::{Errno, Result};

use crate::source::files::directory::{Entry, list, open_directory};
use crate::source::files::stat::{identity, stat_open};

use super::{FilesTarget, TargetError};

/// What became of entries that are not in the tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files and directories removed.
    pub count: u64,
    /// Paths below the target that could not be removed, and why.
    pub failed: Vec<(Vec<u8>, String)>,
}

impl FilesTarget<'_> {
    /// Removes everything in a directory whose name is not in `keep`, if the options say so. One that
    /// cannot be removed does not keep the others. Other mounted file systems are left alone.
    pub fn remove_extra(
        &self,
        path: &[u8],
        keep: &BTreeSet<Vec<u8>>,
    ) -> std::result::Result<Removed, TargetError> {
        if !self.options.delete {
            return Ok(Removed::default());
        }
        let dir = self.directory(path)?;
        let failed = |error| self.io(path, "list the directory", error);
        let readable = open_directory(&*dir, c".").map_err(failed)?;
        let (entries, result) = list(&readable);
        result.map_err(failed)?;
        let mut removed = Removed::default();
        for Entry { name, .. } in entries {
            if keep.contains(name.to_bytes()) || self.is_own_temporary(name.to_bytes()) {
                continue;
            }
            let mut entry = path.to_vec();
            if !entry.is_empty() {
                entry.push(b'/');
            }
            entry.extend_from_slice(name.to_bytes());
            self.directories.forget(&entry);
            match remove_tree(&readable, &name) {
                Ok(count) => removed.count += count,
                Err(Errno::NOENT) => {}
                Err(error) => {
                    let reason = format!("cannot be removed: {}", io::Error::from(error));
                    removed.failed.push((entry, reason));
                }
            }
        }
        Ok(removed)
    }
}

struct Level {
    fd: OwnedFd,
    name: CString,
    entries: std::vec::IntoIter<Entry>,
}

impl Level {
    fn open(parent: &OwnedFd, name: &CStr, device: u64) -> Result<Self> {
        let fd = open_directory(parent, name)?;
        if identity(&stat_open(&fd)?).0 != device {
            return Err(Errno::BUSY);
        }
        let (entries, result) = list(&fd);
        result?;
        Ok(Self { fd, name: name.to_owned(), entries: entries.into_iter() })
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
        if let Some(entry) = level.entries.next() {
            match unlinkat(&level.fd, &entry.name, AtFlags::empty()) {
                Ok(()) => removed += 1,
                Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => {
                    let below = Level::open(&level.fd, &entry.name, device)?;
                    levels.push(below);
                }
                Err(error) => return Err(error),
            }
            continue;
        }
        let Some(done) = levels.pop() else { break };
        let parent = levels.last().map_or(dir, |level| &level.fd);
        unlinkat(parent, &done.name, AtFlags::REMOVEDIR)?;
        removed += 1;
    }
    Ok(removed)
}
