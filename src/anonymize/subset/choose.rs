//! Which rows are copied: first the rows that others hang on are read and held as a graph of numbers, then what
//! the conditions leave out takes away what references it. Rows nothing hangs on are decided on while they pass.

use std::hash::{DefaultHasher, Hasher as _};

use super::super::charset::Charset;
use super::super::copy_text::{NULL, decode, fields};
use super::super::row::Cell;
use super::plan::{Link, Subset, SubsetTable};
use super::rows::{Bits, Kept, KeptRows};

/// Most memory that the graph may take, in bytes.
pub const MOST_BYTES: u64 = 128 << 20;

/// It references nothing.
const NOTHING: u32 = u32::MAX;
/// It references a row that is not there.
const MISSING: u32 = u32::MAX - 1;

/// The rows of a table that others reference, by the hashes of their keys.
#[derive(Debug, Default)]
struct Keys {
    hashes: Vec<u64>,
    order: Vec<u32>,
}

impl Keys {
    fn hash_at(&self, row: u32) -> u64 {
        self.hashes.get(row as usize).copied().unwrap_or(0)
    }

    fn sort(&mut self) {
        let mut order: Vec<u32> = (0..).take(self.hashes.len()).collect();
        order.sort_unstable_by_key(|row| self.hash_at(*row));
        self.order = order;
    }

    /// The row that a reference leads to.
    fn find(&self, hash: u64) -> u32 {
        if hash == 0 {
            return NOTHING;
        }
        let at = self.order.partition_point(|row| self.hash_at(*row) < hash);
        let found = self.order.get(at).filter(|row| self.hash_at(**row) == hash);
        found.copied().unwrap_or(MISSING)
    }
}

/// What is known of a table.
#[derive(Debug, Default)]
struct Rows {
    /// Rows for which the condition is true; later those that are copied.
    kept: Bits,
    keys: Vec<Keys>,
    /// For each link a hash for each row.
    hashes: Vec<Vec<u64>>,
    /// For each link the row it leads to.
    targets: Vec<Vec<u32>>,
    /// Of a table that is decided on at once: for each link the rows in which it becomes NULL.
    erased: Vec<Bits>,
}

/// Finds out which rows are copied.
#[derive(Debug)]
pub struct Choosing<'s> {
    subset: &'s Subset,
    charset: Charset,
    time: i128,
    rows: Vec<Rows>,
    cells: Vec<Cell>,
}

/// The hash of a key; 0 if a part of it is NULL.
fn hash_of(line: &[&[u8]], columns: &[usize]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for column in columns {
        let raw = line.get(*column).copied().unwrap_or(NULL);
        if raw == NULL {
            return 0;
        }
        hasher.write(raw);
        hasher.write_u8(b'\t');
    }
    hasher.finish().max(1)
}

impl<'s> Choosing<'s> {
    /// `time`: of the snapshot, in microseconds since 1970.
    pub fn new(subset: &'s Subset, charset: Charset, time: i128) -> Self {
        let rows = subset
            .tables
            .iter()
            .map(|table| Rows {
                keys: table.keys.iter().map(|_| Keys::default()).collect(),
                hashes: vec![Vec::new(); table.links.len()],
                targets: vec![Vec::new(); table.links.len()],
                erased: vec![Bits::default(); table.links.len()],
                ..Rows::default()
            })
            .collect();
        Self { subset, charset, time, rows, cells: Vec::new() }
    }

    /// Bytes that tables of so many rows take.
    pub fn bytes(subset: &Subset, rows_of: impl Fn(&SubsetTable) -> u64) -> u64 {
        let bytes = |table: &SubsetTable| {
            let (keys, links) = (table.keys.len() as u64, table.links.len() as u64);
            // A hash and a place in the order; a hash and a row both ways; bits.
            let early = if table.is_late { 0 } else { 12 * keys + 16 * links + 4 };
            rows_of(table) * early + rows_of(table) * (1 + links) / 8
        };
        subset.tables.iter().map(bytes).sum()
    }

