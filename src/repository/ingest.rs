//! The writing pipeline: claim → segment → seal → pack → put → index.
//!
//! The producing threads (one, or one more for each [`Ingest::fork`]) cut, hash and claim; sealers on all cores compress and seal; one thread
//! fills packs; uploaders put them and record them. All channels are bounded, so memory is
//! their sum: each [`Ingest`] holds at most three shared segments, each channel and worker a few segments,
//! each uploader one pack. The first thread that fails stops the others, and its error is the one reported.
//! What was uploaded until then is indexed all the same, so that the next run finds it.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::chunker::GearTable;
use crate::event::StopFlag;
use crate::id::ChunkId;
use crate::index::{Claim, Dedup};
use crate::pack::{
    ChunkEntry, Compression, FinishedPack, Likeness, PackBuilder, PackClass, RawSegment,
    SealedSegment, Sealer,
};
use crate::snapshot::ChunkRef;

use super::bases::{Bases, DeltaOptions};
use super::error::RepositoryError;
use super::open::Repository;
use super::recorder::{Recorder, run_uploader};
use super::session::Session;

/// Raw bytes after which a shared segment is closed.
const SHARED_SEGMENT_BYTES: usize = 1 << 20;
/// Chunks after which it is closed, too: finding one of them must stay cheap.
const SHARED_SEGMENT_CHUNKS: usize = 1024;
/// How the pipeline is set up.
#[derive(Debug, Clone, Copy)]
pub struct IngestOptions {
    /// zstd level.
    pub level: i32,
    /// Threads that compress and seal.
    pub sealers: NonZeroUsize,
    /// How new segments are compressed against similar ones.
    pub deltas: DeltaOptions,
}

impl Default for IngestOptions {
    fn default() -> Self {
        let sealers = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { level: 2, sealers, deltas: DeltaOptions::default() }
    }
}

/// Which segment a chunk goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grouping {
    /// A segment of its own.
    Alone,
    /// A segment of its own, not compressed.
    AloneRaw,
    /// One shared with its neighbours.
    Shared,
    /// One shared with its neighbours, not compressed.
    SharedRaw,
}

/// What a pipeline did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IngestStats {
    /// Chunks stored.
    pub new_chunks: u64,
    /// Their raw bytes.
    pub new_bytes: u64,
    /// Chunks that were there already.
    pub known_chunks: u64,
    /// Their raw bytes.
    pub known_bytes: u64,
    /// Packs put.
    pub packs: u64,
    /// Bytes put: packs and index objects.
    pub stored_bytes: u64,
}

/// The first failure, and the sign for the others to stop.
#[derive(Debug, Default)]
pub(super) struct Failure {
    first: Mutex<Option<RepositoryError>>,
    is_set: AtomicBool,
}

impl Failure {
    pub fn set(&self, error: RepositoryError) {
        let mut first = self.first.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        first.get_or_insert(error);
        self.is_set.store(true, Ordering::SeqCst);
    }

    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::SeqCst)
    }

    fn take(&self) -> Option<RepositoryError> {
        self.first.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

/// A segment being filled with small chunks.
#[derive(Debug)]
struct SharedSegment {
    class: PackClass,
    compression: Compression,
    bytes: Vec<u8>,
    chunks: Vec<ChunkEntry>,
}

impl SharedSegment {
    const fn new(class: PackClass, compression: Compression) -> Self {
        Self { class, compression, bytes: Vec::new(), chunks: Vec::new() }
    }

    /// What was collected; goes on with `buffer`.
    fn take(&mut self, buffer: Vec<u8>) -> RawSegment {
        RawSegment {
            class: self.class,
            bytes: std::mem::replace(&mut self.bytes, buffer),
            chunks: std::mem::take(&mut self.chunks),
            compression: self.compression,
            likeness: Likeness::default(),
        }
    }
}

/// The producing end of the pipeline: takes chunks.
pub struct Ingest<'a> {
    repository: &'a Repository,
    dedup: &'a Dedup<'a>,
    segments: Sender<RawSegment>,
    /// Past the sealers, for what is sealed already.
    pub(super) sealed: Sender<SealedSegment>,
    /// Raw buffers that come back from the sealers.
    used_buffers: Receiver<Vec<u8>>,
    shared: [SharedSegment; 3],
    failure: &'a Failure,
    stop: &'a StopFlag,
    gear: Arc<GearTable>,
    pub(super) stats: IngestStats,
    /// Whether this pipeline makes deltas.
    has_deltas: bool,
    /// Whether what is stored now may become one, or the base of one.
    is_compared: bool,
    /// For the chunker of the next stream, so that small files do not allocate.
    pub(super) scratch: Vec<u8>,
}

