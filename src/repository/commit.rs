//! The commit of a snapshot: stage, revalidate, publish (docs/protocol.md rules 4 and 5).

use sha2::{Digest, Sha256};

use crate::crypto::envelope::{self, SealedKind};
use crate::event::StopFlag;
use crate::id::SnapshotId;
use crate::snapshot::{Snapshot, StreamRef};
use crate::store::{ObjectName, StoreErrorKind};

use super::error::RepositoryError;
use super::ingest::IngestOptions;
use super::session::Session;

/// How often what a prune takes away is stored again before the run gives up.
const RESCUE_ROUNDS: usize = 5;
/// Chunks found lost before they are stored again.
const LOST_AT_ONCE: usize = 16_384;

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
        let target = ObjectName::Snapshot(id);
        match repository.store.publish(&staged, &target) {
            Ok(()) => {}
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                return Err(RepositoryError::SessionExpired);
            }
            Err(error) => return Err(error.into()),
        }
        self.left(&staged);
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
            let seen = repository.refresh_with_sessions()?;
            self.check_listed(&seen.sessions)?;
            let generation = repository.index.loss_generation()?;
            if generation == proven {
                return Ok(rescued);
            }
            let stored_again = self.rescue(root, options, stop, LOST_AT_ONCE)?;
            if stored_again == 0 {
                // Only now nothing of the condemned packs is used, and the others may be told so.
                self.learn_condemned(&seen)?;
                proven = generation;
                continue;
            }
            rescued += stored_again;
        }
        Err(RepositoryError::Internal(
            "packs were condemned again and again while the snapshot was made",
        ))
    }
}