    /// Takes the next row of table `at`. The error says what is wrong with it, and nothing of its values.
    pub fn row(&mut self, at: usize, line: &[u8]) -> Result<(), String> {
        let Some(table) = self.subset.tables.get(at) else { return Ok(()) };
        let raw: Vec<&[u8]> = fields(line).collect();
        if raw.len() != table.columns.len() {
            return Err(format!("the row has {} fields, not as many as columns", raw.len()));
        }
        let is_true = self.is_true(table, &raw)?;
        if table.is_late {
            self.decide(at, table, &raw, is_true);
            return Ok(());
        }
        let Some(rows) = self.rows.get_mut(at) else { return Ok(()) };
        if rows.kept.len() >= u64::from(MISSING) {
            return Err("it has more rows than can be followed".to_owned());
        }
        rows.kept.push(is_true);
        for (columns, keys) in table.keys.iter().zip(&mut rows.keys) {
            keys.hashes.push(hash_of(&raw, columns));
        }
        for (link, hashes) in table.links.iter().zip(&mut rows.hashes) {
            hashes.push(hash_of(&raw, &link.columns));
        }
        Ok(())
    }

    /// Whether the condition holds.
    fn is_true(&mut self, table: &SubsetTable, raw: &[&[u8]]) -> Result<bool, String> {
        let Some(condition) = &table.condition else { return Ok(table.starts_with_all()) };
        self.cells.resize_with(table.columns.len().max(self.cells.len()), Cell::default);
        let unread = |column: usize| {
            let name = table.columns.get(column).map_or("", String::as_str);
            format!("its column {name} cannot be read by the condition")
        };
        for column in condition.columns() {
            let (Some(cell), Some(raw)) = (self.cells.get_mut(*column), raw.get(*column)) else {
                continue;
            };
            cell.clear();
            match decode(raw) {
                None => cell.is_null = true,
                Some(value) => {
                    self.charset.decode(&value, &mut cell.text).ok_or_else(|| unread(*column))?
                }
            }
        }
        condition.holds(&self.cells, self.time).map_err(unread)
    }

    /// Decides on a row nothing hangs on.
    fn decide(&mut self, at: usize, table: &SubsetTable, raw: &[&[u8]], is_true: bool) {
        let is_there = |link: &Link| {
            let target = self.rows.get(link.table)?;
            let row = target.keys.get(link.key)?.find(hash_of(raw, &link.columns));
            Some(row == NOTHING || (row != MISSING && target.kept.get(row.into())))
        };
        let there: Vec<bool> =
            table.links.iter().map(|link| is_there(link).unwrap_or(false)).collect();
        let holds = |(link, is_there): (&Link, &bool)| *is_there || link.is_erased;
        let is_kept = is_true && table.links.iter().zip(&there).all(holds);
        let Some(rows) = self.rows.get_mut(at) else { return };
        rows.kept.push(is_kept);
        for (is_there, erased) in there.iter().zip(&mut rows.erased) {
            erased.push(is_kept && !is_there);
        }
    }