impl<'a> Ingest<'a> {
    fn new(
        repository: &'a Repository,
        dedup: &'a Dedup<'a>,
        gear: Arc<GearTable>,
        (segments, sealed): (Sender<RawSegment>, Sender<SealedSegment>),
        used_buffers: Receiver<Vec<u8>>,
        failure: &'a Failure,
        stop: &'a StopFlag,
    ) -> Self {
        Self {
            repository,
            dedup,
            segments,
            sealed,
            used_buffers,
            shared: [
                SharedSegment::new(PackClass::Data, Compression::Try),
                SharedSegment::new(PackClass::Data, Compression::Skip),
                SharedSegment::new(PackClass::Tree, Compression::Try),
            ],
            failure,
            stop,
            gear,
            stats: IngestStats::default(),
            has_deltas: false,
            is_compared: true,
            scratch: Vec::new(),
        }
    }

    /// Another producer for the same pipeline, to be used by another thread and then absorbed.
    pub fn fork(&self) -> Self {
        let mut fork = Self::new(
            self.repository,
            self.dedup,
            Arc::clone(&self.gear),
            (self.segments.clone(), self.sealed.clone()),
            self.used_buffers.clone(),
            self.failure,
            self.stop,
        );
        (fork.has_deltas, fork.is_compared) = (self.has_deltas, self.is_compared);
        fork
    }

    /// Sends what `fork` still holds and adds its counts.
    pub fn absorb(&mut self, mut fork: Self) -> Result<(), RepositoryError> {
        self.stats.new_chunks += fork.stats.new_chunks;
        self.stats.new_bytes += fork.stats.new_bytes;
        self.stats.known_chunks += fork.stats.known_chunks;
        self.stats.known_bytes += fork.stats.known_bytes;
        fork.finish()
    }

    /// The keyed hash of `bytes`.
    pub fn chunk_id(&self, bytes: &[u8]) -> ChunkId {
        self.repository.keyring.chunk_id(bytes)
    }

    /// The repository's gear table.
    pub fn gear(&self) -> &Arc<GearTable> {
        &self.gear
    }

