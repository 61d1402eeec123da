//! The bytes of a file, read as they are at one moment as nearly as that is possible.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{SeekFrom, Statx, seek};
use rustix::io::Errno;

use crate::snapshot::Extent;

use super::FileStamp;
use super::stat::{stamp, stat_open};

/// Most extents of one file: their list must fit into its node. What comes after them is read with
/// its holes.
const MAX_EXTENTS: usize = 1 << 19;

/// Reads the data of an open file: of a sparse file only the ranges that hold data. It ends where the
/// file ended when it was opened, so a log that is written to all the time has an end.
#[derive(Debug)]
pub struct FileContent {
    file: OwnedFd,
    opened: FileStamp,
    /// What is read; one extent for the whole of a file that is not sparse.
    extents: Vec<Extent>,
    is_sparse: bool,
    /// The extent being read, and how much of it was.
    current: usize,
    done: u64,
    is_torn: bool,
}

impl FileContent {
    pub(super) fn new(file: OwnedFd, stat: &Statx) -> Self {
        let opened = stamp(stat);
        // Fewer blocks than bytes: sparse, compressed, or not yet written.
        let sparse = (stat.stx_blocks.saturating_mul(512) < opened.size)
            .then(|| find_extents(&file, opened.size))
            .flatten();
        let is_sparse = sparse.is_some();
        let extents = sparse.unwrap_or_else(|| vec![Extent { offset: 0, len: opened.size }]);
        Self { file, opened, extents, is_sparse, current: 0, done: 0, is_torn: false }
    }

    /// Bytes to be read.
    pub fn data_len(&self) -> u64 {
        self.extents.iter().map(|extent| extent.len).sum()
    }

    /// Size when it was opened, if it has holes.
    pub(super) fn sparse_size(&self) -> Option<u64> {
        self.is_sparse.then_some(self.opened.size)
    }

    /// Where a sparse file has the data read so far; ask at the end. `None` if it is not sparse.
    pub fn extents(&self) -> Option<Vec<Extent>> {
        if !self.is_sparse {
            return None;
        }
        let mut read = self.extents.get(..self.current).unwrap_or_default().to_vec();
        if let Some(extent) = self.extents.get(self.current)
            && self.done > 0
        {
            read.push(Extent { offset: extent.offset, len: self.done });
        }
        Some(read)
    }

    /// The file became shorter while it was read, or reading failed: what was read is not all of it.
    pub fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// Whether what was read may be partly of before and partly of after a change. A file that only
    /// grew is taken for a log and its beginning for unchanged; other metadata than the modification
    /// time may change.
    pub fn changed_while_reading(&self) -> bool {
        let Ok(stat) = stat_open(&self.file) else {
            return true;
        };
        let now = stamp(&stat);
        self.is_torn
            || now.size < self.opened.size
            || (now.size == self.opened.size && now.mtime != self.opened.mtime)
    }
}

impl io::Read for FileContent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_torn || buffer.is_empty() {
            return Ok(0);
        }
        while let Some(extent) = self.extents.get(self.current) {
            let left = extent.len - self.done;
            if left == 0 {
                self.current += 1;
                self.done = 0;
                continue;
            }
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            return match rustix::io::pread(
                &self.file,
                &mut buffer[..room],
                extent.offset + self.done,
            ) {
                Ok(0) => {
                    self.is_torn = true;
                    Ok(0)
                }
                Ok(count) => {
                    self.done += count as u64;
                    Ok(count)
                }
                Err(Errno::INTR) => Err(io::ErrorKind::Interrupted.into()),
                Err(error) => {
                    self.is_torn = true;
                    Err(error.into())
                }
            };
        }
        Ok(0)
    }
}

/// The ranges with data; `None` if there are no holes, or nobody knows.
fn find_extents(file: &OwnedFd, size: u64) -> Option<Vec<Extent>> {
    let mut extents: Vec<Extent> = Vec::new();
    let mut position = 0;
    while position < size {
        let start = match seek(file, SeekFrom::Data(position)) {
            Ok(start) if start < size => start,
            // After the end, or no more data.
            Ok(_) | Err(Errno::NXIO) => break,
            Err(_) => return None,
        };
        let end = match seek(file, SeekFrom::Hole(start)) {
            Ok(end) if end > start && extents.len() + 1 < MAX_EXTENTS => end.min(size),
            // Cut off since, or too many: the rest as it is.
            Ok(_) | Err(Errno::NXIO) => size,
            Err(_) => return None,
        };
        extents.push(Extent { offset: start, len: end - start });
        position = end;
    }
    let is_whole = matches!(extents[..], [Extent { offset: 0, len }] if len == size);
    (!is_whole).then_some(extents)
}
