//! The proof that a snapshot's databases restore: into a throw-away server, and everything compared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Event, Observer, StopFlag};
use crate::id::SnapshotId;
use crate::postgres::{Client, GLOBALS_PATH, Server, identifier};
use crate::repository::{Fetcher, Repository, RepositoryError};
use crate::snapshot::{DatabaseManifest, ReceiptRecord, Snapshot};
use crate::source::archive::Toc;
use crate::target::postgres::{
    Cluster, DatabaseError, Thoroughness, check_assertions, check_heap_and_indexes, check_objects,
    compare_rows, compare_schema, create_database, drop_database, globals_roles, missing_roles,
    roles_of,
};

use super::restore_database::{Contents, Filling, RestoreDatabaseError, choose, fill};

/// Kind of the receipts.
pub const RECEIPT_KIND: &str = "test-restore";
/// Bytes of opened segments kept while rows are read.
const CONTENT_CACHE: usize = 48 << 20;
/// Largest list of roles that is read.
const GLOBALS_LIMIT: u64 = 64 << 20;

/// Choices of a proof.
#[derive(Debug, Clone, Default)]
pub struct ProofOptions {
    /// Only this database.
    pub database: Option<String>,
    /// Sessions at once.
    pub workers: usize,
    /// For each database, SQL that has to be true in it.
    pub assertions: BTreeMap<String, Vec<String>>,
}

/// What was proven of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseProof {
    /// Its name.
    pub database: String,
    /// Tables copied again and compared.
    pub tables: usize,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Tables, indexes, constraints and triggers found.
    pub objects: u64,
    /// How the definitions were compared.
    pub schema: &'static str,
    /// What `pg_amcheck` said.
    pub amcheck: String,
    /// Assertions that hold.
    pub assertions: usize,
}

/// How a proof ended.
#[derive(Debug)]
pub struct Proof {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// What was proven.
    pub databases: Vec<DatabaseProof>,
    /// Why it is no proof: the first thing that was wrong.
    pub failure: Option<RestoreDatabaseError>,
    /// Version of the server that was restored into.
    pub server_version: String,
    /// How long it took, the server's start aside.
    pub duration: Duration,
}

/// The databases of a snapshot a proof is about.
pub fn chosen<'s>(
    id: &SnapshotId,
    snapshot: &'s Snapshot,
    database: Option<&str>,
) -> Result<Vec<&'s DatabaseManifest>, RestoreDatabaseError> {
    match database {
        Some(name) => Ok(vec![choose(id, snapshot, Some(name))?]),
        None if snapshot.databases.is_empty() => Ok(vec![choose(id, snapshot, None)?]),
        None => {
            let names = snapshot.databases.iter();
            names.map(|found| choose(id, snapshot, Some(&found.name))).collect()
        }
    }
}

/// Restores the databases of a snapshot into `server`, which is there for nothing else, and compares
/// everything. That it fails is a result; only being stopped is an error.
pub fn prove(
    repository: &Repository,
    id: SnapshotId,
    snapshot: &Snapshot,
    server: &Server,
    options: &ProofOptions,
    stop: &Arc<StopFlag>,
    observer: &Arc<dyn Observer>,
) -> Result<Proof, RestoreDatabaseError> {
    let clock = &repository.environment().clock;
    let begin = clock.elapsed();
    let cluster = Cluster::new(server.clone(), Arc::clone(stop));
    let mut proof = Proof {
        snapshot: id,
        databases: Vec::new(),
        failure: None,
        server_version: String::new(),
        duration: Duration::ZERO,
    };
    let work = Work { repository, snapshot, cluster: &cluster, options, observer };
    let result = work.all(&id, &mut proof);
    proof.duration = clock.elapsed().saturating_sub(begin);
    match result {
        Ok(()) => Ok(proof),
        Err(error) if is_stop(&error) => Err(error),
        Err(error) => Ok(Proof { failure: Some(error), ..proof }),
    }
}

fn is_stop(error: &RestoreDatabaseError) -> bool {
    match error {
        RestoreDatabaseError::Database(error) => matches!(**error, DatabaseError::Interrupted),
        RestoreDatabaseError::Repository(error) => matches!(error, RepositoryError::Interrupted),
        _ => false,
    }
}

struct Work<'a> {
    repository: &'a Repository,
    snapshot: &'a Snapshot,
    cluster: &'a Cluster,
    options: &'a ProofOptions,
    observer: &'a Arc<dyn Observer>,
}

