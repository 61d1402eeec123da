//! Ids by number: sorted, with a table of where those of each beginning are. Ids are hashes, so that a table of an eighth of
//! their number leaves a handful to search, where a search in all of them would miss the processor's caches twenty times.

use crate::index::ShortId;

/// Ids a slot of the table, on average.
const A_SLOT: usize = 8;

/// A sorted list of ids. Half a byte each beside their twelve.
#[derive(Debug)]
pub(super) struct Keys {
    sorted: Vec<ShortId>,
    /// Where the ids begin whose first bits are the slot's number; one more at the end.
    starts: Vec<u32>,
    /// Bits of the prefix that do not count.
    shift: u32,
}

impl Keys {
    /// Of ids in ascending order, fewer than 2^32.
    pub fn new(sorted: Vec<ShortId>) -> Self {
        let bits = (sorted.len() / A_SLOT).max(2).ilog2();
        let shift = u32::BITS - bits;
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        for (at, id) in sorted.iter().enumerate() {
            while starts.len() <= (id.prefix() >> shift) as usize {
                starts.push(super::mark::number(at));
            }
        }
        starts.resize((1 << bits) + 1, super::mark::number(sorted.len()));
        Self { sorted, starts, shift }
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.sorted.len()
    }

    /// The one of this number.
    pub fn get(&self, number: usize) -> &ShortId {
        &self.sorted[number]
    }

    /// The number of an id.
    pub fn find(&self, id: &ShortId) -> Option<usize> {
        let slot = (id.prefix() >> self.shift) as usize;
        let (start, end) = (self.starts[slot] as usize, self.starts[slot + 1] as usize);
        self.sorted[start..end].binary_search(id).ok().map(|at| start + at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(first: u32, rest: u8) -> ShortId {
        let mut bytes = [rest; 32];
        bytes[..4].copy_from_slice(&first.to_be_bytes());
        ShortId::of(&bytes)
    }

    proptest! {
        #[test]
        fn every_id_is_found_and_no_other(
            held in prop::collection::btree_set((any::<u32>(), 0_u8..3), 0..300),
            narrow in prop::collection::btree_set((0_u32..40, 0_u8..3), 0..60),
            asked in prop::collection::vec((any::<u32>(), 0_u8..3), 0..20),
        ) {
            let all: std::collections::BTreeSet<ShortId> =
                held.union(&narrow).map(|(first, rest)| id(*first, *rest)).collect();
            let sorted: Vec<ShortId> = all.iter().copied().collect();
            let keys = Keys::new(sorted.clone());
            prop_assert_eq!(keys.len(), sorted.len());
            for (number, one) in sorted.iter().enumerate() {
                prop_assert_eq!(keys.find(one), Some(number));
                prop_assert_eq!(keys.get(number), one);
            }
            for (first, rest) in asked.into_iter().chain([(0, 0), (u32::MAX, 255), (7, 1)]) {
                let asked = id(first, rest);
                prop_assert_eq!(keys.find(&asked).is_some(), all.contains(&asked));
            }
        }
    }
}
