//! Storing what is there already, elsewhere: for packs that are to go, or that are damaged.

use crate::pack::{Likeness, PackClass, SealedSegment};

use super::error::RepositoryError;
use super::ingest::{Grouping, Ingest};

impl Ingest<'_> {
    /// Stores one chunk although it may be there already.
    pub fn store_elsewhere(
        &mut self,
        class: PackClass,
        bytes: &[u8],
        grouping: Grouping,
    ) -> Result<(), RepositoryError> {
        self.check_stop()?;
        let entry = self.chunk_entry(bytes)?;
        self.store_new(class, bytes, entry, grouping, Likeness::default())
    }

    /// Takes over a segment of another pack as it is sealed there.
    pub fn move_segment(&mut self, segment: SealedSegment) -> Result<(), RepositoryError> {
        self.check_stop()?;
        self.stats.new_chunks += segment.entry.chunks.len() as u64;
        self.stats.new_bytes += u64::from(segment.entry.raw_len);
        self.sealed.send(segment).map_err(|_| RepositoryError::Internal("the packer is gone"))
    }
}
