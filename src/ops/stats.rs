//! Numbers: what snapshots restore to, what they need, what the repository holds.

use std::collections::HashSet;
use std::ops::AddAssign;

use crate::event::{Silent, StopFlag};
use crate::id::ChunkId;
use crate::index::{IndexCounts, ShortId};
use crate::repository::{ChunkWalk, Fetcher, Repository, RepositoryError};
use crate::snapshot::{Node, NodeKind, Snapshot, StreamRef};
use crate::store::{ObjectKind, list_all};

use super::prune::trees::reach;
use super::tree::{Folder, Known, fold};

/// Bytes of opened segments kept while trees are walked.
const CACHE: usize = 32 << 20;

/// What a tree restores to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct TreeStats {
    /// Files; further names of a hard-linked one are not counted.
    pub files: u64,
    /// Directories below the root.
    pub directories: u64,
    /// Links, pipes, devices, and further names of files.
    pub others: u64,
    /// Sizes of the files together.
    pub restore_bytes: u64,
}

impl AddAssign for TreeStats {
    fn add_assign(&mut self, other: Self) {
        // Directories share content: a small repository may unfold to any number of files.
        self.files = self.files.saturating_add(other.files);
        self.directories = self.directories.saturating_add(other.directories);
        self.others = self.others.saturating_add(other.others);
        self.restore_bytes = self.restore_bytes.saturating_add(other.restore_bytes);
    }
}

/// What a set of snapshots needs in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct RawStats {
    /// Different chunks of files, directories and lists.
    pub chunks: u64,
    /// Their bytes.
    pub raw_bytes: u64,
    /// The share they have in the sealed segments that hold them.
    pub stored_bytes: u64,
    /// Chunks that are in no pack.
    pub missing_chunks: u64,
}

impl RawStats {
    /// How many bytes are restored for each stored one.
    pub fn ratio(&self, restore_bytes: u64) -> Option<f64> {
        (self.stored_bytes > 0).then(|| restore_bytes as f64 / self.stored_bytes as f64)
    }
}

/// Numbers of some snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct SnapshotStats {
    /// How many snapshots.
    pub snapshots: u64,
    /// All of them restored side by side.
    pub trees: TreeStats,
    /// What they need, if that was asked for.
    pub raw: Option<RawStats>,
}

/// Numbers of the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct RepositoryStats {
    /// Packs listed.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Index objects.
    pub index_objects: u64,
    /// Their bytes.
    pub index_bytes: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Segments in the packs the index knows.
    pub segments: u64,
    /// Chunks in them; one stored twice counts twice.
    pub chunks: u64,
    /// Their raw bytes.
    pub raw_bytes: u64,
}

/// Adds up `snapshots`. With `is_raw` also what they need, which takes about 50 bytes of memory for each of
/// their different chunks (2 GB for 4 TB of files in chunks of 96 KiB), and a look into the index for each.
///
/// The index must be fresh ([`Repository::refresh`]).
pub fn snapshot_stats<'s>(
    repository: &Repository,
    snapshots: impl IntoIterator<Item = &'s Snapshot>,
    is_raw: bool,
    stop: &StopFlag,
) -> Result<SnapshotStats, RepositoryError> {
    let fetcher = Fetcher::new(repository, CACHE);
    let mut counter = Counter {
        fetcher: &fetcher,
        raw: is_raw.then(RawStats::default),
        chunks: HashSet::new(),
        except: &[],
        stop,
    };
    let mut known = Known::default();
    let mut stats = SnapshotStats::default();
    for snapshot in snapshots {
        stats.snapshots += 1;
        stats.trees += fold(&fetcher, &snapshot.root, &mut known, &mut counter, stop)?;
    }
    stats.raw = counter.raw;
    Ok(stats)
}

