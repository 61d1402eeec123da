//! Numbers for what is in snapshots: each says where in its directory the entry is, so that nothing has to be remembered of it,
//! however many the kernel holds on to. Only directories are remembered, while something in them is known.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::snapshot::StreamRef;

/// What such a number begins with: others count up from 1.
const MARK: u64 = 1 << 63;
/// Bits of the place in a piece, and of the piece in a directory; what is left is the directory.
const PLACE_BITS: u32 = 16;
const PIECE_BITS: u32 = 22;
const DIRECTORY_BITS: u32 = 63 - PLACE_BITS - PIECE_BITS;

/// Where an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Number of its directory.
    pub parent: u64,
    /// In which snapshot.
    pub snapshot: usize,
    /// What its directory consists of.
    pub directory: StreamRef,
    /// Which piece of that.
    pub piece: usize,
    /// Which entry of the piece.
    pub place: usize,
}

/// A directory in which something is known.
#[derive(Debug)]
struct Known {
    number: u64,
    snapshot: usize,
    content: StreamRef,
    /// Lookups of what is in it, which the kernel has not forgotten.
    lookups: u64,
}

#[derive(Debug, Default)]
struct Table {
    known: HashMap<u64, Known>,
    indexes: HashMap<u64, u64>,
    last: u64,
}

/// The directories.
#[derive(Debug, Default)]
pub struct Positions(Mutex<Table>);

/// Whether a number is of this kind.
pub const fn is_position(number: u64) -> bool {
    number & MARK != 0
}

impl Positions {
    /// The kernel looked up what is at this position: its number. `None` if there is none for it, which takes a directory of more
    /// than a hundred thousand million entries.
    pub fn looked_up(&self, at: &Position) -> Option<u64> {
        let (piece, place) = (at.piece as u64, at.place as u64);
        if piece >> PIECE_BITS != 0 || place >> PLACE_BITS != 0 {
            return None;
        }
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match table.indexes.get(&at.parent) {
            Some(index) => *index,
            None => {
                let index = table.free_index()?;
                table.indexes.insert(at.parent, index);
                let (number, snapshot, content) = (at.parent, at.snapshot, at.directory.clone());
                table.known.insert(index, Known { number, snapshot, content, lookups: 0 });
                index
            }
        };
        table.known.get_mut(&index)?.lookups += 1;
        Some(MARK | index << (PIECE_BITS + PLACE_BITS) | piece << PLACE_BITS | place)
    }

    /// Where an entry is.
    pub fn find(&self, number: u64) -> Option<Position> {
        let (index, piece, place) = parts(number);
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = table.known.get(&index)?;
        Some(Position {
            parent: known.number,
            snapshot: known.snapshot,
            directory: known.content.clone(),
            piece,
            place,
        })
    }

    /// The kernel forgets so many lookups.
    pub fn forget(&self, number: u64, times: u64) {
        let (index, ..) = parts(number);
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = table.known.get_mut(&index) else { return };
        known.lookups = known.lookups.saturating_sub(times);
        if known.lookups == 0 {
            let number = known.number;
            table.known.remove(&index);
            table.indexes.remove(&number);
        }
    }
}

impl Table {
    /// A number for a directory that no other has now.
    fn free_index(&mut self) -> Option<u64> {
        let all = 1 << DIRECTORY_BITS;
        if self.known.len() as u64 >= all {
            return None;
        }
        loop {
            self.last = (self.last + 1) % all;
            if !self.known.contains_key(&self.last) {
                return Some(self.last);
            }
        }
    }
}

fn parts(number: u64) -> (u64, usize, usize) {
    let bits = |shift: u32, count: u32| number >> shift & ((1 << count) - 1);
    let index = bits(PIECE_BITS + PLACE_BITS, DIRECTORY_BITS);
    let part = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    (index, part(bits(PLACE_BITS, PIECE_BITS)), part(bits(0, PLACE_BITS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(parent: u64, piece: usize, place: usize) -> Position {
        let directory = StreamRef { len: parent, ..StreamRef::default() };
        Position { parent, snapshot: 3, directory, piece, place }
    }

    #[test]
    fn a_number_says_where_its_entry_is() {
        let positions = Positions::default();
        let most = ((1 << PIECE_BITS) - 1, (1 << PLACE_BITS) - 1);
        let all = [at(1, 0, 0), at(1, 0, 1), at(1, 1, 0), at(7, 0, 0), at(9, most.0, most.1)];
        let numbers: Vec<u64> =
            all.iter().map(|at| positions.looked_up(at).expect("a number")).collect();
        for (number, at) in numbers.iter().zip(&all) {
            assert!(is_position(*number));
            assert_eq!(positions.find(*number).as_ref(), Some(at));
        }
        assert_eq!(positions.looked_up(&all[1]), Some(numbers[1]), "the same one again");
        assert_eq!(positions.looked_up(&at(1, 1 << PIECE_BITS, 0)), None);
        assert_eq!(positions.looked_up(&at(1, 0, 1 << PLACE_BITS)), None);
        assert!(!is_position(1) && !is_position(u64::MAX >> 1));
    }

    #[test]
    fn a_directory_is_known_while_something_in_it_is() {
        let positions = Positions::default();
        let one = positions.looked_up(&at(5, 0, 1)).expect("a number");
        let other = positions.looked_up(&at(5, 2, 0)).expect("a number");
        positions.looked_up(&at(5, 2, 0)).expect("a number");
        positions.forget(one, 1);
        positions.forget(other, 1);
        assert!(positions.find(other).is_some());
        positions.forget(other, 1);
        assert_eq!(positions.find(other), None);
        // Another directory never takes the numbers of one that was just forgotten.
        let next = positions.looked_up(&at(6, 2, 0)).expect("a number");
        assert_ne!(next, other);
        positions.forget(other, 1);
        assert!(positions.find(next).is_some());
    }
}
