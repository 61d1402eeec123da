//! Writing past the page cache, as open(2) describes `O_DIRECT`: a pack is not read again soon, and keeping it
//! out of the cache leaves the memory to the application and its database, and spares a copy.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Objects shorter than this are written the ordinary way: nothing would be gained.
const WORTH: usize = 1 << 20;

/// Bytes a write hands over at a time.
const BLOCK: usize = 2 << 20;

/// Addresses, offsets and lengths are multiples of this; enough for every disk known.
const ALIGNMENT: usize = 4096;

/// Memory whose blocks may be written directly; used again, since fresh pages cost as much as the copy
/// that is spared.
#[derive(Debug, Default)]
pub(super) struct Blocks(Mutex<Vec<Vec<u8>>>);

impl Blocks {
    fn take(&self) -> Vec<u8> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| vec![0; BLOCK + ALIGNMENT])
    }

    fn give_back(&self, block: Vec<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(block);
    }

    /// Writes `parts` to a new, empty `file`, directly as far as the file system can.
    pub(super) fn write(&self, file: &mut File, parts: &[&[u8]]) -> io::Result<()> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len < WORTH || set_direct(file, true).is_err() {
            return parts.iter().try_for_each(|part| file.write_all(part));
        }
        let mut memory = self.take();
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        let mut writer = Writer { file, is_direct: true };
        let written = memory
            .get_mut(start..)
            .and_then(|rest| rest.get_mut(..BLOCK))
            .ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
            .and_then(|block| writer.write_blocks(block, parts));
        self.give_back(memory);
        written
    }
}

struct Writer<'a> {
    file: &'a mut File,
    is_direct: bool,
}

impl Writer<'_> {
    fn write_blocks(&mut self, block: &mut [u8], parts: &[&[u8]]) -> io::Result<()> {
        let mut filled = 0;
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() {
                let room = block.get_mut(filled..).unwrap_or_default();
                let (now, later) = rest.split_at(room.len().min(rest.len()));
                if let Some(place) = room.get_mut(..now.len()) {
                    place.copy_from_slice(now);
                }
                filled += now.len();
                rest = later;
                if filled == block.len() {
                    self.write_all(block)?;
                    filled = 0;
                }
            }
        }
        // What is no whole number of sectors can only be written the ordinary way.
        let (whole, end) =
            block.get(..filled).unwrap_or_default().split_at(filled - filled % ALIGNMENT);
        self.write_all(whole)?;
        self.leave_direct()?;
        self.file.write_all(end)
    }

    /// Goes on the ordinary way where the disk or the file system refuses: some accept the flag and no write.
    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() && self.is_direct {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = bytes.get(written..).unwrap_or_default();
                    if written % ALIGNMENT != 0 {
                        self.leave_direct()?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
                    self.leave_direct()?
                }
                Err(error) => return Err(error),
            }
        }
        self.file.write_all(bytes)
    }

    fn leave_direct(&mut self) -> io::Result<()> {
        if self.is_direct {
            set_direct(self.file, false)?;
            self.is_direct = false;
        }
        Ok(())
    }
}

fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    let wanted = if direct { flags | OFlags::DIRECT } else { flags - OFlags::DIRECT };
    Ok(rustix::fs::fcntl_setfl(file, wanted)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// On the file system of the build, where most have the flag, and in memory, where some have not.
    fn places() -> Vec<tempfile::TempDir> {
        let built =
            tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR").to_owned() + "/target").unwrap();
        let mut places = vec![built];
        places.extend(tempfile::tempdir_in("/dev/shm"));
        places
    }

    #[test]
    fn what_is_written_in_parts_of_any_length_is_there() {
        let blocks = Blocks::default();
        let content: Vec<u8> = (0..5 * BLOCK + 12_345).map(|at| (at * 7 / 3) as u8).collect();
        for place in places() {
            for (number, len) in
                [0, 1, WORTH - 1, WORTH, BLOCK, BLOCK + 1, 2 * BLOCK - 4096, content.len()]
                    .into_iter()
                    .enumerate()
            {
                let path = place.path().join(number.to_string());
                let (first, rest) = content[..len].split_at(len / 3);
                let (second, third) = rest.split_at(rest.len().min(5));
                let mut file = File::create_new(&path).unwrap();
                blocks.write(&mut file, &[first, second, &[], third]).unwrap();
                file.sync_data().unwrap();
                assert!(fs::read(&path).unwrap() == content[..len], "{len}");
            }
        }
    }

    #[test]
    fn a_refused_direct_write_goes_on_the_ordinary_way() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        let mut file = File::create_new(&path).unwrap();
        let bytes = vec![7; 10_001];
        // At an odd address and length the kernel refuses, if it knows the flag here at all.
        let is_direct = set_direct(&file, true).is_ok();
        Writer { file: &mut file, is_direct }.write_all(&bytes[1..]).unwrap();
        assert!(fs::read(&path).unwrap() == bytes[1..]);
    }
}
