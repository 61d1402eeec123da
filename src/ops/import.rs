//! Snapshots of another program's repository, stored here: their times, hosts, tags and paths stay.
//!
//! They go the ordinary way of a backup, so what is here already is not stored again, and a file that did not change between
//! two of them is read once. Each remembers which one it was, so a call that was stopped goes on where it was.

mod databases;
mod tree;
mod verify;

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::event::{Event, Observer, StopFlag};
use crate::id::SnapshotId;
use crate::repository::{Fetcher, IngestOptions, Repository, RepositoryError, Session};
use crate::snapshot::{Selected, Snapshot, SourceRecord, StreamRef};
use crate::source::foreign::{ForeignError, ForeignRepository, ForeignSnapshot};

use super::browse::resolve;
use databases::Databases;
pub use databases::DumpServer;
use tree::{Imported, Importing};
pub use verify::{Difference, verify};

/// Bytes of opened segments kept while something is read back.
const CACHE: usize = 32 << 20;
/// Under which name a snapshot remembers the one it was.
const ORIGINAL: &str = "snapshot";

/// Why nothing (more) was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The other repository.
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    /// This one.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

/// What is asked for.
#[derive(Clone)]
pub struct ImportOptions<'a> {
    /// Instance the snapshots are of, here.
    pub instance: String,
    /// How they are stored.
    pub ingest: IngestOptions,
    /// Whether each is read back and compared.
    pub verify: bool,
    /// Where dumps of databases are loaded, if they are to become databases here.
    pub dumps: Option<&'a dyn DumpServer>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct ImportReport {
    /// Snapshots that were here already.
    pub known: u64,
    /// Snapshots imported: what they were called, and are.
    pub imported: Vec<(String, SnapshotId)>,
    /// Of these, those that could not be read whole.
    pub incomplete: Vec<String>,
    /// Snapshots that could not be imported, and why.
    pub failed: Vec<(String, String)>,
    /// Imported snapshots that have databases, made of a dump in them.
    pub with_databases: u64,
    /// Imported snapshots with a dump that stays a file, and why.
    pub not_loaded: Vec<(String, String)>,
    /// Differences found by reading back.
    pub differences: Vec<Difference>,
    /// Bytes read there.
    pub read_bytes: u64,
    /// Bytes stored here: packs and index objects.
    pub stored_bytes: u64,
}

/// The names of the snapshots of `foreign` that are in `snapshots`.
fn originals(
    snapshots: &[Selected],
    foreign: &dyn ForeignRepository,
) -> HashMap<String, SnapshotId> {
    let kind = foreign.kind();
    let mut found = HashMap::new();
    for (id, snapshot) in snapshots {
        let records = snapshot.sources.iter().filter(|source| source.kind == kind);
        found.extend(
            records.filter_map(|source| Some((source.details.get(ORIGINAL)?.clone(), *id))),
        );
    }
    found
}

/// Those of `wanted` that are not here yet, oldest first.
pub fn missing(
    foreign: &dyn ForeignRepository,
    wanted: Vec<ForeignSnapshot>,
    target: &Repository,
) -> Result<Vec<ForeignSnapshot>, ImportError> {
    let known = originals(&target.snapshots()?.snapshots, foreign);
    let mut missing: Vec<_> =
        wanted.into_iter().filter(|one| !known.contains_key(&one.id)).collect();
    missing.sort_by_key(|one| one.time);
    Ok(missing)
}

/// Imports those of `wanted` that are not here yet. One whose directories cannot be read is told and left out; one with a file
/// that cannot be read is imported as incomplete.
pub fn import(
    foreign: &dyn ForeignRepository,
    wanted: Vec<ForeignSnapshot>,
    target: &Repository,
    options: &ImportOptions<'_>,
    (stop, observer): (&StopFlag, &dyn Observer),
) -> Result<ImportReport, ImportError> {
    let all = wanted.len();
    let missing = missing(foreign, wanted, target)?;
    let mut report =
        ImportReport { known: (all - missing.len()) as u64, ..ImportReport::default() };
    let mut known = HashMap::new();
    let mut previous = None;
    observer.event(&Event::StepStarted { step: "import", total_bytes: None });
    for one in missing {
        if stop.is_stopped() {
            return Err(RepositoryError::Interrupted.into());
        }
        let item = format!("snapshot {}", short(&one.id));
        observer.event(&Event::Working { item: item.clone() });
        let importing = Importing::new(foreign, observer, &mut known, previous.as_ref());
        let done = snapshot(importing, &one, target, options, stop);
        match done {
            Ok(Stored { id, snapshot: new, read, stored, not_loaded }) => {
                report.with_databases += u64::from(!new.databases.is_empty());
                if let Some(reason) = not_loaded {
                    let message = format!("its dump stays a file: {reason}");
                    observer.event(&Event::Warning { item, message });
                    report.not_loaded.push((one.id.clone(), reason));
                }
                if options.verify {
                    target.refresh()?;
                    let told = |difference: &Difference| observer.event(&difference.event());
                    let found = verify(foreign, &one, target, &new, (stop, &told))?;
                    report.differences.extend(found);
                }
                if !new.is_complete {
                    report.incomplete.push(one.id.clone());
                }
                report.imported.push((one.id, id));
                report.read_bytes += read;
                report.stored_bytes += stored;
                previous = Some(new);
                observer.event(&Event::Progress { bytes: 0, items: 1 });
            }
            Err(ImportError::Foreign(error)) => {
                let message = error.to_string();
                observer.event(&Event::ItemFailed { item, message: message.clone() });
                report.failed.push((one.id, message));
                // What was read for it is not in the repository.
                known.clear();
            }
            Err(error) => return Err(error),
        }
    }
    observer.event(&Event::StepFinished { step: "import" });
    Ok(report)
}

