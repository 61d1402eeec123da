//! The end of the pipeline: packs are put, confirmed and recorded, and index objects written.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::crypto::envelope::SealedKind;
use crate::id::{ChunkId, PackId};
use crate::index::{Dedup, IndexObject, IndexedPack};
use crate::pack::FinishedPack;
use crate::store::{ObjectName, StoreErrorKind, Verb};

use super::error::RepositoryError;
use super::ingest::Failure;
use super::open::Repository;
use super::session::Session;

/// Packs after which an index object is written, so that a killed run loses little.
const PACKS_PER_INDEX: usize = 64;
/// Time after which an index object is written all the same.
const INDEX_INTERVAL: Duration = Duration::from_secs(600);
/// How long an idle uploader waits before it looks whether the session must beat.
const IDLE: Duration = Duration::from_secs(30);

/// Where uploaders note what they put.
pub(super) struct Recorder<'a> {
    repository: &'a Repository,
    session: &'a Session<'a>,
    dedup: &'a Dedup<'a>,
    state: Mutex<Recorded>,
    packs: AtomicU64,
    stored_bytes: AtomicU64,
}

struct Recorded {
    waiting: Vec<IndexedPack>,
    last_flush: Duration,
}

impl<'a> Recorder<'a> {
    pub fn new(session: &'a Session<'a>, dedup: &'a Dedup<'a>) -> Self {
        let repository = session.repository();
        let last_flush = repository.environment.clock.elapsed();
        let state = Mutex::new(Recorded { waiting: Vec::new(), last_flush });
        let (packs, stored_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { repository, session, dedup, state, packs, stored_bytes }
    }

    /// Packs put, and bytes put with them and with index objects.
    pub fn put_so_far(&self) -> (u64, u64) {
        (self.packs.load(Ordering::Relaxed), self.stored_bytes.load(Ordering::Relaxed))
    }

    fn put(&self, pack: FinishedPack) -> Result<(), RepositoryError> {
        let name = ObjectName::Pack(pack.id);
        let store = &self.repository.store;
        store.put(&name, &pack.parts.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        let expected = pack.size();
        let size = store.size(&name)?;
        if size != expected {
            let reason = format!("{size} bytes arrived of {expected}");
            let kind = StoreErrorKind::TooShort;
            return Err(store.location().error(kind, Verb::Put, Some(&name), reason).into());
        }
        self.packs.fetch_add(1, Ordering::Relaxed);
        self.stored_bytes.fetch_add(expected, Ordering::Relaxed);
        let chunks: Vec<ChunkId> = pack
            .entries
            .iter()
            .flat_map(|entry| entry.chunks.iter().map(|chunk| chunk.id))
            .collect();
        let indexed = IndexedPack {
            id: pack.id,
            class: pack.class,
            size: expected,
            key: pack.key,
            entries: pack.entries,
        };
        self.repository.index.add_pending(self.session.id(), &indexed)?;
        self.dedup.recorded(&chunks);
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.waiting.push(indexed);
        let now = self.repository.environment.clock.elapsed();
        if state.waiting.len() >= PACKS_PER_INDEX
            || now.saturating_sub(state.last_flush) >= INDEX_INTERVAL
        {
            state.last_flush = now;
            let packs = std::mem::take(&mut state.waiting);
            self.write_index(packs)?;
        }
        Ok(())
    }

    /// Writes the index object of `packs`, after making them durable.
    fn write_index(&self, packs: Vec<IndexedPack>) -> Result<(), RepositoryError> {
        if packs.is_empty() {
            return Ok(());
        }
        self.repository.store.sync()?;
        let ids: Vec<PackId> = packs.iter().map(|pack| pack.id).collect();
        let object = IndexObject { packs, replaces: Vec::new() };
        let (id, size) =
            self.repository.put_sealed_and_count(SealedKind::Index, &object, ObjectName::Index)?;
        self.repository.store.sync()?;
        self.stored_bytes.fetch_add(size, Ordering::Relaxed);
        self.repository.index.confirm(self.session.id(), id, &ids)?;
        Ok(())
    }

    /// Writes the index object of what is left.
    pub fn finish(&self) -> Result<(), RepositoryError> {
        let packs = {
            let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            std::mem::take(&mut state.waiting)
        };
        self.write_index(packs)
    }
}

/// Puts packs until there are no more.
pub(super) fn run_uploader(
    input: &Receiver<FinishedPack>,
    recorder: &Recorder<'_>,
    failure: &Failure,
) {
    loop {
        match input.recv_timeout(IDLE) {
            Ok(pack) => {
                if failure.is_set() {
                    continue;
                }
                if let Err(error) = recorder.put(pack) {
                    failure.set(error);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if let Err(error) = recorder.session.keep_alive() {
            failure.set(error);
        }
    }
}