/// What only `going` need and `staying` do not: the share it has in the sealed segments, in bytes. Pruning frees
/// about so much once they are dropped; less where a segment or a delta keeps it alive. Of `staying`, trees that a prune or this
/// has met before are not read. Memory: 15 bytes for each chunk of `staying`, 50 for each that goes. The index must be fresh.
pub fn needed_only_by<'s>(
    repository: &Repository,
    going: impl IntoIterator<Item = &'s Snapshot>,
    staying: impl IntoIterator<Item = &'s Snapshot>,
    stop: &StopFlag,
) -> Result<u64, RepositoryError> {
    let kept = reach(repository, staying, false, &|| Ok(()), stop, &Silent)?.chunks;
    let fetcher = Fetcher::new(repository, CACHE);
    let raw = Some(RawStats::default());
    let mut counter =
        Counter { fetcher: &fetcher, raw, chunks: HashSet::new(), except: &kept, stop };
    let mut known = Known::default();
    for snapshot in going {
        fold(&fetcher, &snapshot.root, &mut known, &mut counter, stop)?;
    }
    Ok(counter.raw.unwrap_or_default().stored_bytes)
}

/// Numbers of the whole repository. The index must be fresh.
pub fn repository_stats(repository: &Repository) -> Result<RepositoryStats, RepositoryError> {
    let store = repository.store().as_ref();
    let sum = |kind| -> Result<(u64, u64), RepositoryError> {
        let listed = list_all(store, kind)?;
        Ok((listed.len() as u64, listed.iter().map(|info| info.size).sum()))
    };
    let (packs, pack_bytes) = sum(ObjectKind::Pack)?;
    let (index_objects, index_bytes) = sum(ObjectKind::Index)?;
    let (snapshots, _) = sum(ObjectKind::Snapshot)?;
    let IndexCounts { segments, chunks, raw_bytes, .. } = repository.index().counts()?;
    Ok(RepositoryStats {
        packs,
        pack_bytes,
        index_objects,
        index_bytes,
        snapshots,
        segments,
        chunks,
        raw_bytes,
    })
}

struct Counter<'a> {
    fetcher: &'a Fetcher<'a>,
    raw: Option<RawStats>,
    chunks: HashSet<ChunkId>,
    /// Not counted, ascending.
    except: &'a [ShortId],
    stop: &'a StopFlag,
}

impl Counter<'_> {
    fn stream(&mut self, stream: &StreamRef) -> Result<(), RepositoryError> {
        if self.raw.is_none() {
            return Ok(());
        }
        let mut walk = ChunkWalk::new(self.fetcher, stream);
        while let Some(chunk) = walk.next_chunk()? {
            if self.stop.is_stopped() {
                return Err(RepositoryError::Interrupted);
            }
            self.chunk(chunk.id, chunk.len)?;
        }
        for list in walk.take_lists() {
            self.chunk(list.id, list.len)?;
        }
        Ok(())
    }

    fn chunk(&mut self, id: ChunkId, len: u32) -> Result<(), RepositoryError> {
        let Some(raw) = self.raw.as_mut() else { return Ok(()) };
        let is_counted = self.except.binary_search(&ShortId::of(id.as_bytes())).is_err();
        if !is_counted || !self.chunks.insert(id) {
            return Ok(());
        }
        raw.chunks += 1;
        raw.raw_bytes += u64::from(len);
        let places = self.fetcher.repository().index().locate(&id, None)?;
        let Some(place) = places.iter().find(|place| place.is_present) else {
            raw.missing_chunks += 1;
            return Ok(());
        };
        let sealed = u64::from(place.entry.sealed_len) * u64::from(place.chunk_len);
        raw.stored_bytes += sealed.div_ceil(u64::from(place.entry.raw_len).max(1));
        Ok(())
    }
}

impl Folder for Counter<'_> {
    type Total = TreeStats;

    fn open(&mut self, _: &[u8], directory: &StreamRef) -> Result<(), RepositoryError> {
        self.stream(directory)
    }

    fn entry(&mut self, _: &[u8], node: &Node) -> Result<TreeStats, RepositoryError> {
        let mut total = TreeStats::default();
        match node.kind {
            NodeKind::Directory => total.directories = 1,
            NodeKind::File if !node.is_further_link => {
                total.files = 1;
                total.restore_bytes = node.size();
                if let Some(content) = &node.content {
                    self.stream(content)?;
                }
            }
            _ => total.others = 1,
        }
        Ok(total)
    }

    fn unreadable(
        &mut self,
        _: &[u8],
        error: RepositoryError,
    ) -> Result<TreeStats, RepositoryError> {
        Err(error)
    }
}
