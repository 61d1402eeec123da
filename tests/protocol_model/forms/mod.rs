//! The protocol once more, with what the first model has only one of: several forms of a chunk, deltas on
//! bases, packs that are rewritten, prunes with sessions of their own that may sleep, listings in pages.
//! What the first model is about (the index object by object, late listings, names) is taken for granted.

mod mark;
mod prune;
pub mod rules;
mod state;
mod step;
mod tests;
mod writer;

use crate::explore::{Judged, Model, Wrong};
use crate::state::Session;
use crate::walk::Wanders;

use rules::Setup;
use state::{BASE, CONDEMNED_AT_END, LEAF, LINK, PACKS, Parts, Prune, PruneAt, State, WriterAt};
use step::{Actor, Next, Step};

/// More steps than a prune has.
const ENOUGH: usize = 100;

impl Model for Setup {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        let mut state = State { condemned: [0; state::CONDEMNED], ..State::default() };
        for forms in self.world.packs.into_iter().filter(|forms| *forms != 0) {
            let pack = state.make_pack(forms);
            state.rows |= pack;
        }
        state.condemned[..2].copy_from_slice(&self.world.condemned);
        for (number, parts) in self.world.old.iter().enumerate() {
            state.old |= u8::from(*parts != 0) << number;
        }
        if self.world.about_to_condemn != 0 {
            let session =
                if self.rules.prunes_have_sessions { Session::Listed } else { Session::None };
            let condemn = self.world.about_to_condemn;
            state.prunes[0] = Prune { at: PruneAt::Condemn, session, condemn, ..Prune::default() };
        }
        state
    }

    fn canonical(&self, state: &State) -> State {
        // On which page something is depends on who wrote it, and one rule makes prunes differ.
        if self.pages || !self.rules.choices_agree {
            return *state;
        }
        let names = [(true, false), (false, true), (true, true)].into_iter();
        let alike = names.filter(|(writers, prunes)| {
            (self.writers == 2 || !writers) && (self.prunes == 2 || !prunes)
        });
        let others = alike.map(|(writers, prunes)| state.renamed(writers, prunes));
        others.fold(*state, |least, other| if other.hash() < least.hash() { other } else { least })
    }

    fn hash(state: &State) -> u64 {
        state.hash()
    }

    fn successors(&self, state: &State, add: &mut Vec<(Step, State)>) {
        let mut next = Next(std::mem::take(add));
        for w in 0..self.writers {
            writer::steps(self, state, w, &mut next);
            writer::environment(self, state, w, &mut next);
        }
        for p in 0..self.prunes {
            prune::steps(self, state, p, 2 + p, &mut next);
            prune::environment(self, state, p, &mut next);
        }
        prune::forget_old(state, &mut next);
        *add = next.0;
        if let Some(most) = self.mishaps {
            add.retain_mut(|(step, after)| {
                after.mishaps += u8::from(is_mishap(state, step));
                after.mishaps <= most
            });
        }
    }

    fn judge(&self, state: &State) -> Judged {
        let needs = needs(self, state);
        let at_rest = at_rest(state);
        let wrong = if needs & !state.readable(state.present) != 0 {
            Some(Wrong::Lost)
        } else if state.starved && self.must_not_starve {
            Some(Wrong::Starved)
        } else if at_rest && needs & !state.readable(state.present & state.rows) != 0 {
            Some(Wrong::Unplaced)
        } else if at_rest && !comes_clean(self, state) {
            Some(Wrong::Garbage)
        } else {
            None
        };
        Judged { at_rest, wrong }
    }
}

impl Wanders for Setup {
    fn actor(step: &Step) -> usize {
        match step.actor {
            Actor::Writer(w) => w,
            Actor::Prune(p) => 2 + p,
            Actor::ExpiryOfWriter(w) => 4 + w,
            Actor::ExpiryOfPrune(p) => 6 + p,
            Actor::Forget => 8,
        }
    }

    fn is_somebody(actor: usize) -> bool {
        actor < 4
    }