impl Work<'_> {
    fn all(&self, id: &SnapshotId, proof: &mut Proof) -> Result<(), RestoreDatabaseError> {
        let mut session = self.cluster.maintenance("")?;
        let version = session.value("ask the version", "SHOW server_version");
        proof.server_version = version.map_err(DatabaseError::from)?;
        drop(session);
        for manifest in chosen(id, self.snapshot, self.options.database.as_deref())? {
            self.observer.event(&Event::Working { item: format!("database {}", manifest.name) });
            proof.databases.push(self.one(manifest)?);
        }
        Ok(())
    }

    fn one(&self, manifest: &DatabaseManifest) -> Result<DatabaseProof, RestoreDatabaseError> {
        let (cluster, name) = (self.cluster, manifest.name.as_str());
        let fetcher = Fetcher::new(self.repository, CONTENT_CACHE);
        let contents = Contents::find(&fetcher, self.snapshot, manifest)?;
        let toc = contents.toc()?;
        let step = |step, total_bytes| {
            self.observer.event(&Event::StepStarted { step, total_bytes });
        };
        step("database", None);
        let mut session = cluster.maintenance(name)?;
        self.create_roles(&fetcher, &mut session, &toc)?;
        // A new server has a database `postgres` of its own.
        drop_database(&mut session, name)?;
        create_database(&mut session, &toc, name, true)?;
        drop(session);
        let filling = Filling {
            cluster,
            contents: &contents,
            toc: &toc,
            name,
            workers: self.options.workers,
            without_tablespaces: true,
            observer: self.observer.as_ref(),
        };
        fill(&filling)?;
        let tables = [contents.streamed(), contents.archived()].concat();
        step("compare", Some(tables.iter().map(|table| table.bytes).sum()));
        let objects = check_objects(&mut cluster.session(name)?, &toc)?;
        let workers = self.options.workers;
        let observer = self.observer.as_ref();
        compare_rows(cluster, name, &manifest.encoding, &tables, workers, observer)?;
        let schema = match compare_schema(cluster, name, &toc)? {
            Thoroughness::Definitions => "definitions are the same",
            Thoroughness::Names => {
                "names are the same (another version writes definitions differently)"
            }
        };
        step("check", None);
        let amcheck = check_heap_and_indexes(cluster, name)?;
        let assertions = self.options.assertions.get(name).map_or(&[][..], Vec::as_slice);
        check_assertions(cluster, name, name, assertions)?;
        Ok(DatabaseProof {
            database: name.to_owned(),
            tables: tables.len(),
            rows: tables.iter().map(|table| table.rows).sum(),
            bytes: tables.iter().map(|table| table.bytes).sum(),
            objects,
            schema,
            amcheck,
            assertions: assertions.len(),
        })
    }

    /// Roles that cannot log in; those that were superusers are, because some things only they may own.
    fn create_roles(
        &self,
        fetcher: &Fetcher<'_>,
        session: &mut Client,
        toc: &Toc,
    ) -> Result<(), DatabaseError> {
        let path = GLOBALS_PATH.as_bytes();
        let globals = Contents::small_file(fetcher, self.snapshot, path, GLOBALS_LIMIT);
        let known = globals_roles(&String::from_utf8_lossy(&globals.unwrap_or_default()));
        for role in missing_roles(session, &roles_of(toc))? {
            let is_superuser =
                known.iter().any(|(name, is_superuser)| *name == role && *is_superuser);
            let attribute = if is_superuser { "SUPERUSER" } else { "NOSUPERUSER" };
            let sql = format!("CREATE ROLE {} NOLOGIN {attribute}", identifier(&role));
            session.run(&format!("make role {role}"), &sql)?;
        }
        Ok(())
    }
}

/// The receipt of a proof.
pub fn receipt(
    repository: &Repository,
    snapshot: &Snapshot,
    proof: &Proof,
    failure: Option<&str>,
) -> ReceiptRecord {
    let environment = repository.environment();
    let mut details = BTreeMap::new();
    let mut put = |name: &str, value: String| details.insert(name.to_owned(), value);
    let sum = |of: &dyn Fn(&DatabaseProof) -> u64| proof.databases.iter().map(of).sum::<u64>();
    put("duration_ms", proof.duration.as_millis().to_string());
    put("server_version", proof.server_version.clone());
    put("tables", sum(&|one| one.tables as u64).to_string());
    put("rows", sum(&|one| one.rows).to_string());
    put("bytes", sum(&|one| one.bytes).to_string());
    put("assertions", sum(&|one| one.assertions as u64).to_string());
    for one in &proof.databases {
        let (objects, schema, amcheck) = (one.objects, one.schema, &one.amcheck);
        let text = format!("{objects} objects; {schema}; pg_amcheck: {amcheck}");
        put(&format!("database {}", one.database), text);
    }
    for manifest in &snapshot.databases {
        put(&format!("source {}", manifest.name), manifest.server_version.clone());
    }
    if let Some(reason) = failure {
        put("reason", reason.to_owned());
    }
    ReceiptRecord {
        kind: RECEIPT_KIND.to_owned(),
        time: i64::try_from(environment.clock.now().as_nanosecond()).unwrap_or(i64::MAX),
        instance: snapshot.instance.clone(),
        host: environment.host.clone(),
        result: if failure.is_none() { "ok" } else { "failed" }.to_owned(),
        snapshot: Some(proof.snapshot),
        details,
        forgotten: Vec::new(),
    }
}

/// The last proven restore among receipts: of `instance`, or of any.
pub fn last_proven<'r>(
    receipts: impl IntoIterator<Item = &'r ReceiptRecord>,
    instance: Option<&str>,
) -> Option<&'r ReceiptRecord> {
    let is_meant = |record: &&ReceiptRecord| {
        record.kind == RECEIPT_KIND
            && record.result == "ok"
            && instance.is_none_or(|name| record.instance == name)
    };
    receipts.into_iter().filter(is_meant).max_by_key(|record| record.time)
}
