//! Fills packs up to a padded size.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::crypto::padme::padme;
use crate::crypto::{Keyring, Randomness};
use crate::id::{KeyId, PackId};

use super::entry::{PackClass, SegmentEntry};
use super::fit::{Choice, best_choice};
use super::open::{OpenPack, entry_len};
use super::reader::PackError;
use super::sealer::SealedSegment;

/// Most segments that wait for a place.
const MOST_WAITING: usize = 64;
/// A pack that ends this close below a padded size, as a fraction of its length, is good enough.
const GOOD_ENOUGH: u64 = 1000;
/// How often a choice is made anew when the directory turns out longer than estimated.
const TRIES: usize = 3;
/// Longest pack the builder fills, in bytes: a PADME size below the format's 256 MiB.
const LONGEST: u64 = 248 << 20;
/// Shortest limit that makes sense, in bytes; what is asked for below it is raised to it.
const SHORTEST: u64 = 64 << 10;

/// A pack ready to be put.
#[derive(Debug, Clone)]
pub struct FinishedPack {
    /// SHA-256 of `parts`: its name.
    pub id: PackId,
    /// What it holds.
    pub class: PackClass,
    /// Epoch of its directory.
    pub key: KeyId,
    /// The object, in pieces: putting them together would cost a copy of all that is stored.
    pub parts: Vec<Vec<u8>>,
    /// What is where in it.
    pub entries: Vec<SegmentEntry>,
}

impl FinishedPack {
    /// Length of the object.
    pub fn size(&self) -> u64 {
        self.parts.iter().map(|part| part.len() as u64).sum()
    }

    /// The object in one piece.
    #[cfg(test)]
    pub fn bytes(&self) -> Vec<u8> {
        self.parts.concat()
    }
}

/// A segment without a place.
#[derive(Debug)]
struct Waiting {
    segment: SealedSegment,
    /// What it adds to a pack at most: itself and its entry.
    weight: u64,
}

/// Collects sealed segments of one class.
///
/// Segments wait in a short queue and move into the open pack oldest first, so that what was read
/// together lies together. Once the pack is three quarters full, it is closed with those waiting
/// segments that bring it just below a PADME size; only a pack's last few are out of order.
/// Holds one pack and a quarter in memory.
#[derive(Debug)]
pub struct PackBuilder {
    class: PackClass,
    keyring: Arc<Keyring>,
    random: Arc<dyn Randomness>,
    /// Longest pack; a PADME size.
    limit: u64,
    waiting: VecDeque<Waiting>,
    /// Sum of their weights.
    waiting_len: u64,
    open: Option<OpenPack>,
}

impl PackBuilder {
    /// An empty builder. Packs have at most `max_len` bytes (which is brought into 64 KiB to 248 MiB)
    /// unless one segment alone is longer; that one then has a pack of its own. (A directory of many
    /// thousand entries is estimated only, so a last pack may exceed it by one PADME step.)
    pub fn new(
        class: PackClass,
        max_len: u64,
        keyring: Arc<Keyring>,
        random: Arc<dyn Randomness>,
    ) -> Self {
        let limit = padme_below(max_len.clamp(SHORTEST, LONGEST));
        let waiting = VecDeque::new();
        Self { class, keyring, random, limit, waiting, waiting_len: 0, open: None }
    }

    /// Takes a segment; gives a pack when one is full, not necessarily with this segment. Segments of any epoch are taken: the pack's
    /// directory is sealed with the current one.
    pub fn push(&mut self, segment: SealedSegment) -> Result<Option<FinishedPack>, PackError> {
        let entry = &segment.entry;
        entry.check().map_err(PackError::Segment)?;
        if segment.class != self.class {
            return Err(PackError::Segment("it belongs to packs of another class"));
        }
        if segment.bytes.len() as u64 != u64::from(entry.sealed_len) {
            return Err(PackError::Segment("it has another length than its entry says"));
        }
        let weight = u64::from(entry.sealed_len) + entry_len(entry, self.keyring.current());
        if OpenPack::EMPTY_LEN + weight > self.limit {
            let mut alone = self.empty_pack();
            alone.append(segment)?;
            return alone.close(&self.keyring, &*self.random).map(Some);
        }
        self.waiting.push_back(Waiting { segment, weight });
        self.waiting_len += weight;
        while self.waiting.len() > MOST_WAITING || self.waiting_len > self.limit / 4 {
            if let Some(choice) = self.closing_choice()? {
                return self.close(&choice.members).map(Some);
            }
            self.move_oldest()?;
        }
        Ok(None)
    }

