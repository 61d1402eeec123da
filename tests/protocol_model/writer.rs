//! The steps of a writer, and what happens to its session while it works, sleeps or lies dead.

use super::rules::{Rules, Setup};
use super::state::{Fence, Session, Snapshot, State, WRITERS, Writer, WriterAt, new_pack};
use super::step::{Actor, Next};

/// Adds everything that writer `w` may do next.
pub fn steps(setup: &Setup, state: &State, w: usize, next: &mut Next) {
    let writer = &state.writers[w];
    match writer.at {
        WriterAt::OpenSession | WriterAt::SeeSession => open(setup, state, w, next),
        WriterAt::ListCondemned | WriterAt::ReadIndex | WriterAt::ListPacks => {
            look(setup, state, w, next);
        }
        WriterAt::Upload | WriterAt::WriteIndex => store(setup, state, w, next),
        WriterAt::RelistCondemned | WriterAt::RelistPacks | WriterAt::RelistPacksToReplace => {
            revalidate(setup, state, w, next);
        }
        WriterAt::Fence | WriterAt::Put | WriterAt::RemoveStaged => fenced(state, w, next),
        WriterAt::Stage | WriterAt::Publish | WriterAt::EndSession => commit(setup, state, w, next),
        WriterAt::Done | WriterAt::Crashed => return,
    }
    beat(state, w, next);
    if setup.crashes && writer.at != WriterAt::OpenSession {
        let mut state = *state;
        stop(&mut state.writers[w], WriterAt::Crashed);
        next.add(Actor::Writer(w), "crashes", 0, state);
    }
}

fn open(setup: &Setup, state: &State, w: usize, next: &mut Next) {
    let mut state = *state;
    let writer = &mut state.writers[w];
    if writer.at == WriterAt::OpenSession {
        writer.session = if setup.late_listings { Session::Unlisted } else { Session::Listed };
        writer.at = WriterAt::SeeSession;
        next.add(Actor::Writer(w), "opens a session", 0, state);
    } else if writer.session != Session::Unlisted || !setup.rules.session_seen_listed {
        writer.at = WriterAt::ListCondemned;
        next.add(Actor::Writer(w), "goes on with its session", 0, state);
    }
}

fn look(setup: &Setup, state: &State, w: usize, next: &mut Next) {
    let mut state = *state;
    let condemned = state.condemned_packs();
    let (rows, packs) = (state.listed_rows(), state.listed_packs());
    let named = state.listed_condemned();
    let writer = &mut state.writers[w];
    match writer.at {
        WriterAt::ListCondemned => {
            writer.avoids = condemned;
            writer.names = if writer.session == Session::Removed { 0 } else { named };
            writer.at = WriterAt::ReadIndex;
            next.add(Actor::Writer(w), "lists and names the condemned, avoids", condemned, state);
        }
        WriterAt::ReadIndex => {
            writer.rows = rows;
            writer.at = WriterAt::ListPacks;
            next.add(Actor::Writer(w), "reads the index, which has", rows, state);
        }
        _ => {
            let mut hits = writer.rows & !writer.avoids;
            if setup.rules.packs_listed_after_index {
                hits &= packs;
            }
            writer.rows = 0;
            writer.avoids = 0;
            decide(setup, &state, w, hits, next);
        }
    }
}

/// Deduplicates on one of `hits`; without any, the chunk must be uploaded.
fn decide(setup: &Setup, state: &State, w: usize, hits: u8, next: &mut Next) {
    let mut state = *state;
    if hits == 0 {
        state.writers[w].at = WriterAt::Upload;
        state.writers[w].uses = 0;
        next.add(Actor::Writer(w), "finds nothing to deduplicate on", 0, state);
        return;
    }
    let mut left = hits;
    while left != 0 {
        let hit = left & left.wrapping_neg();
        left &= !hit;
        state.writers[w].uses = hit;
        state.writers[w].at = after_storing(&setup.rules);
        next.add(Actor::Writer(w), "deduplicates on", hit, state);
    }
}

fn store(setup: &Setup, state: &State, w: usize, next: &mut Next) {
    let mut state = *state;
    let writer = &mut state.writers[w];
    if writer.at == WriterAt::WriteIndex {
        let pack = writer.uses;
        writer.at = after_storing(&setup.rules);
        state.plain_index |= pack;
        state.late_index |= if setup.late_objects { pack } else { 0 };
        next.add(Actor::Writer(w), "writes the index object of", pack, state);
        return;
    }
    let pack = if setup.rules.names_never_reused {
        new_pack(w, writer.uses != 0)
    } else {
        super::state::OLD
    };
    writer.uses = pack;
    writer.at = WriterAt::WriteIndex;
    state.packs |= pack;
    state.late_packs |= if setup.late_objects { pack } else { 0 };
    for other in 0..WRITERS {
        let other = &mut state.writers[other];
        if other.session != Session::None && other.session != Session::Removed {
            other.younger |= pack;
        }
    }
    next.add(Actor::Writer(w), "uploads", pack, state);
}