    fn early(&self) -> impl Iterator<Item = (usize, &'s SubsetTable)> + use<'s> {
        let subset = self.subset;
        subset.tables.iter().enumerate().filter(|(_, table)| !table.is_late)
    }

    /// All rows others hang on are there: decides on them.
    pub fn settle(&mut self) {
        self.rows.iter_mut().flat_map(|rows| &mut rows.keys).for_each(Keys::sort);
        for (at, table) in self.early() {
            for (number, link) in table.links.iter().enumerate() {
                let hashes = self.rows.get_mut(at).and_then(|rows| rows.hashes.get_mut(number));
                let hashes = hashes.map(std::mem::take).unwrap_or_default();
                let keys = self.rows.get(link.table).and_then(|rows| rows.keys.get(link.key));
                let Some(keys) = keys else { continue };
                let found: Vec<u32> = hashes.iter().map(|hash| keys.find(*hash)).collect();
                let place = self.rows.get_mut(at).and_then(|rows| rows.targets.get_mut(number));
                if let Some(place) = place {
                    *place = found;
                }
            }
        }
        // Those for which a condition is true.
        let own: Vec<Bits> = self.rows.iter().map(|rows| rows.kept.clone()).collect();
        self.follow(None);
        self.prune();
        if self.early().any(|(_, table)| table.is_referenced) {
            // What was taken away may have been all that referenced something.
            let left: Vec<Bits> = self.rows.iter().map(|rows| rows.kept.clone()).collect();
            for ((rows, own), left) in self.rows.iter_mut().zip(&own).zip(&left) {
                for row in 0..rows.kept.len() {
                    rows.kept.set(row, own.get(row) && left.get(row));
                }
            }
            self.follow(Some(&left));
        }
    }

    fn is_kept(&self, table: usize, row: u32) -> bool {
        self.rows.get(table).is_some_and(|rows| rows.kept.get(row.into()))
    }

    fn set(&mut self, table: usize, row: u32, is_kept: bool) {
        if let Some(rows) = self.rows.get_mut(table) {
            rows.kept.set(row.into(), is_kept);
        }
    }

    fn target(&self, table: usize, link: usize, row: u32) -> u32 {
        let targets = self.rows.get(table).and_then(|rows| rows.targets.get(link));
        targets.and_then(|targets| targets.get(row as usize)).copied().unwrap_or(NOTHING)
    }

    fn len(&self, table: usize) -> u32 {
        self.rows.get(table).map_or(0, |rows| u32::try_from(rows.kept.len()).unwrap_or(MISSING))
    }

    /// Adds what copied rows reference in tables that are `referenced`, within `limit`.
    fn follow(&mut self, limit: Option<&[Bits]>) {
        let mut waiting: Vec<(usize, u32)> = Vec::new();
        for (at, _) in self.early() {
            if !self.leads_up(at) {
                continue;
            }
            for row in 0..self.len(at) {
                if self.is_kept(at, row) {
                    waiting.push((at, row));
                }
                while let Some(found) = waiting.pop() {
                    self.follow_row(found, limit, &mut waiting);
                }
            }
        }
    }

    fn follow_row(
        &mut self,
        (at, row): (usize, u32),
        limit: Option<&[Bits]>,
        waiting: &mut Vec<(usize, u32)>,
    ) {
        let Some(table) = self.subset.tables.get(at) else { return };
        for (number, link) in table.links.iter().enumerate().filter(|(_, link)| !link.is_erased) {
            let is_referenced =
                self.subset.tables.get(link.table).is_some_and(|table| table.is_referenced);
            let to = self.target(at, number, row);
            if !is_referenced || to == NOTHING || to == MISSING || self.is_kept(link.table, to) {
                continue;
            }
            let allowed = limit.and_then(|limit| limit.get(link.table));
            if allowed.is_none_or(|allowed| allowed.get(to.into())) {
                self.set(link.table, to, true);
                waiting.push((link.table, to));
            }
        }
    }

    /// Whether a table has a link to one that is `referenced`.
    fn leads_up(&self, at: usize) -> bool {
        let leads = |link: &Link| {
            !link.is_erased
                && self.subset.tables.get(link.table).is_some_and(|table| table.is_referenced)
        };
        self.subset.tables.get(at).is_some_and(|table| table.links.iter().any(leads))
    }

    /// Takes away every row that references one that is not copied, again and again.
    fn prune(&mut self) {
        let referencing = Referencing::new(self);
        let mut waiting: Vec<(usize, u32)> = Vec::new();
        for (at, table) in self.early() {
            for row in 0..self.len(at) {
                let is_missing = |(number, link): (usize, &Link)| {
                    !link.is_erased && self.target(at, number, row) == MISSING
                };
                if self.is_kept(at, row) && table.links.iter().enumerate().any(is_missing) {
                    self.set(at, row, false);
                }
                if !self.is_kept(at, row) {
                    waiting.push((at, row));
                }
                while let Some(gone) = waiting.pop() {
                    for (from, child) in referencing.of(gone) {
                        if self.is_kept(from, child) {
                            self.set(from, child, false);
                            waiting.push((from, child));
                        }
                    }
                }
            }
        }
    }

    /// What is copied of each table.
    pub fn finish(mut self) -> Kept {
        let mut kept = Kept::default();
        for (at, table) in self.subset.tables.iter().enumerate() {
            let mut erased = Vec::new();
            for (number, link) in table.links.iter().enumerate().filter(|(_, link)| link.is_erased)
            {
                let late = self.rows.get_mut(at).and_then(|rows| rows.erased.get_mut(number));
                let mut bits = late.map(std::mem::take).unwrap_or_default();
                if !table.is_late {
                    for row in 0..self.len(at) {
                        let to = self.target(at, number, row);
                        let is_gone =
                            to == MISSING || !(to == NOTHING || self.is_kept(link.table, to));
                        bits.push(self.is_kept(at, row) && is_gone);
                    }
                }
                erased.push((link.columns.clone(), bits));
            }
            let bits = self.rows.get(at).map(|rows| rows.kept.clone()).unwrap_or_default();
            kept.0.insert(table.title.clone(), KeptRows { kept: bits, erased });
        }
        kept
    }
}

/// Which rows reference a row, as numbers over all tables.
struct Referencing {
    /// The number of each table's first row.
    starts: Vec<u32>,
    /// Where the rows that reference a row begin.
    places: Vec<u32>,
    rows: Vec<u32>,
}

impl Referencing {
    fn new(choosing: &Choosing<'_>) -> Self {
        let mut starts = Vec::new();
        let mut count = 0_u32;
        for at in 0..choosing.rows.len() {
            starts.push(count);
            let is_late = choosing.subset.tables.get(at).is_none_or(|table| table.is_late);
            count = count.saturating_add(if is_late { 0 } else { choosing.len(at) });
        }
        let mut made = Self { starts, places: vec![0; count as usize + 2], rows: Vec::new() };
        // Counted two places on, so that filling them in moves each to where its own begin.
        made.each(choosing, |places, _, to, _| {
            if let Some(place) = places.get_mut(to as usize + 2) {
                *place += 1;
            }
        });
        let mut total = 0_u32;
        for place in &mut made.places {
            total = total.saturating_add(*place);
            *place = total;
        }
        made.rows = vec![0; total as usize];
        made.each(choosing, |places, rows, to, from| {
            if let Some(place) = places.get_mut(to as usize + 1) {
                if let Some(row) = rows.get_mut(*place as usize) {
                    *row = from;
                }
                *place += 1;
            }
        });
        made
    }

