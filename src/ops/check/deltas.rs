//! Deltas of the packs that were read: each is opened once, after its base, which is still at hand.
//!
//! A night of a database is one pack of deltas on bases in the packs of earlier nights. Opened pack by pack, each would
//! cost its whole chain. Opened in families (a base, what was compressed against it, what was compressed against that)
//! it costs itself.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::event::StopFlag;
use crate::id::SegmentId;
use crate::pack::{PackClass, SegmentEntry, open_segment};
use crate::repository::{Fetcher, RepositoryError};

use super::packs::at_once;

/// Sealed bytes after which deltas are opened.
const FULL_BYTES: usize = 16 << 20;
/// And their number.
const FULL_DELTAS: usize = 1 << 17;
/// Raw bytes of bases a thread keeps on its way down a family. An honest family needs less.
const PATH_BYTES: usize = 24 << 20;

/// A delta as it lies in its pack.
pub(super) struct Delta {
    pub class: PackClass,
    pub entry: SegmentEntry,
    pub base: SegmentId,
    pub sealed: Vec<u8>,
}

/// Packs of which all is known but whether their deltas can be opened; `L` is what is known.
pub(super) struct Aside<L>(Mutex<Waiting<L>>);

struct Waiting<L> {
    looks: Vec<L>,
    /// With the number of the pack in `looks`.
    deltas: Vec<(usize, Delta)>,
    bytes: usize,
}

impl<L> Default for Aside<L> {
    fn default() -> Self {
        Self(Mutex::new(Waiting { looks: Vec::new(), deltas: Vec::new(), bytes: 0 }))
    }
}

impl<L> Aside<L> {
    /// Whether it is time to open them.
    pub fn is_full(&self) -> bool {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.bytes >= FULL_BYTES || waiting.deltas.len() >= FULL_DELTAS
    }

    pub fn put(&self, look: L, deltas: Vec<Delta>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pack = waiting.looks.len();
        waiting.looks.push(look);
        waiting.bytes += deltas.iter().map(|delta| delta.sealed.len()).sum::<usize>();
        waiting.deltas.extend(deltas.into_iter().map(|delta| (pack, delta)));
    }

    /// All of them; what is known of the packs, and their deltas with the number of their pack.
    pub fn take(&self) -> (Vec<L>, Vec<(usize, Delta)>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.bytes = 0;
        (std::mem::take(&mut waiting.looks), std::mem::take(&mut waiting.deltas))
    }
}

/// Opens deltas, each chunk of which must be what its id says; `opened` is told of each. Gives those that cannot be
/// opened: pack, segment, why not; in the order of the packs.
pub(super) fn open_deltas(
    bases: &Fetcher<'_>,
    deltas: &[(usize, Delta)],
    stop: &StopFlag,
    opened: &(dyn Fn(&Delta) + Sync),
) -> Result<Vec<(usize, SegmentId, String)>, RepositoryError> {
    let families = families(deltas);
    let next = AtomicUsize::new(0);
    let refused = Mutex::new(Vec::new());
    at_once(families.len(), &|| {
        while let Some(family) = families.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut path = Path::default();
            for &number in family {
                if stop.is_stopped() {
                    return Err(RepositoryError::Interrupted);
                }
                let Some((_, delta)) = deltas.get(number) else { continue };
                if let Err(reason) = path.open(bases, delta) {
                    refused.lock().unwrap_or_else(PoisonError::into_inner).push((number, reason));
                }
                opened(delta);
            }
        }
        Ok(())
    })?;
    let mut refused = refused.into_inner().unwrap_or_else(PoisonError::into_inner);
    refused.sort_unstable();
    let name = |(number, reason): (usize, String)| {
        deltas.get(number).map(|(pack, delta)| (*pack, delta.entry.id, reason))
    };
    Ok(refused.into_iter().filter_map(name).collect())
}