fn revalidate(setup: &Setup, state: &State, w: usize, next: &mut Next) {
    let mut state = *state;
    let condemned = state.condemned_packs();
    let packs = match setup.late_objects {
        // A pack counts as there only if the index is, too.
        true => state.listed_packs() & state.listed_rows(),
        false => state.packs,
    };
    let writer = &mut state.writers[w];
    let uses = writer.uses;
    if writer.at == WriterAt::RelistCondemned {
        if uses & condemned == 0 {
            writer.at = WriterAt::RelistPacks;
            next.add(Actor::Writer(w), "lists the condemned again, without", uses, state);
        } else {
            writer.at = WriterAt::RelistPacksToReplace;
            next.add(Actor::Writer(w), "lists the condemned again, finds", uses, state);
        }
        return;
    }
    if uses & packs == 0 {
        fail(&mut state, w);
        next.add(Actor::Writer(w), "fails: there is no more", uses, state);
    } else if writer.at == WriterAt::RelistPacks {
        writer.at = after_revalidating(&setup.rules);
        next.add(Actor::Writer(w), "lists the packs again, finds", uses, state);
    } else if uses == new_pack(w, true) {
        fail(&mut state, w);
        next.add(Actor::Writer(w), "fails: condemned again is", uses, state);
    } else {
        writer.staged = false;
        writer.at = WriterAt::Upload;
        next.add(Actor::Writer(w), "is going to replace", uses, state);
    }
}

fn commit(setup: &Setup, state: &State, w: usize, next: &mut Next) {
    let mut state = *state;
    let writer = &mut state.writers[w];
    let uses = writer.uses;
    match writer.at {
        WriterAt::Stage => {
            writer.staged = true;
            writer.fence = Fence::None;
            writer.at = after_staging(&setup.rules);
            next.add(Actor::Writer(w), "stages a snapshot that needs", uses, state);
        }
        WriterAt::Publish if setup.rules.fenced_rename && !writer.staged => {
            fail(&mut state, w);
            next.add(Actor::Writer(w), "fails: its staged snapshot is gone", 0, state);
        }
        WriterAt::Publish if setup.object_store => {
            writer.at = WriterAt::Fence;
            next.add(Actor::Writer(w), "reads what it staged, which needs", uses, state);
        }
        WriterAt::Publish => {
            writer.staged = false;
            writer.snapshot =
                if setup.late_listings { Snapshot::Unlisted } else { Snapshot::Listed };
            writer.at = WriterAt::EndSession;
            next.add(Actor::Writer(w), "publishes a snapshot that needs", uses, state);
        }
        _ if writer.snapshot == Snapshot::Listed || !setup.rules.snapshot_seen_listed => {
            end_session(writer, Session::None);
            stop(writer, WriterAt::Done);
            next.add(Actor::Writer(w), "ends its session", 0, state);
        }
        _ => {}
    }
}

/// Publishing where there is no rename.
fn fenced(state: &State, w: usize, next: &mut Next) {
    let mut state = *state;
    let writer = &mut state.writers[w];
    let uses = writer.uses;
    match (writer.at, writer.fence) {
        (WriterAt::Fence, Fence::Removed) => {
            fail(&mut state, w);
            next.add(Actor::Writer(w), "fails: the fence says that it was expired", 0, state);
        }
        (WriterAt::Fence, _) => {
            writer.fence = Fence::Published;
            writer.at = WriterAt::Put;
            next.add(Actor::Writer(w), "creates the fence, publishes", uses, state);
        }
        (WriterAt::Put, Fence::Barred) => {
            fail(&mut state, w);
            next.add(Actor::Writer(w), "fails: its snapshot's name is barred", 0, state);
        }
        (WriterAt::Put, _) => {
            writer.snapshot = Snapshot::Listed;
            writer.at = WriterAt::RemoveStaged;
            next.add(Actor::Writer(w), "puts a snapshot that needs", uses, state);
        }
        _ => {
            writer.staged = false;
            writer.fence = Fence::None;
            writer.at = WriterAt::EndSession;
            next.add(Actor::Writer(w), "removes what it staged", 0, state);
        }
    }
}

/// An hourly beat also names what has been condemned since, unless the writer uses it.
fn beat(state: &State, w: usize, next: &mut Next) {
    let writer = &state.writers[w];
    let named_before = writer.at as u8 > WriterAt::ListCondemned as u8;
    if !named_before || writer.session != Session::Listed {
        return;
    }
    let mut names = writer.names;
    let mut avoids = 0;
    let listed = state.listed_condemned();
    for (c, condemned) in state.condemned.iter().enumerate() {
        if listed & 1 << c != 0 && condemned.packs & writer.uses == 0 {
            names |= 1 << c;
            avoids |= condemned.packs;
        }
    }
    if names == writer.names {
        return;
    }
    let mut state = *state;
    let writer = &mut state.writers[w];
    writer.names = names;
    if matches!(writer.at, WriterAt::ReadIndex | WriterAt::ListPacks) {
        writer.avoids |= avoids;
    }
    next.add(Actor::Writer(w), "beats, also names the condemned", avoids, state);
}

