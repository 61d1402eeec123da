//! Which pack is needed for what.
//!
//! Each reachable chunk has one place that counts: plain before delta, in a usable pack before one that is
//! condemned or suspected of damage, the newest pack first. A delta counts only with its whole chain of
//! bases. And every delta in a pack that stays keeps its base, needed or not: a writer may come to use it.
//!
//! Memory: 23 bytes for each chunk, 12 for each delta.

use jiff::Timestamp;

use crate::id::{PackId, SegmentId};
use crate::index::{Index, IndexError, PackRow, ShortId};
use crate::pack::{SegmentEntry, SegmentKind};

use super::keys::Keys;
use super::trees::ChunkSet;

/// Some snapshot needs the chunk.
const REACHABLE: u8 = 1;
/// Some delta that stays needs the segment.
const BASE: u8 = 2;

/// How good a place is; 0 is none. Usable packs have 4 more.
type Rank = u8;
const USABLE: Rank = 4;
const PLAIN_ALONE: Rank = 3;
const PLAIN_SHARED: Rank = 2;
const DELTA: Rank = 1;

/// A segment compressed against another one: places in [`Mark::keys`], and the pack it lies in.
#[derive(Debug, Clone, Copy)]
struct Delta {
    own: u32,
    base: u32,
    pack: u32,
}

/// What of a segment is needed where it lies.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing.
    Nothing,
    /// Some of its chunks, by their numbers in it.
    Chunks(Vec<usize>),
    /// All of it.
    Whole,
}

/// One pack and what is needed of it.
#[derive(Debug)]
pub(super) struct MarkedPack {
    pub row: PackRow,
    /// It holds the place that counts of something reachable, or a base of what stays.
    pub is_needed: bool,
    /// Sealed bytes of its segments.
    pub sealed_bytes: u64,
    /// The share of them that is needed.
    pub used_bytes: u64,
    /// Chunks of which this is not the place that counts; none: all of it is needed.
    other_chunks: u64,
}

/// What is needed of every present pack.
#[derive(Debug)]
pub(super) struct Mark {
    keys: Keys,
    flags: Vec<u8>,
    /// The best place of the chunk with this id.
    chunk_rank: Vec<Rank>,
    chunk_place: Vec<u32>,
    /// The best place of the segment with this id.
    whole_place: Vec<u32>,
    whole_rank: Vec<Rank>,
    deltas: Vec<Delta>,
    pub packs: Vec<MarkedPack>,
    /// Reachable chunks that are nowhere.
    pub missing: u64,
    /// The first digits of one of them.
    pub first_missing: Option<String>,
}

impl Mark {
    /// Marks what `reached` needs (ascending). `written` tells when a pack was: the newest wins where nothing else
    /// decides. Packs of which `stays` is true are not going to be condemned now.
    pub fn compute(
        index: &Index,
        reached: Vec<ShortId>,
        written: impl Fn(&PackId) -> Option<Timestamp>,
        stays: impl Fn(&PackRow) -> bool,
    ) -> Result<Self, IndexError> {
        let mut mark = Self::new(index, reached)?;
        // By the store's times, so that prunes of different machines decide alike.
        mark.packs.sort_by_cached_key(|pack| (written(&pack.row.id), pack.row.id));
        mark.find_places(index)?;
        mark.complete_chains();
        mark.count_missing();
        let mut is_kept: Vec<bool> = mark.packs.iter().map(|pack| stays(&pack.row)).collect();
        mark.need_packs(&mut is_kept);
        mark.measure(index)?;
        Ok(mark)
    }

