//! A dump that scripts around the other program left in its snapshots: loaded into a throw-away server, its databases are stored
//! as a backup of ours stores them.

use std::io::Read;

use crate::event::{Event, Observer};
use crate::ops::backup::{BackupCounts, BackupError, Scaffold, StreamsStored, Told, store_all};
use crate::ops::browse::display_path;
use crate::postgres::{GLOBALS_PATH, database_path};
use crate::repository::{Ingest, RepositoryError};
use crate::snapshot::{DatabaseManifest, Node, NodeKind, Snapshot, SourceRecord};
use crate::source::StreamSource;
use crate::source::foreign::{ForeignContent, ForeignNode, ForeignRepository, ForeignSnapshot};

use super::ImportError;
use super::tree::components;

/// Where the old scripts have it, below what they saved.
const DUMP: &str = "postgres/dump/data.dump";
/// The directory in which databases are stored.
pub(super) const DIRECTORY: &[u8] = b"postgres";

/// A server that is there for one dump and nothing else.
pub trait DumpServer {
    /// Loads `dump`, a script of `pg_dumpall` or `pg_dump`, and gives what reads its databases to `store`. The error is for
    /// people: why there are none.
    fn load(
        &self,
        dump: &mut dyn Read,
        store: &mut dyn FnMut(&mut dyn StreamSource),
    ) -> Result<(), String>;
}

/// Databases that were made of a dump.
#[derive(Default)]
pub(super) struct Databases {
    /// Entries of the directory [`DIRECTORY`], names ascending.
    pub nodes: Vec<Node>,
    pub manifests: Vec<DatabaseManifest>,
    pub record: Option<SourceRecord>,
}

/// The databases of the dump in `one`; none if it has no dump, or if that cannot be loaded, which is told.
pub(super) fn databases(
    server: &dyn DumpServer,
    (foreign, one): (&dyn ForeignRepository, &ForeignSnapshot),
    ingest: &mut Ingest<'_>,
    earlier: Option<&Snapshot>,
    observer: &dyn Observer,
) -> Result<Result<Databases, String>, ImportError> {
    let Some((path, content)) = find(foreign, one)? else { return Ok(Ok(Databases::default())) };
    let item = display_path(&path);
    observer.event(&Event::Working { item: item.clone() });
    let told = Told { observer, earlier, time: one.time.div_euclid(1_000_000_000) };
    let mut loaded = Err("it was not read".to_owned());
    let mut failed = None;
    foreign.read(&content, &mut |dump: &mut dyn Read| {
        let mut found = Ok(Databases::default());
        let done = server.load(dump, &mut |source| match store(source, ingest, told) {
            Ok(databases) => found = databases,
            Err(error) => failed = Some(error),
        });
        loaded = done.and(found);
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    let taken = entries(foreign, one, DIRECTORY)?;
    Ok(loaded.and_then(|databases| {
        let is_taken = |node: &Node| taken.iter().any(|other| other.node.name == node.name);
        match databases.nodes.iter().find(|node| is_taken(node)) {
            Some(node) => {
                Err(format!("postgres/{} is something else there", display_path(&node.name)))
            }
            None => Ok(databases),
        }
    }))
}

fn store(
    source: &mut dyn StreamSource,
    ingest: &mut Ingest<'_>,
    told: Told<'_>,
) -> Result<Result<Databases, String>, RepositoryError> {
    let mut scaffold = Scaffold::default();
    let mut counts = BackupCounts::default();
    match store_all(source, ingest, &mut scaffold, &mut counts, told) {
        Ok(StreamsStored { incomplete, .. }) => match incomplete.into_iter().next() {
            Some(reason) => Ok(Err(reason)),
            None => Ok(Ok(Databases {
                nodes: scaffold.finish_directory(DIRECTORY, ingest)?,
                manifests: source.databases(),
                record: Some(source.record()),
            })),
        },
        Err(BackupError::Repository(error)) => Err(error),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// The dump, and where it is.
fn find(
    foreign: &dyn ForeignRepository,
    one: &ForeignSnapshot,
) -> Result<Option<(Vec<u8>, ForeignContent)>, ImportError> {
    let mut places = vec![DUMP.to_owned()];
    for path in &one.paths {
        let is_dump = path.ends_with(DUMP);
        places.push(if is_dump { path.clone() } else { format!("{path}/{DUMP}") });
    }
    for place in &places {
        let parts: Vec<&[u8]> = components(place.as_bytes()).collect();
        // A relative path is there without what was above the directory it was given in.
        for from in 0..parts.len().saturating_sub(2) {
            let path = parts.get(from..).unwrap_or_default().join(&b'/');
            if let Some(node) = lookup(foreign, one, &path)?
                && node.node.kind == NodeKind::File
            {
                return Ok(Some((path, node.content)));
            }
        }
    }
    Ok(None)
}

fn lookup(
    foreign: &dyn ForeignRepository,
    one: &ForeignSnapshot,
    path: &[u8],
) -> Result<Option<ForeignNode>, ImportError> {
    let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()),
        None => (&b""[..], path),
    };
    Ok(entries(foreign, one, parent)?.into_iter().find(|entry| entry.node.name == name))
}

/// What is in a directory there; nothing if there is no such directory.
fn entries(
    foreign: &dyn ForeignRepository,
    one: &ForeignSnapshot,
    path: &[u8],
) -> Result<Vec<ForeignNode>, ImportError> {
    let mut tree = one.root;
    for name in components(path) {
        let found = foreign.directory(&tree, &mut |_, _| {})?;
        match found.into_iter().find(|entry| entry.node.name == name).map(|entry| entry.content) {
            Some(ForeignContent::Directory(name)) => tree = name,
            _ => return Ok(Vec::new()),
        }
    }
    Ok(foreign.directory(&tree, &mut |_, _| {})?)
}

/// Whether what is at `path` of an imported snapshot was made of a dump, and is not in the original.
pub(super) fn is_made(imported: &Snapshot, path: &[u8]) -> bool {
    let is_it = |database: &DatabaseManifest| database_path(&database.name).as_bytes() == path;
    !imported.databases.is_empty()
        && (path == DIRECTORY
            || path == GLOBALS_PATH.as_bytes()
            || imported.databases.iter().any(is_it))
}
