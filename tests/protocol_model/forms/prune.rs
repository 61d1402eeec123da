//! The steps of a prune: the second half of earlier ones, then the first half of its own.

use crate::state::Session;

use super::mark::{Mark, Seen, mark};
use super::rules::Setup;
use super::state::{
    BASE, CONDEMNED, Forms, LINK, Packs, Parts, Prune, PruneAt, State, delta, plain,
};
use super::step::{Actor, Next};
use super::writer::FIRST_PAGE;

/// Adds everything that prune `p`, whose condemned object is `own`, may do next.
pub fn steps(setup: &Setup, state: &State, p: usize, own: usize, next: &mut Next) {
    let at = state.prunes[p].at;
    match at {
        PruneAt::OpenSession | PruneAt::ListCondemned => open(setup, state, p, next),
        PruneAt::ListPacks | PruneAt::ListPacksOn => list_packs(setup, state, p, next),
        PruneAt::ListSessions => list_sessions(setup, state, p, next),
        PruneAt::ListSnapshots | PruneAt::ListSnapshotsOn => list_snapshots(setup, state, p, next),
        PruneAt::Mark => decide(setup, state, p, next),
        PruneAt::WriteIndex | PruneAt::DeletePacks | PruneAt::DeleteCondemned => {
            sweep(state, p, next);
        }
        PruneAt::Upload | PruneAt::IndexNew | PruneAt::IndexLate => repack(setup, state, p, next),
        PruneAt::Condemn => condemn(setup, state, p, own, next),
        PruneAt::EndSession => {
            let mut state = *state;
            let goes_on = setup.again && !state.prunes[p].is_second;
            let at = if goes_on { PruneAt::OpenSession } else { PruneAt::Done };
            state.prunes[p] = Prune { at, is_second: goes_on, ..Prune::default() };
            next.add(Actor::Prune(p), "ends its session", 0, state);
        }
        PruneAt::Done => return,
    }
    let is_idle = at == PruneAt::OpenSession;
    if setup.crashes && !is_idle {
        let mut state = *state;
        stop(&mut state.prunes[p]);
        next.add(Actor::Prune(p), "crashes", 0, state);
    }
}

fn open(setup: &Setup, state: &State, p: usize, next: &mut Next) {
    let mut state = *state;
    let objects = state.condemned_objects();
    let prune = &mut state.prunes[p];
    if prune.at == PruneAt::OpenSession {
        if setup.rules.prunes_have_sessions {
            prune.session = Session::Listed;
        }
        prune.at = PruneAt::ListCondemned;
        next.add(Actor::Prune(p), "opens a session", 0, state);
        return;
    }
    prune.names = objects;
    prune.at = PruneAt::ListPacks;
    let packs = state.named_by(objects);
    next.add(Actor::Prune(p), "lists and names the condemned", packs, state);
}

fn list_packs(setup: &Setup, state: &State, p: usize, next: &mut Next) {
    let mut state = *state;
    let present = state.present;
    let prune = &mut state.prunes[p];
    let page = match (setup.pages, prune.at) {
        (false, _) => u8::MAX,
        (true, PruneAt::ListPacks) => FIRST_PAGE,
        (true, _) => !FIRST_PAGE,
    };
    let more = setup.pages && prune.at == PruneAt::ListPacks;
    prune.at = if more { PruneAt::ListPacksOn } else { PruneAt::ListSessions };
    prune.listed |= present & page;
    next.add(Actor::Prune(p), "lists packs", present & page, state);
}

fn list_sessions(setup: &Setup, state: &State, p: usize, next: &mut Next) {
    let mut state = *state;
    let prunes = state.prunes;
    let objects = state.condemned_objects();
    let mut held = false;
    let (mut young, mut named) = (0, u8::MAX);
    for writer in &state.writers {
        if writer.session == Session::Listed {
            young |= writer.younger;
            named &= writer.names;
        }
        held |= writer.staged && writer.session == Session::Removed;
    }
    for (other, prune) in prunes.iter().enumerate() {
        if prune.session == Session::Listed {
            young |= prune.younger;
            named &= if other == p { u8::MAX } else { prune.names };
        }
    }
    let prune = &mut state.prunes[p];
    let known = if setup.rules.only_known_condemned { prune.names } else { u8::MAX };
    prune.ripe = if held { 0 } else { objects & named & known };
    prune.old = prune.listed & !young;
    prune.at = PruneAt::ListSnapshots;
    let (ripe, at) = (prune.ripe, Actor::Prune(p));
    let packs = state.named_by(ripe);
    next.add(at, "lists sessions, none holds up the condemned", packs, state);
}

