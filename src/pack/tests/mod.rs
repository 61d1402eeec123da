//! Packs as a whole: written, read back, damaged, lied to.

mod damage;
mod entries;
mod fill;
mod round_trip;

use std::sync::Arc;

use super::*;
use crate::crypto::random::SeededRandom;
use crate::crypto::{Keyring, Purpose, Randomness};
use crate::id::{KeyId, RepositoryId};

/// Keys and randomness that are the same in every run.
fn keys() -> (Arc<Keyring>, Arc<dyn Randomness>) {
    let random = SeededRandom::new(1);
    let keyring = Keyring::generate(RepositoryId::new([5; 32]), 1_700_000_000, &random);
    (Arc::new(keyring), Arc::new(random))
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn text(seed: u64, len: usize) -> Vec<u8> {
    format!("row {seed} of a table; ").bytes().cycle().take(len).collect()
}

/// A segment of `parts`, each a chunk.
fn raw(keyring: &Keyring, class: PackClass, parts: &[Vec<u8>]) -> RawSegment {
    let chunk = |part: &Vec<u8>| ChunkEntry { id: keyring.chunk_id(part), len: part.len() as u32 };
    RawSegment {
        class,
        bytes: parts.concat(),
        chunks: parts.iter().map(chunk).collect(),
        compression: Compression::Try,
        likeness: Likeness::default(),
    }
}

/// A pack of the given segments, and what each must read as.
fn pack(
    keyring: &Arc<Keyring>,
    random: &Arc<dyn Randomness>,
    segments: &[Vec<Vec<u8>>],
) -> FinishedPack {
    let mut sealer = Sealer::new(keyring.clone(), 3, random.clone()).unwrap();
    let mut builder = PackBuilder::new(PackClass::Data, 16 << 20, keyring.clone(), random.clone());
    for parts in segments {
        let sealed = sealer.seal(raw(keyring, PackClass::Data, parts)).unwrap();
        assert!(builder.push(sealed).unwrap().is_none());
    }
    let mut packs = builder.finish().unwrap();
    assert_eq!(packs.len(), 1);
    packs.remove(0)
}

/// The sealed bytes of an entry.
fn sealed<'a>(pack: &'a [u8], entry: &SegmentEntry) -> &'a [u8] {
    &pack[entry.offset as usize..entry.end() as usize]
}
