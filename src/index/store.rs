//! The database.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::id::{ChunkId, KeyId, ObjectId, PackId, RepositoryId, SegmentId, SessionId, SnapshotId};
use crate::pack::{PackClass, SegmentEntry};

use super::object::{IndexObject, IndexedPack};

/// What went wrong with the local database.
#[derive(Debug, thiserror::Error)]
#[error("the local index {path} failed while {doing}: {reason}")]
pub struct IndexError {
    /// Its file.
    pub path: String,
    /// What was being done.
    pub doing: &'static str,
    /// In SQLite's words.
    pub reason: String,
}

/// How opening went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opened {
    /// The old file was unusable (garbage, or made by a newer version) and was moved here; the index starts empty.
    pub set_aside: Option<PathBuf>,
    /// It did not exist (or was set aside) and is empty.
    pub is_new: bool,
}

/// One place where a chunk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// In which pack.
    pub pack: PackId,
    /// Of which class.
    pub class: PackClass,
    /// In which segment; `entry.chunks` is empty here.
    pub entry: SegmentEntry,
    /// First byte of the chunk in the segment's raw bytes.
    pub chunk_offset: u32,
    /// Length of the chunk.
    pub chunk_len: u32,
    /// Whether the pack was in the last listing.
    pub is_present: bool,
    /// Whether a known condemned object names the pack.
    pub is_condemned: bool,
}

/// One pack the index knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackRow {
    /// Which.
    pub id: PackId,
    /// Of which class.
    pub class: PackClass,
    /// Length in bytes.
    pub size: u64,
    /// Epoch of its header.
    pub key: KeyId,
    /// Whether it was in the last listing.
    pub is_present: bool,
    /// Whether a known condemned object names it.
    pub is_condemned: bool,
    /// Whether its index object is not stored yet.
    pub is_pending: bool,
}

/// Numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexCounts {
    /// Packs.
    pub packs: u64,
    /// Segments.
    pub segments: u64,
    /// Chunks (places; a chunk stored twice counts twice).
    pub chunks: u64,
    /// Raw bytes of all segments.
    pub raw_bytes: u64,
    /// Bytes of all packs.
    pub pack_bytes: u64,
}

/// The local index of one repository. Shared between threads.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
}

impl Index {
    /// Opens (or makes) the database in `directory`, mode 0600. A file that is garbage, of another repository, or from a newer
    /// version is set aside, never deleted.
    pub fn open(directory: &Path, repository: RepositoryId) -> Result<(Self, Opened), IndexError> {
        let _ = (directory, repository);
        todo!()
    }

    /// One that lives in memory.
    pub fn in_memory(repository: RepositoryId) -> Result<Self, IndexError> {
        let _ = repository;
        todo!()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Index objects that are loaded.
    pub fn objects(&self) -> Result<HashSet<ObjectId>, IndexError> {
        todo!()
    }

    /// Loads one index object (in one transaction, sorted). Loading it again changes nothing.
    pub fn add_object(&self, id: ObjectId, object: &IndexObject) -> Result<(), IndexError> {
        let _ = (id, object);
        todo!()
    }

    /// Drops what these objects said, unless another loaded object (or a pending row) says it too.
    pub fn drop_objects(&self, gone: &[ObjectId]) -> Result<(), IndexError> {
        let _ = gone;
        todo!()
    }

    /// Takes a listing of `packs/` (id → size) and the packs named by known condemned objects. Bumps the loss generation if anything
    /// usable before no longer is. A listed pack of another size than recorded counts as absent.
    pub fn refresh_packs(
        &self,
        listed: &HashMap<PackId, u64>,
        condemned: &HashSet<PackId>,
    ) -> Result<(), IndexError> {
        let _ = (listed, condemned);
        todo!()
    }

    /// Records an uploaded pack whose index object is not stored yet; it counts as present.
    pub fn add_pending(&self, session: SessionId, pack: &IndexedPack) -> Result<(), IndexError> {
        let _ = (session, pack);
        todo!()
    }

    /// These pending packs are now in index object `object`.
    pub fn confirm(
        &self,
        session: SessionId,
        object: ObjectId,
        packs: &[PackId],
    ) -> Result<(), IndexError> {
        let _ = (session, object, packs);
        todo!()
    }

    /// Drops pending rows of sessions not in `live`.
    pub fn drop_pending(&self, live: &HashSet<SessionId>) -> Result<(), IndexError> {
        let _ = live;
        todo!()
    }

    /// Everywhere `chunk` is: present and uncondemned packs first, plain kinds first. Pending rows of other sessions than `session` are left out.
    pub fn locate(
        &self,
        chunk: &ChunkId,
        session: Option<SessionId>,
    ) -> Result<Vec<Place>, IndexError> {
        let _ = (chunk, session);
        todo!()
    }

    /// Everywhere segment `id` is.
    pub fn locate_segment(
        &self,
        id: &SegmentId,
        session: Option<SessionId>,
    ) -> Result<Vec<Place>, IndexError> {
        let _ = (id, session);
        todo!()
    }

    /// Whether each chunk is in a usable pack (present, uncondemned, not somebody else's pending one). Batched.
    pub fn are_usable(
        &self,
        chunks: &[ChunkId],
        session: SessionId,
    ) -> Result<Vec<bool>, IndexError> {
        let _ = (chunks, session);
        todo!()
    }

    /// All packs known.
    pub fn packs(&self) -> Result<Vec<PackRow>, IndexError> {
        todo!()
    }

    /// The segments of one pack with their chunks, by offset.
    pub fn segments_of(&self, pack: &PackId) -> Result<Vec<SegmentEntry>, IndexError> {
        let _ = pack;
        todo!()
    }

    /// Grows whenever something usable was lost or condemned.
    pub fn loss_generation(&self) -> Result<i64, IndexError> {
        todo!()
    }

    /// Numbers.
    pub fn counts(&self) -> Result<IndexCounts, IndexError> {
        todo!()
    }

    /// Snapshots of this repository this machine has ever seen listed: id, instance, counter.
    pub fn seen_snapshots(&self) -> Result<Vec<(SnapshotId, String, u64)>, IndexError> {
        todo!()
    }

    /// Remembers that these were listed.
    pub fn remember_snapshots(&self, seen: &[(SnapshotId, String, u64)]) -> Result<(), IndexError> {
        let _ = seen;
        todo!()
    }

    /// Takes these out of the memory (they were forgotten on purpose).
    pub fn unremember_snapshots(&self, gone: &[SnapshotId]) -> Result<(), IndexError> {
        let _ = gone;
        todo!()
    }
}
