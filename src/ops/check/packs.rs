//! Packs: listed, of the right size, holding what the index says.
//!
//! Threads take packs one after the other; each holds one pack and one opened segment at a time. Deltas are put
//! aside, sealed as they are, until there are some megabytes of them ([`deltas`](super::deltas)).

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::event::{StopFlag, counted};
use crate::id::{ChunkId, PackId, SegmentId};
use crate::index::PackRow;
use crate::pack::{MAX_PACK_LEN, PackClass, SegmentEntry, open_segment, read_directory};
use crate::repository::{Fetcher, Refresh, Repository, RepositoryError, is_rightly_named};
use crate::store::{ByteRange, ObjectName, StoreErrorKind};

use super::affected::Needs;
use super::deltas::{Aside, Delta, open_deltas};
use super::report::{Findings, Severity, Step};
use super::{Bad, BadPlaces, ReadData};
use crate::ops::pack_head::read_head;

/// Bytes of opened segments kept on the way to what a family of deltas hangs on.
const ROOTS: usize = 8 << 20;

const DAMAGED: &str = "copy this pack back from another copy, or run `mrs-backup repair packs` (with `--from` that copy, if there is one); `affected` lists the paths that need it, all others can be restored";
const WRONG_INDEX: &str = "the pack itself is whole: run `mrs-backup index rebuild --from-packs`";
const MISSING: &str = "copy this pack back from another copy of the repository, if there is one; `affected` lists the paths that need it, all others can be restored";

/// What the look at the packs gave.
#[derive(Debug, Default)]
pub(super) struct Packs {
    pub bad: BadPlaces,
    /// In the index, not in the store.
    pub missing: Vec<PackRow>,
    /// Whether packs lie there that no index object names.
    pub has_unindexed: bool,
    /// Damaged ones that are there.
    pub damaged: HashSet<PackId>,
    /// Read whole, and good.
    pub proven: HashSet<PackId>,
}

/// One pack to look at.
struct Job {
    id: PackId,
    size: u64,
    row: Option<PackRow>,
    is_whole: bool,
}

pub(super) fn check_packs(
    repository: &Repository,
    read_data: ReadData,
    refresh: &Refresh,
    findings: &Findings<'_>,
    stop: &StopFlag,
) -> Result<Packs, RepositoryError> {
    let mut packs = Packs { missing: find_missing(repository, refresh)?, ..Packs::default() };
    for row in &packs.missing {
        packs.bad.0.insert(row.id, Bad::All);
    }
    let rows: HashMap<PackId, PackRow> =
        repository.index().packs()?.into_iter().map(|row| (row.id, row)).collect();
    packs.has_unindexed = report_unindexed(refresh, &rows, findings);
    let jobs = plan(read_data, refresh, rows);
    let total = jobs.iter().filter(|job| job.is_whole).map(|job| job.size).sum();
    let step = Step::begin(findings.observer, "packs", Some(total));
    findings.count(|counts| counts.packs += jobs.len() as u64);
    let checker = Checker {
        repository,
        findings,
        step: &step,
        stop,
        bad: Mutex::new(&mut packs.bad),
        judged: Mutex::default(),
        aside: Aside::default(),
    };
    checker.run(&jobs)?;
    let judged = checker.judged.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (id, is_good) in judged {
        let set = if is_good { &mut packs.proven } else { &mut packs.damaged };
        set.insert(id);
    }
    Ok(packs)
}

/// Packs the index knows and the store does not list.
fn find_missing(
    repository: &Repository,
    refresh: &Refresh,
) -> Result<Vec<PackRow>, RepositoryError> {
    let is_missing =
        |refresh: &Refresh, row: &PackRow| !row.is_pending && !refresh.packs.contains_key(&row.id);
    let missing = |refresh| -> Result<Vec<PackRow>, RepositoryError> {
        let rows = repository.index().packs()?;
        Ok(rows.into_iter().filter(|row| is_missing(refresh, row)).collect())
    };
    if missing(refresh)?.is_empty() {
        return Ok(Vec::new());
    }
    // A prune may have deleted them after the index was read. It renews the index first, so that
    // a second reading tells.
    missing(&repository.refresh_for_check()?)
}

