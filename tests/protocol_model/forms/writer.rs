//! The steps of a writer that wants to store one part, and what happens to its session.

use crate::state::Session;

use super::rules::Setup;
use super::state::{BASE, Forms, PACKS, Packs, Parts, State, Writer, WriterAt, delta, plain};
use super::step::{Actor, Next};

/// Packs on the first page of a listing; the others are on the second. Names are random, so ages say nothing.
pub const FIRST_PAGE: Packs = 0b1010_0101;
/// Condemned objects on the first page.
const FIRST_PAGE_OF_CONDEMNED: u8 = 0b0_0101;

/// Adds everything that writer `w` may do next.
pub fn steps(setup: &Setup, state: &State, w: usize, next: &mut Next) {
    let writer = &state.writers[w];
    match writer.at {
        WriterAt::OpenSession | WriterAt::ListCondemned | WriterAt::ListCondemnedOn => {
            open(setup, state, w, next);
        }
        WriterAt::Look => look(setup, state, w, next),
        WriterAt::Upload | WriterAt::WriteIndex => store(state, w, next),
        WriterAt::Stage | WriterAt::Publish | WriterAt::EndSession => commit(state, w, next),
        WriterAt::Relist | WriterAt::RelistPacks => revalidate(setup, state, w, next),
        WriterAt::Done | WriterAt::Crashed => return,
    }
    if setup.crashes && writer.at != WriterAt::OpenSession {
        let mut state = *state;
        stop(&mut state.writers[w], WriterAt::Crashed);
        next.add(Actor::Writer(w), "crashes", 0, state);
    }
}

fn open(setup: &Setup, state: &State, w: usize, next: &mut Next) {
    let mut state = *state;
    let objects = state.condemned_objects();
    let writer = &mut state.writers[w];
    if writer.at == WriterAt::OpenSession {
        writer.session = Session::Listed;
        writer.at = WriterAt::ListCondemned;
        next.add(Actor::Writer(w), "opens a session", 0, state);
        return;
    }
    let page = match (setup.pages, writer.at) {
        (false, _) => u8::MAX,
        (true, WriterAt::ListCondemned) => FIRST_PAGE_OF_CONDEMNED,
        (true, _) => !FIRST_PAGE_OF_CONDEMNED,
    };
    let more = setup.pages && writer.at == WriterAt::ListCondemned;
    writer.at = if more { WriterAt::ListCondemnedOn } else { WriterAt::Look };
    if writer.session != Session::Removed {
        writer.names |= objects & page;
    }
    let avoids = state.named_by(objects & page);
    state.writers[w].avoids |= avoids;
    next.add(Actor::Writer(w), "lists and names the condemned, avoids", avoids, state);
}

/// Reads the index and lists packs; then deduplicates on any usable form, or uploads.
fn look(setup: &Setup, state: &State, w: usize, next: &mut Next) {
    let usable = state.rows & state.present & !state.writers[w].avoids;
    let wanted = setup.world.wants;
    let mut is_stored = false;
    for uses in chains(state, setup, usable, wanted) {
        is_stored = true;
        let mut state = *state;
        let writer = &mut state.writers[w];
        writer.uses = uses;
        writer.avoids = 0;
        writer.at = WriterAt::Stage;
        next.add(Actor::Writer(w), "deduplicates on", uses, state);
    }
    if is_stored {
        return;
    }
    let mut upload = |forms: Forms, bases: Packs, what| {
        let mut state = *state;
        let writer = &mut state.writers[w];
        writer.uses = bases;
        writer.avoids = 0;
        writer.forms = forms;
        writer.at = WriterAt::Upload;
        next.add(Actor::Writer(w), what, bases, state);
    };
    upload(plain(wanted), 0, "will upload its part plain");
    if wanted != BASE {
        for bases in chains(state, setup, usable, wanted >> 1) {
            upload(delta(wanted), bases, "will upload its part as a delta on");
        }
    }
}