/// The first digits of a name.
pub fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// One that is stored.
struct Stored {
    id: SnapshotId,
    snapshot: Snapshot,
    /// Bytes read and stored.
    read: u64,
    stored: u64,
    /// Why its dump is no database.
    not_loaded: Option<String>,
}

/// Stores one.
fn snapshot(
    importing: Importing<'_>,
    one: &ForeignSnapshot,
    target: &Repository,
    options: &ImportOptions<'_>,
    stop: &StopFlag,
) -> Result<Stored, ImportError> {
    let session = target.begin_session("import")?;
    let done = snapshot_in(&session, importing, one, options, stop);
    let ended = session.end();
    let done = done?;
    ended?;
    Ok(done)
}

fn snapshot_in(
    session: &Session<'_>,
    mut importing: Importing<'_>,
    one: &ForeignSnapshot,
    options: &ImportOptions<'_>,
    stop: &StopFlag,
) -> Result<Stored, ImportError> {
    let target = session.repository();
    let there = target.snapshots()?.snapshots;
    let mut failed = None;
    let mut made = Databases::default();
    let mut not_loaded = None;
    let ingested = target.ingest(session, options.ingest, stop, |ingest| {
        ingest.compare(true);
        let mut work = || {
            if let Some(server) = options.dumps {
                match importing.databases(server, one, ingest)? {
                    Ok(found) => made = found,
                    Err(reason) => not_loaded = Some(reason),
                }
            }
            importing.tree(&one.root, std::mem::take(&mut made.nodes), ingest)
        };
        work().map_err(|error| match error {
            ImportError::Repository(error) => error,
            ImportError::Foreign(error) => {
                failed = Some(error);
                RepositoryError::Interrupted
            }
        })
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    let (root, stats) = ingested?;
    let Imported { read_bytes, torn, counts, .. } = importing.finish();
    let own: Vec<&Selected> =
        there.iter().filter(|(_, other)| other.instance == options.instance).collect();
    let before: Vec<&&Selected> = own.iter().filter(|(_, other)| other.start <= one.time).collect();
    // Counted as the newest one that is not younger, so that counters and times tell the same order.
    let counter = before.iter().map(|(_, other)| other.counter).max().unwrap_or(0);
    let predecessors = before.last().map(|(id, _)| *id).into_iter().collect();
    let is_complete = torn.is_empty();
    let mut sources = vec![original(importing.foreign, one, torn)];
    let mut new = Snapshot {
        root,
        instance: options.instance.clone(),
        host: one.host.clone(),
        start: one.time,
        end: one.time.saturating_add(one.duration),
        time_zone: one.time_zone.clone().unwrap_or_else(|| "UTC".to_owned()),
        tags: one.tags.clone(),
        sources: Vec::new(),
        is_complete,
        parent: None,
        predecessors,
        counter,
        statistics: statistics(&counts, stats.new_bytes, stats.stored_bytes),
        program: one.program.clone(),
        session: session.id(),
        databases: made.manifests,
    };
    sources.extend(made.record);
    sources.extend(files(target, &new, &one.paths)?);
    new.sources = sources;
    let commit = session.commit(&new, options.ingest, stop)?;
    let (read, stored) = (read_bytes, stats.stored_bytes);
    Ok(Stored { id: commit.id, snapshot: new, read, stored, not_loaded })
}

/// What it was, and why it is not whole.
fn original(
    foreign: &dyn ForeignRepository,
    one: &ForeignSnapshot,
    incomplete: Vec<String>,
) -> SourceRecord {
    let details = [
        (ORIGINAL, one.id.clone()),
        ("repository", foreign.id()),
        ("user", one.user.clone()),
        ("paths", one.paths.join("\n")),
    ];
    let details: BTreeMap<String, String> = details
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    let (kind, name) = (foreign.kind().to_owned(), foreign.location());
    SourceRecord { kind, name, path: Vec::new(), incomplete, details }
}

fn statistics(counts: &tree::Counts, new: u64, stored: u64) -> BTreeMap<String, u64> {
    [
        ("files", counts.files),
        ("directories", counts.directories),
        ("bytes", counts.bytes),
        ("new_bytes", new),
        ("stored_bytes", stored),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Where in the tree each saved path is: an absolute one below the root, a relative one without what was above the directory
/// it was given in.
fn files(
    target: &Repository,
    snapshot: &Snapshot,
    paths: &[String],
) -> Result<Vec<SourceRecord>, RepositoryError> {
    let fetcher = Fetcher::new(target, CACHE);
    let mut records = Vec::new();
    let mut places = HashSet::new();
    for path in paths {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let found = (0..parts.len())
            .map(|from| parts.get(from..).unwrap_or_default().join("/").into_bytes())
            .find(|place| resolve(&fetcher, snapshot, place).is_ok());
        if let Some(place) = found.filter(|place| places.insert(place.clone())) {
            records.push(SourceRecord {
                kind: "files".to_owned(),
                name: path.clone(),
                path: place,
                ..SourceRecord::default()
            });
        }
    }
    Ok(records)
}

/// What a stream of the other repository is here.
type Known = HashMap<[u8; 32], StreamRef>;

#[cfg(test)]
mod tests;
