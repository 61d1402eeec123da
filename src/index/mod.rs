//! The index: a local SQLite database of which chunk is where. It is a cache: everything in it can
//! be rebuilt from the store's index objects, or from the packs themselves.
//!
//! Rules it keeps:
//!
//! * Rows of an index object that is no longer listed are dropped before anything is decided by them.
//! * A pack's rows count for deduplication only while the pack is listed and not condemned.
//! * Rows of a pack whose index object is not stored yet are *pending*: they serve only the session that made them.
//! * The *loss generation* grows whenever something that was usable no longer is; state remembered
//!   under the same generation needs no second look.

mod change;
mod db;
mod dedup;
mod filter;
mod find;
mod holdings;
mod object;
mod references;
mod root_lock;
mod row_set;
mod rows;
mod schema;
mod state;
mod state_codec;
mod state_stream;
mod store;
mod suspects;
#[cfg(test)]
mod tests;

pub use dedup::{Claim, Dedup};
pub(crate) use find::MAX_CHAIN;
pub use holdings::{CopyStamp, Holding, Holdings};
pub use object::{IndexObject, IndexedPack};
pub use references::{Recalled, Referenced, References, ShortId, TreeChunk, TreeRole};
pub use root_lock::RootLock;
pub use row_set::RowSet;
pub use state::FileState;
pub use state_stream::{StateReader, StateWriter};
pub use store::{Index, IndexCounts, IndexError, Opened, PackRow, Place};
