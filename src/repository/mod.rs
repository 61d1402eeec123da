//! The repository: everything under one location, sealed by one set of keys.
//!
//! [`Repository::init`] makes one, [`Repository::open`] opens one. Writing goes through a
//! [`Session`] and [`Repository::ingest`]; reading through a [`Fetcher`]. The order at the store is
//! always packs, then index objects, then the snapshot: whatever dies in between leaves packs
//! nobody names, never a snapshot that lacks something.

mod bases;
mod commit;
mod config;
mod elsewhere;
mod error;
mod fallback;
mod fetch;
mod ingest;
mod keys;
mod objects;
mod open;
mod opened;
mod recorder;
mod rescue;
mod session;
mod sessions;
mod stream;
mod sync;
mod verify;

pub use bases::DeltaOptions;
pub use commit::Commit;
pub use config::{CHUNK_LEN_BOUNDS, PACK_LEN_BOUNDS, RepositoryConfig};
pub use error::RepositoryError;
pub use fallback::OpenCopies;
pub use fetch::Fetcher;
pub use ingest::{Grouping, Ingest, IngestOptions, IngestStats};
pub use keys::KeySlot;
pub use objects::{Listed, list_ids};
pub use open::{Environment, FoundRepository, InitOptions, Repository};
pub use opened::ChunkBytes;
pub use session::Session;
pub use sessions::SeenSession;
pub use stream::{
    ChunkWalk, DirectoryBuilder, DirectoryReader, StreamBuilder, StreamBytes, read_directory,
};
pub use sync::Refresh;
pub use verify::{Content, is_rightly_named};
