//! Numbers of rows, a bit each: millions of them take little room.

use std::collections::BTreeMap;

/// Rows in one block.
const BLOCK: i64 = 4096;
const WORDS: usize = (BLOCK / 64) as usize;

/// A set of row numbers. Neighbours share a block of 512 bytes.
#[derive(Debug, Default)]
pub struct RowSet {
    blocks: BTreeMap<i64, Box<[u64; WORDS]>>,
    len: u64,
}

impl RowSet {
    /// Adds a row.
    pub fn insert(&mut self, row: i64) {
        let (block, word, bit) = place(row);
        let word = &mut self.blocks.entry(block).or_insert_with(|| Box::new([0; WORDS]))[word];
        self.len += u64::from(*word & bit == 0);
        *word |= bit;
    }

    /// Whether it is in the set.
    pub fn contains(&self, row: i64) -> bool {
        let (block, word, bit) = place(row);
        self.blocks.get(&block).is_some_and(|words| words[word] & bit != 0)
    }

    /// How many rows are in it.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

fn place(row: i64) -> (i64, usize, u64) {
    let inside = row.rem_euclid(BLOCK);
    // Below 4096.
    (row.div_euclid(BLOCK), (inside / 64) as usize, 1 << (inside % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_apart() {
        let mut set = RowSet::default();
        let rows = [0, 1, 63, 64, 4095, 4096, -1, i64::MIN, i64::MAX];
        for row in rows {
            assert!(!set.contains(row), "{row}");
            set.insert(row);
            set.insert(row);
            assert!(set.contains(row), "{row}");
        }
        assert_eq!(set.len(), rows.len() as u64);
        assert!(!set.contains(2) && !set.contains(4097));
    }
}
