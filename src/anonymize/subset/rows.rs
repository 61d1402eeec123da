//! Which rows of a table are copied: a bit for each, in the order of its stream.

use std::collections::BTreeMap;

/// A bit for each row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
    len: u64,
}

impl Bits {
    /// So many that are not set.
    pub fn none(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len: len as u64 }
    }

    /// Appends one.
    pub fn push(&mut self, is_set: bool) {
        if self.len.is_multiple_of(64) {
            self.words.push(0);
        }
        if let Some(word) = self.words.last_mut() {
            *word |= u64::from(is_set) << (self.len % 64);
        }
        self.len += 1;
    }

    fn place(at: u64) -> usize {
        usize::try_from(at / 64).unwrap_or(usize::MAX)
    }

    /// Whether one is set.
    pub fn get(&self, at: u64) -> bool {
        self.words.get(Self::place(at)).is_some_and(|word| (word >> (at % 64)) & 1 == 1)
    }

    /// Sets one that is there, or takes it back.
    pub fn set(&mut self, at: u64, is_set: bool) {
        if let Some(word) = self.words.get_mut(Self::place(at)) {
            let bit = 1 << (at % 64);
            *word = if is_set { *word | bit } else { *word & !bit };
        }
    }

    /// How many are set.
    pub fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// How many there are.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The rows of one table that are copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptRows {
    /// By their numbers, from 0.
    pub kept: Bits,
    /// Columns that become NULL, and in which rows.
    pub erased: Vec<(Vec<usize>, Bits)>,
}

impl KeptRows {
    /// Whether a row is copied.
    pub fn keeps(&self, row: u64) -> bool {
        self.kept.get(row)
    }

    /// Whether something of a row becomes NULL that was a reference.
    pub fn erases(&self, row: u64) -> bool {
        self.erased.iter().any(|(_, rows)| rows.get(row))
    }

    /// Whether a column of a row becomes NULL.
    pub fn erases_column(&self, row: u64, column: usize) -> bool {
        self.erased.iter().any(|(columns, rows)| columns.contains(&column) && rows.get(row))
    }

    /// Rows that are left out.
    pub fn dropped(&self) -> u64 {
        self.kept.len() - self.kept.count()
    }

    /// References that become NULL.
    pub fn references_erased(&self) -> u64 {
        self.erased.iter().map(|(_, rows)| rows.count()).sum()
    }
}

/// The rows that are copied of tables of which not all are, by what rules call the tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept(pub BTreeMap<String, KeptRows>);

impl Kept {
    /// Of a table; `None`: all.
    pub fn of(&self, title: &str) -> Option<&KeptRows> {
        self.0.get(title)
    }

    /// How many rows of a table are copied that has `rows`.
    pub fn rows_of(&self, title: &str, rows: u64) -> u64 {
        self.of(title).map_or(rows, |kept| kept.kept.count())
    }
}