fn report_unindexed(
    refresh: &Refresh,
    rows: &HashMap<PackId, PackRow>,
    findings: &Findings<'_>,
) -> bool {
    let condemned = refresh.condemned_packs();
    let mut unindexed: Vec<&PackId> = refresh
        .packs
        .keys()
        .filter(|id| !rows.contains_key(id) && !condemned.contains(id))
        .collect();
    unindexed.sort_unstable();
    let Some(first) = unindexed.first() else { return false };
    let message = format!(
        "in no index object: {} ({} is the first); a run that is at work or died left them, or index objects are lost",
        counted(unindexed.len(), "pack"),
        ObjectName::Pack(**first)
    );
    let hint = "if no backup is running, `mrs-backup index rebuild --from-packs` makes them usable";
    findings.notice(&"packs/", message, hint);
    true
}

/// The packs to look at, by id.
fn plan(read_data: ReadData, refresh: &Refresh, mut rows: HashMap<PackId, PackRow>) -> Vec<Job> {
    let mut jobs: Vec<Job> = refresh
        .packs
        .iter()
        .map(|(&id, &size)| {
            let row = rows.remove(&id);
            let is_tree = row.as_ref().is_none_or(|row| row.class == PackClass::Tree);
            let is_whole = is_tree || read_data == ReadData::All;
            Job { id, size, row, is_whole }
        })
        .collect();
    if let ReadData::Subset { percent, seed } = read_data {
        // In the order of a hash with the seed in it: the first n are a fair choice.
        jobs.sort_by_cached_key(|job| {
            let input = [&seed.to_le_bytes()[..], job.id.as_bytes()].concat();
            *blake3::hash(&input).as_bytes()
        });
        let data = jobs.iter().filter(|job| !job.is_whole).count();
        let count = (data as f64 * percent.clamp(0.0, 100.0) / 100.0).ceil() as usize;
        for job in jobs.iter_mut().filter(|job| !job.is_whole).take(count) {
            job.is_whole = true;
        }
    }
    jobs.sort_by_key(|job| job.id);
    jobs
}

/// What the threads share.
struct Checker<'a, 'o> {
    repository: &'a Repository,
    findings: &'a Findings<'o>,
    step: &'a Step<'o>,
    stop: &'a StopFlag,
    bad: Mutex<&'a mut BadPlaces>,
    /// Packs read whole, and whether they are as they were written.
    judged: Mutex<Vec<(PackId, bool)>>,
    /// Packs whose deltas are not opened yet.
    aside: Aside<Look>,
}

