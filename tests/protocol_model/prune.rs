//! The steps of a prune.

use super::rules::Setup;
use super::state::{
    CONDEMNED, Condemned, OLD, Packs, Prune, PruneAt, Session, State, WRITERS, merged_bit,
};
use super::step::{Actor, Next};

/// Adds everything that prune `p`, whose condemned object is `own`, may do next.
pub fn steps(setup: &Setup, state: &State, p: usize, own: usize, next: &mut Next) {
    let at = state.prunes[p].at;
    match at {
        PruneAt::ListPacks | PruneAt::ListSessions | PruneAt::ListSnapshots => {
            first_half(setup, state, p, next);
        }
        PruneAt::WriteCondemned => condemn(setup, state, p, own, next),
        PruneAt::Choose => choose(setup, state, p, next),
        PruneAt::MarkAgain => mark_again(setup, state, p, next),
        PruneAt::ReadIndex | PruneAt::WriteIndex | PruneAt::DeleteIndex => {
            rewrite_index(setup, state, p, next);
        }
        PruneAt::DeletePacks => delete_pack(setup, state, p, next),
        PruneAt::DeleteCondemned => delete_condemned(setup, state, p, next),
        PruneAt::Done => return,
    }
    let at_rest = matches!(at, PruneAt::ListPacks | PruneAt::Choose);
    if setup.crashes && !at_rest {
        let mut state = *state;
        stop(&mut state, p);
        next.add(Actor::Prune(p), "crashes", 0, state);
    }
}

fn first_half(setup: &Setup, state: &State, p: usize, next: &mut Next) {
    let mut state = *state;
    let (packs, needed, writers) = (state.listed_packs(), state.needed(), state.writers);
    let placed = state.listed_rows() & packs;
    let prune = &mut state.prunes[p];
    match prune.at {
        PruneAt::ListPacks => {
            prune.packs = packs;
            prune.at = PruneAt::ListSessions;
            next.add(Actor::Prune(p), "lists packs", packs, state);
        }
        PruneAt::ListSessions => {
            for (w, writer) in writers.iter().enumerate() {
                if !writer.session.is_listed() {
                    continue;
                }
                if setup.rules.condemn_only_older && writer.session == Session::Listed {
                    prune.packs &= !writer.younger;
                }
                if !setup.rules.sessions_name_condemned {
                    prune.saw |= 1 << w;
                }
            }
            prune.at = PruneAt::ListSnapshots;
            let packs = prune.packs;
            next.add(Actor::Prune(p), "lists sessions, may condemn", packs, state);
        }
        _ => {
            if setup.late_objects && needed & !placed != 0 {
                stop(&mut state, p);
                next.add(
                    Actor::Prune(p),
                    "gives up: in no listed pack is what needs",
                    needed,
                    state,
                );
                return;
            }
            prune.packs &= !needed;
            let packs = prune.packs;
            prune.at = if packs == 0 { PruneAt::Choose } else { PruneAt::WriteCondemned };
            next.add(Actor::Prune(p), "lists snapshots, wants to condemn", packs, state);
        }
    }
}

fn condemn(setup: &Setup, state: &State, p: usize, own: usize, next: &mut Next) {
    let mut state = *state;
    state.late_condemned |= u8::from(setup.late_objects) << own;
    let prune = state.prunes[p];
    state.condemned[own] = Condemned { packs: prune.packs, saw: prune.saw };
    state.prunes[p] = Prune { at: PruneAt::Choose, ..Prune::default() };
    next.add(Actor::Prune(p), "condemns", prune.packs, state);
}

/// The grace time has passed, be it long or short: the rules must do without it.
fn choose(setup: &Setup, state: &State, p: usize, next: &mut Next) {
    for c in 0..CONDEMNED {
        let condemned = state.condemned[c];
        if state.listed_condemned() & 1 << c == 0 || held_up(setup, state, c) {
            continue;
        }
        let mut state = *state;
        state.prunes[p].target = c as u8;
        state.prunes[p].at = PruneAt::MarkAgain;
        let packs = condemned.packs;
        next.add(Actor::Prune(p), "lists sessions, none holds up the condemned", packs, state);
    }
}

/// Whether a listing of `sessions/` shows something that forbids the second half of `c`.
fn held_up(setup: &Setup, state: &State, c: usize) -> bool {
    for w in 0..WRITERS {
        let writer = &state.writers[w];
        let waits_for = if setup.rules.sessions_name_condemned {
            writer.names & 1 << c == 0
        } else {
            state.condemned[c].saw & 1 << w != 0
        };
        if writer.session.is_listed() && waits_for {
            return true;
        }
        let orphan = writer.staged && writer.session == Session::Removed;
        if orphan && setup.rules.staged_counts_as_session {
            return true;
        }
    }
    false
}

