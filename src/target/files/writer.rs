//! Writing regular files.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, Statx, fsync, ftruncate, openat};
use rustix::io::{Errno, pwrite};

use crate::snapshot::{Extent, Node};
use crate::source::files::stat::{file_type, identity, stat_at, stat_open};

use super::metadata::Handle;
use super::paths::Location;
use super::place::Temporary;
use super::{FilesTarget, Overwrite, TargetError};

/// Zeros shorter than this are written: file systems keep no smaller holes.
const BLOCK: usize = 4096;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// What became of [`FilesTarget::create_file`].
#[derive(Debug)]
pub enum Created<'t> {
    /// Its content is to be written.
    Write(FileWriter<'t>),
    /// What is there stays: it is not to be replaced, or has size and time of the node.
    KeepExisting,
}

/// A file that is being written, under a temporary name. Dropped before [`finish`](Self::finish), it
/// is removed.
#[derive(Debug)]
pub struct FileWriter<'t> {
    target: &'t FilesTarget<'t>,
    location: LocationOf,
    file: OwnedFd,
    temporary: Temporary,
    /// Length of the content.
    len: u64,
    /// Of a sparse file: where in the content each extent begins, and the extent.
    extents: Option<Vec<(u64, Extent)>>,
}

/// A location that can be shown.
struct LocationOf(Location);

impl std::fmt::Debug for LocationOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.path.escape_ascii())
    }
}

impl FilesTarget<'_> {
    /// Begins the file `node` says, which is no further link.
    pub fn create_file(&self, path: &[u8], node: &Node) -> Result<Created<'_>, TargetError> {
        let location = self.locate(path)?;
        if self.options.overwrite != Overwrite::Always {
            match stat_at(&location.dir, &location.name) {
                Ok(stat) if self.keeps(&location, node, &stat)? => {
                    return Ok(Created::KeepExisting);
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(self.io(path, "look at what is there", error)),
            }
        }
        let (temporary, file) = self.make_temporary(&location, "make the file", |dir, name| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            openat(dir, name, flags | OFlags::NOFOLLOW, Mode::RUSR | Mode::WUSR)
        })?;
        let extents = node.extents.as_ref().map(|extents| {
            let mut start = 0_u64;
            extents
                .iter()
                .map(|extent| {
                    let begin = start;
                    start = start.saturating_add(extent.len);
                    (begin, *extent)
                })
                .collect()
        });
        let len = node.content.as_ref().map_or(0, |content| content.len);
        if self.options.sparse || node.extents.is_some() {
            ftruncate(&file, node.size()).map_err(|error| self.io(path, "set the size", error))?;
        }
        let location = LocationOf(location);
        Ok(Created::Write(FileWriter { target: self, location, file, temporary, len, extents }))
    }

    /// Opens a regular file to read it back: never through a link, however deep it lies, and without
    /// waiting should it be a fifo.
    pub fn read_file(&self, path: &[u8]) -> Result<File, TargetError> {
        let location = self.locate(path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&location.dir, &location.name, flags, Mode::empty())
            .map_err(|error| self.io(path, "open it to read it back", error))?;
        let stat = stat_open(&file).map_err(|error| self.io(path, "look at it", error))?;
        match file_type(&stat) {
            FileType::RegularFile => Ok(file.into()),
            kind => Err(self.in_the_way(path, kind)),
        }
    }

    /// Whether what is there stays.
    fn keeps(&self, location: &Location, node: &Node, stat: &Statx) -> Result<bool, TargetError> {
        let kind = file_type(stat);
        if self.options.overwrite == Overwrite::Never {
            self.remember_link(node, &location.path, identity(stat));
            return Ok(true);
        }
        if kind == FileType::Directory {
            return Err(self.in_the_way(&location.path, kind));
        }
        let time = (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec);
        if kind != FileType::RegularFile
            || stat.stx_size != node.size()
            || time != (node.mtime, node.mtime_nanos)
        {
            return Ok(false);
        }
        self.remember_link(node, &location.path, identity(stat));
        // Its content is right, so the rest is made right. A file with further names may be anybody's.
        if stat.stx_nlink == 1 {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let failed = |error| self.io(&location.path, "open it", error);
            let file = openat(&location.dir, &location.name, flags, Mode::empty());
            let file = file.map_err(failed)?;
            let now = stat_open(&file).map_err(failed)?;
            if identity(&now) != identity(stat) || now.stx_nlink != 1 {
                return Ok(false);
            }
            self.set_metadata(&location.path, &Handle::Path(file.as_fd()), node)?;
        }
        Ok(true)
    }
}

impl FileWriter<'_> {
    /// Writes `bytes` of the content from `offset` on. Of a sparse file the content is its data without
    /// the holes, as a snapshot has it. Pieces may come in any order and from several threads.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), TargetError> {
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.len) {
            return Err(self.bad("more content than its node says"));
        }
        let Some(extents) = &self.extents else {
            return self.write_range(offset, bytes);
        };
        let (mut offset, mut bytes) = (offset, bytes);
        // The last that begins at or before it.
        let mut index = extents.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        while !bytes.is_empty() {
            let Some((start, extent)) = extents.get(index) else {
                return Err(self.bad("more content than its extents have room for"));
            };
            let inside = offset.saturating_sub(*start);
            let room = extent.len.saturating_sub(inside);
            let room = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(room);
            self.write_range(extent.offset.saturating_add(inside), now)?;
            offset += room as u64;
            bytes = later;
            index += 1;
        }
        Ok(())
    }

    fn bad(&self, reason: &'static str) -> TargetError {
        TargetError::BadNode { path: self.target.full(&self.location.0.path), reason }
    }

    /// Writes to a place in the file, leaving out blocks of zeros if there shall be holes.
    fn write_range(&self, offset: u64, bytes: &[u8]) -> Result<(), TargetError> {
        if !self.target.options.sparse {
            return self.write_all(offset, bytes);
        }
        // Bytes before the first whole block.
        let head = (BLOCK - (offset % BLOCK as u64) as usize) % BLOCK;
        let mut written = 0;
        let mut at = head;
        while let Some(block) = bytes.get(at..at.saturating_add(BLOCK)) {
            if block == ZEROS {
                self.write_all(offset.saturating_add(written as u64), &bytes[written..at])?;
                written = at + BLOCK;
            }
            at += BLOCK;
        }
        self.write_all(offset.saturating_add(written as u64), &bytes[written..])
    }

    fn write_all(&self, mut offset: u64, mut bytes: &[u8]) -> Result<(), TargetError> {
        while !bytes.is_empty() {
            let result = match pwrite(&self.file, bytes, offset) {
                Ok(0) => Err(Errno::IO),
                Err(Errno::INTR) => continue,
                result => result,
            };
            let count =
                result.map_err(|error| self.target.io(&self.location.0.path, "write", error))?;
            offset = offset.saturating_add(count as u64);
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Gives the file, which is written, its metadata and its name.
    pub fn finish(self, node: &Node) -> Result<(), TargetError> {
        let Self { target, location: LocationOf(location), file, temporary, .. } = self;
        target.set_metadata(&location.path, &Handle::Open(file.as_fd()), node)?;
        if target.options.sync {
            fsync(&file).map_err(|error| target.io(&location.path, "sync", error))?;
        }
        target.place(&location, temporary)?;
        target.remember_open_link(node, &location.path, &file)
    }
}
