//! Fills packs up to a padded size.

use std::sync::Arc;

use crate::crypto::{Keyring, Randomness};
use crate::id::{KeyId, PackId};

use super::entry::{PackClass, SegmentEntry};
use super::reader::PackError;
use super::sealer::SealedSegment;

/// A pack ready to be put.
#[derive(Debug, Clone)]
pub struct FinishedPack {
    /// SHA-256 of `bytes`: its name.
    pub id: PackId,
    /// What it holds.
    pub class: PackClass,
    /// Epoch of its directory.
    pub key: KeyId,
    /// The object.
    pub bytes: Vec<u8>,
    /// What is where in it.
    pub entries: Vec<SegmentEntry>,
}

/// Collects sealed segments of one class.
#[derive(Debug)]
pub struct PackBuilder {
    class: PackClass,
}

impl PackBuilder {
    /// An empty builder. Packs stay below `max_len` bytes unless one segment alone is longer.
    pub fn new(
        class: PackClass,
        max_len: u64,
        keyring: Arc<Keyring>,
        random: Arc<dyn Randomness>,
    ) -> Self {
        let _ = (max_len, keyring, random);
        Self { class }
    }

    /// Takes a segment; gives a pack when one is full.
    pub fn push(&mut self, segment: SealedSegment) -> Result<Option<FinishedPack>, PackError> {
        let _ = (segment, self.class);
        todo!()
    }

    /// The packs with what is left (none if there is nothing).
    pub fn finish(&mut self) -> Result<Vec<FinishedPack>, PackError> {
        todo!()
    }
}