fn mark_again(setup: &Setup, state: &State, p: usize, next: &mut Next) {
    let mut state = *state;
    let target = state.prunes[p].target as usize;
    if setup.late_objects && state.needed() & !(state.listed_rows() & state.listed_packs()) != 0 {
        let needed = state.needed();
        stop(&mut state, p);
        next.add(Actor::Prune(p), "gives up: in no listed pack is what needs", needed, state);
        return;
    }
    let doomed = state.condemned[target].packs & !state.needed();
    let prune = &mut state.prunes[p];
    prune.packs = doomed;
    let last = setup.rules.delete_condemned_last && doomed != 0;
    prune.at = if last { PruneAt::ReadIndex } else { PruneAt::DeleteCondemned };
    next.add(Actor::Prune(p), "marks again, will delete", doomed, state);
}

fn rewrite_index(setup: &Setup, state: &State, p: usize, next: &mut Next) {
    let mut state = *state;
    let prune = state.prunes[p];
    match prune.at {
        PruneAt::ReadIndex => {
            state.prunes[p].read = state.index_objects() & !state.late_index;
            // Whether a pack is there is asked by its name where a listing does not show it. Rows whose packs are gone are dropped, by a listing taken after the reading: one taken
            // before would miss packs that were uploaded and indexed in between.
            let rows = state.listed_rows() & state.packs & !prune.packs;
            state.prunes[p].rows = rows;
            state.prunes[p].at = PruneAt::WriteIndex;
            next.add(
                Actor::Prune(p),
                "reads the index, lists packs, keeps the rows of",
                rows,
                state,
            );
        }
        PruneAt::WriteIndex => {
            state.merged_index[p] = prune.rows;
            if setup.late_objects && prune.rows != 0 {
                state.late_index |= merged_bit(p);
            }
            // Only the cleaning at the end ever reads an index object in its own place.
            state.prunes[p].read &= !merged_bit(p);
            state.prunes[p].rows = 0;
            state.prunes[p].at = PruneAt::DeleteIndex;
            next.add(Actor::Prune(p), "writes one index object with", prune.rows, state);
        }
        // It deletes nothing before what it wrote is listed.
        _ if state.late_index & merged_bit(p) != 0 => {}
        _ => {
            state.plain_index &= !prune.read;
            for other in 0..state.merged_index.len() {
                if prune.read & merged_bit(other) != 0 {
                    state.merged_index[other] = 0;
                }
            }
            state.late_index &= !prune.read;
            state.prunes[p].read = 0;
            state.prunes[p].at = PruneAt::DeletePacks;
            next.add(Actor::Prune(p), "deletes the index objects it read", 0, state);
        }
    }
}

fn delete_pack(setup: &Setup, state: &State, p: usize, next: &mut Next) {
    let mut state = *state;
    let left = state.prunes[p].packs;
    let pack = left & left.wrapping_neg();
    state.packs &= !pack;
    state.late_packs &= !pack;
    state.prunes[p].packs = left & !pack;
    if state.prunes[p].packs == 0 {
        if setup.rules.delete_condemned_last {
            state.prunes[p].at = PruneAt::DeleteCondemned;
        } else {
            stop(&mut state, p);
        }
    }
    next.add(Actor::Prune(p), "deletes", pack, state);
}

fn delete_condemned(setup: &Setup, state: &State, p: usize, next: &mut Next) {
    let mut state = *state;
    let target = state.prunes[p].target as usize;
    let early = !setup.rules.delete_condemned_last && state.prunes[p].packs != 0;
    let left: Packs = state.condemned[target].packs & state.packs;
    if setup.rules.spared_stay_condemned && !early && left != 0 {
        stop(&mut state, p);
        next.add(Actor::Prune(p), "leaves the condemned object: it spares", left, state);
        return;
    }
    let packs = std::mem::take(&mut state.condemned[target]).packs;
    state.late_condemned &= !(1 << target);
    for writer in &mut state.writers {
        writer.names &= !(1 << target);
    }
    if early {
        state.prunes[p].at = PruneAt::ReadIndex;
    } else {
        stop(&mut state, p);
    }
    next.add(Actor::Prune(p), "deletes the condemned object that named", packs, state);
}

/// Adds the packs, index objects and condemned objects that listings come to show.
pub fn listings(state: &State, next: &mut Next) {
    let bits = |set: u8| (0..8).map(|bit| 1 << bit).filter(move |bit| set & bit != 0);
    for pack in bits(state.late_packs) {
        let state = State { late_packs: state.late_packs & !pack, ..*state };
        next.add(Actor::Listings, "the pack", pack, state);
    }
    for object in bits(state.late_index) {
        let state = State { late_index: state.late_index & !object, ..*state };
        next.add(Actor::Listings, "an index object", 0, state);
    }
    for object in bits(state.late_condemned) {
        let state = State { late_condemned: state.late_condemned & !object, ..*state };
        next.add(Actor::Listings, "a condemned object", 0, state);
    }
}

/// Adds the forgetting of the snapshot that was there from the start.
pub fn forget_old(state: &State, next: &mut Next) {
    if state.old_snapshot {
        let mut state = *state;
        state.old_snapshot = false;
        next.add(Actor::Forget, "forgotten: the old snapshot, which needs", OLD, state);
    }
}

fn stop(state: &mut State, p: usize) {
    state.prunes[p] = Prune { at: PruneAt::Done, ..Prune::default() };
}
