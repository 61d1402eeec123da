//! Backup: sources in, one snapshot out.
//!
//! Streams (databases, commands) are read first, so that the files that follow are not older than the
//! rows that name them. A stream that breaks, or a file that cannot be read whole, makes the snapshot incomplete; it is kept
//! and says so, unless nothing else was asked for.

mod content;
mod earlier;
mod files;
mod reasons;
mod streams;
mod tree;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Event, Observer, StopFlag};
use crate::id::SnapshotId;
use crate::index::{Index, IndexError, RootLock, RowSet};
use crate::ops::browse::display_path;
use crate::repository::{
    Commit, Ingest, IngestOptions, IngestStats, Repository, RepositoryError, Session,
};
use crate::snapshot::{DatabaseManifest, Node, Snapshot, SourceRecord, StreamRef};
use crate::source::StreamSource;
use crate::source::files::{WalkError, WalkOptions, walk};
use crate::store::ObjectName;

pub(super) use content::ContentStore;
use files::FileVisitor;
pub(super) use streams::{StreamsStored, Told, store_all};
pub use tree::PlaceTaken;
pub(super) use tree::Scaffold;

/// Unfinished objects not written to for this long are nobody's: longer than any writer takes for
/// one, and than clocks differ.
const LEFTOVER_AGE: Duration = Duration::from_hours(24);

/// One directory (or file) to back up.
#[derive(Debug, Clone)]
pub struct FilesInput {
    /// Where it is.
    pub path: PathBuf,
    /// Where it appears in the snapshot's tree, components joined by `/`.
    pub tree_path: Vec<u8>,
    /// What is left out.
    pub options: Arc<WalkOptions>,
}

/// What to back up.
pub struct BackupPlan {
    /// Instance the snapshot is of.
    pub instance: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Files.
    pub files: Vec<FilesInput>,
    /// Streams.
    pub streams: Vec<Box<dyn StreamSource>>,
    /// How the pipeline is set up.
    pub ingest: IngestOptions,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// No source gave anything.
    #[error("nothing was stored: {0}")]
    Source(String),
    /// Two sources at one place.
    #[error(transparent)]
    PlaceTaken(#[from] PlaceTaken),
    /// Nothing to do.
    #[error("there is nothing to back up: no paths, databases or commands are given")]
    Nothing,
}

/// What was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackupCounts {
    /// Files, streams among them.
    pub files: u64,
    /// Files known by their `stat` alone.
    pub unchanged_files: u64,
    /// Directories.
    pub directories: u64,
    /// Links, pipes, devices.
    pub others: u64,
    /// Bytes of files and streams.
    pub bytes: u64,
    /// Warnings told.
    pub warnings: u64,
}

/// A finished backup.
#[derive(Debug)]
pub struct BackupOutcome {
    /// The commit.
    pub commit: Commit,
    /// The snapshot.
    pub snapshot: Snapshot,
    /// What was read.
    pub counts: BackupCounts,
    /// What was stored.
    pub stats: IngestStats,
}

impl BackupOutcome {
    /// Why the snapshot is not complete, if it is not.
    pub fn incomplete(&self) -> Vec<String> {
        self.snapshot.sources.iter().flat_map(|source| source.incomplete.iter().cloned()).collect()
    }
}

/// What the reading gave.
struct Gathered {
    root: StreamRef,
    sources: Vec<SourceRecord>,
    databases: Vec<DatabaseManifest>,
    counts: BackupCounts,
}

/// Makes one snapshot.
pub fn backup(
    repository: &Repository,
    mut plan: BackupPlan,
    stop: &StopFlag,
    observer: &Arc<dyn Observer>,
) -> Result<BackupOutcome, BackupError> {
    if plan.files.is_empty() && plan.streams.is_empty() {
        return Err(BackupError::Nothing);
    }
    check_places(&plan)?;
    leave_out_own(repository, &mut plan);
    observer.event(&Event::StepStarted { step: "backup", total_bytes: None });
    let session = repository.begin_session("backup")?;
    for (object, error) in &session.opening().damaged {
        // What a damaged index object says is not believed: it is stored again.
        let message = match error {
            RepositoryError::Damaged { reason, .. } => reason.clone(),
            other => other.to_string(),
        };
        observer.event(&Event::Warning { item: object.to_string(), message });
    }
    let outcome = std::thread::scope(|scope| {
        // Over a line nobody waits for that.
        match repository.store().is_far() {
            true => drop(scope.spawn(|| remove_leftovers(repository, observer))),
            false => remove_leftovers(repository, observer),
        }
        backup_in(&session, plan, stop, observer)
    });
    // Without its session's objects nobody waits for a run that failed.
    let ended = session.end();
    observer.event(&Event::StepFinished { step: "backup" });
    let outcome = outcome?;
    ended?;
    Ok(outcome)
}

