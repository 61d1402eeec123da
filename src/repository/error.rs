//! What can go wrong with a repository, with the object and the place named.

use crate::crypto::envelope::EnvelopeError;
use crate::event::counted;
use crate::id::{ChunkId, SegmentId};
use crate::index::IndexError;
use crate::pack::PackError;
use crate::store::{Location, ObjectName, StoreError, StoreErrorKind};

/// A failed operation on a repository.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// The store failed; its message names verb, object and place.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The local index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Nothing (of ours) is there.
    #[error("there is no repository at {location}: {found}")]
    NoRepository {
        /// Where.
        location: Location,
        /// What is there instead.
        found: String,
    },
    /// A restic repository is there.
    #[error("{location} holds a restic repository, which mrs-backup does not write to")]
    Restic {
        /// Where.
        location: Location,
    },
    /// Something is there already.
    #[error("cannot make a repository at {location}: {found}")]
    NotEmpty {
        /// Where.
        location: Location,
        /// What is there.
        found: String,
    },
    /// Made by a version we do not know.
    #[error(
        "the repository at {location} has format version {version}; this program reads version 1"
    )]
    UnknownVersion {
        /// Where.
        location: Location,
        /// Its version.
        version: u32,
    },
    /// No slot opens.
    #[error("wrong {credential} for the repository at {location} (tried {})", counted(*slots, "key slot"))]
    WrongPassword {
        /// Where.
        location: Location,
        /// `password` or `key file`.
        credential: &'static str,
        /// How many were tried.
        slots: usize,
    },
    /// All slots are for the other kind of credential.
    #[error("the repository at {location} has no key slot for a {credential}")]
    OtherCredential {
        /// Where.
        location: Location,
        /// What was given: `password` or `key file`.
        credential: &'static str,
    },
    /// There is no slot that could be tried.
    #[error("the repository at {location} has no usable key slot: {reason}")]
    NoKeySlot {
        /// Where.
        location: Location,
        /// Why not.
        reason: String,
    },
    /// Our slot is older than what is there: removing the others could be the end of it.
    #[error(
        "{object} at {location} is sealed with newer keys than this password or key file gives"
    )]
    NewerKeys {
        /// Which.
        object: ObjectName,
        /// Where.
        location: Location,
    },
    /// Another repository than the one expected.
    #[error("{location} holds repository {found}, but {expected} was expected")]
    OtherRepository {
        /// Where.
        location: Location,
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
    /// An object is damaged.
    #[error("{object} at {location} is damaged: {reason}")]
    Damaged {
        /// Which.
        object: ObjectName,
        /// Where.
        location: Location,
        /// How it shows.
        reason: String,
    },
    /// A chunk is in no pack we know.
    #[error("chunk {} is in no pack of {location}", .chunk.short())]
    MissingChunk {
        /// Which.
        chunk: ChunkId,
        /// Where it was looked for.
        location: Location,
    },
    /// A chunk is known, but none of its places can be read.
    #[error("chunk {} cannot be read: {reason}", .chunk.short())]
    UnreadableChunk {
        /// Which.
        chunk: ChunkId,
        /// What happened at each place.
        reason: String,
    },
    /// A segment others were compressed against cannot be read.
    #[error("segment {} cannot be read: {reason}", .segment.short())]
    UnreadableSegment {
        /// Which.
        segment: SegmentId,
        /// What happened at each place.
        reason: String,
    },
    /// A directory or list holds what it must not.
    #[error("a directory in the repository at {location} is damaged: {reason}")]
    DamagedTree {
        /// Where.
        location: Location,
        /// How it shows.
        reason: String,
    },
    /// Sealing or compressing failed.
    #[error("cannot seal data: {0}")]
    Seal(#[from] PackError),
    /// Sealing an object failed.
    #[error("cannot seal an object: {0}")]
    Envelope(#[from] EnvelopeError),
    /// A key slot cannot be written.
    #[error("cannot make a key slot: {0}")]
    Slot(#[from] crate::crypto::slot::SlotError),
    /// Our session was removed by a prune that took us for dead.
    #[error("this run was away for so long that a prune took it for dead; nothing was committed")]
    SessionExpired,
    /// Chunks this snapshot needs went away while it was made.
    #[error("pruned while this snapshot, which needs them, was made: {} ({} among them)", counted(*count, "chunk"), .example.short())]
    ChunksLost {
        /// How many.
        count: usize,
        /// One of them.
        example: ChunkId,
    },
    /// Nobody can tell what the snapshots need, so that nothing may be deleted.
    #[error("nothing at {location} can be pruned: {reason}")]
    Unprunable {
        /// Where.
        location: Location,
        /// Why not.
        reason: String,
    },
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Interrupted,
    /// A thread of ours died: a bug.
    #[error("an internal error stopped the work: {0}")]
    Internal(&'static str),
}

impl RepositoryError {
    /// Whether an object (or chunk) is damaged or missing, as opposed to the place being out of reach.
    pub fn is_damage(&self) -> bool {
        match self {
            // An object that is longer than any of its kind, or ends before it should.
            Self::Store(error) => {
                error.object.is_some()
                    && matches!(error.kind, StoreErrorKind::TooLong | StoreErrorKind::TooShort)
            }
            Self::Damaged { .. }
            | Self::MissingChunk { .. }
            | Self::UnreadableChunk { .. }
            | Self::UnreadableSegment { .. }
            | Self::DamagedTree { .. } => true,
            _ => false,
        }
    }
    /// Whether it is about one object, so that others may still be readable: damage, or a failed
    /// read that may succeed later.
    pub fn concerns_object(&self) -> bool {
        match self {
            Self::Store(error) => error.object.is_some(),
            other => other.is_damage(),
        }
    }
}
