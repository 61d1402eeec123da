//! The nightly run of one instance: lock, snapshot, receipt.
//!
//! The caller has opened the repository, and seen to it that its disk is mounted. Nothing here makes
//! a repository: one that is missing is an error, never something to make anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::event::{Event, Observer, StopFlag};
use crate::ops::backup::{BackupError, BackupOutcome, BackupPlan, FilesInput, backup};
use crate::postgres::ServerError;
use crate::repository::{Repository, RepositoryError};
use crate::snapshot::ReceiptRecord;
use crate::source::files::{ExcludeError, Excludes, WalkOptions};
use crate::source::postgres::PostgresSource;
use crate::source::{SourceError, StreamSource};

use super::compose::{self, Stack};
use super::config::{Instance, KeyError, PostgresConfig};
use super::lock::LockError;
use super::server::password;
use super::shrink::shrunk;
use super::standard_dump;

/// Snapshots without databases that are passed over to find one that has them.
const LOOK_BACK: usize = 14;

/// Why there is no snapshot of an instance.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Somebody works on it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The backup failed.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A pattern of its configuration is none.
    #[error(transparent)]
    Exclude(#[from] ExcludeError),
    /// The database's password cannot be had.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its databases cannot be dumped.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The disk of its repository is nearly full.
    #[error(
        "only {free} bytes are free at {location}, less than `min_free` of instance `{instance}` asks for ({wanted})"
    )]
    NoRoom {
        /// Instance.
        instance: String,
        /// Where.
        location: String,
        /// Bytes there are.
        free: u64,
        /// Bytes there should be.
        wanted: u64,
    },
    /// The server of its databases cannot be found.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// None of its paths is there, and there are no databases.
    #[error("nothing of instance `{instance}` is there: {home} has none of its paths")]
    NothingThere {
        /// Instance.
        instance: String,
        /// Its home.
        home: String,
    },
}

impl From<RepositoryError> for RunError {
    fn from(error: RepositoryError) -> Self {
        Self::Backup(error.into())
    }
}

/// Choices for one run.
#[derive(Debug, Clone, Default)]
pub struct PlanOptions {
    /// Tags besides the configured ones.
    pub tags: Vec<String>,
    /// Up to when an earlier snapshot has the containers' logs.
    pub logged_until: Option<Timestamp>,
}

/// What a run did.
#[derive(Debug)]
pub struct RunOutcome {
    /// The backup.
    pub backup: BackupOutcome,
    /// Why what was to happen after it did not: the snapshot is there all the same.
    pub failed: Vec<String>,
}

/// What a run of `instance` would back up, as of `now`.
pub fn plan(
    instance: &Instance,
    options: &PlanOptions,
    now: Timestamp,
    stop: &Arc<StopFlag>,
    observer: &Arc<dyn Observer>,
) -> Result<BackupPlan, RunError> {
    let walk = Arc::new(WalkOptions {
        excludes: Excludes::new(&instance.exclude.value)?,
        exclude_caches: instance.exclude_caches.value,
        one_file_system: instance.one_file_system.value,
        own: Vec::new(),
    });
    let stack = compose::look(instance, options.logged_until, now, stop, observer);
    let file = stack.as_ref().and_then(|stack| stack.file.as_ref());
    let wanted = instance.paths.value.iter().chain(file);
    let wanted = wanted.map(|path| match tree_path(path) {
        tree if tree.is_empty() => (instance.home.value.clone(), HOME_NAME.to_vec()),
        tree => (instance.home.value.join(path), tree),
    });
    let files: Vec<FilesInput> = distinct(wanted.collect(), &walk)
        .into_iter()
        .map(|(path, tree_path)| FilesInput { path, tree_path, options: Arc::clone(&walk) })
        .collect();
    let mut streams: Vec<Box<dyn StreamSource>> = Vec::new();
    if let Some(postgres) = &instance.postgres {
        streams.push(Box::new(database_source(instance, postgres, stop, observer)?));
    }
    // A path that is missing makes the snapshot incomplete; but one with nothing in it helps nobody.
    if streams.is_empty() && !files.iter().any(|input| input.path.symlink_metadata().is_ok()) {
        return Err(RunError::NothingThere {
            instance: instance.name.clone(),
            home: instance.home.value.display().to_string(),
        });
    }
    let mut tags = instance.tags.value.clone();
    let Stack { tags: found, logs, .. } = stack.unwrap_or_default();
    streams.extend(logs.map(|logs| Box::new(logs) as Box<dyn StreamSource>));
    for tag in options.tags.iter().chain(&found) {
        if !tags.contains(tag) {
            tags.push(tag.clone());
        }
    }
    let ingest = instance.ingest();
    Ok(BackupPlan { instance: instance.name.clone(), tags, files, streams, ingest })
}