    /// Calls `act` for every reference: to which row, from which.
    fn each(&mut self, choosing: &Choosing<'_>, act: impl Fn(&mut [u32], &mut [u32], u32, u32)) {
        for (at, table) in choosing.early() {
            for (number, link) in table.links.iter().enumerate().filter(|(_, link)| !link.is_erased)
            {
                let (Some(own), Some(other)) =
                    (self.starts.get(at).copied(), self.starts.get(link.table).copied())
                else {
                    continue;
                };
                for row in 0..choosing.len(at) {
                    let to = choosing.target(at, number, row);
                    if to != NOTHING && to != MISSING {
                        act(&mut self.places, &mut self.rows, other + to, own + row);
                    }
                }
            }
        }
    }

    /// The rows that reference one.
    fn of(&self, (table, row): (usize, u32)) -> impl Iterator<Item = (usize, u32)> + '_ {
        let number = self.starts.get(table).map_or(0, |start| start + row) as usize;
        let place = |at: usize| self.places.get(at).copied().unwrap_or(0) as usize;
        let rows = self.rows.get(place(number)..place(number + 1)).unwrap_or_default();
        rows.iter().map(move |row| {
            // Of tables without rows the last one that begins there is meant.
            let table = self.starts.partition_point(|start| start <= row).saturating_sub(1);
            (table, row - self.starts.get(table).copied().unwrap_or(0))
        })
    }
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;
