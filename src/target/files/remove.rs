//! Removing what is not in the tree, without ever leaving it.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, SeekFrom, seek, unlinkat};
use rustix::io::{Errno, Result};

use crate::source::files::directory::{Entry, list, open_directory};
use crate::source::files::stat::{identity, stat_open};

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
        let mut removed = Removed::default();
        let mut after = None;
        loop {
            let (listed, result) = list(&readable, after.as_deref(), LISTING_BYTES);
            result.map_err(failed)?;
            after = listed.entries.last().filter(|_| listed.has_more).map(|last| last.name.clone());
            for Entry { name, .. } in listed.entries {
                if !keep.contains(name.to_bytes()) && !self.is_own_temporary(name.to_bytes()) {
                    self.remove_one(&readable, path, &name, &mut removed);
                }
            }
            if after.is_none() {
                return Ok(removed);
            }
        }
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

struct Level {
    fd: OwnedFd,
    name: CString,
    entries: std::vec::IntoIter<Entry>,
    /// Whether these are the last.
    is_listed: bool,
}

impl Level {
    fn open(parent: &OwnedFd, name: &CStr, device: u64) -> Result<Self> {
        let fd = open_directory(parent, name)?;
        if identity(&stat_open(&fd)?).0 != device {
            return Err(Errno::BUSY);
        }
        Ok(Self { fd, name: name.to_owned(), entries: Vec::new().into_iter(), is_listed: false })
    }

    fn next_entry(&mut self) -> Result<Option<Entry>> {
        if let Some(entry) = self.entries.next() {
            return Ok(Some(entry));
        }
        if self.is_listed {
            return Ok(None);
        }
        // From the start: what was listed before is removed by now.
        seek(&self.fd, SeekFrom::Start(0))?;
        let (listed, result) = list(&self.fd, None, LISTING_BYTES);
        result?;
        self.is_listed = !listed.has_more;
        self.entries = listed.entries.into_iter();
        Ok(self.entries.next())
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
        if let Some(entry) = level.next_entry()? {
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
