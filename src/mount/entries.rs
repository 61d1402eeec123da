//! What the kernel knows: numbers of entries, from its first lookup until it forgets them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::snapshot::Node;

use super::places::Made;

/// The number of the top directory.
pub const ROOT: u64 = 1;

/// What an entry is.
#[derive(Debug, Clone)]
pub enum What {
    /// Above the snapshots.
    Made(Made),
    /// In the snapshot of this number.
    Node {
        /// Which snapshot.
        snapshot: usize,
        /// The entry; of a further name of a file the first one, which has the content.
        node: Arc<Node>,
        /// Whether it is the root of the snapshot's tree.
        is_top: bool,
    },
    /// The directory of databases of a snapshot.
    Databases(usize),
    /// The dump of a database: the snapshot, and which of its databases.
    Dump(usize, usize),
}

/// One entry the kernel knows.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its directory.
    pub parent: u64,
    /// Its name there.
    pub name: Vec<u8>,
    /// What it is.
    pub what: What,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<u64, (Entry, u64)>,
    numbers: HashMap<(u64, Vec<u8>), u64>,
    last: u64,
}

/// All of them.
#[derive(Debug)]
pub struct EntryTable(Mutex<Table>);

impl EntryTable {
    /// With only the top directory.
    pub fn new(root: What) -> Self {
        let mut table = Table { last: ROOT, ..Table::default() };
        let entry = Entry { parent: ROOT, name: Vec::new(), what: root };
        table.entries.insert(ROOT, (entry, 1));
        Self(Mutex::new(table))
    }

    /// An entry by its number.
    pub fn get(&self, number: u64) -> Option<Entry> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.entries.get(&number).map(|(entry, _)| entry.clone())
    }

    /// The kernel looked an entry up: it has a number until it is forgotten as often.
    pub fn looked_up(&self, entry: Entry) -> u64 {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (entry.parent, entry.name.clone());
        if let Some(number) = table.numbers.get(&key).copied()
            && let Some((_, count)) = table.entries.get_mut(&number)
        {
            *count += 1;
            return number;
        }
        table.last += 1;
        let number = table.last;
        table.numbers.insert(key, number);
        table.entries.insert(number, (entry, 1));
        number
    }

    /// The kernel forgets so many lookups.
    pub fn forget(&self, number: u64, times: u64) {
        if number == ROOT {
            return;
        }
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((entry, count)) = table.entries.get_mut(&number) else { return };
        *count = count.saturating_sub(times);
        if *count == 0 {
            let key = (entry.parent, entry.name.clone());
            table.entries.remove(&number);
            table.numbers.remove(&key);
        }
    }
}
