//! How the files of a directory are written into rows.
//!
//! A row is 8 bytes of BLAKE3 of the rest, then each file as: name, inode, size, modification time, change
//! time, node. Numbers are LEB128 (times zigzag), bytes have their length before them. SQLite has no
//! checksums of its own, and a flipped bit here would go unnoticed into a snapshot.

use super::state::FileState;

const CHECK_LEN: usize = 8;
/// Files in one row.
const FILES_AT_MOST: usize = 1024;
/// A row is closed when it is longer than this.
const BYTES_ENOUGH: usize = 1 << 20;

/// Makes the rows of a directory's files, one after the other; there is at least one.
#[derive(Debug)]
pub(super) struct PartEncoder {
    part: Vec<u8>,
    files: usize,
}

impl Default for PartEncoder {
    fn default() -> Self {
        Self { part: vec![0; CHECK_LEN], files: 0 }
    }
}

impl PartEncoder {
    /// Adds a file; gives the row before it if that was full.
    pub(super) fn push(&mut self, file: &FileState) -> Option<Vec<u8>> {
        let is_full = self.files == FILES_AT_MOST || self.part.len() >= BYTES_ENOUGH;
        let full = is_full.then(|| std::mem::take(self).finish());
        self.files += 1;
        put_bytes(&mut self.part, &file.name);
        put_number(&mut self.part, file.inode.into());
        put_number(&mut self.part, file.size.into());
        put_number(&mut self.part, zigzag(file.mtime));
        put_number(&mut self.part, zigzag(file.ctime));
        put_bytes(&mut self.part, &file.node);
        full
    }

    /// The last row.
    pub(super) fn finish(self) -> Vec<u8> {
        close(self.part)
    }
}

fn close(mut part: Vec<u8>) -> Vec<u8> {
    if let Some((check, files)) = part.split_first_chunk_mut::<CHECK_LEN>() {
        *check = checksum(files);
    }
    part
}

fn checksum(files: &[u8]) -> [u8; CHECK_LEN] {
    let mut check = [0; CHECK_LEN];
    blake3::Hasher::new().update(files).finalize_xof().fill(&mut check);
    check
}

/// Adds the files of one row; `None` if it is not as it was written.
pub(super) fn decode_files(part: &[u8], files: &mut Vec<FileState>) -> Option<()> {
    let (check, mut rest) = part.split_first_chunk::<CHECK_LEN>()?;
    if *check != checksum(rest) {
        return None;
    }
    while !rest.is_empty() {
        files.push(FileState {
            name: take_bytes(&mut rest)?.to_vec(),
            inode: take_number(&mut rest)?.try_into().ok()?,
            size: take_number(&mut rest)?.try_into().ok()?,
            mtime: unzigzag(take_number(&mut rest)?),
            ctime: unzigzag(take_number(&mut rest)?),
            node: take_bytes(&mut rest)?.to_vec(),
        });
    }
    Some(())
}

fn zigzag(number: i128) -> u128 {
    ((number << 1) ^ (number >> 127)) as u128
}

fn unzigzag(number: u128) -> i128 {
    (number >> 1) as i128 ^ -((number & 1) as i128)
}

fn put_number(to: &mut Vec<u8>, mut number: u128) {
    while number >= 0x80 {
        to.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    put_number(to, bytes.len() as u128);
    to.extend_from_slice(bytes);
}

fn take_number(from: &mut &[u8]) -> Option<u128> {
    let mut number = 0_u128;
    for shift in (0..u128::BITS).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        number |= u128::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take_bytes<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(take_number(from)?).ok()?;
    let (bytes, rest) = from.split_at_checked(len)?;
    *from = rest;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn file()(
            name in prop::collection::vec(any::<u8>(), 0..20),
            inode: u64, size: u64, mtime: i128, ctime: i128,
            node in prop::collection::vec(any::<u8>(), 0..200),
        ) -> FileState {
            FileState { name, inode, size, mtime, ctime, node }
        }
    }

    fn encode_files(files: &[FileState]) -> Vec<Vec<u8>> {
        let mut encoder = PartEncoder::default();
        let mut parts: Vec<_> = files.iter().filter_map(|file| encoder.push(file)).collect();
        parts.push(encoder.finish());
        parts
    }

    fn decode(parts: &[Vec<u8>]) -> Option<Vec<FileState>> {
        let mut files = Vec::new();
        parts.iter().try_for_each(|part| decode_files(part, &mut files))?;
        Some(files)
    }

    proptest! {
        #[test]
        fn files_read_back(files in prop::collection::vec(file(), 0..20)) {
            prop_assert_eq!(decode(&encode_files(&files)), Some(files));
        }

        #[test]
        fn a_changed_byte_is_noticed(
            files in prop::collection::vec(file(), 1..5), at: prop::sample::Index, with in 1_u8..,
        ) {
            let mut parts = encode_files(&files);
            let at = at.index(parts[0].len());
            parts[0][at] ^= with;
            prop_assert_eq!(decode(&parts), None);
        }

        #[test]
        fn garbage_with_a_right_checksum_does_no_harm(garbage in prop::collection::vec(any::<u8>(), 0..100)) {
            let part = close([vec![0; CHECK_LEN], garbage].concat());
            let _ = decode(&[part]);
        }
    }

    #[test]
    fn large_directories_are_split() {
        let file = FileState {
            name: b"x".to_vec(),
            inode: 1,
            size: 2,
            mtime: -1,
            ctime: i128::MIN,
            node: vec![7; 10],
        };
        let files = vec![file; 2500];
        let parts = encode_files(&files);
        assert_eq!(parts.len(), 3);
        assert_eq!(decode(&parts), Some(files));
    }
}
