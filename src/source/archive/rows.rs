//! The rows of one table in an archive: counted and hashed as a `COPY` stream of the table would be.

/// What `pg_dump` writes behind a table's rows.
pub(super) const END: &[u8; 5] = b"\\.\n\n\n";

/// The rows of a table that are in an archive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ArchivedRows {
    /// The table's oid at the server it comes from.
    pub oid: u32,
    /// Schema, as far as it is UTF-8: archives are in the database's encoding.
    pub schema: String,
    /// Name, likewise.
    pub name: String,
    /// Rows.
    pub rows: u64,
    /// Bytes of its `COPY` text, without the end marker.
    pub bytes: u64,
    /// BLAKE3 of that text.
    pub hash: [u8; 32],
}

/// Counts and hashes `COPY` text. Of an archive's block it takes the end marker off.
#[derive(Debug, Default)]
pub struct RowsDigest {
    hasher: blake3::Hasher,
    rows: u64,
    bytes: u64,
    /// The last bytes: the end marker, if this is the end.
    held: Vec<u8>,
}

/// Lines that end in `bytes`: in `COPY` text a line is a row, since line ends in values are escaped.
pub(crate) fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

impl RowsDigest {
    fn take(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.rows += count_lines(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(END.len());
        let (sure, last) = bytes.split_at(bytes.len() - kept);
        let surplus = (self.held.len() + kept).saturating_sub(END.len());
        let old: Vec<u8> = self.held.drain(..surplus).collect();
        self.take(&old);
        self.take(sure);
        self.held.extend_from_slice(last);
    }

    /// Rows, bytes and BLAKE3; `None` if it does not end as `pg_dump` ends a table.
    pub fn finish(self) -> Option<(u64, u64, [u8; 32])> {
        let hash = *self.hasher.finalize().as_bytes();
        (self.held == END).then_some((self.rows, self.bytes, hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_marker_is_no_row_however_the_pieces_fall() {
        let rows = b"1\tone\n2\t\\N\n\n";
        let block = [&rows[..], END].concat();
        for size in 1..=block.len() {
            let mut digest = RowsDigest::default();
            block.chunks(size).for_each(|piece| digest.push(piece));
            let expected = Some((3, rows.len() as u64, *blake3::hash(rows).as_bytes()));
            assert_eq!(digest.finish(), expected, "pieces of {size}");
        }
        for wrong in [&b""[..], b"1\n", b"1\n\\.\n", b"\\.\n\n\nx"] {
            let mut digest = RowsDigest::default();
            digest.push(wrong);
            assert_eq!(digest.finish(), None);
        }
        assert_eq!(count_lines(&[b'\n'; 1000]), 1000);
    }
}