    fn new(index: &Index, reached: Vec<ShortId>) -> Result<Self, IndexError> {
        let mut extra = ChunkSet::default();
        index.each_delta(|own, base| {
            for id in [own, base] {
                let id = ShortId::of(id.as_bytes());
                if reached.binary_search(&id).is_err() {
                    extra.insert(id);
                }
            }
        })?;
        let extra = extra.into_sorted();
        let mut keys = reached;
        if !extra.is_empty() {
            keys.reserve_exact(extra.len());
            keys.extend_from_slice(&extra);
            keys.sort_unstable();
        }
        let mut more = extra.iter().peekable();
        let flags = keys
            .iter()
            .map(|key| if more.next_if_eq(&key).is_some() { 0 } else { REACHABLE })
            .collect();
        let packs = index
            .packs()?
            .into_iter()
            .filter(|row| row.is_present && !row.is_pending)
            .map(|row| MarkedPack {
                row,
                is_needed: false,
                sealed_bytes: 0,
                used_bytes: 0,
                other_chunks: 0,
            })
            .collect();
        let keys = Keys::new(keys);
        let len = keys.len();
        Ok(Self {
            keys,
            flags,
            chunk_rank: vec![0; len],
            chunk_place: vec![0; len],
            whole_place: vec![0; len],
            whole_rank: vec![0; len],
            deltas: Vec::new(),
            packs,
            missing: 0,
            first_missing: None,
        })
    }

    fn key(&self, id: &[u8; 32]) -> Option<usize> {
        self.keys.find(&ShortId::of(id))
    }

    fn standing(&self, pack: usize) -> Rank {
        if self.packs[pack].row.is_condemned { 0 } else { USABLE }
    }