/// What a home that is saved as a whole (`paths = ["."]`) is called in a snapshot's tree, where databases stand beside it.
const HOME_NAME: &[u8] = b"home";

/// Where a path appears in a snapshot's tree: without the slash at its start.
pub fn tree_path(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    use std::path::Component;
    let names: Vec<&[u8]> = path
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.as_bytes()),
            _ => None,
        })
        .collect();
    names.join(&b'/')
}

/// Without paths that lie in others, if their content is saved with those. Where it is not (another
/// file system, an excluded directory) both stay, and the backup refuses to put one into the other.
pub fn distinct(
    mut wanted: Vec<(PathBuf, Vec<u8>)>,
    options: &WalkOptions,
) -> Vec<(PathBuf, Vec<u8>)> {
    wanted.sort();
    let mut kept: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for (path, tree_path) in wanted {
        // Sorted, so that a directory comes before what is in it.
        if !kept.iter().any(|(above, _)| is_saved_with(above, &path, options)) {
            kept.push((path, tree_path));
        }
    }
    kept
}

/// Whether a walk of `above` meets `path`.
fn is_saved_with(above: &Path, path: &Path, options: &WalkOptions) -> bool {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    let Ok(inner) = path.strip_prefix(above) else { return false };
    let device = |path: &Path| path.symlink_metadata().map(|found| found.dev()).ok();
    if options.one_file_system && device(above) != device(path) {
        return false;
    }
    !inner.ancestors().any(|part| {
        let name = part.as_os_str().as_bytes();
        !name.is_empty() && options.excludes.is_excluded(name, above.join(part).is_dir())
    })
}

/// The source of the databases of `instance`.
pub fn database_source(
    instance: &Instance,
    config: &PostgresConfig,
    stop: &Arc<StopFlag>,
    observer: &Arc<dyn Observer>,
) -> Result<PostgresSource, RunError> {
    let settings = config.settings(password(config, stop, observer)?);
    Ok(PostgresSource::new(settings, &instance.name, Arc::clone(stop))?)
}

/// Makes a snapshot of `instance` and leaves a receipt, also of a failure. The instance's lock is
/// the caller's.
pub fn run(
    repository: &Repository,
    instance: &Instance,
    options: &PlanOptions,
    stop: &Arc<StopFlag>,
    observer: &Arc<dyn Observer>,
) -> Result<RunOutcome, RunError> {
    let now = repository.environment().clock.now();
    let logged_until = compose::logged_until(repository, instance);
    let options = PlanOptions { logged_until, ..options.clone() };
    let made = has_room(repository, instance)
        .and_then(|()| plan(instance, &options, now, stop, observer))
        .and_then(|plan| Ok(backup(repository, plan, stop, observer)?));
    let backup = match made {
        Ok(backup) => backup,
        Err(error) => {
            let told = receipt(repository, instance, "failed", None, Some(error.to_string()));
            if let Err(error) = repository.put_receipt(&told) {
                let (item, message) = ("receipt".to_owned(), error.to_string());
                observer.event(&Event::Warning { item, message });
            }
            return Err(error);
        }
    };
    let mut failed = Vec::new();
    let mut note = |item: &str, result: Result<(), String>| {
        if let Err(message) = result {
            failed.push(format!("{item}: {message}"));
            observer.event(&Event::ItemFailed { item: item.to_owned(), message });
        }
    };
    let directory = instance.postgres.as_ref().and_then(|postgres| postgres.standard_dump.as_ref());
    if let Some(directory) = directory
        && standard_dump::is_possible(&backup)
    {
        note("standard dump", standard_dump::leave(repository, &backup, &directory.value, stop));
    }
    let result = if backup.snapshot.is_complete { "ok" } else { "incomplete" };
    let mut told = receipt(repository, instance, result, Some(&backup), None);
    let shrunk = shrunk_since_before(repository, instance, &backup);
    if !shrunk.is_empty() {
        let lines = shrunk.iter().map(|(item, message)| format!("{item}: {message}"));
        told.details.insert("shrunk".to_owned(), lines.collect::<Vec<_>>().join("; "));
    }
    for (item, message) in shrunk {
        observer.event(&Event::Warning { item, message });
    }
    note("receipt", repository.put_receipt(&told).map(|_| ()).map_err(|error| error.to_string()));
    Ok(RunOutcome { backup, failed })
}