    /// The packs with what is left (none if there is nothing).
    pub fn finish(&mut self) -> Result<Vec<FinishedPack>, PackError> {
        let mut packs = Vec::new();
        while !self.waiting.is_empty() || self.open.is_some() {
            if self.waiting.is_empty() || self.open_len() + self.waiting_len <= self.limit {
                let all: Vec<_> = (0..self.waiting.len()).collect();
                packs.push(self.close(&all)?);
            } else if let Some(choice) = self.closing_choice()? {
                packs.push(self.close(&choice.members)?);
            } else {
                self.move_oldest()?;
            }
        }
        Ok(packs)
    }

    fn empty_pack(&self) -> OpenPack {
        OpenPack::new(self.class, self.keyring.current(), &*self.random)
    }

    /// Bytes of the open pack, or of an empty one.
    fn open_len(&self) -> u64 {
        self.open.as_ref().map_or(OpenPack::EMPTY_LEN, OpenPack::len)
    }

    /// With which waiting segments to close the open pack; `None` to fill it further first.
    fn closing_choice(&mut self) -> Result<Option<Choice>, PackError> {
        let Some(oldest) = self.waiting.front().map(|waiting| waiting.weight) else {
            return Ok(None);
        };
        if self.open_len() + oldest <= self.limit / 4 * 3 {
            return Ok(None);
        }
        if let Some(open) = &mut self.open {
            open.measure()?;
        }
        let len = self.open_len();
        let must_close = len + oldest > self.limit;
        let good_enough = len / GOOD_ENOUGH;
        let next_size = padme(len);
        if !must_close && len + self.waiting_len + good_enough < next_size {
            return Ok(None);
        }
        let weights: Vec<_> = self.waiting.iter().map(|waiting| waiting.weight).collect();
        for _ in 0..TRIES {
            let choice = best_choice(self.open_len(), &weights, self.limit, self.open.is_some());
            let Some(choice) = choice.filter(|it| must_close || it.padding <= good_enough) else {
                break;
            };
            let Some(open) = &mut self.open else {
                return Ok(Some(choice));
            };
            let entries = choice.members.iter().filter_map(|at| self.waiting.get(*at));
            if open.confirm(entries.map(|waiting| &waiting.segment.entry), choice.padding)? {
                return Ok(Some(choice));
            }
        }
        Ok(must_close.then(Choice::default))
    }

    /// Moves the oldest waiting segment into the open pack.
    fn move_oldest(&mut self) -> Result<(), PackError> {
        let Some(Waiting { segment, weight }) = self.waiting.pop_front() else {
            return Ok(());
        };
        self.waiting_len -= weight;
        let open = match self.open.take() {
            Some(open) => open,
            None => self.empty_pack(),
        };
        self.open.insert(open).append(segment)
    }

    /// Closes the open pack with the waiting segments at `members` (ascending).
    fn close(&mut self, members: &[usize]) -> Result<FinishedPack, PackError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.empty_pack(),
        };
        let mut next = members.iter().peekable();
        for (at, waiting) in std::mem::take(&mut self.waiting).into_iter().enumerate() {
            if next.next_if_eq(&&at).is_some() {
                self.waiting_len -= waiting.weight;
                open.append(waiting.segment)?;
            } else {
                self.waiting.push_back(waiting);
            }
        }
        open.close(&self.keyring, &*self.random)
    }
}

/// The largest PADME size that is not above `len`.
fn padme_below(len: u64) -> u64 {
    let exponent = len.checked_ilog2().unwrap_or(0);
    let bits = exponent.checked_ilog2().unwrap_or(0) + 1;
    let spacing = 1 << exponent.saturating_sub(bits);
    len / spacing * spacing
}