/// A repository that lies in what it is a repository of would store each night what it stored the night before.
fn leave_out_own(repository: &Repository, plan: &mut BackupPlan) {
    let own = repository.own_directories();
    for input in &mut plan.files {
        let options = WalkOptions { own: own.clone(), ..(*input.options).clone() };
        input.options = Arc::new(options);
    }
}

/// Killed writers leave unfinished objects, which take space and nothing else. That they cannot be
/// removed is no reason to be without a backup.
fn remove_leftovers(repository: &Repository, observer: &Arc<dyn Observer>) {
    let store = repository.store();
    let clock = repository.environment().clock.as_ref();
    if let Err(error) = store.remove_stale_temporaries(LEFTOVER_AGE, clock) {
        let message = format!("unfinished objects of killed runs stay: {error}");
        observer.event(&Event::Warning { item: "leftovers".to_owned(), message });
    }
}

fn backup_in(
    session: &Session<'_>,
    mut plan: BackupPlan,
    stop: &StopFlag,
    observer: &Arc<dyn Observer>,
) -> Result<BackupOutcome, BackupError> {
    let repository = session.repository();
    let clock = Arc::clone(&repository.environment().clock);
    let start = clock.zoned();
    let history = History::of(repository, &session.opening().snapshots, &plan.instance)?;
    let index = repository.index();
    let mut roots = StateRoot::of(index, &plan).map_err(RepositoryError::from)?;
    let (gathered, stats) = repository.ingest(session, plan.ingest, stop, |ingest| {
        let earlier = history.parent.as_ref().map(|(_, snapshot)| snapshot);
        let time = start.timestamp().as_second();
        gather(session, &mut plan, &mut roots, ingest, earlier, observer, time)
    })?;
    let is_complete = gathered.sources.iter().all(|source| source.incomplete.is_empty());
    let nanos = |time: jiff::Timestamp| i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX);
    let snapshot = Snapshot {
        root: gathered.root,
        instance: plan.instance,
        host: repository.environment().host.clone(),
        start: nanos(start.timestamp()),
        end: nanos(clock.now()),
        time_zone: start.time_zone().iana_name().unwrap_or("UTC").to_owned(),
        tags: plan.tags,
        sources: gathered.sources,
        is_complete,
        parent: history.parent.map(|(id, _)| id),
        predecessors: history.predecessors,
        counter: history.counter,
        statistics: statistics(&gathered.counts, &stats),
        program: concat!("mrs-backup ", env!("CARGO_PKG_VERSION")).to_owned(),
        session: session.id(),
        databases: gathered.databases,
    };
    let commit = session.commit(&snapshot, plan.ingest, stop)?;
    for root in roots.iter().filter(|root| root.lock.is_some()) {
        if let Some(met) = &root.met {
            index.retain_directories(&root.name, met).map_err(RepositoryError::from)?;
        }
        index.commit_state(&root.name).map_err(RepositoryError::from)?;
    }
    Ok(BackupOutcome { commit, snapshot, counts: gathered.counts, stats })
}

/// Under which name the state of a source of files is remembered.
struct StateRoot {
    name: String,
    /// `None` while another run has it: this one reads what is remembered and adds nothing.
    lock: Option<RootLock>,
    /// What is remembered of the directories that are still there, if all of them were looked at.
    met: Option<RowSet>,
}

impl StateRoot {
    /// Of all sources of files, in their order. What runs that died left staged is dropped.
    fn of(index: &Index, plan: &BackupPlan) -> Result<Vec<Self>, IndexError> {
        let make = |input: &FilesInput| {
            let name = format!("{}\u{0}{}", plan.instance, input.path.display());
            let lock = index.lock_root(&name)?;
            if lock.is_some() {
                index.discard_staged(&name)?;
            }
            Ok(Self { name, lock, met: None })
        };
        plan.files.iter().map(make).collect()
    }
}