    /// The repository written to.
    pub fn repository(&self) -> &'a Repository {
        self.repository
    }

    /// Whether what is stored now may become a delta, or the base of one.
    pub fn is_compared(&self) -> bool {
        self.has_deltas && self.is_compared
    }

    /// Whether what is stored from now on may become a delta, or the base of one.
    pub fn compare(&mut self, is_compared: bool) {
        self.is_compared = is_compared;
    }

    /// Counts so far.
    pub fn stats(&self) -> IngestStats {
        self.stats
    }

    /// A buffer for the chunker of the next stream; give it back with [`Ingest::keep_scratch`].
    pub fn take_scratch(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.scratch)
    }

    /// Keeps a buffer for later.
    pub fn keep_scratch(&mut self, buffer: Vec<u8>) {
        self.scratch = buffer;
    }

    /// Error if the work must stop.
    pub fn check_stop(&self) -> Result<(), RepositoryError> {
        if self.stop.is_stopped() {
            return Err(RepositoryError::Interrupted);
        }
        if self.failure.is_set() {
            // The true reason is taken from `failure` when the pipeline is joined.
            return Err(RepositoryError::Internal("the pipeline failed"));
        }
        Ok(())
    }

    /// Stores one chunk unless it is there already.
    pub fn store_chunk(
        &mut self,
        class: PackClass,
        bytes: &[u8],
        grouping: Grouping,
    ) -> Result<ChunkRef, RepositoryError> {
        self.store_like(class, bytes, grouping, Likeness::default())
    }

    /// [`store_chunk`](Self::store_chunk) of one that resembles others. Only one that gets a segment of its
    /// own may become a delta.
    pub fn store_like(
        &mut self,
        class: PackClass,
        bytes: &[u8],
        grouping: Grouping,
        likeness: Likeness,
    ) -> Result<ChunkRef, RepositoryError> {
        self.check_stop()?;
        let entry = self.chunk_entry(bytes)?;
        let ChunkEntry { id, len } = entry;
        let chunk = ChunkRef { id, len };
        if self.dedup.claim(id)? == Claim::Known {
            self.stats.known_chunks += 1;
            self.stats.known_bytes += u64::from(len);
            return Ok(chunk);
        }
        self.store_new(class, bytes, entry, grouping, likeness)?;
        Ok(chunk)
    }

    pub(super) fn chunk_entry(&self, bytes: &[u8]) -> Result<ChunkEntry, RepositoryError> {
        let len = u32::try_from(bytes.len())
            .map_err(|_| RepositoryError::Internal("a chunk is longer than 4 GiB"))?;
        Ok(ChunkEntry { id: self.chunk_id(bytes), len })
    }

    /// Sends a chunk on its way.
    pub(super) fn store_new(
        &mut self,
        class: PackClass,
        bytes: &[u8],
        entry: ChunkEntry,
        grouping: Grouping,
        likeness: Likeness,
    ) -> Result<(), RepositoryError> {
        self.stats.new_chunks += 1;
        self.stats.new_bytes += u64::from(entry.len);
        match grouping {
            Grouping::Alone => {
                self.send_alone(class, bytes, entry, Compression::Try, likeness)?;
            }
            Grouping::AloneRaw => {
                self.send_alone(class, bytes, entry, Compression::Skip, Likeness::default())?;
            }
            Grouping::Shared | Grouping::SharedRaw => {
                let shared = match (class, grouping) {
                    (PackClass::Tree, _) => 2,
                    (PackClass::Data, Grouping::SharedRaw) => 1,
                    (PackClass::Data, _) => 0,
                };
                let segment = &mut self.shared[shared];
                segment.bytes.extend_from_slice(bytes);
                segment.chunks.push(entry);
                if segment.bytes.len() >= SHARED_SEGMENT_BYTES
                    || segment.chunks.len() >= SHARED_SEGMENT_CHUNKS
                {
                    let buffer = self.buffer();
                    let segment = self.shared[shared].take(buffer);
                    self.send(segment)?;
                }
            }
        }
        Ok(())
    }

    /// Whether all of these are in packs this session may use: an unchanged file's list passes
    /// here when something was lost since it was remembered.
    pub fn are_stored(
        &self,
        chunks: &[ChunkRef],
        session: &Session<'_>,
    ) -> Result<bool, RepositoryError> {
        let ids: Vec<ChunkId> = chunks.iter().map(|chunk| chunk.id).collect();
        let usable = self.repository.index.are_usable(&ids, session.id())?;
        Ok(usable.into_iter().all(|is_usable| is_usable))
    }

    /// An empty buffer, if possible one that a sealer has done with: memory that is used again
    /// need not be mapped and cleared again.
    fn buffer(&self) -> Vec<u8> {
        let mut buffer = self.used_buffers.try_recv().unwrap_or_default();
        buffer.clear();
        buffer
    }

    fn send_alone(
        &self,
        class: PackClass,
        bytes: &[u8],
        entry: ChunkEntry,
        compression: Compression,
        likeness: Likeness,
    ) -> Result<(), RepositoryError> {
        let mut buffer = self.buffer();
        buffer.extend_from_slice(bytes);
        let chunks = vec![entry];
        self.send(RawSegment { class, bytes: buffer, chunks, compression, likeness })
    }

    fn send(&self, segment: RawSegment) -> Result<(), RepositoryError> {
        self.segments.send(segment).map_err(|_| RepositoryError::Internal("the sealers are gone"))
    }

    fn finish(&mut self) -> Result<(), RepositoryError> {
        for shared in 0..self.shared.len() {
            if !self.shared[shared].chunks.is_empty() {
                let segment = self.shared[shared].take(Vec::new());
                self.send(segment)?;
            }
        }
        Ok(())
    }
}

/// What a sealer takes from and gives to.
struct SealerEnds {
    input: Receiver<RawSegment>,
    output: Sender<SealedSegment>,
    done_with: Sender<Vec<u8>>,
}

