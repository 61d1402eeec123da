//! Getting hold of a database: locks on all its tables, one view of it for several sessions, and
//! nothing read yet. Others may get in the way, with an `ALTER TABLE` say; then all is given back and tried
//! again, so that nobody waits long behind us.
//!
//! The order matters. A snapshot taken before the locks would see a table that is truncated in
//! between as empty, without an error. And a session that asked for a lock we hold already through
//! another session would wait behind whoever waits for us, for ever: so every session has all its locks
//! before anything is read, `pg_dump` too, whose first bytes tell that it has.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::event::StopFlag;
use crate::postgres::{Client, Server, ServerError};
use crate::snapshot::DatabaseManifest;
use crate::source::SourceError;

use super::discover::{LOCK_TIMEOUT, Table, are_same, describe, prepare, tables};
use super::rest::{RunningDump, StartedDump};
use super::tables::{Worker, begin, share_out};

/// Most tables that are streams of their own; `pg_dump` is told of each in its arguments.
const MAX_STREAMS: usize = 4096;

/// How a database is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choices {
    /// Sessions that copy tables.
    pub workers: usize,
    /// Bytes on disk from which a table is a stream of its own.
    pub stream_from: u64,
    /// How long to wait for locks, all in all.
    pub lock_wait: Duration,
}

impl Choices {
    /// How long to wait for one lock.
    fn lock_timeout(&self) -> Duration {
        // 0 would be for ever.
        LOCK_TIMEOUT.min(self.lock_wait).max(Duration::from_millis(100))
    }
}

/// A database at one moment, ready to be read.
pub(super) struct Held {
    pub holder: Client,
    pub snapshot: String,
    pub workers: Vec<Worker>,
    pub dump: RunningDump,
    /// Tables that are streams.
    pub streamed: Vec<Table>,
    /// Tables whose rows are in the archive.
    pub archived: Vec<Table>,
    pub manifest: DatabaseManifest,
}

/// Why an attempt failed.
enum Hindered {
    /// By others, who will be gone.
    Conflict(SourceError),
    /// For good.
    Failed(SourceError),
}

impl From<ServerError> for Hindered {
    fn from(error: ServerError) -> Self {
        let conflicts = [
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::T_R_DEADLOCK_DETECTED,
            // Dropped or renamed since it was found.
            SqlState::UNDEFINED_TABLE,
            SqlState::INVALID_SCHEMA_NAME,
        ];
        match error.code() {
            Some(code) if conflicts.contains(&code) => Self::Conflict(error.into()),
            _ => Self::Failed(error.into()),
        }
    }
}

/// Whether `pg_dump` failed because of somebody who will be gone. It waits for a lock with `statement_timeout`, which
/// it sets for nothing else.
fn is_conflict(reason: &str) -> bool {
    let has_waited = reason.contains("due to lock timeout")
        || reason.contains("due to statement timeout") && reason.contains("LOCK TABLE");
    has_waited || reason.contains("does not exist")
}

impl From<SourceError> for Hindered {
    fn from(error: SourceError) -> Self {
        match &error {
            SourceError::Database { reason, .. } if is_conflict(reason) => Self::Conflict(error),
            _ => Self::Failed(error),
        }
    }
}

/// Gets hold of the database, trying again while others are in the way. `patience` waits and tells how long
/// it has been waiting in all.
pub(super) fn hold(
    server: &Server,
    manifest: &DatabaseManifest,
    choices: Choices,
    stop: &Arc<StopFlag>,
    patience: &mut dyn FnMut(Duration) -> Duration,
) -> Result<Held, SourceError> {
    // Who was in the way goes on at once when we let go: right after that is the best moment.
    let mut pause = Duration::from_millis(20);
    loop {
        match attempt(server, manifest.clone(), choices, stop) {
            Ok(held) => return Ok(held),
            Err(Hindered::Failed(error)) => return Err(error),
            Err(Hindered::Conflict(error)) => {
                if stop.is_stopped() || patience(pause) >= choices.lock_wait {
                    return Err(error);
                }
                pause = (pause * 3 / 2).min(Duration::from_secs(1));
            }
        }
    }
}

