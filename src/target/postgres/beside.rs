//! One table of a snapshot beside the live one: in a schema of its own, with the rows and nothing else.

use crate::event::{Event, Observer};
use crate::postgres::{Client, identifier, literal, qualified};
use crate::snapshot::TableManifest;

use super::cluster::Cluster;
use super::error::DatabaseError;
use super::load::{OpenTable, Rows, column_list, prepare_copy, table_name};

/// What the comments of our tables begin with: only those are ever replaced.
const OURS: &str = "mrs-backup: ";

/// A column: its name and its type.
type Column = (String, String);

/// The live table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// Its columns in order; generated ones not.
    pub columns: Vec<Column>,
    /// The columns of its primary key.
    pub key: Vec<String>,
}

/// Which table goes where.
pub struct Beside<'a> {
    /// The server.
    pub cluster: &'a Cluster,
    /// The live database.
    pub database: &'a str,
    /// The schema beside.
    pub schema: &'a str,
    /// The table.
    pub table: &'a TableManifest,
    /// Encoding of its stream.
    pub encoding: &'a str,
}

/// In what two tables differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Rows that are the same.
    pub same: u64,
    /// Rows of the same key that are not; `None`: there is no key to tell.
    pub changed: Option<u64>,
    /// Rows only in the snapshot.
    pub only_snapshot: u64,
    /// Rows only in the live table.
    pub only_live: u64,
    /// Columns that are only in one of both, or of another type; rows are compared by the others.
    pub columns: Vec<String>,
}

impl Beside<'_> {
    /// The live table; `None`: it is not there any more.
    pub fn live(&self, session: &mut Client) -> Result<Option<Live>, DatabaseError> {
        let doing = format!("look at table {}", table_name(self.table));
        let which = format!(
            "n.nspname = {} AND c.relname = {} AND c.relkind IN ('r', 'p')",
            literal(&self.table.schema),
            literal(&self.table.name)
        );
        let there = format!(
            "SELECT c.oid FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE {which}"
        );
        let oid = session.value(&doing, &there)?;
        if oid.is_empty() {
            return Ok(None);
        }
        // From 12 on columns may be generated; `to_jsonb` asks for a column that may not exist.
        let columns = format!(
            "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod) \
             FROM pg_catalog.pg_attribute a WHERE a.attrelid = {oid} AND a.attnum > 0 \
             AND NOT a.attisdropped \
             AND coalesce(pg_catalog.to_jsonb(a) ->> 'attgenerated', '') = '' ORDER BY a.attnum"
        );
        let key = format!(
            "SELECT a.attname FROM pg_catalog.pg_index i \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) \
             WHERE i.indrelid = {oid} AND i.indisprimary"
        );
        let pairs = session.rows(&doing, &columns)?.into_iter().filter_map(|row| {
            let [name, kind] = <[Option<String>; 2]>::try_from(row).ok()?;
            Some((name?, kind?))
        });
        let columns = pairs.collect();
        let key = session.rows(&doing, &key)?.into_iter().flatten().flatten().collect();
        Ok(Some(Live { columns, key }))
    }

    /// What is there under the new name: nothing, one of ours (its comment), or somebody's.
    pub fn in_the_way(&self, session: &mut Client) -> Result<Option<String>, DatabaseError> {
        let name = self.place();
        let query = format!(
            "SELECT coalesce(pg_catalog.obj_description(c.oid, 'pg_class'), '') \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = {} AND c.relname = {}",
            literal(self.schema),
            literal(&self.table.name)
        );
        let rows = session.rows(&format!("look for table {name}"), &query)?;
        let Some(comment) = rows.into_iter().flatten().next() else { return Ok(None) };
        let comment = comment.unwrap_or_default();
        if comment.starts_with(OURS) {
            return Ok(Some(comment));
        }
        Err(DatabaseError::InTheWay {
            what: format!("table `{}.{}`", self.schema, self.table.name),
            server: self.cluster.place(),
        })
    }

    fn place(&self) -> String {
        qualified(self.schema, &self.table.name)
    }

    /// A session for rows, in which types are written with their schemas, as the manifest has them.
    pub fn session(&self) -> Result<Client, DatabaseError> {
        let mut session = self.cluster.session(self.database)?;
        prepare_copy(&mut session, self.encoding)?;
        Ok(session)
    }

    /// Makes the table and loads its rows, in one transaction; gives the rows.
    pub fn load(
        &self,
        session: &mut Client,
        snapshot: &str,
        open: &OpenTable<'_>,
        observer: &dyn Observer,
    ) -> Result<u64, DatabaseError> {
        let (name, place) = (table_name(self.table), self.place());
        let doing = format!("restore table {name}");
        let columns = self.table.columns.iter();
        let columns: Vec<String> = columns
            .map(|column| format!("{} {}", identifier(&column.name), column.type_name))
            .collect();
        let comment = format!("{OURS}{name} of snapshot {snapshot}");
        // An error anywhere leaves the transaction open; the session's end takes it back.
        session.run(
            &doing,
            &format!(
                "BEGIN; CREATE SCHEMA IF NOT EXISTS {}; DROP TABLE IF EXISTS {place}; \
                 CREATE TABLE {place} ({}); COMMENT ON TABLE {place} IS {}",
                identifier(self.schema),
                columns.join(", "),
                literal(&comment)
            ),
        )?;
        let mut rows = Rows::open(open, self.table)?;
        let copy = format!("COPY {place}{} FROM STDIN WITH (FREEZE)", column_list(self.table));
        let mut input = session.copy_in(&doing, &copy)?;
        while let Some(piece) = rows.next_piece()? {
            let bytes = piece.len() as u64;
            input.write(piece)?;
            observer.event(&Event::Progress { bytes, items: 0 });
        }
        let count = input.finish()?;
        rows.verify(count)?;
        session.run(&doing, "COMMIT")?;
        session.run(&doing, &format!("ANALYZE {place}"))?;
        Ok(count)
    }

    /// Compares the restored table with the live one.
    pub fn difference(
        &self,
        session: &mut Client,
        live: &Live,
    ) -> Result<Difference, DatabaseError> {
        let doing = format!("compare table {}", table_name(self.table));
        let own: Vec<Column> = self
            .table
            .columns
            .iter()
            .map(|column| (column.name.clone(), column.type_name.clone()))
            .collect();
        let common: Vec<&Column> =
            own.iter().filter(|column| live.columns.contains(column)).collect();
        let different = own.iter().chain(&live.columns).filter(|column| !common.contains(column));
        let mut columns: Vec<String> = different.map(|(name, _)| name.clone()).collect();
        columns.sort();
        columns.dedup();
        let has_key = !live.key.is_empty()
            && live.key.iter().all(|name| common.iter().any(|(known, _)| known == name));
        let live_place = qualified(&self.table.schema, &self.table.name);
        let query = match has_key {
            true => by_key(&common, &live.key, &self.place(), &live_place),
            false => by_row(&common, &self.place(), &live_place),
        };
        let rows = session.rows(&doing, &query)?;
        let numbers: Vec<u64> =
            rows.into_iter().flatten().flatten().filter_map(|text| text.parse().ok()).collect();
        let [same, changed, only_snapshot, only_live] = numbers.as_slice() else {
            return Err(DatabaseError::Differs {
                what: doing,
                reason: "the server gave no numbers".to_owned(),
            });
        };
        Ok(Difference {
            same: *same,
            changed: has_key.then_some(*changed),
            only_snapshot: *only_snapshot,
            only_live: *only_live,
            columns,
        })
    }
}

