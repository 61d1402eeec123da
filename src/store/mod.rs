//! Where objects lie. A [`Store`] keeps whole objects under fixed names and knows nothing of their
//! content.
//!
//! What the engine demands of every store (the contract suite in [`contract`] checks it):
//!
//! * `put` is atomic: an object is listed complete or not at all, whatever is cut or killed.
//! * An object is never overwritten: its name is the SHA-256 of its bytes (config, sessions aside).
//! * After [`Store::sync`] returned, everything put before survives a power cut.
//! * `publish` moves a staged object to its final name in one step, and fails with
//!   [`StoreErrorKind::NotFound`] when somebody removed the staged object first.
//! * Deleting what is not there is no error.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;

mod at_once;
mod background;
mod bucket;
mod claims;
pub mod contract;
mod error;
mod faulty;
mod files;
mod ftp;
mod http;
mod local;
mod location;
mod memory;
mod name;
mod open;
mod place;
mod rate;
mod rclone;
mod recording;
mod retry;
mod sftp;
mod throttle;
mod webdav;

pub use at_once::{each, list_kinds};
pub use error::{StoreError, StoreErrorKind, Verb};
pub use faulty::{Fault, Faulty};
pub(crate) use http::install_tls;
pub use local::LocalStore;
pub use location::Location;
pub use memory::MemoryStore;
pub use name::{ObjectKind, ObjectName};
pub use open::{StoreOptions, Watch, open_store};
pub use place::{
    Place, PlaceError, PlaceOptions, Written, credential_path, credentials_of, without_secrets,
};
pub use rate::{Rate, RateError};
pub use recording::{Call, Recording};
pub use retry::Retrying;
pub use throttle::limit_process;

/// The first bytes of every config object: by them a repository is known without any key.
pub const CONFIG_MAGIC: [u8; 8] = *b"MRSBCONF";

/// One object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its name.
    pub name: ObjectName,
    /// Its length in bytes.
    pub size: u64,
    /// When the store says it was written.
    pub modified: Option<Timestamp>,
}

/// Which part of an object is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// All of it; more than `limit` bytes is an error, found before anything is allocated.
    Whole {
        /// Most bytes that are acceptable.
        limit: u64,
    },
    /// Exactly `len` bytes from `offset`; fewer is [`StoreErrorKind::TooShort`].
    Exact {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
    },
}

/// What lies at a location, found without any key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Survey {
    /// Nothing there.
    Missing,
    /// A place with nothing in it.
    Empty,
    /// A config object of ours lies there.
    Repository,
    /// A restic repository (its own `config`, `data/`, `keys/` and so on).
    Restic,
    /// Objects of ours without a `config`.
    Headless,
    /// Something else; a few of the names found.
    Foreign(Vec<String>),
    /// Not a place that can hold objects (a plain file, say).
    Unusable(String),
}

/// Keeps whole objects.
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Where it is, fit to print: never a password.
    fn location(&self) -> &Location;

    /// How many calls are worth making at once.
    fn connections(&self) -> NonZeroUsize;

    /// How many objects are worth writing at once: a disk is soon busy, a line is not.
    fn uploads(&self) -> NonZeroUsize {
        self.connections().min(NonZeroUsize::MIN.saturating_add(1))
    }

    /// How many calls that carry little are worth making at once. A call waits for a trip over the line whatever it
    /// carries, so these may be more than those that fill it.
    fn small_calls(&self) -> NonZeroUsize {
        self.connections()
    }

    /// Whether each read is a trip over a line, so that reading in order to write less does not pay.
    fn is_far(&self) -> bool {
        false
    }

    /// Makes the place ready for objects. An existing place is left as it is.
    fn create(&self) -> Result<(), StoreError>;

    /// What lies there.
    fn survey(&self) -> Result<Survey, StoreError>;

    /// Writes one object made of `parts`, one after the other.
    fn put(&self, name: &ObjectName, parts: &[&[u8]]) -> Result<(), StoreError>;

    /// Reads (a part of) one object.
    fn get(&self, name: &ObjectName, range: ByteRange) -> Result<Vec<u8>, StoreError>;

    /// Length of one object in bytes, [`StoreErrorKind::NotFound`] if it is not there.
    fn size(&self, name: &ObjectName) -> Result<u64, StoreError>;

    /// Visits every object of one kind, in no order. Files with other names are passed over.
    fn list(
        &self,
        kind: ObjectKind,
        visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// Removes one object; one that is not there counts as removed.
    fn delete(&self, name: &ObjectName) -> Result<(), StoreError>;

    /// Moves a staged object to its final name in one step.
    fn publish(&self, staged: &ObjectName, target: &ObjectName) -> Result<(), StoreError>;

    /// Makes everything put or published so far durable.
    fn sync(&self) -> Result<(), StoreError>;

    /// Removes what killed writers left and nobody lists: unfinished objects not written to since
    /// `older_than` ago. Returns how many there were. A store where an unfinished object leaves
    /// nothing behind has nothing to do.
    ///
    /// `older_than` must exceed the time any living writer (of any host) takes for one object, and
    /// the difference between their clocks.
    fn remove_stale_temporaries(
        &self,
        older_than: Duration,
        clock: &dyn Clock,
    ) -> Result<u64, StoreError> {
        let _ = (older_than, clock);
        Ok(0)
    }

    /// Whether what was put here cannot be removed again (an append-only copy). Where nobody can say,
    /// it is tried with something that is no object.
    fn refuses_deletes(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// In a few words, what makes publishing a snapshot safe here. Known once something was published.
    fn publishing(&self) -> &'static str {
        "by one rename that fails if the staged snapshot is gone"
    }

    /// Removes what is left of an empty place, directories that is. Objects are never touched.
    fn remove_empty_place(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The directory of this machine that it is, if it is one.
    fn directory(&self) -> Option<&Path> {
        None
    }

    /// Bytes that can still be written, if the store can tell.
    fn free_bytes(&self) -> Option<u64> {
        None
    }
}

/// All that an object has which is none, but keeps a name from being used: see [`bucket`].
const BAR: &[u8] = b"barred";

/// Whether an object of this name and size may be one that only bars the name; its bytes tell. What is sealed is longer.
fn may_be_bar(name: &ObjectName, size: u64) -> bool {
    let is_published = matches!(name, ObjectName::Snapshot(_) | ObjectName::Condemned(_));
    is_published && size == BAR.len() as u64
}

/// Whether what was read under this name only bars it.
fn is_bar(name: &ObjectName, bytes: &[u8]) -> bool {
    may_be_bar(name, bytes.len() as u64) && bytes == BAR
}

/// All objects of one kind, as a list.
pub fn list_all(store: &dyn Store, kind: ObjectKind) -> Result<Vec<ObjectInfo>, StoreError> {
    let mut found = Vec::new();
    store.list(kind, &mut |info| {
        found.push(info);
        ControlFlow::Continue(())
    })?;
    Ok(found)
}