impl Repository {
    /// Runs `produce` with a pipeline under it. When it returns, all it stored is durable and indexed.
    pub fn ingest<T, E: From<RepositoryError>>(
        &self,
        session: &Session<'_>,
        options: IngestOptions,
        stop: &StopFlag,
        produce: impl FnOnce(&mut Ingest<'_>) -> Result<T, E>,
    ) -> Result<(T, IngestStats), E> {
        let dedup = Dedup::new(&self.index, session.id()).map_err(RepositoryError::from)?;
        let failure = Failure::default();
        let recorder = Recorder::new(session, &dedup);
        let gear = Arc::new(GearTable::new(self.keyring.gear_key()));
        let bases = Bases::new(session, &dedup, options.deltas);
        let sealers = options.sealers.get();
        let uploads = self.store.uploads().get();
        let produced = std::thread::scope(|scope| {
            let (segments, to_seal) = bounded::<RawSegment>(sealers + 1);
            let (sealed, to_pack) = bounded::<SealedSegment>(sealers + 1);
            let (packs, to_put) = bounded::<FinishedPack>(1);
            let (done_with, used_buffers) = bounded::<Vec<u8>>(2 * sealers + 2);
            for _ in 0..sealers {
                let ends = SealerEnds {
                    input: to_seal.clone(),
                    output: sealed.clone(),
                    done_with: done_with.clone(),
                };
                let (failure, bases) = (&failure, &bases);
                scope.spawn(move || self.run_sealer(options.level, bases, &ends, failure));
            }
            drop((to_seal, done_with));
            {
                let failure = &failure;
                scope.spawn(move || self.run_packer(&to_pack, &packs, failure));
            }
            for _ in 0..uploads {
                let input = to_put.clone();
                let (failure, recorder) = (&failure, &recorder);
                scope.spawn(move || run_uploader(&input, recorder, failure));
            }
            drop(to_put);
            let ends = (segments, sealed);
            let mut ingest = Ingest::new(self, &dedup, gear, ends, used_buffers, &failure, stop);
            ingest.has_deltas = !bases.are_off();
            let produced = produce(&mut ingest);
            if let Err(error) = ingest.finish() {
                failure.set(error);
            }
            produced.map(|value| (value, ingest.stats))
        });
        // Whatever happened, what was put is worth an index object.
        let indexed = recorder.finish();
        if let Some(error) = failure.take() {
            return Err(error.into());
        }
        let (value, mut stats) = produced?;
        indexed?;
        (stats.packs, stats.stored_bytes) = recorder.put_so_far();
        Ok((value, stats))
    }

    fn run_sealer(&self, level: i32, bases: &Bases<'_>, ends: &SealerEnds, failure: &Failure) {
        let random = Arc::clone(&self.environment.random);
        let mut sealer = match Sealer::new(Arc::clone(&self.keyring), level, random) {
            Ok(sealer) => sealer,
            Err(error) => return failure.set(error.into()),
        };
        for segment in &ends.input {
            if failure.is_set() {
                continue;
            }
            match seal(&mut sealer, bases, segment) {
                Ok((sealed, buffer)) => {
                    // If nobody waits for buffers, this one is dropped.
                    let _ = ends.done_with.try_send(buffer);
                    if ends.output.send(sealed).is_err() {
                        return failure.set(RepositoryError::Internal("the packer is gone"));
                    }
                }
                Err(error) => failure.set(error),
            }
        }
    }

    fn run_packer(
        &self,
        input: &Receiver<SealedSegment>,
        output: &Sender<FinishedPack>,
        failure: &Failure,
    ) {
        let builder = |class| {
            let random = Arc::clone(&self.environment.random);
            PackBuilder::new(class, self.config.pack_len, Arc::clone(&self.keyring), random)
        };
        let mut builders = [builder(PackClass::Data), builder(PackClass::Tree)];
        let send = |packs: Vec<FinishedPack>| {
            for pack in packs {
                if output.send(pack).is_err() {
                    failure.set(RepositoryError::Internal("the uploaders are gone"));
                }
            }
        };
        for segment in input {
            if failure.is_set() {
                continue;
            }
            match builders[usize::from(segment.class == PackClass::Tree)].push(segment) {
                Ok(full) => send(full.into_iter().collect()),
                Err(error) => failure.set(error.into()),
            }
        }
        for builder in &mut builders {
            // A store that refused one pack (disk full) is not asked to take the rest.
            if failure.is_set() {
                return;
            }
            match builder.finish() {
                Ok(packs) => send(packs),
                Err(error) => failure.set(error.into()),
            }
        }
    }
}

/// Seals one segment, as a delta where that pays; gives its raw buffer back.
fn seal(
    sealer: &mut Sealer,
    bases: &Bases<'_>,
    segment: RawSegment,
) -> Result<(SealedSegment, Vec<u8>), RepositoryError> {
    let features = bases.features(&segment);
    let delta = match features {
        Some(features) => bases.delta(&segment, features)?,
        None => None,
    };
    Ok(sealer.seal_with(segment, features, delta.as_ref())?)
}
