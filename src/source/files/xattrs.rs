//! Extended attributes of open files, and of names that cannot be opened.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::fs::XattrFlags;
use rustix::io::{Errno, Result};

use crate::snapshot::Xattr;

/// Most bytes Linux gives for a list of names or for one value.
const MAX_LEN: usize = 1 << 16;

/// What was read of an entry's attributes.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// By name.
    pub(crate) xattrs: Vec<Xattr>,
    /// How many more there are, left out because the room was used up.
    pub(crate) dropped: usize,
}

/// Whose attributes.
#[derive(Debug, Clone)]
pub(crate) enum Subject<'a> {
    /// Of what is open.
    Open(BorrowedFd<'a>),
    /// Of this path, not following a link at its end.
    Path(CString),
}

impl<'a> Subject<'a> {
    /// `name` in the open directory. Symlinks cannot be opened and there is no `getxattrat` before
    /// Linux 6.13, but the kernel leads from `/proc/self/fd` straight to the open directory.
    pub(crate) fn in_directory(dir: BorrowedFd<'a>, name: &CStr) -> Self {
        let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
        path.extend_from_slice(name.to_bytes());
        // A CStr has no zero byte inside; should that ever be wrong, the empty path is not found.
        Self::Path(CString::new(path).unwrap_or_default())
    }

    fn list(&self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Open(fd) => rustix::fs::flistxattr(fd, buffer),
            Self::Path(path) => rustix::fs::llistxattr(path, buffer),
        }
    }

    fn get(&self, name: &CStr, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Open(fd) => rustix::fs::fgetxattr(fd, name, buffer),
            Self::Path(path) => rustix::fs::lgetxattr(path, name, buffer),
        }
    }

    /// Their names, in the kernel's order. None where there is no support for them.
    pub(crate) fn names(&self) -> Result<Vec<CString>> {
        let mut small = [0; 1024];
        let list = match self.list(&mut small) {
            Ok(len) => small[..len].to_vec(),
            Err(Errno::RANGE) => {
                let mut large = vec![0; MAX_LEN];
                let len = self.list(&mut large)?;
                large.truncate(len);
                large
            }
            Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = list.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.filter_map(|name| CString::new(name).ok()).collect())
    }

    /// All of them, by name, up to the first with which names and values would be more than `room`
    /// bytes. What cannot be read is told to `failed` and left out.
    pub(crate) fn read(
        &self,
        mut room: usize,
        mut failed: impl FnMut(&CStr, Errno),
    ) -> Result<Found> {
        let mut found = Found::default();
        // The kernel's order says nothing and may differ: the same attributes give the same node.
        let mut names = self.names()?;
        names.sort();
        let mut names = names.into_iter();
        while let Some(name) = names.next() {
            let mut value = vec![0; 256];
            let mut result = self.get(&name, &mut value);
            if result == Err(Errno::RANGE) {
                value.resize(MAX_LEN, 0);
                result = self.get(&name, &mut value);
            }
            match result {
                Ok(len) => {
                    let needed = name.as_bytes().len() + len;
                    if needed > room {
                        found.dropped = 1 + names.len();
                        break;
                    }
                    room -= needed;
                    value.truncate(len);
                    value.shrink_to_fit();
                    found.xattrs.push(Xattr { name: name.into_bytes(), value });
                }
                // Removed since the names were listed.
                Err(Errno::NODATA) => {}
                Err(error) => failed(&name, error),
            }
        }
        Ok(found)
    }

    pub(crate) fn set(&self, name: &[u8], value: &[u8]) -> Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            Self::Path(path) => rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()),
        }
    }

    pub(crate) fn remove(&self, name: &CStr) -> Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::fremovexattr(fd, name),
            Self::Path(path) => rustix::fs::lremovexattr(path, name),
        }
    }
}
