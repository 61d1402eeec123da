use std::collections::{HashMap, HashSet};

use crate::id::{ChunkId, KeyId, ObjectId, PackId, RepositoryId, SegmentId, SessionId};
use crate::pack::{ChunkEntry, PackClass, SegmentEntry, SegmentKind};

use super::{Index, IndexObject, IndexedPack};

mod claims;
mod file;
mod model;
mod packs;
mod state;

const REPOSITORY: RepositoryId = RepositoryId::new([1; 32]);
const MINE: SessionId = SessionId::new([1; 16]);
const OTHER: SessionId = SessionId::new([2; 16]);

fn index() -> Index {
    Index::in_memory(REPOSITORY).unwrap()
}

fn id(n: u64) -> [u8; 32] {
    *blake3::hash(&n.to_le_bytes()).as_bytes()
}

fn chunk(n: u64) -> ChunkId {
    ChunkId::new(id(n))
}

fn pack_id(n: u64) -> PackId {
    PackId::new(id(n))
}

fn object_id(n: u64) -> ObjectId {
    ObjectId::new(id(n))
}

/// A segment of these chunks; one alone is the segment.
fn segment(offset: u32, chunks: &[u64]) -> SegmentEntry {
    let id = match chunks {
        [only] => id(*only),
        several => *blake3::hash(&several.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<_>>())
            .as_bytes(),
    };
    SegmentEntry {
        id: SegmentId::new(id),
        offset,
        sealed_len: 50,
        raw_len: 10 * chunks.len() as u32,
        kind: SegmentKind::Zstd,
        key: KeyId(1),
        base: None,
        features: None,
        chunks: chunks.iter().map(|n| ChunkEntry { id: chunk(*n), len: 10 }).collect(),
    }
}

/// Pack `n` with these segments; its size is 1000 + n.
fn pack(n: u64, segments: &[&[u64]]) -> IndexedPack {
    IndexedPack {
        id: pack_id(n),
        class: PackClass::Data,
        size: 1000 + n,
        key: KeyId(1),
        entries: (0..).zip(segments).map(|(at, chunks)| segment(32 + at * 50, chunks)).collect(),
    }
}

fn object(packs: &[IndexedPack]) -> IndexObject {
    IndexObject { packs: packs.to_vec(), replaces: Vec::new() }
}

/// These packs are listed with the right sizes, those are condemned.
fn refresh(index: &Index, listed: &[u64], condemned: &[u64]) {
    let listed: HashMap<_, _> = listed.iter().map(|n| (pack_id(*n), 1000 + n)).collect();
    let condemned: HashSet<_> = condemned.iter().map(|n| pack_id(*n)).collect();
    index.refresh_packs(&listed, &condemned).unwrap();
}

fn usable(index: &Index, n: u64, session: SessionId) -> bool {
    let answers = index.are_usable(&[chunk(n)], session).unwrap();
    assert_eq!(answers, [index.is_usable(&chunk(n), session).unwrap()]);
    answers[0]
}

fn losses(index: &Index) -> i64 {
    index.loss_generation().unwrap()
}