fn attempt(
    server: &Server,
    mut manifest: DatabaseManifest,
    choices: Choices,
    stop: &Arc<StopFlag>,
) -> Result<Held, Hindered> {
    let database = manifest.name.clone();
    let mut holder = server.connect(&database, stop)?;
    let version = prepare(&mut holder, choices.lock_timeout())?;
    describe(&mut holder, version, &mut manifest)?;
    let found = tables(&mut holder, version)?;
    check_rights(server, &database, &found)?;
    let (streamed, archived) = divide(&found, choices.stream_from, &manifest.encoding);
    let mut workers = Vec::new();
    for share in share_out(streamed.clone(), choices.workers) {
        workers.push(Worker::connect(server, &database, share, stop)?);
    }
    // From here on others may have to wait for us: no unnecessary step until all locks are held.
    begin(&mut holder, &found.iter().collect::<Vec<_>>())?;
    for worker in &mut workers {
        worker.lock()?;
    }
    let snapshot = holder.value("export the snapshot", "SELECT pg_export_snapshot()")?;
    let dump = StartedDump::start(server, &database, &snapshot, &streamed, stop)?;
    for worker in &mut workers {
        worker.adopt(&snapshot)?;
    }
    if !are_same(&found, &tables(&mut holder, version)?) {
        let reason = "its tables were changed while they were being locked".to_owned();
        return Err(Hindered::Conflict(failed(server, &database, reason, "try again")));
    }
    let dump = dump.wait(server, &database)?;
    Ok(Held { holder, snapshot, workers, dump, streamed, archived, manifest })
}

fn failed(server: &Server, database: &str, reason: String, way_out: &'static str) -> SourceError {
    SourceError::Database {
        verb: "dump",
        database: database.to_owned(),
        server: server.place(),
        reason,
        way_out,
    }
}

/// Refuses what would fail halfway, or worse, succeed with rows missing.
fn check_rights(server: &Server, database: &str, found: &[Table]) -> Result<(), SourceError> {
    let name = |tables: Vec<&Table>| match tables[..] {
        [] => None,
        [one] => Some(one.title()),
        [first, ..] => Some(format!("{} and {} others", first.title(), tables.len() - 1)),
    };
    let user = server.user();
    if let Some(named) = name(found.iter().filter(|table| table.is_forbidden).collect()) {
        let reason = format!("role {user} may not read {named}");
        let way_out = "GRANT pg_read_all_data to the role, or SELECT on every table";
        return Err(failed(server, database, reason, way_out));
    }
    if let Some(named) = name(found.iter().filter(|table| table.hides_rows).collect()) {
        let reason = format!("row-level security may hide rows of {named} from role {user}");
        return Err(failed(server, database, reason, "ALTER ROLE ... BYPASSRLS"));
    }
    Ok(())
}

/// Which tables are streams of their own, the largest first, and which stay in the archive: where a
/// thousand small tables are better off.
fn divide(found: &[Table], stream_from: u64, encoding: &str) -> (Vec<Table>, Vec<Table>) {
    let is_unicode = encoding == "UTF8";
    let mut candidates: Vec<&Table> = found
        .iter()
        .filter(|table| table.is_plain && table.size >= stream_from)
        // Arguments of pg_dump are in UTF-8, but it takes them for the database's encoding.
        .filter(|table| is_unicode || table.sql().is_ascii())
        .collect();
    candidates.sort_by_key(|table| std::cmp::Reverse(table.size));
    candidates.truncate(MAX_STREAMS);
    let oids: Vec<u32> = candidates.iter().map(|table| table.oid).collect();
    found.iter().cloned().partition(|table| oids.contains(&table.oid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_pg_dump_did_not_get_is_tried_again() {
        let said = "pg_dump: error: query failed: ERROR:  canceling statement due to statement timeout / pg_dump: detail: \
                    Query was: LOCK TABLE public.ballast IN ACCESS SHARE MODE";
        assert!(is_conflict(said));
        assert!(!is_conflict(
            "ERROR:  canceling statement due to statement timeout / Query was: COPY public.a TO stdout"
        ));
        assert!(!is_conflict("server closed the connection unexpectedly"));
    }
}