fn statistics(counts: &BackupCounts, stats: &IngestStats) -> BTreeMap<String, u64> {
    [
        ("files", counts.files),
        ("unchanged_files", counts.unchanged_files),
        ("directories", counts.directories),
        ("bytes", counts.bytes),
        ("new_chunks", stats.new_chunks),
        ("new_bytes", stats.new_bytes),
        ("known_chunks", stats.known_chunks),
        ("packs", stats.packs),
        ("stored_bytes", stats.stored_bytes),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// What the instance's earlier snapshots say.
struct History {
    parent: Option<(SnapshotId, Snapshot)>,
    predecessors: Vec<SnapshotId>,
    counter: u64,
}

impl History {
    /// Of those among `seen`.
    fn of(
        repository: &Repository,
        seen: &[ObjectName],
        instance: &str,
    ) -> Result<Self, RepositoryError> {
        let listed = repository.read_snapshots(seen)?;
        let own: Vec<_> =
            listed.snapshots.iter().filter(|(_, snapshot)| snapshot.instance == instance).collect();
        let counter = own.iter().map(|(_, snapshot)| snapshot.counter).max().unwrap_or(0);
        // Two writers at once may have given the same counter to two snapshots.
        let predecessors = own
            .iter()
            .filter(|(_, snapshot)| snapshot.counter == counter)
            .map(|(id, _)| *id)
            .collect();
        Ok(Self {
            parent: own.last().map(|newest| (*newest).clone()),
            predecessors,
            counter: counter.saturating_add(1),
        })
    }
}

/// Error if a source lies where another one does, or in it: found before anything is read.
fn check_places(plan: &BackupPlan) -> Result<(), PlaceTaken> {
    let files = plan.files.iter().map(|input| input.tree_path.clone());
    let streams = plan.streams.iter().flat_map(|source| source.paths());
    let mut places: Vec<Vec<u8>> = files.chain(streams).collect();
    places.sort();
    for (at, place) in places.iter().enumerate() {
        let is_taken = |other: &Vec<u8>| {
            other
                .strip_prefix(place.as_slice())
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/' || place.is_empty())
        };
        if let Some(other) = places[at + 1..].iter().find(|other| is_taken(other)) {
            return Err(PlaceTaken { path: display_path(other) });
        }
    }
    Ok(())
}

fn gather(
    session: &Session<'_>,
    plan: &mut BackupPlan,
    roots: &mut [StateRoot],
    ingest: &mut Ingest<'_>,
    earlier: Option<&Snapshot>,
    observer: &Arc<dyn Observer>,
    time: i64,
) -> Result<Gathered, BackupError> {
    let mut scaffold = Scaffold::default();
    let mut content = ContentStore::new(ingest);
    let mut counts = BackupCounts::default();
    let mut sources = Vec::new();
    let mut databases = Vec::new();
    let is_alone = plan.files.is_empty() && plan.streams.len() == 1;
    ingest.compare(plan.ingest.deltas.streams);
    for source in &mut plan.streams {
        let told = Told { observer: observer.as_ref(), earlier, time };
        let StreamsStored { incomplete, has_any } =
            store_all(source.as_mut(), ingest, &mut scaffold, &mut counts, told)?;
        if is_alone && !has_any && !incomplete.is_empty() {
            return Err(BackupError::Source(incomplete.join("; ")));
        }
        let mut record = source.record();
        // The source knows which streams were not read to their end, we know why.
        if !incomplete.is_empty() {
            record.incomplete = incomplete;
        }
        sources.push(record);
        databases.extend(source.databases());
    }
    let mut found_any = !plan.streams.is_empty();
    ingest.compare(plan.ingest.deltas.files);
    for (input, root) in plan.files.iter().zip(roots) {
        let tree_path = input.tree_path.clone();
        let name = root.name.clone();
        let mut visitor = FileVisitor::new(
            ingest,
            session,
            &mut content,
            observer,
            &mut counts,
            name,
            tree_path,
        )?;
        visitor.remembers = root.lock.is_some();
        let (record, node) = read_files(input, &mut visitor, observer)?;
        root.met = record.incomplete.is_empty().then_some(visitor.met);
        if let Some(node) = node {
            found_any = true;
            scaffold.insert(&input.tree_path, node)?;
        }
        sources.push(record);
    }
    if !found_any {
        let reasons: Vec<String> =
            sources.into_iter().flat_map(|source| source.incomplete).collect();
        return Err(BackupError::Source(reasons.join("; ")));
    }
    Ok(Gathered { root: scaffold.finish(ingest)?, sources, databases, counts })
}

/// Walks one source of files; gives what the snapshot says of it, and its root's node.
fn read_files(
    input: &FilesInput,
    visitor: &mut FileVisitor<'_, '_, '_>,
    observer: &Arc<dyn Observer>,
) -> Result<(SourceRecord, Option<Node>), BackupError> {
    observer.event(&Event::Working { item: display_path(&input.tree_path) });
    let item = input.path.display().to_string();
    match walk(&input.path, &input.options, visitor) {
        Ok(()) => {}
        Err(WalkError::Visitor(error)) => return Err(error.into()),
        Err(error) => {
            // The walk's own text begins with the path.
            let text = error.to_string();
            let message = text.strip_prefix(&format!("{item}: ")).unwrap_or(&text).to_owned();
            visitor.incomplete.push(format!("{item}: {message}"));
            observer.event(&Event::ItemFailed { item: item.clone(), message });
        }
    }
    visitor.tell_progress();
    let record = SourceRecord {
        kind: "files".to_owned(),
        name: item,
        path: input.tree_path.clone(),
        incomplete: std::mem::take(&mut visitor.incomplete).into_list(),
        details: BTreeMap::new(),
    };
    Ok((record, visitor.result.take()))
}