/// What the databases have lost since the newest snapshot before that has them.
fn shrunk_since_before(
    repository: &Repository,
    instance: &Instance,
    backup: &BackupOutcome,
) -> Vec<(String, String)> {
    let Some(postgres) = &instance.postgres else { return Vec::new() };
    let mut before = backup.snapshot.parent;
    // Of nights that failed there may be no databases; but one forgotten long ago is of no interest.
    for _ in 0..LOOK_BACK {
        let Some(snapshot) = before.and_then(|id| repository.snapshot(&id).ok()) else { break };
        if !snapshot.databases.is_empty() {
            let after = &backup.snapshot.databases;
            return shrunk(&snapshot.databases, after, postgres.shrink_warning.value);
        }
        before = snapshot.parent;
    }
    Vec::new()
}

/// Fails where a snapshot would make a nearly full disk a full one.
fn has_room(repository: &Repository, instance: &Instance) -> Result<(), RunError> {
    let store = repository.store();
    let wanted = instance.min_free.value;
    match store.free_bytes() {
        Some(free) if free < wanted => Err(RunError::NoRoom {
            instance: instance.name.clone(),
            location: store.location().to_string(),
            free,
            wanted,
        }),
        // A store that cannot tell is asked by writing.
        _ => Ok(()),
    }
}

fn receipt(
    repository: &Repository,
    instance: &Instance,
    result: &str,
    backup: Option<&BackupOutcome>,
    reason: Option<String>,
) -> ReceiptRecord {
    let environment = repository.environment();
    let mut details = BTreeMap::new();
    if let Some(reason) = reason {
        details.insert("reason".to_owned(), reason);
    }
    if let Some(backup) = backup {
        for (name, value) in &backup.snapshot.statistics {
            details.insert(name.clone(), value.to_string());
        }
    }
    ReceiptRecord {
        kind: "run".to_owned(),
        time: i64::try_from(environment.clock.now().as_nanosecond()).unwrap_or(i64::MAX),
        instance: instance.name.clone(),
        host: environment.host.clone(),
        result: result.to_owned(),
        snapshot: backup.map(|backup| backup.commit.id),
        details,
        forgotten: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_have_no_slash_at_their_start() {
        for (path, expected) in
            [("/srv/./app", "srv/app"), ("log", "log"), ("./a/b/", "a/b"), ("/", ""), (".", "")]
        {
            assert_eq!(tree_path(Path::new(path)), expected.as_bytes(), "{path}");
        }
    }

    #[test]
    fn what_lies_in_others_is_dropped() {
        let paths = |list: &[&str]| -> Vec<(PathBuf, Vec<u8>)> {
            list.iter().map(|path| (PathBuf::from(path), Vec::new())).collect()
        };
        let all = paths(&["/a/b", "/a", "/ab", "/a", "/c/d", "/a/b/c"]);
        let kept = distinct(all.clone(), &WalkOptions::default());
        assert_eq!(kept, paths(&["/a", "/ab", "/c/d"]));
        let excludes = Excludes::new(["b"]).expect("a pattern");
        let options = WalkOptions { excludes, ..WalkOptions::default() };
        assert_eq!(distinct(all, &options), paths(&["/a", "/a/b", "/ab", "/c/d"]));
        let options = WalkOptions { one_file_system: true, ..WalkOptions::default() };
        let kept = distinct(paths(&["/", "/proc"]), &options);
        assert_eq!(kept, paths(&["/", "/proc"]), "another file system");
    }
}
