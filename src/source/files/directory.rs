//! Opening directories and files by name, and listing what is in a directory.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, RawDir, SeekFrom, openat, seek};
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

/// Some of the names in an open directory.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// By name.
    pub(crate) entries: Vec<Entry>,
    /// Whether there are names behind these.
    pub(crate) has_more: bool,
    /// Room they take, in bytes.
    pub(crate) bytes: usize,
}

/// Room an entry takes beside its name: the vector's element, and what an allocation costs.
const ENTRY_BYTES: usize = size_of::<Entry>() + 24;

/// The first names after `after`, as many as `room` bytes hold, at least one. With an error come the
/// names read before it.
///
/// A directory has no order that could be relied on. Each call reads all of it and keeps the lowest
/// names, so memory is bounded however many there are, and no list of names is written anywhere. A name
/// that is there all the time comes in exactly one part.
pub(crate) fn list(dir: impl AsFd, after: Option<&CStr>, room: usize) -> (Listed, Result<()>) {
    if after.is_some()
        && let Err(error) = seek(&dir, SeekFrom::Start(0))
    {
        return (Listed::default(), Err(error));
    }
    let mut buffer = [MaybeUninit::uninit(); LIST_BUFFER];
    let mut reader = RawDir::new(dir, &mut buffer);
    let mut listed = Listed::default();
    // Names above it were left out.
    let mut bound: Option<CString> = None;
    let result = loop {
        let entry = match reader.next() {
            None => break Ok(()),
            Some(Err(error)) => break Err(error),
            Some(Ok(entry)) => entry,
        };
        let name = entry.file_name();
        if name == c"." || name == c".." || after.is_some_and(|after| name <= after) {
            continue;
        }
        if bound.as_deref().is_some_and(|bound| name > bound) {
            continue;
        }
        listed.bytes += name.count_bytes() + ENTRY_BYTES;
        listed.entries.push(Entry { name: name.to_owned(), kind: entry.file_type() });
        if listed.bytes > room && listed.entries.len() > 1 {
            bound = Some(listed.keep_lower_half());
        }
    };
    listed.has_more = bound.is_some();
    listed.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    // A file system may show a name twice while names come and go.
    listed.entries.dedup_by(|a, b| a.name == b.name);
    (listed, result)
}

impl Listed {
    /// Keeps the lower names; gives the highest of them.
    fn keep_lower_half(&mut self) -> CString {
        let last = (self.entries.len() / 2).saturating_sub(1);
        let (_, highest, _) = self.entries.select_nth_unstable_by(last, |a, b| a.name.cmp(&b.name));
        let highest = highest.name.clone();
        self.entries.truncate(last + 1);
        self.bytes = self.entries.iter().map(|e| e.name.count_bytes() + ENTRY_BYTES).sum();
        highest
    }
}

/// All names in an open directory, ascending, listed in parts.
pub(crate) struct Listing {
    dir: OwnedFd,
    room: usize,
    entries: std::vec::IntoIter<Entry>,
    /// The last name listed; `None` before the first part.
    after: Option<CString>,
    has_more: bool,
}

impl Listing {
    /// Of `dir`, with `room` bytes for those listed at a time.
    pub(crate) fn new(dir: OwnedFd, room: usize) -> Self {
        Self { dir, room, entries: Vec::new().into_iter(), after: None, has_more: true }
    }

    /// The next name. After an error there is nothing more.
    pub(crate) fn next_name(&mut self) -> Result<Option<Entry>> {
        while self.entries.as_slice().is_empty() && self.has_more {
            let (listed, result) = list(&self.dir, self.after.as_deref(), self.room);
            self.has_more = listed.has_more && result.is_ok();
            result?;
            self.after = listed.entries.last().map(|last| last.name.clone());
            self.entries = listed.entries.into_iter();
        }
        Ok(self.entries.next())
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &OwnedFd {
        &self.dir
    }
}

/// Whether the directory says of itself that it is a cache.
pub(super) fn is_cache(dir: impl AsFd) -> bool {
    // `open_file` waits for nobody, should it be a fifo.
    open_file(dir, CACHE_TAG).is_ok_and(|file| begins_as_tag(&file))
}

fn begins_as_tag(file: &OwnedFd) -> bool {
    let mut start = [0; CACHE_SIGNATURE.len()];
    // Files of local file systems are not read in parts as small as this.
    matches!(rustix::io::pread(file, &mut start, 0), Ok(len) if len == start.len())
        && start == *CACHE_SIGNATURE
}
