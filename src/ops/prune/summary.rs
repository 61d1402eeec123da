//! What a prune is going to do, and what it did: for people and programs.

use serde::Serialize;

/// Why condemned packs stay for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaitsFor {
    /// The grace time: seconds that are left.
    Grace(u64),
    /// Sessions that do not name the condemned object: they may use its packs.
    Sessions(Vec<String>),
    /// The store does not tell how old it is.
    Age,
}

/// A condemned object that is not acted on yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// Its path.
    pub object: String,
    /// Packs it names that are there.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What it waits for.
    pub waits_for: WaitsFor,
}

/// What a prune is going to do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct PruneSummary {
    /// Snapshots that are kept.
    pub snapshots: u64,
    /// Packs listed.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Bytes of segments that snapshots need.
    pub used_bytes: u64,
    /// Bytes that nobody needs in packs that somebody needs.
    pub unused_bytes: u64,
    /// What of them stays.
    pub unused_bytes_after: u64,
    /// Condemned packs that are deleted now.
    pub delete_packs: u64,
    /// Bytes that frees.
    pub delete_bytes: u64,
    /// Condemned packs that are needed after all, and stay until what is needed is stored elsewhere.
    pub spared_packs: u64,
    /// Condemned packs that are not deleted yet.
    pub waiting: Vec<Waiting>,
    /// Condemned objects that nobody can read any more and that nobody at work knows: they are removed.
    pub unreadable_condemned: u64,
    /// Sessions taken for dead, which are removed.
    pub expired_sessions: Vec<String>,
    /// Packs that are condemned now and deleted by a later run.
    pub condemn_packs: u64,
    /// Their bytes.
    pub condemn_bytes: u64,
    /// Packs of which what is needed is stored elsewhere first (those among the condemned included).
    pub repack_packs: u64,
    /// Bytes to be stored again.
    pub repack_bytes: u64,
    /// Packs nobody needs that are too young to be condemned: somebody at work may have written them.
    pub young_packs: u64,
    /// Their bytes.
    pub young_bytes: u64,
    /// Small index objects that are merged.
    pub merge_index_objects: u64,
    /// Tree chunks that were looked at.
    pub trees: u64,
    /// Tree chunks that had to be read for it.
    pub trees_read: u64,
}

impl PruneSummary {
    /// Whether there is nothing to do.
    pub fn is_nothing(&self) -> bool {
        self.delete_packs == 0
            && self.unreadable_condemned == 0
            && self.condemn_packs == 0
            && self.repack_packs == 0
            && self.expired_sessions.is_empty()
            && self.merge_index_objects == 0
    }
}

/// What a prune did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct PruneStats {
    /// Dead sessions removed.
    pub expired_sessions: u64,
    /// Packs deleted.
    pub deleted_packs: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Condemned objects that are done with.
    pub finished_condemned: u64,
    /// Packs of which what is needed was stored elsewhere.
    pub repacked_packs: u64,
    /// Bytes stored for it: packs and index objects.
    pub stored_bytes: u64,
    /// Packs condemned.
    pub condemned_packs: u64,
    /// Their bytes.
    pub condemned_bytes: u64,
    /// Index objects written in the place of others.
    pub index_objects_written: u64,
    /// Index objects that were replaced.
    pub index_objects_deleted: u64,
    /// Packs found damaged when they were to be rewritten; they stay.
    pub damaged_packs: Vec<String>,
}

impl PruneStats {
    /// Adds what another run did.
    pub fn add(&mut self, other: &Self) {
        self.expired_sessions += other.expired_sessions;
        self.deleted_packs += other.deleted_packs;
        self.deleted_bytes += other.deleted_bytes;
        self.finished_condemned += other.finished_condemned;
        self.repacked_packs += other.repacked_packs;
        self.stored_bytes += other.stored_bytes;
        self.condemned_packs += other.condemned_packs;
        self.condemned_bytes += other.condemned_bytes;
        self.index_objects_written += other.index_objects_written;
        self.index_objects_deleted += other.index_objects_deleted;
        self.damaged_packs.extend(other.damaged_packs.iter().cloned());
        self.damaged_packs.sort();
        self.damaged_packs.dedup();
    }
}