/// The deltas by number in families, each after its base where that is one of them.
fn families(deltas: &[(usize, Delta)]) -> Vec<Vec<usize>> {
    let mut below: HashMap<SegmentId, Vec<usize>> = HashMap::new();
    for (number, (_, delta)) in deltas.iter().enumerate() {
        below.entry(delta.base).or_default().push(number);
    }
    let on = |id: &SegmentId| below.get(id).into_iter().flatten().rev().copied();
    let ids: HashSet<SegmentId> = deltas.iter().map(|(_, delta)| delta.entry.id).collect();
    let mut is_placed = vec![false; deltas.len()];
    let mut families = Vec::new();
    let numbered = || deltas.iter().enumerate();
    let on_others = numbered().filter(|(_, (_, delta))| !ids.contains(&delta.base));
    // What a hostile index puts on a circle hangs on nothing else: it comes last.
    for (first, (_, delta)) in on_others.chain(numbered()) {
        if is_placed.get(first) != Some(&false) {
            continue;
        }
        let (mut family, mut next) = (Vec::new(), on(&delta.base).collect::<Vec<_>>());
        while let Some(number) = next.pop() {
            let Some((_, delta)) = deltas.get(number) else { continue };
            // A segment may lie in two packs, so that what hangs on it is met twice.
            if let Some(is_placed) = is_placed.get_mut(number).filter(|is_placed| !**is_placed) {
                *is_placed = true;
                family.push(number);
                next.extend(on(&delta.entry.id));
            }
        }
        families.push(family);
    }
    families
}

/// The bases from the root of a family to where a thread is.
#[derive(Default)]
struct Path(Vec<(SegmentId, Arc<Vec<u8>>)>);

impl Path {
    fn open(&mut self, bases: &Fetcher<'_>, delta: &Delta) -> Result<(), String> {
        while self.0.last().is_some_and(|(id, _)| *id != delta.base) {
            self.0.pop();
        }
        if self.0.is_empty() {
            let base = bases.segment_by_id(&delta.base);
            let base = base.map_err(|error| format!("it is a delta: {error}"))?;
            self.push(delta.base, base);
        }
        let base = self.0.last().map(|(_, bytes)| &bytes[..]);
        let keyring = bases.repository().keyring();
        let raw = open_segment(keyring, delta.class, &delta.entry, &delta.sealed, base)
            .map_err(|error| error.to_string())?;
        self.push(delta.entry.id, Arc::new(raw));
        Ok(())
    }

    fn push(&mut self, id: SegmentId, bytes: Arc<Vec<u8>>) {
        self.0.push((id, bytes));
        let mut held: usize = self.0.iter().map(|(_, bytes)| bytes.len()).sum();
        while held > PATH_BYTES && self.0.len() > 1 {
            held -= self.0.remove(0).1.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ChunkId, KeyId};
    use crate::pack::{ChunkEntry, SegmentKind};

    fn delta(id: u8, base: u8) -> (usize, Delta) {
        let (id, base) = (SegmentId::new([id; 32]), SegmentId::new([base; 32]));
        let entry = SegmentEntry {
            id,
            offset: 0,
            sealed_len: 100,
            raw_len: 1,
            kind: SegmentKind::ZstdWithBase,
            key: KeyId(0),
            base: Some(base),
            features: None,
            chunks: vec![ChunkEntry { id: ChunkId::new([0; 32]), len: 1 }],
        };
        (0, Delta { class: PackClass::Data, entry, base, sealed: vec![0; 100] })
    }

    #[test]
    fn families_hold_each_delta_once_and_after_its_base() {
        // 1 and 2 are plain. 3 and 4 hang on 1, 5 on 3, 6 on 5 and again on 2; 7, 8 and 9 go round in a circle.
        let edges = [(6, 5), (5, 3), (3, 1), (4, 1), (6, 2), (7, 8), (8, 9), (9, 7)];
        let deltas: Vec<_> = edges.iter().map(|&(id, base)| delta(id, base)).collect();
        assert_eq!(families(&deltas), [vec![2, 1, 0, 3], vec![4], vec![5, 7, 6]]);
        assert_eq!(families(&[]), Vec::<Vec<usize>>::new());
    }

    #[test]
    fn deltas_wait_until_there_are_megabytes() {
        let aside = Aside::default();
        aside.put("a pack", vec![delta(1, 2).1, delta(2, 3).1]);
        assert!(!aside.is_full());
        let mut large = delta(4, 5).1;
        large.sealed = vec![0; FULL_BYTES];
        aside.put("another", vec![large]);
        assert!(aside.is_full());
        let (looks, deltas) = aside.take();
        assert_eq!(looks, ["a pack", "another"]);
        assert_eq!(deltas.iter().map(|(pack, _)| *pack).collect::<Vec<_>>(), [0, 0, 1]);
        assert!(!aside.is_full());
    }
}
