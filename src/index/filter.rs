//! A bounded table of fingerprints that answers "surely new" without looking into the database.

/// Bits of one block: one cache line half, so a question costs one memory access.
const WORDS: usize = 8;
type Block = [u32; WORDS];
const BLOCK_BITS: u64 = 32 * WORDS as u64;
/// One false "maybe" in about 250 when full.
const BITS_PER_KEY: u64 = 12;
const MAX_BLOCKS: usize = 64 * 1024 * 1024 / size_of::<Block>();
const MIN_BLOCKS: usize = 16 * 1024;
/// Odd multipliers that spread a key over the words, as in Parquet's split block filters.
const SALTS: Block = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// A blocked Bloom filter that grows by further layers up to 64 MiB. After that it fills up: it says
/// "maybe" more often, but never "no" to what was inserted.
#[derive(Debug, Default)]
pub(super) struct Filter {
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    blocks: Vec<Block>,
    /// Keys it may still take.
    room: u64,
}

impl Filter {
    /// With room for this many keys, and some more.
    pub(super) fn with_room(keys: u64) -> Self {
        let mut filter = Self::default();
        if keys > 0 {
            filter.grow(keys.saturating_add(keys / 8));
        }
        filter
    }

    pub(super) fn insert(&mut self, key: i64) {
        if self.layers.last().is_none_or(|layer| layer.room == 0) {
            self.grow(0);
        }
        if let Some(layer) = self.layers.last_mut() {
            layer.room = layer.room.saturating_sub(1);
            let (block, bits) = place(key, layer.blocks.len());
            if let Some(block) = layer.blocks.get_mut(block) {
                block.iter_mut().zip(bits).for_each(|(word, bit)| *word |= bit);
            }
        }
    }

    /// False: it was never inserted.
    pub(super) fn may_contain(&self, key: i64) -> bool {
        self.layers.iter().any(|layer| {
            let (block, bits) = place(key, layer.blocks.len());
            layer
                .blocks
                .get(block)
                .is_some_and(|block| block.iter().zip(bits).all(|(word, bit)| word & bit != 0))
        })
    }

    /// Adds a layer for `keys` or for as many as there are already, as far as memory is left.
    fn grow(&mut self, keys: u64) {
        let used: usize = self.layers.iter().map(|layer| layer.blocks.len()).sum();
        let wanted = keys.saturating_mul(BITS_PER_KEY) / BLOCK_BITS;
        let wanted = usize::try_from(wanted).unwrap_or(MAX_BLOCKS).max(used).max(MIN_BLOCKS);
        let blocks = wanted.min(MAX_BLOCKS.saturating_sub(used));
        if blocks > 0 {
            let room = blocks as u64 * BLOCK_BITS / BITS_PER_KEY;
            self.layers.push(Layer { blocks: vec![[0; WORDS]; blocks], room });
        }
    }
}

/// Which block, and which bit in each of its words. Keys are 48 bits of a hash: the upper ones choose
/// the block, so that keys in order fill memory in order.
fn place(key: i64, blocks: usize) -> (usize, Block) {
    let upper = (key as u64 >> 16) & 0xffff_ffff;
    let block = (upper * blocks as u64) >> 32;
    let lower = key as u32;
    (block as usize, SALTS.map(|salt| 1 << (lower.wrapping_mul(salt) >> 27)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(from: u64, to: u64) -> impl Iterator<Item = i64> {
        (from..to)
            .map(|n| super::super::rows::lookup_key(blake3::hash(&n.to_le_bytes()).as_bytes()))
    }

    fn false_maybes(filter: &Filter) -> usize {
        keys(1 << 40, (1 << 40) + 20_000).filter(|key| filter.may_contain(*key)).count()
    }

    #[test]
    fn what_was_inserted_is_found_and_little_else() {
        let mut filter = Filter::with_room(500_000);
        keys(0, 500_000).for_each(|key| filter.insert(key));
        assert!(keys(0, 500_000).all(|key| filter.may_contain(key)));
        let wrong = false_maybes(&filter);
        assert!(wrong < 200, "{wrong} of 20000");
    }

    #[test]
    fn it_grows_from_nothing() {
        let mut filter = Filter::with_room(0);
        assert!(filter.layers.is_empty());
        assert_eq!(false_maybes(&filter), 0);
        keys(0, 1_000_000).for_each(|key| filter.insert(key));
        assert!(keys(0, 1_000_000).all(|key| filter.may_contain(key)));
        assert!(filter.layers.len() > 1);
        assert!(false_maybes(&filter) < 400);
    }

    #[test]
    fn an_overfull_one_stays_bounded_and_right() {
        let mut filter = Filter::with_room(u64::MAX);
        let blocks: usize = filter.layers.iter().map(|layer| layer.blocks.len()).sum();
        assert_eq!(blocks, MAX_BLOCKS);
        filter.layers.iter_mut().for_each(|layer| layer.room = 0);
        keys(0, 10_000).for_each(|key| filter.insert(key));
        assert_eq!(filter.layers.len(), 1);
        assert!(keys(0, 10_000).all(|key| filter.may_contain(key)));
    }
}
