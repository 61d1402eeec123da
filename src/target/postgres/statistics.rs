//! The statistics of the planner, without which a database that comes back is slow.
//!
//! Those of a table are computed by the session that loaded it, as soon as its rows are there: while other sessions
//! still load, and while its pages are in memory. What needs more than the rows of one table waits for all of it.

use std::collections::HashSet;

use crate::postgres::{Client, qualified};
use crate::snapshot::TableManifest;

use super::cluster::Cluster;
use super::error::DatabaseError;
use super::parallel::share;

/// Tables that wait: parents and partitions, for the rows of all of their family, and those about which more is
/// computed once they have their indexes.
const WAITS: &str = "c.relkind = 'p' OR c.relispartition OR c.relhassubclass \
    OR EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indexprs IS NOT NULL) \
    OR EXISTS (SELECT FROM pg_catalog.pg_statistic_ext e WHERE e.stxrelid = c.oid)";

/// Which tables have theirs while rows are loaded.
#[derive(Debug)]
pub struct Statistics {
    database: String,
    /// As SQL names them.
    wait: HashSet<String>,
}

impl Statistics {
    /// Looks at a database that has its tables and no rows.
    pub fn of_definitions(cluster: &Cluster, database: &str) -> Result<Self, DatabaseError> {
        let wait = tables(&mut cluster.session(database)?, database, WAITS)?;
        Ok(Self { database: database.to_owned(), wait: wait.into_iter().collect() })
    }

    /// Computes those of a table whose rows were just committed, unless it has to wait.
    pub fn of_table(
        &self,
        session: &mut Client,
        table: &TableManifest,
    ) -> Result<(), DatabaseError> {
        let table = qualified(&table.schema, &table.name);
        match self.wait.contains(&table) {
            true => Ok(()),
            false => analyze(session, &self.database, &table),
        }
    }

    /// Computes those of everything else, several tables at once. `loaded`: those that were given to
    /// [`Self::of_table`].
    pub fn of_rest(
        &self,
        cluster: &Cluster,
        workers: usize,
        loaded: &[&TableManifest],
    ) -> Result<(), DatabaseError> {
        let mut session = cluster.session(&self.database)?;
        let wait: HashSet<String> =
            tables(&mut session, &self.database, WAITS)?.into_iter().collect();
        let loaded = loaded.iter().map(|table| qualified(&table.schema, &table.name));
        let done: HashSet<String> = loaded.filter(|table| !wait.contains(table)).collect();
        // A partition comes with its parent.
        let mut rest = tables(&mut session, &self.database, "NOT c.relispartition")?;
        rest.retain(|table| !done.contains(table));
        drop(session);
        share(
            &rest,
            workers,
            || cluster.session(&self.database),
            |session, table, _| analyze(session, &self.database, table),
        )
    }
}

fn doing(database: &str) -> String {
    format!("analyze database {database}")
}

fn analyze(session: &mut Client, database: &str, table: &str) -> Result<(), DatabaseError> {
    Ok(session.run(&doing(database), &format!("ANALYZE {table}"))?)
}

/// The tables and materialized views of a database that fulfil a condition, the largest first, as SQL names them.
/// Not the system's own: autovacuum soon finds that they were filled.
fn tables(
    session: &mut Client,
    database: &str,
    condition: &str,
) -> Result<Vec<String>, DatabaseError> {
    let query = format!(
        "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'm', 'p') AND n.nspname <> 'pg_catalog' \
         AND n.nspname <> 'information_schema' AND ({condition}) ORDER BY c.relpages DESC, c.oid"
    );
    let rows = session.rows(&doing(database), &query)?.into_iter();
    let names = rows.filter_map(|row| <[Option<String>; 2]>::try_from(row).ok());
    Ok(names.filter_map(|[schema, name]| Some(qualified(&schema?, &name?))).collect())
}