impl Checker<'_, '_> {
    fn run(&self, jobs: &[Job]) -> Result<(), RepositoryError> {
        let bases = Fetcher::new(self.repository, ROOTS);
        let next = AtomicUsize::new(0);
        while next.load(Ordering::Relaxed) < jobs.len() {
            at_once(jobs.len(), &|| {
                while !self.aside.is_full()
                    && let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    if self.stop.is_stopped() {
                        return Err(RepositoryError::Interrupted);
                    }
                    self.check(job)?;
                }
                Ok(())
            })?;
            let (mut looks, deltas) = self.aside.take();
            let opened = |delta: &Delta| self.step.progress(delta.sealed.len() as u64, 0);
            for (pack, id, reason) in open_deltas(&bases, &deltas, self.stop, &opened)? {
                if let Some(look) = looks.get_mut(pack) {
                    look.refuse(id, reason);
                }
            }
            looks.into_iter().for_each(|look| self.judge(look));
        }
        Ok(())
    }

    fn check(&self, job: &Job) -> Result<(), RepositoryError> {
        let entries = match &job.row {
            Some(row) => Some((row, self.repository.index().segments_of(&row.id)?)),
            None => None,
        };
        let mut look = Look::of(job.id);
        if let Some((row, entries)) = &entries {
            if row.size != job.size {
                let (found, expected) = (job.size, row.size);
                look.reasons.push(format!("it has {found} bytes, the index says {expected}"));
            } else if !job.is_whole {
                match read_head(self.repository, job.id, job.size) {
                    Ok(head) => look.compare(row, entries, (head.class, head.key), head.entries),
                    Err(reason) => look.reasons.push(reason),
                }
                if look.is_good() {
                    self.step.progress(0, 1);
                    return Ok(());
                }
            }
        }
        let mut deltas = Vec::new();
        self.read_whole(job, &entries, &mut look, &mut deltas)?;
        let waits: u64 = deltas.iter().map(|delta| delta.sealed.len() as u64).sum();
        self.step.progress(if job.is_whole { job.size.saturating_sub(waits) } else { 0 }, 1);
        match deltas.is_empty() {
            true => self.judge(look),
            false => self.aside.put(look, deltas),
        }
        Ok(())
    }

    /// Says what was found in a pack of which all was looked at.
    fn judge(&self, mut look: Look) {
        look.conclude();
        let name = ObjectName::Pack(look.pack);
        if !look.bad_segments.is_empty() {
            let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
            bad.0.insert(look.pack, Bad::Segments(look.bad_segments));
        }
        let is_whole = look.reasons.is_empty();
        self.judged.lock().unwrap_or_else(PoisonError::into_inner).push((look.pack, is_whole));
        if !is_whole {
            self.findings.error(&name, look.reasons.join("; "), DAMAGED);
        } else if look.differs_from_index {
            let message = "the index says something else than its directory";
            self.findings.error(&name, message, WRONG_INDEX);
        }
    }

    /// Reads a pack from its first to its last byte, or as much of it as can be read.
    fn read_whole(
        &self,
        job: &Job,
        indexed: &Option<(&PackRow, Vec<SegmentEntry>)>,
        look: &mut Look,
        deltas: &mut Vec<Delta>,
    ) -> Result<(), RepositoryError> {
        let name = ObjectName::Pack(job.id);
        let store = self.repository.store();
        let bytes = match store.get(&name, ByteRange::Whole { limit: MAX_PACK_LEN }) {
            Ok(bytes) => bytes,
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                vanished(indexed, look);
                return Ok(());
            }
            // A bad sector, say: the segments beside it may be whole.
            Err(error) => {
                look.reasons.push(error.reason);
                if let Some((row, entries)) = indexed {
                    self.open_all(row.class, entries, look, deltas, |entry| {
                        let (offset, len) = (entry.offset.into(), entry.sealed_len.into());
                        let range = ByteRange::Exact { offset, len };
                        store.get(&name, range).map_err(|error| error.reason)
                    });
                }
                return Ok(());
            }
        };
        self.findings.count(|counts| {
            counts.packs_read += 1;
            counts.bytes_read += bytes.len() as u64;
        });
        if !is_rightly_named(&name, &bytes) {
            look.reasons.push("its checksum differs from its name".to_owned());
        }
        let directory = read_directory(self.repository.keyring(), &bytes);
        let slice = |entry: &SegmentEntry| -> Result<Vec<u8>, String> {
            let range = usize::try_from(entry.offset).ok().zip(usize::try_from(entry.end()).ok());
            let sealed = range.and_then(|(start, end)| bytes.get(start..end));
            // Opening copies it in any case: one copy more is small beside that.
            sealed.map(<[u8]>::to_vec).ok_or_else(|| "it lies behind the end".to_owned())
        };
        match (indexed, directory) {
            (Some((row, entries)), Ok((header, found))) => {
                look.compare(row, entries, (header.class, header.key), found);
                self.open_all(row.class, entries, look, deltas, slice);
            }
            (Some((row, entries)), Err(error)) => {
                look.reasons.push(error.to_string());
                self.open_all(row.class, entries, look, deltas, slice);
            }
            (None, Ok((header, found))) => self.open_all(header.class, &found, look, deltas, slice),
            (None, Err(error)) => look.reasons.push(error.to_string()),
        }
        Ok(())
    }

    /// Opens every segment but the deltas; each chunk's bytes must be what its id says.
    fn open_all(
        &self,
        class: PackClass,
        entries: &[SegmentEntry],
        look: &mut Look,
        deltas: &mut Vec<Delta>,
        sealed: impl Fn(&SegmentEntry) -> Result<Vec<u8>, String>,
    ) {
        look.segments = entries.len();
        for entry in entries {
            let opened = match (sealed(entry), entry.base) {
                (Ok(sealed), Some(base)) => {
                    deltas.push(Delta { class, entry: entry.clone(), base, sealed });
                    Ok(())
                }
                (Ok(sealed), None) => {
                    open_segment(self.repository.keyring(), class, entry, &sealed, None)
                        .map(drop)
                        .map_err(|error| error.to_string())
                }
                (Err(reason), _) => Err(reason),
            };
            if let Err(reason) = opened {
                look.refuse(entry.id, reason);
            }
        }
    }
}

/// Runs `work` on each core, on no more than `most`.
pub(super) fn at_once(
    most: usize,
    work: &(dyn Fn() -> Result<(), RepositoryError> + Sync),
) -> Result<(), RepositoryError> {
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(most);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            let died = RepositoryError::Internal("a thread that checks packs died");
            thread.join().unwrap_or(Err(died))
        })
    })
}