/// Adds what others may do to the session and the snapshot of writer `w`.
pub fn environment(setup: &Setup, state: &State, w: usize, next: &mut Next) {
    let writer = &state.writers[w];
    if writer.session == Session::Unlisted {
        let mut state = *state;
        state.writers[w].session = Session::Listed;
        next.add(Actor::Listing(w), "session", 0, state);
    }
    let stopped = matches!(writer.at, WriterAt::Done | WriterAt::Crashed);
    let sleeps = matches!(writer.at, WriterAt::Put | WriterAt::RemoveStaged);
    match writer.snapshot {
        Snapshot::Listed if setup.forgets_early && sleeps => {
            let mut state = *state;
            state.writers[w].snapshot = Snapshot::None;
            let uses = state.writers[w].uses;
            next.add(Actor::Forget, "forgotten: the new snapshot that needs", uses, state);
        }
        Snapshot::Unlisted => {
            let mut state = *state;
            state.writers[w].snapshot = Snapshot::Listed;
            next.add(Actor::Listing(w), "snapshot", 0, state);
        }
        Snapshot::Listed if stopped => {
            let mut state = *state;
            state.writers[w].snapshot = Snapshot::None;
            let is_staged = state.writers[w].staged && setup.object_store;
            let uses = state.writers[w].uses;
            if !is_staged {
                state.writers[w].uses = 0;
            }
            next.add(Actor::Forget, "forgotten: the new snapshot that needs", uses, state);
        }
        _ => {}
    }
    expire(setup, state, w, next);
}

fn expire(setup: &Setup, state: &State, w: usize, next: &mut Next) {
    let writer = &state.writers[w];
    let asleep = writer.at == WriterAt::Crashed || setup.sleepers;
    // A snapshot is listed long before a session is old enough to expire.
    let may = setup.rules.sessions_expire && asleep && writer.snapshot != Snapshot::Unlisted;
    if may && writer.session == Session::Listed {
        let mut state = *state;
        state.writers[w].session = Session::Stale;
        next.add(Actor::Expiry(w), "no beat for too long", 0, state);
    }
    // The two removals come in any order: a writer may stage after its session's staged file was looked
    // for, so no order would help.
    if writer.session == Session::Stale {
        let mut state = *state;
        end_session(&mut state.writers[w], Session::Removed);
        next.add(Actor::Expiry(w), "the session is removed", 0, state);
    }
    if writer.staged && matches!(writer.session, Session::Stale | Session::Removed) {
        let mut state = *state;
        let uses = writer.uses;
        let of_it = &mut state.writers[w];
        if setup.object_store && of_it.fence == Fence::None {
            of_it.fence = Fence::Removed;
            next.add(Actor::Expiry(w), "the fence is created", 0, state);
            return;
        }
        if of_it.fence == Fence::Published && of_it.snapshot == Snapshot::None {
            if setup.rules.expiry_bars_the_snapshot {
                of_it.fence = Fence::Barred;
                next.add(Actor::Expiry(w), "the snapshot's name is barred", 0, state);
                return;
            }
            of_it.snapshot = Snapshot::Listed;
            next.add(Actor::Expiry(w), "the snapshot is put that needs", uses, state);
            return;
        }
        state.writers[w].staged = false;
        next.add(Actor::Expiry(w), "the staged snapshot is removed", 0, state);
    }
}

fn after_storing(rules: &Rules) -> WriterAt {
    if rules.fenced_rename && rules.stage_before_revalidating {
        WriterAt::Stage
    } else if rules.revalidate {
        WriterAt::RelistCondemned
    } else {
        after_revalidating(rules)
    }
}

fn after_staging(rules: &Rules) -> WriterAt {
    if rules.stage_before_revalidating && rules.revalidate {
        WriterAt::RelistCondemned
    } else {
        WriterAt::Publish
    }
}

fn after_revalidating(rules: &Rules) -> WriterAt {
    if rules.fenced_rename && !rules.stage_before_revalidating {
        WriterAt::Stage
    } else {
        WriterAt::Publish
    }
}

/// Gives up and tidies away. Whoever was expired has no right to succeed; anybody else has.
fn fail(state: &mut State, w: usize) {
    let writer = &mut state.writers[w];
    if !matches!(writer.session, Session::Stale | Session::Removed) {
        state.starved = true;
    }
    writer.staged = false;
    writer.fence = Fence::None;
    end_session(writer, Session::None);
    stop(writer, WriterAt::Done);
}

pub fn end_session(writer: &mut Writer, session: Session) {
    writer.session = session;
    writer.names = 0;
    writer.younger = 0;
}

/// Clears what a writer that does nothing any more will not look at.
fn stop(writer: &mut Writer, at: WriterAt) {
    writer.at = at;
    writer.rows = 0;
    writer.avoids = 0;
    // Whoever expires it may have to publish what is fenced so.
    let is_published = writer.staged && writer.fence == Fence::Published;
    if writer.snapshot == Snapshot::None && !is_published {
        writer.uses = 0;
    }
}
