//! The streaming cut loop over the crate's arithmetic.

use std::io::Read;

use crate::crypto::SecretKey;

use super::profile::ChunkerProfile;

/// The secret table that decides where cuts fall.
#[derive(Clone)]
pub struct GearTable {}

impl GearTable {
    /// The table of a repository.
    pub fn new(key: &SecretKey) -> Self {
        let _ = key;
        todo!()
    }
}

/// Cuts one stream. Reads ahead at most `profile.max` bytes (and one read buffer).
pub struct Chunker<'a, R> {
    reader: R,
    table: &'a GearTable,
}

impl<'a, R: Read> Chunker<'a, R> {
    /// A chunker over `reader`.
    pub fn new(table: &'a GearTable, profile: ChunkerProfile, reader: R) -> Self {
        let _ = profile;
        Self { reader, table }
    }

    /// The next chunk's bytes, or `None` at the end. Retries interrupted reads.
    pub fn next_chunk(&mut self) -> std::io::Result<Option<&[u8]>> {
        let _ = (&mut self.reader, &self.table);
        todo!()
    }
}