/// The ways to read `part` from `usable` packs: which packs each takes.
fn chains(state: &State, setup: &Setup, usable: Packs, part: Parts) -> Vec<Packs> {
    let mut found = Vec::new();
    for pack in (0..PACKS).filter(|pack| usable & 1 << pack != 0) {
        let pack_bit = 1 << pack;
        if state.forms[pack] & plain(part) != 0 {
            found.push(pack_bit);
        }
        if part == BASE || state.forms[pack] & delta(part) == 0 {
            continue;
        }
        if setup.rules.dedup_needs_the_chain {
            for bases in chains(state, setup, usable, part >> 1) {
                found.push(pack_bit | bases);
            }
        } else {
            found.push(pack_bit);
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn store(state: &State, w: usize, next: &mut Next) {
    let mut state = *state;
    if state.writers[w].at == WriterAt::Upload {
        let pack = state.make_pack(state.writers[w].forms);
        let writer = &mut state.writers[w];
        writer.forms = 0;
        writer.uses |= pack;
        writer.avoids = pack;
        writer.at = WriterAt::WriteIndex;
        next.add(Actor::Writer(w), "uploads", pack, state);
    } else {
        let writer = &mut state.writers[w];
        let pack = std::mem::take(&mut writer.avoids);
        writer.at = WriterAt::Stage;
        state.rows |= pack;
        next.add(Actor::Writer(w), "writes the index object of", pack, state);
    }
}

fn commit(state: &State, w: usize, next: &mut Next) {
    let mut state = *state;
    let writer = &mut state.writers[w];
    let uses = writer.uses;
    match writer.at {
        WriterAt::Stage => {
            writer.staged = true;
            writer.at = WriterAt::Relist;
            next.add(Actor::Writer(w), "stages a snapshot that rests on", uses, state);
        }
        WriterAt::Publish if !writer.staged => {
            fail(&mut state, w);
            next.add(Actor::Writer(w), "fails: its staged snapshot is gone", 0, state);
        }
        WriterAt::Publish => {
            writer.staged = false;
            writer.published = true;
            writer.uses = 0;
            writer.at = WriterAt::EndSession;
            next.add(Actor::Writer(w), "publishes a snapshot that rests on", uses, state);
        }
        _ => {
            end_session(&mut writer.session, Session::None);
            stop(writer, WriterAt::Done);
            next.add(Actor::Writer(w), "ends its session", 0, state);
        }
    }
}

/// Lists the condemned again, then the packs. What is lost is read while it is there and stored plain.
fn revalidate(setup: &Setup, state: &State, w: usize, next: &mut Next) {
    let mut state = *state;
    let wanted = setup.world.wants;
    if state.writers[w].at == WriterAt::Relist {
        let (condemned, objects) = (state.condemned_packs(), state.condemned_objects());
        let writer = &mut state.writers[w];
        writer.avoids = condemned;
        writer.forms = objects;
        writer.at = WriterAt::RelistPacks;
        let found = writer.uses & condemned;
        next.add(Actor::Writer(w), "lists the condemned again, finds", found, state);
        return;
    }
    let usable = state.present & state.rows & !state.writers[w].avoids;
    let relies = match setup.rules.bases_are_revalidated {
        true => state.readable(usable) & wanted != 0,
        false => (0..PACKS).any(|pack| {
            let forms = plain(wanted) | delta(wanted);
            usable & 1 << pack != 0 && state.forms[pack] & forms != 0
        }),
    };
    let readable = state.readable(state.present) & wanted != 0;
    let writer = &mut state.writers[w];
    writer.avoids = 0;
    let objects = std::mem::take(&mut writer.forms);
    if relies && objects & !writer.names != 0 && writer.session == Session::Listed {
        // Nothing of them is used: the others may be told so. Then it is looked once more.
        writer.names |= objects;
        writer.at = WriterAt::Relist;
        next.add(Actor::Writer(w), "names what was condemned since, may use", usable, state);
    } else if relies {
        writer.at = WriterAt::Publish;
        next.add(Actor::Writer(w), "lists the packs again, may use", usable, state);
    } else if !readable {
        fail(&mut state, w);
        next.add(Actor::Writer(w), "fails: its part is nowhere", 0, state);
    } else if usize::from(state.made) + 2 >= PACKS {
        // As many packs as the model has; in truth the writer would go on.
        fail_quietly(&mut state, w);
        next.add(Actor::Writer(w), "is given up by the model", 0, state);
    } else {
        writer.staged = false;
        writer.uses = 0;
        writer.forms = plain(wanted);
        writer.at = WriterAt::Upload;
        next.add(Actor::Writer(w), "is going to store its part again", 0, state);
    }
}

/// Adds what others may do to the session and the snapshot of writer `w`.
pub fn environment(setup: &Setup, state: &State, w: usize, next: &mut Next) {
    let writer = &state.writers[w];
    let stopped = matches!(writer.at, WriterAt::Done | WriterAt::Crashed);
    if writer.published && stopped {
        let mut state = *state;
        state.writers[w].published = false;
        next.add(Actor::Forget, "forgotten: the new snapshot", 0, state);
    }
    let asleep = writer.at == WriterAt::Crashed || setup.sleepers;
    if asleep && writer.session == Session::Listed {
        let mut state = *state;
        end_session(&mut state.writers[w].session, Session::Removed);
        state.writers[w].names = 0;
        state.writers[w].younger = 0;
        next.add(Actor::ExpiryOfWriter(w), "the session is removed", 0, state);
    }
    if writer.staged && writer.session == Session::Removed {
        let mut state = *state;
        state.writers[w].staged = false;
        next.add(Actor::ExpiryOfWriter(w), "the staged snapshot is removed", 0, state);
    }
}

fn fail(state: &mut State, w: usize) {
    state.starved |= state.writers[w].session != Session::Removed;
    fail_quietly(state, w);
}

fn fail_quietly(state: &mut State, w: usize) {
    let writer = &mut state.writers[w];
    writer.staged = false;
    end_session(&mut writer.session, Session::None);
    stop(writer, WriterAt::Done);
}

fn end_session(session: &mut Session, how: Session) {
    *session = how;
}

/// Clears what a writer that does nothing any more will not look at.
fn stop(writer: &mut Writer, at: WriterAt) {
    let Writer { session, staged, published, names, younger, .. } = *writer;
    *writer = Writer { at, session, staged, published, ..Writer::default() };
    if session != Session::None {
        writer.names = names;
        writer.younger = younger;
    }
}
