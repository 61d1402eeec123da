//! The earlier version of a stream: which chunk was where. New chunks are likely to resemble those.
//!
//! A changed chunk compressed against its own earlier version costs about its changes. Two things get in
//! the way, and are dealt with here. Insertions shift what follows: the shift is learnt from every chunk
//! that both versions have, or whose length hardly changed. And a change right at a cut joins two
//! chunks, of which only one can be the base: the joint chunk is cut again where the earlier version was.

use std::collections::VecDeque;

use crate::id::ChunkId;
use crate::snapshot::ChunkRef;

/// Chunks kept on either side of the current place.
const AROUND: usize = 16;
/// Of the chunks near the current place, so many are compared by length.
const COMPARED: usize = 3;
/// Lengths that differ by less than one part in so many are taken for the same chunk's.
const LENGTH_PARTS: u64 = 24;
/// How far off a place may be that is known from the chunk before: a row or two, and one part in 64 of what
/// lies between.
const NEAR: u64 = 4 << 10;
const NEAR_PARTS: u64 = 64;
/// No piece shorter than this is cut off.
const LEAST_PIECE: u64 = 32 << 10;

/// A part of a new chunk, and the earlier chunk it is likely to resemble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub len: usize,
    pub earlier: Option<ChunkId>,
}

/// Walks along an earlier version while the new one is cut. A wrong guess costs time and space, nothing else.
pub(super) struct EarlierVersion<'a> {
    chunks: Box<dyn Iterator<Item = ChunkRef> + 'a>,
    /// Offset and chunk, in order, around the current place.
    window: VecDeque<(u64, ChunkRef)>,
    /// Which of the window is at the current place.
    at: usize,
    /// Where the next of `chunks` begins.
    end: u64,
    /// Offset in the earlier version less that in the new one.
    shift: i64,
    /// Whether the shift is known from the chunk just before.
    is_anchored: bool,
}

impl<'a> EarlierVersion<'a> {
    /// One with these chunks, which are asked for as they are needed.
    pub fn new(chunks: impl Iterator<Item = ChunkRef> + 'a) -> Self {
        let chunks = Box::new(chunks.fuse());
        Self { chunks, window: VecDeque::new(), at: 0, end: 0, shift: 0, is_anchored: true }
    }

    /// How to store the new version's `len` bytes at `offset`, which content has cut there. Offsets never go
    /// back. The pieces make up `len`.
    pub fn pieces(&mut self, offset: u64, len: usize) -> Vec<Piece> {
        let start = offset.saturating_add_signed(self.shift);
        let end = start.saturating_add(len as u64);
        self.go_to(start);
        if let Some(same) = self.find_by_length(start, len as u64) {
            self.anchor(same, offset.saturating_add(len as u64));
            return vec![Piece { len, earlier: self.window.get(same).map(|(_, chunk)| chunk.id) }];
        }
        match self.joint_end(end, len as u64).filter(|_| self.is_anchored) {
            Some(last) => {
                let pieces = self.cut_again(last, start, end);
                self.anchor(last, offset.saturating_add(len as u64));
                pieces
            }
            None => {
                self.is_anchored = false;
                vec![self.piece(start, end)]
            }
        }
    }

    /// Chunk `at` ends where the new version's place `new_end` is.
    fn anchor(&mut self, at: usize, new_end: u64) {
        self.shift = difference(self.end_of(at), new_end);
        self.at = at;
        self.is_anchored = true;
    }

    /// The last of several chunks that were joined, if their end is where `end` is.
    fn joint_end(&self, end: u64, len: u64) -> Option<usize> {
        let after = self.at + 1..self.window.len();
        let distance = |at: &usize| self.end_of(*at).abs_diff(end);
        after.min_by_key(distance).filter(|at| distance(at) <= NEAR + len / NEAR_PARTS)
    }

    /// `start..end`, places in the earlier version, cut where that was cut up to chunk `last`.
    fn cut_again(&self, last: usize, start: u64, end: u64) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut from = start;
        for cut in (self.at..last).map(|at| self.end_of(at)) {
            if cut.saturating_sub(from) >= LEAST_PIECE && end.saturating_sub(cut) >= LEAST_PIECE {
                pieces.push(self.piece(from, cut));
                from = cut;
            }
        }
        pieces.push(self.piece(from, end));
        pieces
    }

    /// Notes that the new version has `chunk` at `offset`.
    pub fn found(&mut self, chunk: &ChunkRef, offset: u64) {
        if let Some(same) = self.window.iter().position(|(_, earlier)| earlier.id == chunk.id) {
            self.shift = difference(self.window[same].0, offset);
            self.at = same;
            self.is_anchored = true;
        }
    }

    /// The piece `from..to`, places in the earlier version: what was around its middle is like it.
    fn piece(&self, from: u64, to: u64) -> Piece {
        let middle = from + (to - from) / 2;
        let around = self.window.iter().take_while(|(start, _)| *start <= middle).last();
        Piece {
            len: usize::try_from(to - from).unwrap_or(usize::MAX),
            earlier: around.map(|(_, chunk)| chunk.id),
        }
    }

    /// One of the next chunks that has about this length and place.
    fn find_by_length(&self, start: u64, len: u64) -> Option<usize> {
        let from = self.at.saturating_sub(1);
        let near = from..self.window.len().min(self.at + COMPARED);
        // Out of step, the place says little, but lengths are as good as random.
        let reach = if self.is_anchored { NEAR + len / NEAR_PARTS } else { len / 2 };
        near.filter(|at| {
            let (earlier, chunk) = &self.window[*at];
            u64::from(chunk.len).abs_diff(len) <= len / LENGTH_PARTS
                && earlier.abs_diff(start) <= reach
        })
        .min_by_key(|at| self.window[*at].0.abs_diff(start))
    }

    fn end_of(&self, at: usize) -> u64 {
        self.window.get(at).map_or(u64::MAX, |(start, chunk)| start + u64::from(chunk.len))
    }

    /// Makes the chunk at `place` the current one.
    fn go_to(&mut self, place: u64) {
        self.read_on();
        while self.at + 1 < self.window.len() && self.end_of(self.at) <= place {
            self.at += 1;
            self.read_on();
        }
    }

    /// Reads until there are enough chunks after the current one, and drops those long passed.
    fn read_on(&mut self) {
        while self.window.len() <= self.at + AROUND
            && let Some(chunk) = self.chunks.next()
        {
            self.window.push_back((self.end, chunk));
            self.end = self.end.saturating_add(chunk.len.into());
        }
        while self.at > AROUND {
            self.window.pop_front();
            self.at -= 1;
        }
    }
}

