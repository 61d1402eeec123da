//! The rows of tables that are streams of their own: several at once, each in a transaction that first
//! empties the table, so that PostgreSQL may write the rows frozen and (where it may) without its log.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;

use crate::event::{Event, Observer};
use crate::postgres::{COPY_TEXT, Client, identifier, literal, qualified};
use crate::snapshot::TableManifest;

use super::cluster::Cluster;
use super::error::DatabaseError;
use super::parallel::share;
use super::statistics::Statistics;

/// Bytes sent at once.
const PIECE: usize = 256 << 10;

/// Gives the rows of a table, as COPY wrote them.
pub type OpenTable<'a> = dyn Fn(&TableManifest) -> Result<Box<dyn Read + 'a>, String> + Sync + 'a;

/// Says whether what arrived of a table is what should have; otherwise the difference.
pub type CompareTable<'a> = dyn Fn(&TableManifest, &Found) -> Result<(), String> + Sync + 'a;

/// A table as people write it.
pub fn table_name(table: &TableManifest) -> String {
    format!("{}.{}", table.schema, table.name)
}

/// `(a, b)`, or nothing where a table has no columns.
pub fn column_list(table: &TableManifest) -> String {
    if table.columns.is_empty() {
        return String::new();
    }
    let names: Vec<String> = table.columns.iter().map(|column| identifier(&column.name)).collect();
    format!(" ({})", names.join(", "))
}

/// Which tables go into which database, and how.
pub struct Load<'a> {
    /// Where to.
    pub cluster: &'a Cluster,
    /// The database.
    pub database: &'a str,
    /// Encoding of the streams: the source's.
    pub encoding: &'a str,
    /// How many at once.
    pub workers: usize,
    /// Who listens.
    pub observer: &'a dyn Observer,
    /// Where the rows come from.
    pub open: &'a OpenTable<'a>,
    /// What must have arrived.
    pub compare: &'a CompareTable<'a>,
    /// What is computed about them.
    pub statistics: &'a Statistics,
}

impl Load<'_> {
    /// Loads `tables`, the largest first; gives the rows. At the first failure all stop.
    pub fn run(&self, tables: &[&TableManifest]) -> Result<u64, DatabaseError> {
        let mut tables = tables.to_vec();
        tables.sort_by_key(|table| std::cmp::Reverse(table.bytes));
        let rows = AtomicU64::new(0);
        share(
            &tables,
            self.workers,
            || self.session(),
            |session, table, has_failed| {
                rows.fetch_add(self.table(session, table, has_failed)?, Ordering::SeqCst);
                Ok(())
            },
        )?;
        Ok(rows.into_inner())
    }

    fn session(&self) -> Result<Client, DatabaseError> {
        let mut session = self.cluster.session(self.database)?;
        prepare_copy(&mut session, self.encoding)?;
        Ok(session)
    }

    fn table(
        &self,
        session: &mut Client,
        table: &TableManifest,
        has_failed: &AtomicBool,
    ) -> Result<u64, DatabaseError> {
        let name = table_name(table);
        self.observer.event(&Event::Working { item: format!("table {name}") });
        let place = qualified(&table.schema, &table.name);
        let doing = format!("restore table {name}");
        session.run(&doing, &format!("BEGIN; TRUNCATE ONLY {place}"))?;
        let columns = column_list(table);
        let copy = format!("COPY {place}{columns} FROM STDIN WITH (FREEZE)");
        let mut rows = Rows::open(self.open, table)?;
        let mut input = session.copy_in(&doing, &copy)?;
        while let Some(piece) = rows.next_piece()? {
            if has_failed.load(Ordering::SeqCst) {
                return Err(DatabaseError::Interrupted);
            }
            let bytes = piece.len() as u64;
            input.write(piece)?;
            self.observer.event(&Event::Progress { bytes, items: 0 });
        }
        let count = input.finish()?;
        let found = rows.found(count);
        (self.compare)(table, &found).map_err(|reason| differs(table, reason))?;
        session.run(&doing, "COMMIT")?;
        self.statistics.of_table(session, table)?;
        self.observer.event(&Event::Progress { bytes: 0, items: 1 });
        Ok(count)
    }
}

/// The settings in which rows are read and written as text, both ways the same.
pub fn prepare_copy(session: &mut Client, encoding: &str) -> Result<(), DatabaseError> {
    session.run("prepare a session", COPY_TEXT)?;
    let settings = format!("SET search_path = ''; SET client_encoding = {}", literal(encoding));
    Ok(session.run("prepare a session", &settings)?)
}

/// A table's rows on their way, counted and hashed.
pub struct Rows<'t, 'r> {
    table: &'t TableManifest,
    reader: Box<dyn Read + 'r>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<'t, 'r> Rows<'t, 'r> {
    /// The rows of `table`.
    pub fn open(open: &OpenTable<'r>, table: &'t TableManifest) -> Result<Self, DatabaseError> {
        let reader = open(table).map_err(|reason| unreadable(table, reason))?;
        Ok(Self { table, reader, hasher: blake3::Hasher::new(), bytes: 0 })
    }

    /// The next piece.
    pub fn next_piece(&mut self) -> Result<Option<Bytes>, DatabaseError> {
        let mut piece = Vec::with_capacity(PIECE);
        let read = self.reader.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        read.map_err(|error: io::Error| unreadable(self.table, error.to_string()))?;
        self.hasher.update(&piece);
        self.bytes += piece.len() as u64;
        Ok((!piece.is_empty()).then(|| Bytes::from(piece)))
    }

    /// Whether what passed is what the manifest says, and the server took all of it.
    pub fn verify(self, rows: u64) -> Result<(), DatabaseError> {
        let table = self.table;
        self.found(rows).compare(table).map_err(|reason| differs(table, reason))
    }

    /// What passed, of which the server took so many rows.
    pub fn found(self, rows: u64) -> Found {
        Found { rows, bytes: self.bytes, hash: *self.hasher.finalize().as_bytes() }
    }
}

fn differs(table: &TableManifest, reason: String) -> DatabaseError {
    DatabaseError::Differs { what: format!("table {}", table_name(table)), reason }
}

/// What a table was found to be.
pub struct Found {
    /// Rows.
    pub rows: u64,
    /// Bytes of its COPY stream.
    pub bytes: u64,
    /// BLAKE3 of it.
    pub hash: [u8; 32],
}

impl Found {
    /// Whether it is as the manifest says; otherwise the difference.
    pub fn compare(&self, table: &TableManifest) -> Result<(), String> {
        if self.rows != table.rows {
            return Err(format!("{} rows where the snapshot has {}", self.rows, table.rows));
        }
        if self.bytes != table.bytes {
            return Err(format!("{} bytes where the snapshot has {}", self.bytes, table.bytes));
        }
        match table.hash {
            Some(hash) if hash != self.hash => {
                Err("its rows are not those of the snapshot (their BLAKE3 differs)".to_owned())
            }
            _ => Ok(()),
        }
    }
}

fn unreadable(table: &TableManifest, reason: String) -> DatabaseError {
    DatabaseError::Read { what: format!("rows of table {}", table_name(table)), reason }
}