/// A pack that was listed and is gone. A prune does that, but only to packs it condemned before.
fn vanished(indexed: &Option<(&PackRow, Vec<SegmentEntry>)>, look: &mut Look) {
    let Some((row, entries)) = indexed else { return };
    look.bad_segments.extend(entries.iter().map(|entry| entry.id));
    if !row.is_condemned {
        look.reasons.push("it was listed, but it is not there".to_owned());
    }
}

/// What was seen of one pack.
struct Look {
    pack: PackId,
    reasons: Vec<String>,
    /// How many it has.
    segments: usize,
    bad_segments: HashSet<SegmentId>,
    /// Why the first of them is bad.
    first: Option<String>,
    differs_from_index: bool,
}

impl Look {
    fn of(pack: PackId) -> Self {
        Self {
            pack,
            reasons: Vec::new(),
            segments: 0,
            bad_segments: HashSet::new(),
            first: None,
            differs_from_index: false,
        }
    }

    /// A segment cannot be opened.
    fn refuse(&mut self, id: SegmentId, reason: String) {
        self.bad_segments.insert(id);
        self.first.get_or_insert(reason);
    }

    /// Nothing more will be seen.
    fn conclude(&mut self) {
        if let Some(reason) = self.first.take() {
            let (bad, all) = (self.bad_segments.len(), counted(self.segments, "segment"));
            self.reasons.push(format!("{bad} of its {all} cannot be opened ({reason})"));
        }
    }

    const fn is_good(&self) -> bool {
        self.reasons.is_empty() && !self.differs_from_index
    }

    fn compare(
        &mut self,
        row: &PackRow,
        indexed: &[SegmentEntry],
        header: (PackClass, crate::id::KeyId),
        mut found: Vec<SegmentEntry>,
    ) {
        found.sort_by_key(|entry| entry.offset);
        self.differs_from_index |= header != (row.class, row.key) || found != indexed;
    }
}

/// Tells of packs the index knows and the store has not: an error if a snapshot needs them.
///
/// A writer that was taken for dead may have written its index object after its packs were pruned; such rows
/// are harmless.
pub(super) fn report_missing(
    repository: &Repository,
    missing: &[PackRow],
    needs: &Needs,
    is_partial: bool,
    findings: &Findings<'_>,
) -> Result<(), RepositoryError> {
    for row in missing {
        let segments = repository.index().segments_of(&row.id)?;
        let mut chunks = segments.iter().flat_map(|segment| &segment.chunks);
        let is_needed =
            is_partial || needs.is_blind || chunks.any(|chunk| needs.lost.contains(&chunk.id));
        let (severity, hint) = match (is_needed, row.is_condemned) {
            (true, _) => (Severity::Error, MISSING),
            (false, false) => (Severity::Warning, "no snapshot needs it"),
            // What a prune said it would do.
            (false, true) => continue,
        };
        let name = ObjectName::Pack(row.id);
        findings.add(severity, &name, "it is in the index but not in the store".to_owned(), hint);
    }
    Ok(())
}

/// Chunks that would be lost with all of `packs`.
pub(in crate::ops) fn lost_with(
    repository: &Repository,
    packs: &[PackId],
) -> Result<HashSet<ChunkId>, RepositoryError> {
    let bad = BadPlaces(packs.iter().map(|id| (*id, Bad::All)).collect());
    lost_chunks(repository, &bad)
}

/// Chunks of packs with bad places that have no good place left, and those of deltas on them.
pub(super) fn lost_chunks(
    repository: &Repository,
    bad: &BadPlaces,
) -> Result<HashSet<ChunkId>, RepositoryError> {
    let index = repository.index();
    let mut lost = HashSet::new();
    let mut seen = HashSet::new();
    let mut look = |segment: &SegmentEntry| -> Result<(), RepositoryError> {
        for chunk in &segment.chunks {
            if !lost.contains(&chunk.id) && bad.is_lost(index, &chunk.id)? {
                lost.insert(chunk.id);
            }
        }
        Ok(())
    };
    for (pack, which) in &bad.0 {
        for segment in index.segments_of(pack)? {
            if matches!(which, Bad::Segments(segments) if !segments.contains(&segment.id)) {
                continue;
            }
            look(&segment)?;
            seen.insert(segment.id);
        }
    }
    // And what hangs on them, in packs that are whole.
    let mut bases = seen.clone();
    while !bases.is_empty() {
        let mut next = HashSet::new();
        for (_, delta) in index.deltas_on(&bases)? {
            if seen.insert(delta.id) {
                look(&delta)?;
                next.insert(delta.id);
            }
        }
        bases = next;
    }
    Ok(lost)
}