fn difference(a: u64, b: u64) -> i64 {
    i64::try_from(i128::from(a) - i128::from(b)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: u32 = 200_000;

    fn chunk(n: u32, len: u32) -> ChunkRef {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&n.to_le_bytes());
        ChunkRef { id: ChunkId::new(id), len }
    }

    /// Chunks of lengths that tell them apart.
    fn lens(count: u32) -> Vec<u32> {
        (0..count).map(|n| LEN + (n * 7919) % 101 * 1_500).collect()
    }

    fn version(lens: &[u32]) -> EarlierVersion<'static> {
        let chunks: Vec<_> = lens.iter().zip(0..).map(|(len, n)| chunk(n, *len)).collect();
        EarlierVersion::new(chunks.into_iter())
    }

    fn guesses(pieces: &[Piece]) -> Vec<Option<u32>> {
        let number = |id: ChunkId| {
            let [a, b, c, d, ..] = *id.as_bytes();
            u32::from_le_bytes([a, b, c, d])
        };
        pieces.iter().map(|piece| piece.earlier.map(number)).collect()
    }

    #[test]
    fn every_chunk_that_grew_a_little_is_met_again() {
        let lens = lens(1000);
        let mut earlier = version(&lens);
        let mut offset = 0;
        for (n, len) in (0..).zip(&lens) {
            // Half a percent more in each: at the end they are off by several chunks.
            let len = len + len / 200;
            let pieces = earlier.pieces(offset, len as usize);
            assert_eq!(guesses(&pieces), [Some(n)]);
            offset += u64::from(len);
        }
        assert!(earlier.window.len() <= 2 * AROUND + 2);
        // What was appended is like what was last.
        assert_eq!(guesses(&earlier.pieces(offset, 500_000)), [Some(999)]);
        assert_eq!(guesses(&version(&[]).pieces(0, 100)), [None]);
    }

    #[test]
    fn a_joint_chunk_is_cut_where_the_earlier_version_was() {
        let lens = [200_000, 300_000, 250_000, 100_000, 400_000];
        let mut earlier = version(&lens);
        let joint = earlier.pieces(0, 500_700);
        assert_eq!(guesses(&joint), [Some(0), Some(1)]);
        assert_eq!(joint[0].len, 200_000);
        assert_eq!(joint.iter().map(|piece| piece.len).sum::<usize>(), 500_700);
        // And the shift is learnt again.
        assert_eq!(guesses(&earlier.pieces(500_700, 250_000)), [Some(2)]);
        assert_eq!(earlier.shift, -700);
    }

    #[test]
    fn both_parts_of_a_chunk_that_was_cut_anew_resemble_it() {
        let mut earlier = version(&[400_000, 300_000]);
        assert_eq!(guesses(&earlier.pieces(0, 150_000)), [Some(0)]);
        assert_eq!(guesses(&earlier.pieces(150_000, 251_000)), [Some(0)]);
        assert_eq!(guesses(&earlier.pieces(401_000, 300_000)), [Some(1)]);
    }

    #[test]
    fn the_same_bytes_are_cut_the_same_way_again() {
        // Content cuts at 500 and 750 thousand; the earlier version was also cut at 200 thousand.
        let mut earlier = version(&[200_000, 300_000, 250_000]);
        let lens: Vec<usize> = [(0, 500_000), (500_000, 250_000)]
            .iter()
            .flat_map(|(offset, len)| earlier.pieces(*offset, *len))
            .map(|piece| piece.len)
            .collect();
        assert_eq!(lens, [200_000, 300_000, 250_000]);
    }

    #[test]
    fn a_chunk_both_have_tells_of_a_shift() {
        let lens = lens(50);
        let mut earlier = version(&lens);
        let inserted = 3_000_000;
        earlier.pieces(0, inserted);
        earlier.found(&chunk(1, lens[1]), inserted as u64 + u64::from(lens[0]));
        let mut offset = inserted as u64 + u64::from(lens[0] + lens[1]);
        for n in 2..50 {
            let len = lens[n as usize];
            assert_eq!(guesses(&earlier.pieces(offset, len as usize)), [Some(n)]);
            offset += u64::from(len);
        }
    }

    #[test]
    fn pieces_always_make_up_the_chunk() {
        let lens = lens(200);
        let mut earlier = version(&lens);
        let mut offset = 0;
        for n in 0..500_u64 {
            let len = (n * 104_729 % 700_000 + 1) as usize;
            let pieces = earlier.pieces(offset, len);
            assert_eq!(pieces.iter().map(|piece| piece.len).sum::<usize>(), len, "{n}");
            assert!(pieces.len() == 1 || pieces.iter().all(|p| p.len >= LEAST_PIECE as usize));
            offset += len as u64;
        }
    }
}
