//! All of a database that is no stream of its own: `pg_dump`'s archive.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::sync::Arc;

use crate::event::StopFlag;
use crate::postgres::{Server, conninfo};
use crate::snapshot::TableManifest;
use crate::source::archive::{ArchiveReport, ArchiveWalker};
use crate::source::process::Process;
use crate::source::{SourceError, StreamSink};

use super::discover::{SECOND_LOCK_TIMEOUT, Table};

/// A name that means nothing but itself in `pg_dump`'s patterns.
fn pattern(table: &Table) -> String {
    // Within quotes nothing but the quote is special.
    table.sql()
}

/// A `pg_dump` that was started.
pub(super) struct StartedDump(Process);

impl StartedDump {
    /// Starts `pg_dump` with the view of `snapshot`, without the rows of `streamed`.
    pub fn start(
        server: &Server,
        database: &str,
        snapshot: &str,
        streamed: &[Table],
        stop: &Arc<StopFlag>,
    ) -> Result<Self, SourceError> {
        let mut command = server.command("pg_dump", database);
        command.args(["-Fc", "-Z0", "-C", "--no-password"]);
        command.arg(format!("--lock-wait-timeout={}", SECOND_LOCK_TIMEOUT.as_millis()));
        command.arg(format!("--snapshot={snapshot}"));
        for table in streamed {
            command.arg(format!("--exclude-table-data={}", pattern(table)));
        }
        command.arg("--dbname").arg(conninfo(database));
        super::start(server, command, "pg_dump", stop).map(Self)
    }

    /// Waits for its first bytes: it writes none before it has read the catalogue and holds its locks.
    pub fn wait(self, server: &Server, database: &str) -> Result<RunningDump, SourceError> {
        let mut process = self.0;
        let mut head = vec![0; 64 << 10];
        let len = process.read(&mut head).map_err(|error| SourceError::Database {
            verb: "dump",
            database: database.to_owned(),
            server: server.place(),
            reason: error.to_string(),
            way_out: "see what PostgreSQL says",
        })?;
        head.truncate(len);
        Ok(RunningDump { head, process })
    }
}

/// A dump that has its locks and its view of the database, and whose first bytes have arrived.
pub(super) struct RunningDump {
    head: Vec<u8>,
    process: Process,
}

impl RunningDump {
    /// Its bytes; reading to the end verifies them.
    pub fn reader(self) -> RestReader {
        RestReader { walker: ArchiveWalker::new(Cursor::new(self.head).chain(self.process)) }
    }
}

/// Reads an archive and verifies it.
pub(super) struct RestReader {
    walker: ArchiveWalker<io::Chain<Cursor<Vec<u8>>, Process>>,
}

impl RestReader {
    /// What was found in the archive.
    pub fn report(&self) -> ArchiveReport {
        self.walker.report()
    }
}

impl Read for RestReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.walker.read(buffer)
    }
}

/// What a snapshot says of the tables whose rows are in the archive; what does not fit is told to
/// `sink`. `streamed` are those that must have none in it.
pub(super) fn archived_tables(
    report: &ArchiveReport,
    archived: &[Table],
    streamed: &[Table],
    sink: &dyn StreamSink,
) -> Vec<TableManifest> {
    let found: BTreeMap<u32, _> = report.tables.iter().map(|rows| (rows.oid, rows)).collect();
    for table in streamed.iter().filter(|table| found.contains_key(&table.oid)) {
        sink.fail(&table.title(), "its rows are in the archive although they are a stream, too");
    }
    let mut manifests = Vec::new();
    for table in archived.iter().filter(|table| table.has_rows) {
        let rows = found.get(&table.oid);
        if rows.is_none() && table.is_plain && report.note.is_none() {
            sink.fail(&table.title(), "its rows are not in the archive that pg_dump wrote");
            continue;
        }
        manifests.push(TableManifest {
            schema: table.schema.clone(),
            name: table.name.clone(),
            columns: table.columns.clone(),
            rows: rows.map_or(0, |rows| rows.rows),
            bytes: rows.map_or(0, |rows| rows.bytes),
            // Of an extension's table only a part may have been dumped.
            hash: rows.filter(|_| table.is_plain).map(|rows| rows.hash),
            path: None,
        });
    }
    manifests
}
