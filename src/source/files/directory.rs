//! Opening directories and files by name, and listing what is in a directory.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, RawDir, openat};
use rustix::io::{Errno, Result};

/// Room for one `getdents64`: a few hundred names.
const LIST_BUFFER: usize = 32 * 1024;
/// What the tag of a cache directory begins with (bford.info/cachedir).
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";
/// Name of that tag.
pub(super) const CACHE_TAG: &CStr = c"CACHEDIR.TAG";

/// One name in a directory.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: CString,
    /// `Unknown` where the file system does not tell.
    pub(crate) kind: FileType,
}

/// Opens without touching the access time where that is allowed (one's own files, or root).
fn open_quietly(dir: impl AsFd, name: &CStr, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(&dir, name, flags, Mode::empty()),
        result => result,
    }
}

/// Opens a directory, never through a link.
pub(crate) fn open_directory(dir: impl AsFd, name: &CStr) -> Result<OwnedFd> {
    open_quietly(dir, name, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Opens a file, never through a link. Does not wait should it be a fifo by now.
pub(super) fn open_file(dir: impl AsFd, name: &CStr) -> Result<OwnedFd> {
    open_quietly(dir, name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)
}

/// Everything in an open directory, by name. With an error come the names read before it.
pub(crate) fn list(dir: impl AsFd) -> (Vec<Entry>, Result<()>) {
    let mut buffer = [MaybeUninit::uninit(); LIST_BUFFER];
    let mut reader = RawDir::new(dir, &mut buffer);
    let mut entries = Vec::new();
    let result = loop {
        match reader.next() {
            None => break Ok(()),
            Some(Err(error)) => break Err(error),
            Some(Ok(entry)) => {
                let name = entry.file_name();
                if name != c"." && name != c".." {
                    entries.push(Entry { name: name.to_owned(), kind: entry.file_type() });
                }
            }
        }
    };
    entries.sort_unstable_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
    (entries, result)
}

/// Whether the directory says of itself that it is a cache.
pub(super) fn is_cache(dir: impl AsFd, entries: &[Entry]) -> bool {
    let has_tag = entries
        .binary_search_by(|entry| entry.name.as_bytes().cmp(CACHE_TAG.to_bytes()))
        .is_ok_and(|index| {
            matches!(entries[index].kind, FileType::RegularFile | FileType::Unknown)
        });
    has_tag && open_file(dir, CACHE_TAG).is_ok_and(|file| begins_as_tag(&file))
}

fn begins_as_tag(file: &OwnedFd) -> bool {
    let mut start = [0; CACHE_SIGNATURE.len()];
    // Files of local file systems are not read in parts as small as this.
    matches!(rustix::io::pread(file, &mut start, 0), Ok(len) if len == start.len())
        && start == *CACHE_SIGNATURE
}