/// A row of some columns.
fn row(columns: &[&Column], alias: &str) -> String {
    let names: Vec<String> =
        columns.iter().map(|(name, _)| format!("{alias}.{}", identifier(name))).collect();
    format!("ROW({})", names.join(", "))
}

/// Counts of rows that are the same, changed, only here, only there; rows belong together by their key.
///
/// Almost all are the same byte by byte, which is told without writing them out. What is not may still be the
/// same as text, the form in which rows are stored and which types without equality have, too.
fn by_key(columns: &[&Column], key: &[String], own: &str, live: &str) -> String {
    let pairs: Vec<String> =
        key.iter().map(|name| format!("s.{0} = l.{0}", identifier(name))).collect();
    let (one, two) = (row(columns, "s"), row(columns, "l"));
    let first = identifier(&key[0]);
    // A key is never null: where it is, there is no row on that side.
    format!(
        "SELECT count(*) FILTER (WHERE is_same), count(*) FILTER (WHERE NOT is_same), \
         count(*) FILTER (WHERE is_own AND NOT is_live), count(*) FILTER (WHERE is_live AND NOT is_own) \
         FROM (SELECT s.{first} IS NOT NULL AS is_own, l.{first} IS NOT NULL AS is_live, \
         CASE WHEN s.{first} IS NOT NULL AND l.{first} IS NOT NULL \
         THEN {one}::record OPERATOR(pg_catalog.*=) {two}::record OR {one}::text = {two}::text END AS is_same \
         FROM {own} s FULL JOIN {live} l ON {}) AS pairs",
        pairs.join(" AND ")
    )
}

/// The same without a key: rows are the same text or they are not.
fn by_row(columns: &[&Column], own: &str, live: &str) -> String {
    let (one, two) = (row(columns, "s"), row(columns, "l"));
    format!(
        "WITH s AS (SELECT {one}::text AS r, count(*) AS n FROM {own} s GROUP BY 1), \
         l AS (SELECT {two}::text AS r, count(*) AS n FROM {live} l GROUP BY 1) \
         SELECT coalesce(sum(least(coalesce(s.n, 0), coalesce(l.n, 0))), 0), 0, \
         coalesce(sum(greatest(coalesce(s.n, 0) - coalesce(l.n, 0), 0)), 0), \
         coalesce(sum(greatest(coalesce(l.n, 0) - coalesce(s.n, 0), 0)), 0) \
         FROM s FULL JOIN l ON s.r = l.r"
    )
}
