//! Answers "is this chunk already stored?" and takes note of the asker in one step.

use std::collections::HashSet;
use std::sync::Mutex;

use crate::chunker::Features;
use crate::id::{ChunkId, SessionId};

use super::db::lock;
use super::filter::Filter;
use super::rows::{each_key, key_count, lookup_key};
use super::store::{Index, IndexError};

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Nobody has it: whoever asked must store it.
    New,
    /// It is stored, or somebody who asked before is storing it.
    Known,
}

/// Deduplication of one session. Shared between its threads; memory is bounded. What other processes
/// load into the index meanwhile may be claimed as new.
#[derive(Debug)]
pub struct Dedup<'a> {
    index: &'a Index,
    session: SessionId,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Claimed as new, and not in the index yet.
    in_flight: HashSet<ChunkId>,
    /// Everything that may be in the index. Made at the first claim.
    filter: Option<Filter>,
    /// How often claims went from `in_flight` into the index.
    handed_over: u64,
}

impl<'a> Dedup<'a> {
    /// For `session`.
    pub fn new(index: &'a Index, session: SessionId) -> Result<Self, IndexError> {
        Ok(Self { index, session, state: Mutex::default() })
    }

    /// Claims one chunk. However many ask at once, one is told that it is new.
    pub fn claim(&self, id: ChunkId) -> Result<Claim, IndexError> {
        let mut state = lock(&self.state);
        loop {
            if state.in_flight.contains(&id) {
                return Ok(Claim::Known);
            }
            let filter = match &state.filter {
                Some(filter) => filter,
                None => state.filter.insert(self.build_filter()?),
            };
            if !filter.may_contain(lookup_key(id.as_bytes())) {
                break;
            }
            // Others claim while the database is asked. Its answer is too old if claims were handed over
            // meanwhile: this one may have been taken, stored and recorded after the question.
            let asked_at = state.handed_over;
            drop(state);
            let is_usable = self.index.is_usable(&id, self.session)?;
            if is_usable {
                return Ok(Claim::Known);
            }
            state = lock(&self.state);
            if state.handed_over == asked_at {
                break;
            }
        }
        Ok(if state.in_flight.insert(id) { Claim::New } else { Claim::Known })
    }

    /// Whether something like this may be stored. Never true before the first claim, nor for what came
    /// into the index after it.
    pub fn may_be_similar(&self, features: Features) -> bool {
        let state = lock(&self.state);
        let Some(filter) = &state.filter else { return false };
        features.keys().into_iter().any(|key| filter.may_contain(key))
    }

    /// These chunks are now in the index (pending or confirmed), so they need not be remembered here.
    /// Call it after [`Index::add_pending`], never before.
    pub fn recorded(&self, ids: &[ChunkId]) {
        let mut state = lock(&self.state);
        state.handed_over = state.handed_over.wrapping_add(1);
        for id in ids {
            state.in_flight.remove(id);
            // Without a filter nothing was claimed; it will be made from the index, which has them.
            if let Some(filter) = &mut state.filter {
                filter.insert(lookup_key(id.as_bytes()));
            }
        }
    }

    fn build_filter(&self) -> Result<Filter, IndexError> {
        self.index.read_together("reading all chunk ids", |connection| {
            let mut filter = Filter::with_room(key_count(connection)?);
            each_key(connection, |key| filter.insert(key))?;
            Ok(filter)
        })
    }
}
