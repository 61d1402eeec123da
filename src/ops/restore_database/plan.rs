//! What a restore of a database will do. Nothing is changed by finding out.

use jiff::Timestamp;

use crate::event::StopFlag;
use crate::id::SnapshotId;
use crate::postgres::{Client, literal};
use crate::repository::{Fetcher, Repository};
use crate::snapshot::{DatabaseManifest, Snapshot};
use crate::source::archive::Toc;
use crate::target::postgres::{
    self as target, Cluster, DatabaseError, exists, half_made, kept, major, missing_roles,
    missing_tablespaces, new_name, roles_of, tablespaces_of,
};

use super::{Contents, DatabaseOptions, DatabasePlan, RestoreDatabaseError};

/// Bytes of opened segments kept while trees are read.
const TREE_CACHE: usize = 16 << 20;

/// The database of `snapshot` that is meant, if it is there whole.
pub fn choose<'s>(
    id: &SnapshotId,
    snapshot: &'s Snapshot,
    wanted: Option<&str>,
) -> Result<&'s DatabaseManifest, RestoreDatabaseError> {
    let names = || {
        let names: Vec<&str> = snapshot.databases.iter().map(|found| found.name.as_str()).collect();
        names.join(", ")
    };
    let found = match (wanted, snapshot.databases.as_slice()) {
        (_, []) => {
            let reason = format!("snapshot {} has no database", id.short());
            return Err(RestoreDatabaseError::Choice(reason));
        }
        (None, [one]) => one,
        (None, _) => {
            let reason = format!("snapshot {} has several databases: {}", id.short(), names());
            return Err(RestoreDatabaseError::Choice(reason));
        }
        (Some(name), all) => all.iter().find(|found| found.name == name).ok_or_else(|| {
            let reason =
                format!("snapshot {} has no database `{name}` but {}", id.short(), names());
            RestoreDatabaseError::Choice(reason)
        })?,
    };
    let directory = [&found.path[..], b"/"].concat();
    let concerns = |reason: &String| {
        reason.as_bytes().starts_with(&directory) || reason.as_bytes().starts_with(&found.path)
    };
    let mut sources = snapshot.sources.iter().filter(|source| source.kind == "postgresql");
    let reason = sources.find_map(|source| {
        // Without its own stream named, what went wrong may concern any of them.
        let reasons = &source.incomplete;
        reasons.iter().find(|reason| concerns(reason) || !reason.starts_with("postgres/")).cloned()
    });
    match reason {
        None => Ok(found),
        Some(reason) => Err(RestoreDatabaseError::Incomplete {
            database: found.name.clone(),
            snapshot: id.short(),
            reason,
        }),
    }
}

/// A database that is to be restored, wherever it comes from.
pub struct Offered {
    /// Of which snapshot.
    pub id: SnapshotId,
    /// The database.
    pub manifest: DatabaseManifest,
    /// What is in its archive.
    pub toc: Toc,
    /// Bytes of its archive.
    pub archive_bytes: u64,
}

/// Plans the restore of a database of `snapshot` into `cluster`.
pub fn plan(
    repository: &Repository,
    id: SnapshotId,
    snapshot: &Snapshot,
    cluster: &Cluster,
    options: DatabaseOptions,
    stop: &StopFlag,
) -> Result<DatabasePlan, RestoreDatabaseError> {
    let manifest = choose(&id, snapshot, options.database.as_deref())?.clone();
    let fetcher = Fetcher::new(repository, TREE_CACHE);
    let contents = Contents::find(&fetcher, snapshot, &manifest)?;
    let toc = contents.toc()?;
    let archive_bytes = contents.archive_bytes();
    drop(contents);
    let now = repository.environment().clock.now();
    plan_of(Offered { id, manifest, toc, archive_bytes }, cluster, options, now, stop)
}

/// Plans the restore of what is `offered` into `cluster`.
pub fn plan_of(
    offered: Offered,
    cluster: &Cluster,
    options: DatabaseOptions,
    now: Timestamp,
    stop: &StopFlag,
) -> Result<DatabasePlan, RestoreDatabaseError> {
    let Offered { id, manifest, toc, archive_bytes } = offered;
    let streamed = || manifest.tables.iter().filter(|table| table.path.is_some());
    let rows = streamed().map(|table| table.rows).sum();
    let table_bytes: u64 = streamed().map(|table| table.bytes).sum();
    let tables = streamed().count();
    if stop.is_stopped() {
        return Err(DatabaseError::Interrupted.into());
    }
    let target = options.rename.clone().unwrap_or_else(|| manifest.name.clone());
    let mut session = cluster.maintenance(&target)?;
    let server_version = server_version(&mut session)?;
    check_versions(cluster, &manifest, &toc, &server_version)?;
    let replaces = target::size_of(&mut session, &target)?;
    check_cluster(cluster, &mut session, &manifest, &target, replaces, &options)?;
    let leftovers = leftovers(cluster, &mut session, &target)?;
    let on_disk = manifest.properties.disk_bytes.max(replaces.unwrap_or(0));
    let needed_bytes = target::needed_bytes(on_disk, table_bytes.saturating_add(archive_bytes));
    let free_bytes = target::free_bytes(cluster, &mut session);
    if let Some(free) = free_bytes.filter(|free| *free < needed_bytes) {
        let (database, server) = (target, cluster.place());
        let needed = needed_bytes;
        return Err(DatabaseError::NoSpace { database, server, free, needed }.into());
    }
    Ok(DatabasePlan {
        id,
        server: cluster.place(),
        replaces,
        sessions: sessions(&mut session, &target)?,
        tables,
        rows,
        bytes: table_bytes.saturating_add(archive_bytes),
        missing_roles: missing_roles(&mut session, &roles_of(&toc))?,
        missing_tablespaces: missing_tablespaces(&mut session, &tablespaces_of(&toc))?,
        free_bytes,
        needed_bytes,
        leftovers,
        expired: expired(&mut session, &target, now)?,
        server_version,
        target,
        manifest,
        toc,
        options,
    })
}

