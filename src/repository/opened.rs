//! Opened segments that hold several chunks, with the chunks in them: whoever restores many small files asks the index
//! once a segment, not once a file.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::id::{ChunkId, SegmentId};
use crate::pack::ChunkEntry;

/// The bytes of one chunk, shared with the segment they lie in.
#[derive(Debug, Clone)]
pub struct ChunkBytes {
    segment: Arc<Vec<u8>>,
    range: Range<usize>,
}

impl ChunkBytes {
    /// `range` of the raw bytes of a segment; `None` if it has no such bytes.
    pub(super) fn within(segment: Arc<Vec<u8>>, range: Range<usize>) -> Option<Self> {
        segment.get(range.clone())?;
        Some(Self { segment, range })
    }
}

impl Deref for ChunkBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.segment[self.range.clone()]
    }
}

#[derive(Debug)]
struct Opened {
    bytes: Arc<Vec<u8>>,
    /// What the index says is in it. Empty if nobody asked for a chunk of it yet.
    chunks: Vec<ChunkId>,
}

/// Opened segments, up to a number of bytes; the oldest go first.
#[derive(Debug, Default)]
pub(super) struct SegmentCache {
    segments: HashMap<SegmentId, Opened>,
    chunks: HashMap<ChunkId, (SegmentId, Range<usize>)>,
    order: VecDeque<SegmentId>,
    bytes: usize,
    limit: usize,
    /// Those that are being opened just now.
    pub(super) opening: HashSet<SegmentId>,
}

impl SegmentCache {
    /// One that keeps up to `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// The segment, if it is kept.
    pub(super) fn segment(&self, id: &SegmentId) -> Option<Arc<Vec<u8>>> {
        self.segments.get(id).map(|opened| Arc::clone(&opened.bytes))
    }

    /// What should be the chunk, if a segment is kept in which the index places it. The caller checks its hash.
    pub(super) fn chunk(&self, id: &ChunkId) -> Option<ChunkBytes> {
        let (segment, range) = self.chunks.get(id)?;
        ChunkBytes::within(self.segment(segment)?, range.clone())
    }

    /// Keeps a segment with what is in it; `chunks` may be empty if that is not known.
    pub(super) fn keep(&mut self, id: SegmentId, segment: &Arc<Vec<u8>>, chunks: &[ChunkEntry]) {
        if let Entry::Vacant(place) = self.segments.entry(id) {
            place.insert(Opened { bytes: Arc::clone(segment), chunks: Vec::new() });
            self.order.push_back(id);
            self.bytes += segment.len();
        }
        self.name_chunks(id, chunks);
        while self.bytes > self.limit && self.order.len() > 1 {
            let Some(oldest) = self.order.pop_front() else { return };
            self.forget(&oldest);
        }
    }

    fn name_chunks(&mut self, id: SegmentId, chunks: &[ChunkEntry]) {
        let Some(opened) = self.segments.get_mut(&id).filter(|opened| opened.chunks.is_empty())
        else {
            return;
        };
        let mut start = 0_usize;
        for chunk in chunks {
            let end = start.saturating_add(usize::try_from(chunk.len).unwrap_or(usize::MAX));
            self.chunks.insert(chunk.id, (id, start..end));
            start = end;
        }
        opened.chunks = chunks.iter().map(|chunk| chunk.id).collect();
    }

    fn forget(&mut self, id: &SegmentId) {
        let Some(gone) = self.segments.remove(id) else { return };
        self.bytes -= gone.bytes.len();
        for chunk in gone.chunks {
            // It may lie in another segment, too, that came later.
            if self.chunks.get(&chunk).is_some_and(|(segment, _)| segment == id) {
                self.chunks.remove(&chunk);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(byte: u8) -> (SegmentId, Arc<Vec<u8>>) {
        (SegmentId::new([byte; 32]), Arc::new(vec![byte; 10]))
    }

    fn entry(byte: u8, len: u32) -> ChunkEntry {
        ChunkEntry { id: ChunkId::new([byte; 32]), len }
    }

    #[test]
    fn chunks_are_found_as_long_as_their_segment_is_kept() {
        let mut cache = SegmentCache::new(25);
        let (one, two, three) = (segment(1), segment(2), segment(3));
        cache.keep(one.0, &one.1, &[entry(11, 4), entry(12, 6)]);
        let found = cache.chunk(&ChunkId::new([12; 32])).expect("a chunk");
        assert_eq!(&*found, [1; 6]);
        // The second was a base first; what is in it is known later. One chunk lies in both.
        cache.keep(two.0, &two.1, &[]);
        assert!(cache.chunk(&ChunkId::new([21; 32])).is_none());
        cache.keep(two.0, &two.1, &[entry(21, 9), entry(12, 1)]);
        assert_eq!(cache.chunk(&ChunkId::new([21; 32])).expect("a chunk").len(), 9);
        cache.keep(three.0, &three.1, &[entry(31, 11)]);
        assert!(cache.segment(&one.0).is_none() && cache.chunk(&ChunkId::new([11; 32])).is_none());
        assert_eq!(&*cache.chunk(&ChunkId::new([12; 32])).expect("the other one"), [2; 1]);
        // An index that says more than is there.
        assert!(cache.chunk(&ChunkId::new([31; 32])).is_none());
        assert_eq!((cache.segments.len(), cache.chunks.len(), cache.bytes), (2, 3, 20));
    }
}
