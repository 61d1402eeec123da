//! The rows of tables, each as a stream of its own: which worker reads which, and how.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use crate::event::StopFlag;
use crate::postgres::{Client, CopyOut, Server, ServerError, table_path};
use crate::snapshot::TableManifest;
use crate::source::archive::count_lines;
use crate::source::{StreamEnd, StreamSink};

use super::discover::{SECOND_LOCK_TIMEOUT, Table, prepare};

/// Shares tables out so that all workers have about as much to read: the largest first, each to
/// the one that has least so far.
pub(super) fn share_out(mut tables: Vec<Table>, workers: usize) -> Vec<Vec<Table>> {
    tables.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.sql().cmp(&b.sql())));
    let mut shares: Vec<(u64, Vec<Table>)> = vec![(0, Vec::new()); workers.min(tables.len())];
    for table in tables {
        // Even an empty table costs a little.
        let cost = table.size.max(8192);
        if let Some(share) = shares.iter_mut().min_by_key(|share| share.0) {
            share.0 += cost;
            share.1.push(table);
        }
    }
    shares.into_iter().map(|share| share.1).collect()
}

/// Begins a transaction that sees one state of the database and holds the tables' locks.
///
/// The locks come before anything that reads: what `SET TRANSACTION SNAPSHOT` or the first query will see
/// can then not be truncated or altered any more.
pub(super) fn begin(client: &mut Client, tables: &[&Table]) -> Result<(), ServerError> {
    let mut sql = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".to_owned();
    if !tables.is_empty() {
        let names: Vec<String> =
            tables.iter().map(|table| format!("ONLY {}", table.sql())).collect();
        sql = format!("{sql}; LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "));
    }
    client.run("lock the tables", &sql)
}

/// One session that copies its tables one after the other.
pub(super) struct Worker {
    client: Client,
    tables: Vec<Table>,
}

/// What all workers of a database know.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub server: Server,
    pub database: String,
    pub encoding: String,
    pub snapshot: String,
    pub stop: Arc<StopFlag>,
}

impl Worker {
    /// Connects.
    pub fn connect(
        server: &Server,
        database: &str,
        tables: Vec<Table>,
        stop: &Arc<StopFlag>,
    ) -> Result<Self, ServerError> {
        let mut client = server.connect(database, stop)?;
        prepare(&mut client, SECOND_LOCK_TIMEOUT)?;
        Ok(Self { client, tables })
    }

    /// Locks its tables.
    pub fn lock(&mut self) -> Result<(), ServerError> {
        begin(&mut self.client, &self.tables.iter().collect::<Vec<_>>())
    }

    /// Sees what the holder of `snapshot` sees.
    pub fn adopt(&mut self, snapshot: &str) -> Result<(), ServerError> {
        let snapshot = crate::postgres::literal(snapshot);
        self.client.run("take over the snapshot", &format!("SET TRANSACTION SNAPSHOT {snapshot}"))
    }

    /// Copies all its tables. A table that fails does not keep the others from being read: the
    /// snapshot will be incomplete, but has them.
    pub fn copy_all(mut self, reading: &Reading, sink: &dyn StreamSink) -> Vec<TableManifest> {
        let mut done = Vec::new();
        let mut left: VecDeque<Table> = std::mem::take(&mut self.tables).into();
        while let Some(table) = left.pop_front() {
            let path = table_path(&reading.database, &table.schema, &table.name);
            match self.copy(&table, &path, reading, sink) {
                Ok(manifest) => done.push(manifest),
                Err(StreamEnd::Refused) => return done,
                // What failed has ended the transaction.
                Err(_) if left.is_empty() => return done,
                Err(_) => match Self::again(reading, left.iter().cloned().collect()) {
                    Ok(client) => self.client = client,
                    Err(error) => {
                        left.iter().for_each(|table| sink.fail(&table.title(), &error.to_string()));
                        return done;
                    }
                },
            }
        }
        if let Err(error) = self.client.run("end the transaction that read the tables", "COMMIT") {
            sink.fail(&reading.database, &error.to_string());
        }
        done
    }

    /// A new transaction with the same view, for the tables that are left.
    fn again(reading: &Reading, tables: Vec<Table>) -> Result<Client, ServerError> {
        let mut worker = Self::connect(&reading.server, &reading.database, tables, &reading.stop)?;
        worker.lock()?;
        worker.adopt(&reading.snapshot)?;
        Ok(worker.client)
    }

    fn copy(
        &mut self,
        table: &Table,
        path: &str,
        reading: &Reading,
        sink: &dyn StreamSink,
    ) -> Result<TableManifest, StreamEnd> {
        let doing = format!("copy table {}", table.title());
        let copy = match self.client.copy_out(&doing, &table.copy_statement(&reading.encoding)) {
            Ok(copy) => copy,
            Err(error) => return Err(sink.store(path.as_bytes(), &mut Failed(error))),
        };
        let mut rows = RowReader::new(copy, doing.clone());
        let end = sink.store(path.as_bytes(), &mut rows);
        let manifest = TableManifest {
            schema: table.schema.clone(),
            name: table.name.clone(),
            columns: table.columns.clone(),
            rows: rows.rows,
            bytes: rows.bytes,
            hash: Some(*rows.hasher.finalize().as_bytes()),
            path: Some(path.as_bytes().to_vec()),
        };
        if end != StreamEnd::Whole {
            return Err(end);
        }
        // The stream's end is not yet the success of its statement; that of the next one is.
        if let Err(error) = self.client.run(&doing, "SELECT 1") {
            sink.fail(&table.title(), &error.to_string());
            return Err(StreamEnd::Broken);
        }
        Ok(manifest)
    }
}

/// A stream that could not even begin.
struct Failed(ServerError);

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other(self.0.clone()))
    }
}

/// Counts and hashes rows while they pass, and compares both counts of rows at the end: the lines
/// that passed and the messages the server sent.
struct RowReader<'c> {
    copy: CopyOut<'c>,
    doing: String,
    hasher: blake3::Hasher,
    rows: u64,
    bytes: u64,
}

impl<'c> RowReader<'c> {
    fn new(copy: CopyOut<'c>, doing: String) -> Self {
        Self { copy, doing, hasher: blake3::Hasher::new(), rows: 0, bytes: 0 }
    }
}

impl Read for RowReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.copy.read(buffer)?;
        if len == 0 && !buffer.is_empty() && self.rows != self.copy.messages() {
            return Err(io::Error::other(format!(
                "cannot {}: {} rows arrived, but {} lines",
                self.doing,
                self.copy.messages(),
                self.rows
            )));
        }
        self.hasher.update(&buffer[..len]);
        self.rows += count_lines(&buffer[..len]);
        self.bytes += len as u64;
        Ok(len)
    }
}
