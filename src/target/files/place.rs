//! Files under a temporary name, and how they get their own.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, RenameFlags, renameat, renameat_with, unlinkat};
use rustix::io::Errno;

use super::paths::Location;
use super::remove::remove_tree;
use super::{FilesTarget, Overwrite, TargetError};

/// How often another temporary name is tried if somebody has taken it.
const ATTEMPTS: usize = 16;

/// A file under a temporary name; it is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Temporary {
    dir: Arc<OwnedFd>,
    pub(super) name: CString,
    is_placed: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_placed {
            // Nothing can be done should that fail; the name tells people what it was.
            let _ = unlinkat(&self.dir, &self.name, AtFlags::empty());
        }
    }
}

impl FilesTarget<'_> {
    /// Makes something with `make` under a name that does not exist yet.
    pub(super) fn make_temporary<T>(
        &self,
        location: &Location,
        action: &'static str,
        mut make: impl FnMut(&OwnedFd, &CString) -> Result<T, Errno>,
    ) -> Result<(Temporary, T), TargetError> {
        let mut last = Errno::EXIST;
        for _ in 0..ATTEMPTS {
            let name = self.temporary_name();
            match make(&location.dir, &name) {
                Ok(made) => {
                    let dir = location.dir.clone();
                    return Ok((Temporary { dir, name, is_placed: false }, made));
                }
                Err(Errno::EXIST) => {}
                Err(error) => {
                    last = error;
                    break;
                }
            }
        }
        Err(self.io(&location.path, action, last))
    }

    /// Renames it to where it belongs. What is there is replaced; nothing is followed.
    pub(super) fn place(
        &self,
        location: &Location,
        mut temporary: Temporary,
    ) -> Result<(), TargetError> {
        let result = match self.rename(location, &temporary) {
            // With `Never`, somebody was faster: theirs stays.
            Err(Errno::EXIST) if self.options.overwrite == Overwrite::Never => return Ok(()),
            Err(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => {
                self.remove_directory_in_the_way(location)?;
                self.rename(location, &temporary)
            }
            result => result,
        };
        result.map_err(|error| self.io(&location.path, "rename it to its name", error))?;
        temporary.is_placed = true;
        Ok(())
    }

    fn rename(&self, location: &Location, temporary: &Temporary) -> Result<(), Errno> {
        let Location { dir, name, .. } = location;
        if self.options.overwrite == Overwrite::Never {
            match renameat_with(dir, &temporary.name, dir, name, RenameFlags::NOREPLACE) {
                // Some network file systems do not know this.
                Err(Errno::INVAL | Errno::NOSYS) => {}
                result => return result,
            }
        }
        renameat(dir, &temporary.name, dir, name)
    }

    /// An empty directory always goes if files are to be replaced, a full one only if extra entries
    /// are to be removed, too.
    fn remove_directory_in_the_way(&self, location: &Location) -> Result<(), TargetError> {
        let Location { dir, name, path } = location;
        let in_the_way = |what| TargetError::InTheWay { path: self.full(path), what };
        if self.options.overwrite != Overwrite::Always {
            return Err(in_the_way("a directory"));
        }
        self.directories.forget(path);
        match unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) if self.options.delete => {
                remove_tree(dir, name).map(drop)
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                return Err(in_the_way("a directory that is not empty"));
            }
            result => result,
        }
        .map_err(|error| self.io(path, "remove the directory in its place", error))
    }
}