    fn is_crash(step: &Step) -> bool {
        step.what == "crashes"
    }
}

/// Whether somebody crashes, or sleeps until it is expired. That one who crashed is expired is a matter of course.
fn is_mishap(state: &State, step: &Step) -> bool {
    match step.actor {
        Actor::ExpiryOfWriter(w) => {
            let writer = &state.writers[w];
            writer.at != WriterAt::Crashed && writer.session == Session::Listed
        }
        Actor::ExpiryOfPrune(p) => state.prunes[p].at != PruneAt::Done,
        _ => step.what == "crashes",
    }
}

/// Parts that snapshots need.
fn needs(setup: &Setup, state: &State) -> Parts {
    let mut needs = 0;
    for (number, parts) in setup.world.old.iter().enumerate() {
        needs |= if state.old & 1 << number != 0 { *parts } else { 0 };
    }
    let published = state.writers.iter().any(|writer| writer.published);
    needs | if published { setup.world.wants } else { 0 }
}

/// Whether nobody is in the middle of anything.
fn at_rest(state: &State) -> bool {
    let writers = state.writers.iter().all(|writer| {
        matches!(writer.at, WriterAt::OpenSession | WriterAt::Done | WriterAt::Crashed)
    });
    writers && state.prunes.iter().all(|p| matches!(p.at, PruneAt::OpenSession | PruneAt::Done))
}

/// Lets dead sessions expire and one prune after the other run, and tells whether in the end nothing is left
/// but packs of which everything is needed.
fn comes_clean(setup: &Setup, state: &State) -> bool {
    let setup = Setup {
        crashes: false,
        sleeping_prunes: false,
        pages: false,
        again: false,
        repacks: true,
        ..*setup
    };
    let mut state = *state;
    for writer in &mut state.writers {
        (writer.session, writer.staged, writer.names, writer.younger) =
            (Session::None, false, 0, 0);
    }
    for _ in 0..6 {
        let before = state;
        state.prunes = [Prune::default(), Prune { at: PruneAt::Done, ..Prune::default() }];
        compact(&mut state);
        let mut next = Next::default();
        for _ in 0..ENOUGH {
            next.0.clear();
            prune::steps(&setup, &state, 0, CONDEMNED_AT_END, &mut next);
            let Some((_, after)) = next.0.last() else { break };
            state = *after;
        }
        if state == before {
            break;
        }
    }
    let needs = needs(&setup, &state);
    let held: u8 = (0..PACKS)
        .filter(|pack| state.present & 1 << pack != 0)
        .fold(0, |all, pack| all | state.forms[pack]);
    // Every part once, and those of bases.
    let parts = (held | held >> 3) & (BASE | LINK | LEAF);
    let may_stay = needs | needs >> 1 | needs >> 2;
    let forms = (0..PACKS).filter(|pack| state.present & 1 << pack != 0);
    let copies: u32 = forms.map(|pack| state.forms[pack].count_ones()).sum();
    state.condemned_objects() == 0
        && state.rows & state.present == state.present
        && parts & !may_stay == 0
        && copies == parts.count_ones()
}

/// Numbers the packs that are there anew, so that there is room for more.
fn compact(state: &mut State) {
    let mut compacted = State { made: 0, present: 0, rows: 0, forms: [0; PACKS], ..*state };
    compacted.condemned = [0; state::CONDEMNED];
    for pack in (0..PACKS).filter(|pack| state.present & 1 << pack != 0) {
        let bit = compacted.make_pack(state.forms[pack]);
        if state.rows & 1 << pack != 0 {
            compacted.rows |= bit;
        }
        for (object, packs) in state.condemned.iter().enumerate() {
            if packs & 1 << pack != 0 {
                compacted.condemned[object] |= bit;
            }
        }
    }
    for object in 0..state::CONDEMNED {
        // One whose packs are all gone is still there, and has to go.
        if state.condemned[object] != 0 && compacted.condemned[object] == 0 {
            compacted.condemned[object] = 1 << (PACKS - 1);
        }
    }
    *state = compacted;
}
