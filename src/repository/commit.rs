//! The commit of a snapshot: stage, revalidate, publish (docs/protocol.md rules 4 and 5).

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use crate::crypto::envelope::{self, SealedKind};
use crate::event::StopFlag;
use crate::id::{ChunkId, SnapshotId};
use crate::pack::PackClass;
use crate::snapshot::{ChunkRef, NodeKind, Snapshot, StreamRef};
use crate::store::{ObjectName, StoreErrorKind};

use super::error::RepositoryError;
use super::fetch::Fetcher;
use super::ingest::{Grouping, IngestOptions};
use super::session::Session;
use super::stream::{ChunkWalk, read_directory};

/// How often what a prune takes away is stored again before the run gives up.
const RESCUE_ROUNDS: usize = 5;
/// Chunks asked for at once.
const BATCH: usize = 1024;
/// Bytes of opened segments kept while a snapshot's trees are walked again.
const WALK_CACHE: usize = 16 << 20;

/// A committed snapshot.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Its id.
    pub id: SnapshotId,
    /// Bytes of the snapshot object.
    pub bytes: u64,
    /// Chunks that had to be stored again because a prune took them away meanwhile.
    pub rescued_chunks: u64,
}

impl Session<'_> {
    /// Publishes `snapshot`, if everything it needs is there and not condemned. The session is
    /// still to be ended.
    pub fn commit(
        &self,
        snapshot: &Snapshot,
        options: IngestOptions,
        stop: &StopFlag,
    ) -> Result<Commit, RepositoryError> {
        let repository = self.repository();
        let random = repository.environment.random.as_ref();
        let bytes = envelope::seal(&repository.keyring, SealedKind::Snapshot, snapshot, random)?;
        let id = SnapshotId::new(Sha256::digest(&bytes).into());
        // Staged first, revalidated afterwards: whoever takes this session for dead in between finds
        // (and removes) the staged snapshot, and the publishing fails.
        let staged = self.stage(id, &bytes)?;
        let rescued_chunks = self.revalidate(&snapshot.root, options, stop)?;
        self.check_alive()?;
        let target = ObjectName::Snapshot(id);
        match repository.store.publish(&staged, &target) {
            Ok(()) => {}
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                return Err(RepositoryError::SessionExpired);
            }
            Err(error) => return Err(error.into()),
        }
        repository.store.sync()?;
        self.wait_for_snapshot(&target)?;
        repository.index.remember_snapshots(&[(
            id,
            snapshot.instance.clone(),
            snapshot.counter,
        )])?;
        Ok(Commit { id, bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX), rescued_chunks })
    }

    /// Makes sure that every chunk of the new snapshot is in a pack that is listed and not condemned.
    ///
    /// The loss generation of the index tells whether anything usable went away since the session
    /// began; only then the whole snapshot is walked.
    fn revalidate(
        &self,
        root: &StreamRef,
        options: IngestOptions,
        stop: &StopFlag,
    ) -> Result<u64, RepositoryError> {
        let repository = self.repository();
        let mut proven = self.generation();
        let mut rescued = 0;
        for _ in 0..RESCUE_ROUNDS {
            let seen = repository.refresh()?;
            let generation = repository.index.loss_generation()?;
            if generation == proven {
                return Ok(rescued);
            }
            let lost = self.find_lost(root)?;
            if lost.is_empty() {
                // Only now nothing of the condemned packs is used, and the others may be told so.
                self.learn_condemned(&seen)?;
                proven = generation;
                continue;
            }
            rescued += u64::try_from(lost.len()).unwrap_or(u64::MAX);
            self.store_again(&lost, options, stop)?;
        }
        Err(RepositoryError::Internal(
            "packs were condemned again and again while the snapshot was made",
        ))
    }

    /// The chunks of a snapshot that are in no usable pack.
    fn find_lost(&self, root: &StreamRef) -> Result<Vec<(PackClass, ChunkRef)>, RepositoryError> {
        let fetcher = Fetcher::new(self.repository(), WALK_CACHE).in_session(self.id());
        let mut lost = Vec::new();
        let mut batch = Vec::new();
        let mut directories = vec![root.clone()];
        // Directories share their content: a small tree may unfold to very many paths.
        let mut seen = HashSet::new();
        while let Some(directory) = directories.pop() {
            let ids: Vec<ChunkId> = directory.chunks.iter().map(|chunk| chunk.id).collect();
            if !seen.insert((directory.depth, ids)) {
                continue;
            }
            self.check_stream(&fetcher, PackClass::Tree, &directory, &mut batch, &mut lost)?;
            let mut contents = Vec::new();
            read_directory(&fetcher, &directory, |node| {
                match (node.kind, node.content) {
                    (NodeKind::Directory, Some(content)) => directories.push(content),
                    (_, Some(content)) => contents.push(content),
                    _ => {}
                }
                Ok::<(), RepositoryError>(())
            })?;
            for content in contents {
                self.check_stream(&fetcher, PackClass::Data, &content, &mut batch, &mut lost)?;
            }
        }
        self.check_batch(&mut batch, &mut lost)?;
        Ok(lost)
    }

    fn check_stream(
        &self,
        fetcher: &Fetcher<'_>,
        class: PackClass,
        stream: &StreamRef,
        batch: &mut Vec<(PackClass, ChunkRef)>,
        lost: &mut Vec<(PackClass, ChunkRef)>,
    ) -> Result<(), RepositoryError> {
        let mut walk = ChunkWalk::new(fetcher, stream);
        while let Some(chunk) = walk.next_chunk()? {
            batch.push((class, chunk));
            if batch.len() >= BATCH {
                self.check_batch(batch, lost)?;
            }
        }
        batch.extend(walk.take_lists().into_iter().map(|chunk| (PackClass::Tree, chunk)));
        Ok(())
    }

    fn check_batch(
        &self,
        batch: &mut Vec<(PackClass, ChunkRef)>,
        lost: &mut Vec<(PackClass, ChunkRef)>,
    ) -> Result<(), RepositoryError> {
        let ids: Vec<ChunkId> = batch.iter().map(|(_, chunk)| chunk.id).collect();
        let usable = self.repository().index.are_usable(&ids, self.id())?;
        for (chunk, is_usable) in batch.drain(..).zip(usable) {
            if !is_usable {
                lost.push(chunk);
            }
        }
        Ok(())
    }

    /// Stores chunks of condemned packs again, in new packs.
    fn store_again(
        &self,
        lost: &[(PackClass, ChunkRef)],
        options: IngestOptions,
        stop: &StopFlag,
    ) -> Result<(), RepositoryError> {
        let fetcher = Fetcher::new(self.repository(), WALK_CACHE).in_session(self.id());
        let ((), _) = self.repository().ingest(self, options, stop, |ingest| {
            for (class, chunk) in lost {
                let bytes = fetcher.chunk(chunk).map_err(|error| match error {
                    // Too late: the pack is gone, and the source cannot be read twice.
                    RepositoryError::MissingChunk { .. }
                    | RepositoryError::UnreadableChunk { .. } => {
                        RepositoryError::ChunksLost { count: lost.len(), example: chunk.id }
                    }
                    other => other,
                })?;
                let grouping = match class {
                    PackClass::Tree => Grouping::Shared,
                    PackClass::Data => Grouping::Alone,
                };
                ingest.store_chunk(*class, &bytes, grouping)?;
            }
            Ok::<(), RepositoryError>(())
        })?;
        Ok(())
    }
}
