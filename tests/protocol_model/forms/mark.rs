//! What a prune holds for needed. This is `src/ops/prune/mark.rs` once more, for three parts.

use super::rules::Rules;
use super::state::{BASE, Forms, LEAF, LINK, PARTS, Packs, Parts, State, delta, plain};

/// How good a place is; 0 is none.
type Rank = u8;
const USABLE: Rank = 4;
const PLAIN: Rank = 3;
const DELTA: Rank = 1;

/// What a mark is made of.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Packs with rows that are there.
    pub packs: Packs,
    pub condemned: Packs,
    /// Packs that are not going to be condemned now.
    pub staying: Packs,
    pub needs: Parts,
    /// Takes the oldest of equal places.
    pub takes_oldest: bool,
}

/// What is needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    pub packs: Packs,
    /// What of each pack.
    pub forms: [Forms; super::state::PACKS],
}

#[derive(Clone, Copy, Default)]
struct Place {
    rank: Rank,
    pack: usize,
    form: Forms,
}

/// The places that count, or nothing if a needed part has none.
pub fn mark(state: &State, rules: &Rules, seen: &Seen) -> Option<Mark> {
    let places = places(state, rules, seen);
    let mut mark = Mark::default();
    for (part, place) in places.iter().enumerate() {
        if seen.needs & 1 << part != 0 {
            if place.rank == 0 {
                return None;
            }
            mark.need(place);
        }
    }
    loop {
        let before = mark;
        for part in [LINK, LEAF] {
            let base = &places[part.trailing_zeros() as usize - 1];
            if base.rank > 0 && stays_as_delta(state, rules, seen, &mark, part) {
                mark.need(base);
            }
        }
        if mark == before {
            return Some(mark);
        }
    }
}

impl Mark {
    fn need(&mut self, place: &Place) {
        self.packs |= 1 << place.pack;
        self.forms[place.pack] |= place.form;
    }
}

/// Whether a delta form of `part` stays somewhere.
fn stays_as_delta(state: &State, rules: &Rules, seen: &Seen, mark: &Mark, part: Parts) -> bool {
    let kept = seen.packs & (seen.staying | mark.packs);
    (0..state.forms.len()).any(|pack| {
        let counts = rules.kept_deltas_keep_bases || mark.forms[pack] & delta(part) != 0;
        kept & 1 << pack != 0 && counts && state.forms[pack] & delta(part) != 0
    })
}

/// The place that counts of each part.
fn places(state: &State, rules: &Rules, seen: &Seen) -> [Place; PARTS] {
    let mut places = [Place::default(); PARTS];
    let standing = |pack: usize| {
        if rules.condemned_count_less && seen.condemned & 1 << pack != 0 { 0 } else { USABLE }
    };
    let better =
        |rank: Rank, than: Rank| if seen.takes_oldest { rank > than } else { rank >= than };
    let packs = (0..state.forms.len()).filter(|pack| seen.packs & 1 << pack != 0);
    for pack in packs.clone() {
        for (at, part) in [BASE, LINK, LEAF].into_iter().enumerate() {
            let rank = standing(pack) + PLAIN;
            if state.forms[pack] & plain(part) != 0 && better(rank, places[at].rank) {
                places[at] = Place { rank, pack, form: plain(part) };
            }
        }
    }
    // Bases come before what rests on them, so once is enough.
    for part in [LINK, LEAF] {
        let at = part.trailing_zeros() as usize;
        let base = places[at - 1].rank;
        for pack in packs.clone() {
            // A chain is as good as its weakest link.
            let rank = standing(pack).min(base & USABLE) + DELTA;
            if base > 0 && state.forms[pack] & delta(part) != 0 && rank > places[at].rank {
                places[at] = Place { rank, pack, form: delta(part) };
            }
        }
    }
    places
}