/// Sessions in `database`.
fn sessions(session: &mut Client, database: &str) -> Result<u64, DatabaseError> {
    let query = format!(
        "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datname = {}",
        literal(database)
    );
    Ok(session.value("count sessions", &query)?.parse().unwrap_or(0))
}

/// Databases put aside for `target` that were kept long enough.
fn expired(
    session: &mut Client,
    target: &str,
    now: Timestamp,
) -> Result<Vec<target::Marked>, DatabaseError> {
    let mut expired = kept(session)?;
    expired.retain(|found| {
        let marker = &found.marker;
        marker.of == target && marker.until.is_some_and(|until| until <= now)
    });
    Ok(expired)
}

/// The server's version as text.
pub fn server_version(session: &mut Client) -> Result<String, DatabaseError> {
    Ok(session.value("ask the version", "SHOW server_version")?)
}

/// Whether what the source's server dumped loads into this one, by these programs.
fn check_versions(
    cluster: &Cluster,
    manifest: &DatabaseManifest,
    toc: &Toc,
    server_version: &str,
) -> Result<(), DatabaseError> {
    let source = if manifest.server_version.is_empty() {
        &toc.server_version
    } else {
        &manifest.server_version
    };
    if major(server_version) < major(source) {
        return Err(DatabaseError::OlderServer {
            server: cluster.place(),
            target: server_version.to_owned(),
            source_version: source.clone(),
        });
    }
    target::check_program(cluster, toc, server_version).map(|_| ())
}

/// Whether this is a cluster whose database may be replaced.
fn check_cluster(
    cluster: &Cluster,
    session: &mut Client,
    manifest: &DatabaseManifest,
    target: &str,
    replaces: Option<u64>,
    options: &DatabaseOptions,
) -> Result<(), DatabaseError> {
    if replaces.is_none() {
        return Ok(());
    }
    // May be forbidden to the role; then it is not known, and counts as another.
    let query = "SELECT system_identifier FROM pg_catalog.pg_control_system()";
    let here = session.value("ask for the system identifier", query).unwrap_or_default();
    let is_same = !here.is_empty() && here == manifest.system_identifier;
    let (database, server) = (target.to_owned(), cluster.place());
    if is_same && !options.is_named {
        return Err(DatabaseError::NotNamed { database, server });
    }
    if !is_same && !options.other_cluster {
        let known = |id: &str| if id.is_empty() { "unknown" } else { id }.to_owned();
        let (here, source_id) = (known(&here), known(&manifest.system_identifier));
        return Err(DatabaseError::OtherCluster { database, server, here, source_id });
    }
    Ok(())
}

/// What earlier restores of `target` left: marked as such, or nothing but the empty database a killed
/// one had just made. Anything else of that name is somebody's.
pub(super) fn leftovers(
    cluster: &Cluster,
    session: &mut Client,
    target: &str,
) -> Result<Vec<String>, DatabaseError> {
    let mut found: Vec<String> = half_made(session)?
        .into_iter()
        .filter(|found| found.marker.of == target)
        .map(|found| found.name)
        .collect();
    let name = new_name(target);
    if !found.contains(&name) && exists(session, &name)? {
        if !is_empty(cluster, &name)? {
            let what = format!("database `{name}`");
            return Err(DatabaseError::InTheWay { what, server: cluster.place() });
        }
        found.push(name);
    }
    Ok(found)
}

/// Whether nobody ever made anything in a database.
fn is_empty(cluster: &Cluster, database: &str) -> Result<bool, DatabaseError> {
    let mut session = cluster.session(database)?;
    let query = "SELECT (SELECT count(*) FROM pg_catalog.pg_class WHERE oid >= 16384) \
                 + (SELECT count(*) FROM pg_catalog.pg_proc WHERE oid >= 16384) \
                 + (SELECT count(*) FROM pg_catalog.pg_namespace WHERE oid >= 16384) \
                 + (SELECT count(*) FROM pg_catalog.pg_largeobject_metadata)";
    Ok(session.value(&format!("look into database {database}"), query)? == "0")
}