    /// Later packs come later here, and win where nothing else decides: what a killed prune or a rescue
    /// stored again makes the old place superfluous.
    fn find_places(&mut self, index: &Index) -> Result<(), IndexError> {
        for pack in 0..self.packs.len() {
            let standing = self.standing(pack);
            let place = number(pack);
            for entry in index.segments_of(&self.packs[pack].row.id)? {
                self.packs[pack].sealed_bytes += u64::from(entry.sealed_len);
                self.packs[pack].other_chunks += entry.chunks.len() as u64;
                let own = self.key(entry.id.as_bytes());
                if let Some(base) = entry.base {
                    // Both were collected, unless the index was loaded further meanwhile.
                    if let (Some(own), Some(base)) = (own, self.key(base.as_bytes())) {
                        let (own, base) = (number(own), number(base));
                        self.deltas.push(Delta { own, base, pack: place });
                    }
                    continue;
                }
                if let Some(own) = own
                    && standing + PLAIN_ALONE >= self.whole_rank[own]
                {
                    self.whole_rank[own] = standing + PLAIN_ALONE;
                    self.whole_place[own] = place;
                }
                let is_alone = is_alone(&entry);
                let form = standing + if is_alone { PLAIN_ALONE } else { PLAIN_SHARED };
                for chunk in &entry.chunks {
                    let key = if is_alone { own } else { self.key(chunk.id.as_bytes()) };
                    if let Some(key) = key
                        && form >= self.chunk_rank[key]
                    {
                        self.chunk_rank[key] = form;
                        self.chunk_place[key] = place;
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives places to what is there only as a delta. A place is taken only from bases that have theirs
    /// already and is not exchanged for an equal one, so that no circle can come about.
    fn complete_chains(&mut self) {
        loop {
            let mut has_changed = false;
            for at in 0..self.deltas.len() {
                let Delta { own, base, pack } = self.deltas[at];
                let (own, base) = (own as usize, base as usize);
                let base_rank = self.whole_rank[base];
                if base_rank == 0 {
                    continue;
                }
                // A chain is as good as its weakest link.
                let standing = self.standing(pack as usize).min(base_rank & USABLE);
                if standing + DELTA > self.whole_rank[own] {
                    self.whole_rank[own] = standing + DELTA;
                    self.whole_place[own] = pack;
                    has_changed = true;
                }
                if standing + DELTA > self.chunk_rank[own] {
                    self.chunk_rank[own] = standing + DELTA;
                    self.chunk_place[own] = pack;
                    has_changed = true;
                }
            }
            if !has_changed {
                return;
            }
        }
    }

    fn count_missing(&mut self) {
        for key in 0..self.keys.len() {
            if self.flags[key] & REACHABLE != 0 && self.chunk_rank[key] == 0 {
                self.missing += 1;
                self.first_missing.get_or_insert_with(|| self.keys.get(key).digits());
            }
        }
    }

    /// Needs the places of what is reachable, and the bases of all deltas in packs that are kept.
    fn need_packs(&mut self, is_kept: &mut [bool]) {
        for key in 0..self.keys.len() {
            if self.flags[key] & REACHABLE != 0 && self.chunk_rank[key] > 0 {
                let place = self.chunk_place[key] as usize;
                self.packs[place].is_needed = true;
                self.packs[place].other_chunks -= 1;
                is_kept[place] = true;
            }
        }
        loop {
            let mut has_changed = false;
            for Delta { base, pack, .. } in &self.deltas {
                let base = *base as usize;
                let is_new = self.flags[base] & BASE == 0;
                if is_kept[*pack as usize] && is_new && self.whole_rank[base] > 0 {
                    self.flags[base] |= BASE;
                    let place = self.whole_place[base] as usize;
                    self.packs[place].is_needed = true;
                    is_kept[place] = true;
                    has_changed = true;
                }
            }
            if !has_changed {
                return;
            }
        }
    }

    /// What of a segment is needed where it lies, in pack number `pack`.
    pub fn need(&self, pack: usize, entry: &SegmentEntry) -> Need {
        let place = number(pack);
        let own = self.key(entry.id.as_bytes());
        if own.is_some_and(|key| self.flags[key] & BASE != 0 && self.whole_place[key] == place) {
            return Need::Whole;
        }
        let is_needed = |key: usize| {
            self.flags[key] & REACHABLE != 0
                && self.chunk_rank[key] > 0
                && self.chunk_place[key] == place
        };
        if let [chunk] = &entry.chunks[..] {
            let key = match SegmentId::from(chunk.id) == entry.id {
                true => own,
                false => self.key(chunk.id.as_bytes()),
            };
            return if key.is_some_and(is_needed) { Need::Whole } else { Need::Nothing };
        }
        let needed: Vec<usize> = entry
            .chunks
            .iter()
            .enumerate()
            .filter(|(_, chunk)| self.key(chunk.id.as_bytes()).is_some_and(is_needed))
            .map(|(at, _)| at)
            .collect();
        match needed.len() {
            0 => Need::Nothing,
            all if all == entry.chunks.len() => Need::Whole,
            _ => Need::Chunks(needed),
        }
    }

    /// Only packs that are needed in part are read again: nearly none, where nothing was forgotten.
    fn measure(&mut self, index: &Index) -> Result<(), IndexError> {
        for pack in 0..self.packs.len() {
            let MarkedPack { row, is_needed, sealed_bytes, other_chunks, .. } = &self.packs[pack];
            if !is_needed {
                continue;
            }
            if *other_chunks == 0 {
                self.packs[pack].used_bytes = *sealed_bytes;
                continue;
            }
            let mut used = 0;
            for entry in index.segments_of(&row.id)? {
                let len = u64::from(entry.sealed_len);
                used += match self.need(pack, &entry) {
                    Need::Nothing => 0,
                    Need::Whole => len,
                    Need::Chunks(needed) => {
                        let raw: u64 =
                            needed.iter().map(|at| u64::from(entry.chunks[*at].len)).sum();
                        len * raw / u64::from(entry.raw_len).max(1)
                    }
                };
            }
            self.packs[pack].used_bytes = used;
        }
        Ok(())
    }
}

/// Whether a segment is one chunk of its own id.
fn is_alone(entry: &SegmentEntry) -> bool {
    debug_assert!(entry.kind != SegmentKind::ZstdWithBase);
    matches!(&entry.chunks[..], [chunk] if SegmentId::from(chunk.id) == entry.id)
}

/// Fewer than 2^32 packs and chunks: the index could hold no more.
pub(super) fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
