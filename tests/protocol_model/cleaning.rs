//! Whether garbage gets freed: what remains when everybody has stopped, and prunes go on running.

use super::prune;
use super::rules::Setup;
use super::state::{CONDEMNED_AT_END, Prune, PruneAt, Session, Snapshot, State, WriterAt};
use super::step::Next;
use super::writer;

/// More steps than any cleaning takes.
const ENOUGH: usize = 200;

/// Whether nobody is in the middle of anything.
pub fn at_rest(state: &State) -> bool {
    let writers = state.writers.iter().all(|writer| {
        matches!(writer.at, WriterAt::OpenSession | WriterAt::Done | WriterAt::Crashed)
    });
    let prunes = state
        .prunes
        .iter()
        .all(|prune| matches!(prune.at, PruneAt::ListPacks | PruneAt::Choose | PruneAt::Done));
    writers && prunes
}

/// Lets time pass and one more prune run, again and again, until nothing changes; tells whether then
/// exactly the needed packs are left, and nothing is left of sessions.
pub fn comes_clean(setup: &Setup, state: &State) -> bool {
    let setup = Setup { crashes: false, late_objects: false, ..*setup };
    let mut state = *state;
    let mut next = Next::default();
    (state.late_packs, state.late_index, state.late_condemned) = (0, 0, 0);
    pass_time(&setup, &mut state, &mut next);
    for first in [PruneAt::Choose, PruneAt::Choose, PruneAt::Choose, PruneAt::ListPacks] {
        state.prunes[0] = Prune { at: first, ..Prune::default() };
        for _ in 0..ENOUGH {
            next.0.clear();
            prune::steps(&setup, &state, 0, CONDEMNED_AT_END, &mut next);
            // The last choice: a condemned object whose packs are spared may come before it.
            let Some((_, after)) = next.0.last() else { break };
            state = *after;
        }
    }
    let needed = state.needed();
    let held = state.writers.iter().any(|w| w.session.is_listed() || w.staged);
    state.packs == needed && state.rows() & state.packs == needed && !held
}

/// Listings become complete, dead sessions are removed.
fn pass_time(setup: &Setup, state: &mut State, next: &mut Next) {
    for w in 0..state.writers.len() {
        loop {
            let writer = &state.writers[w];
            let done = matches!(writer.session, Session::None | Session::Removed)
                && !writer.staged
                && writer.snapshot != Snapshot::Unlisted;
            next.0.clear();
            if !done {
                writer::environment(setup, state, w, next);
            }
            let keeps = |after: &State| {
                writer.snapshot == Snapshot::None || after.writers[w].snapshot != Snapshot::None
            };
            let Some((_, after)) = next.0.iter().find(|(_, after)| keeps(after)) else { break };
            *state = *after;
        }
    }
}