/// Snapshots are of three kinds here: the old ones, and those of writers. Each lies on a page.
fn list_snapshots(setup: &Setup, state: &State, p: usize, next: &mut Next) {
    let mut state = *state;
    let at = state.prunes[p].at;
    let pages = match (setup.pages, at) {
        (false, _) => [true, true],
        (true, PruneAt::ListSnapshots) => [true, false],
        (true, _) => [false, true],
    };
    let mut needs: Parts = 0;
    for (number, parts) in setup.world.old.iter().enumerate() {
        if state.old & 1 << number != 0 && pages[number] {
            needs |= parts;
        }
    }
    for (w, writer) in state.writers.iter().enumerate() {
        if writer.published && pages[w] {
            needs |= setup.world.wants;
        }
    }
    let more = setup.pages && at == PruneAt::ListSnapshots;
    let prune = &mut state.prunes[p];
    prune.needs |= needs;
    prune.at = if more { PruneAt::ListSnapshotsOn } else { PruneAt::Mark };
    next.add(Actor::Prune(p), "lists snapshots", 0, state);
}

/// Reads the index, and decides everything.
fn decide(setup: &Setup, state: &State, p: usize, next: &mut Next) {
    let mut state = *state;
    let rules = &setup.rules;
    let before = state.prunes[p];
    let condemned = state.condemned_packs();
    let seen = Seen {
        packs: state.rows & state.present,
        condemned,
        staying: !condemned & !before.old,
        needs: before.needs,
        takes_oldest: !rules.choices_agree && p == 1,
    };
    let Some(mark) = mark(&state, rules, &seen) else {
        state.prunes[p] = ending(&before);
        next.add(Actor::Prune(p), "gives up: something needed is nowhere", 0, state);
        return;
    };
    let known = state.named_by(before.names);
    let repack = repacked(setup, &state, &before, &mark, known);
    let forms = (0..8).filter(|pack| repack & 1 << pack != 0);
    let forms: Forms = forms.fold(0, |all, pack| all | mark.forms[pack]);
    let unneeded = before.old & state.present & !mark.packs & !known;
    let doomed = state.named_by(before.ripe) & before.listed & state.present & !mark.packs;
    let prune = &mut state.prunes[p];
    prune.needs = 0;
    prune.old = 0;
    prune.doomed = doomed;
    if !prune.is_second {
        prune.condemn = unneeded | repack & !known;
        prune.forms = forms;
    }
    prune.at = if doomed == 0 { PruneAt::DeleteCondemned } else { PruneAt::WriteIndex };
    settle(prune);
    next.add(Actor::Prune(p), "marks, will delete", doomed, state);
}

/// Packs that are stored elsewhere: what is needed of condemned ones, and of wasteful ones.
fn repacked(setup: &Setup, state: &State, prune: &Prune, mark: &Mark, known: Packs) -> Packs {
    let mut repack = if setup.rules.condemned_are_rescued { mark.packs & known } else { 0 };
    for pack in 0..state.forms.len() {
        let is_wasteful = state.forms[pack] & !mark.forms[pack] != 0;
        let may = setup.repacks && (mark.packs & prune.old & !known) & 1 << pack != 0;
        if may && is_wasteful {
            repack |= 1 << pack;
        }
    }
    repack
}

fn sweep(state: &State, p: usize, next: &mut Next) {
    let mut state = *state;
    let doomed = state.prunes[p].doomed;
    match state.prunes[p].at {
        PruneAt::WriteIndex => {
            state.rows &= state.present & !doomed;
            state.prunes[p].at = PruneAt::DeletePacks;
            let rows = state.rows;
            next.add(Actor::Prune(p), "writes the index anew, with", rows, state);
        }
        PruneAt::DeletePacks => {
            let left = doomed & state.present;
            let pack = left & left.wrapping_neg();
            state.present &= !pack;
            if left & !pack == 0 {
                state.prunes[p].at = PruneAt::DeleteCondemned;
            }
            next.add(Actor::Prune(p), "deletes", pack, state);
        }
        _ => {
            let Prune { ripe, listed, .. } = state.prunes[p];
            let mut packs = 0;
            for object in 0..CONDEMNED {
                let named = state.condemned[object];
                if ripe & 1 << object != 0 && named & listed & !doomed == 0 {
                    state.condemned[object] = 0;
                    forget_name(&mut state, 1 << object);
                    packs |= named;
                }
            }
            let prune = &mut state.prunes[p];
            (prune.ripe, prune.doomed, prune.listed) = (0, 0, 0);
            prune.at = PruneAt::Upload;
            settle(prune);
            next.add(Actor::Prune(p), "deletes condemned objects that named", packs, state);
        }
    }
}

