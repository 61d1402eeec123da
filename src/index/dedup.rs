//! Answers "is this chunk already stored?" and takes note of the asker in one step.

use crate::id::{ChunkId, SessionId};

use super::store::{Index, IndexError};

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Nobody has it: whoever asked must store it.
    New,
    /// It is stored, or somebody who asked before is storing it.
    Known,
}

/// Deduplication of one session. Shared between its threads; memory is bounded.
#[derive(Debug)]
pub struct Dedup<'a> {
    index: &'a Index,
    session: SessionId,
}

impl<'a> Dedup<'a> {
    /// For `session`.
    pub fn new(index: &'a Index, session: SessionId) -> Result<Self, IndexError> {
        Ok(Self { index, session })
    }

    /// Claims one chunk.
    pub fn claim(&self, id: ChunkId) -> Result<Claim, IndexError> {
        let _ = (id, self.index, self.session);
        todo!()
    }

    /// These chunks are now in the index (pending or confirmed), so they need not be remembered here.
    pub fn recorded(&self, ids: &[ChunkId]) {
        let _ = ids;
        todo!()
    }
}