/// Skips what there is nothing to do in.
fn settle(prune: &mut Prune) {
    if prune.at == PruneAt::DeleteCondemned && prune.ripe == 0 {
        (prune.listed, prune.at) = (0, PruneAt::Upload);
    }
    if prune.at == PruneAt::Upload && prune.forms == 0 {
        prune.at = PruneAt::Condemn;
    }
    if prune.at == PruneAt::Condemn && prune.condemn == 0 {
        *prune = ending(prune);
    }
}

fn repack(setup: &Setup, state: &State, p: usize, next: &mut Next) {
    let mut state = *state;
    if state.prunes[p].at == PruneAt::Upload {
        let mut forms = state.prunes[p].forms;
        let is_base_there = state.readable(state.present) & BASE != 0 && forms & plain(BASE) == 0;
        if !setup.rules.repacked_without_bases && forms & plain(LINK) != 0 && is_base_there {
            forms = forms & !plain(LINK) | delta(LINK);
        }
        let pack = state.make_pack(forms);
        let prune = &mut state.prunes[p];
        (prune.forms, prune.made) = (0, pack);
        let early = setup.rules.repacked_before_condemned;
        prune.at = if early { PruneAt::IndexNew } else { PruneAt::Condemn };
        next.add(Actor::Prune(p), "stores again what is needed, as", pack, state);
        return;
    }
    let made = std::mem::take(&mut state.prunes[p].made);
    state.rows |= made;
    let prune = &mut state.prunes[p];
    let late = prune.at == PruneAt::IndexLate;
    prune.at = PruneAt::Condemn;
    if late {
        *prune = ending(prune);
    }
    settle(prune);
    next.add(Actor::Prune(p), "writes the index object of", made, state);
}

fn condemn(setup: &Setup, state: &State, p: usize, own: usize, next: &mut Next) {
    let mut state = *state;
    let Prune { condemn, made, session, .. } = state.prunes[p];
    if setup.rules.condemning_is_fenced && session == Session::Removed {
        stop(&mut state.prunes[p]);
        next.add(Actor::Prune(p), "fails: it was expired", 0, state);
        return;
    }
    state.condemned[own] = condemn;
    let prune = &mut state.prunes[p];
    prune.condemn = 0;
    if made == 0 {
        *prune = ending(prune);
    } else {
        prune.at = PruneAt::IndexLate;
    }
    next.add(Actor::Prune(p), "condemns", condemn, state);
}

/// Adds what others may do to the session of prune `p`.
pub fn environment(setup: &Setup, state: &State, p: usize, next: &mut Next) {
    let prune = &state.prunes[p];
    let asleep = prune.at == PruneAt::Done || setup.sleeping_prunes;
    if asleep && prune.session == Session::Listed {
        let mut state = *state;
        let prune = &mut state.prunes[p];
        prune.session = if prune.at == PruneAt::Done { Session::None } else { Session::Removed };
        prune.younger = 0;
        if prune.at == PruneAt::Done {
            prune.names = 0;
        }
        next.add(Actor::ExpiryOfPrune(p), "the session is removed", 0, state);
    }
}

/// Adds the forgetting of snapshots that were there from the start.
pub fn forget_old(state: &State, next: &mut Next) {
    for number in 0..2 {
        if state.old & 1 << number != 0 {
            let mut state = *state;
            state.old &= !(1 << number);
            let what = ["forgotten: the first old snapshot", "forgotten: the second old snapshot"];
            next.add(Actor::Forget, what[number], 0, state);
        }
    }
}

fn forget_name(state: &mut State, object: u8) {
    for writer in &mut state.writers {
        writer.names &= !object;
    }
    for prune in &mut state.prunes {
        prune.names &= !object;
        prune.ripe &= !object;
    }
}

/// What is left of one that has nothing to do but to end its session.
fn ending(prune: &Prune) -> Prune {
    let Prune { session, names, younger, is_second, .. } = *prune;
    Prune { at: PruneAt::EndSession, session, names, younger, is_second, ..Prune::default() }
}

/// Does nothing any more; its session stays until it is expired.
fn stop(prune: &mut Prune) {
    let at = PruneAt::Done;
    *prune = match prune.session {
        Session::Removed => Prune { at, ..Prune::default() },
        _ => Prune { at, ..ending(prune) },
    };
}
