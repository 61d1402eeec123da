//! What must hold before a restored database may take the place of another.

use std::collections::BTreeSet;

use crate::postgres::{Client, ServerError, qualified};
use crate::snapshot::TableManifest;
use crate::source::archive::Toc;

use super::cluster::Cluster;
use super::error::DatabaseError;
use super::load::table_name;

/// Longest an assertion may take.
const ASSERTION_LIMIT: &str = "10min";

/// Kinds of objects that are looked for one by one, with the query that lists what is there as schema
/// and tag. What an archive says must be valid has to be.
const CHECKED: [(&str, &[&str], &str); 4] = [
    (
        "constraint",
        &["CONSTRAINT", "FK CONSTRAINT", "CHECK CONSTRAINT"],
        "SELECT n.nspname, c.relname || ' ' || k.conname, k.convalidated FROM pg_catalog.pg_constraint k \
         JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         UNION ALL SELECT n.nspname, t.typname || ' ' || k.conname, k.convalidated \
         FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_type t ON t.oid = k.contypid \
         JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace",
    ),
    (
        "index",
        &["INDEX"],
        "SELECT n.nspname, c.relname, i.indisvalid FROM pg_catalog.pg_index i \
         JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace",
    ),
    (
        "trigger",
        &["TRIGGER"],
        "SELECT n.nspname, c.relname || ' ' || t.tgname, true FROM pg_catalog.pg_trigger t \
         JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace",
    ),
    (
        "table",
        &["TABLE", "VIEW", "MATERIALIZED VIEW", "SEQUENCE", "FOREIGN TABLE"],
        "SELECT n.nspname, c.relname, true FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r','p','v','m','S','f')",
    ),
];

/// Whether every table, index, constraint and trigger of the archive is there and valid.
pub fn check_objects(session: &mut Client, toc: &Toc) -> Result<u64, DatabaseError> {
    let mut count = 0;
    for (noun, kinds, query) in CHECKED {
        let rows = session.rows(&format!("list what kind {noun} there is"), query)?;
        let (mut valid, mut invalid) = (BTreeSet::new(), BTreeSet::new());
        for row in rows {
            let [Some(schema), Some(tag), Some(state)] = row.as_slice() else { continue };
            let name = (schema.clone(), tag.clone());
            if state == "t" {
                valid.insert(name)
            } else {
                invalid.insert(name)
            };
        }
        for entry in toc.entries.iter().filter(|entry| kinds.contains(&entry.kind.as_str())) {
            count += 1;
            let name = (entry.schema.clone().unwrap_or_default(), entry.tag.clone());
            let may_be_invalid = entry.definition.contains("NOT VALID")
                || entry.definition.contains(" ON ONLY ")
                || entry.definition.contains("NOT ENFORCED");
            let reason = match (valid.contains(&name), invalid.contains(&name)) {
                (true, _) => continue,
                (false, true) if may_be_invalid => continue,
                (false, true) => "it is there but not valid",
                (false, false) => "it is not there",
            };
            return Err(DatabaseError::Differs {
                what: format!("{noun} {} of schema {}", entry.tag, name.0),
                reason: reason.to_owned(),
            });
        }
    }
    Ok(count)
}

/// Whether tables whose rows were in the archive have as many as the snapshot says. Those of streams were
/// counted on their way.
pub fn check_rows(session: &mut Client, tables: &[&TableManifest]) -> Result<(), DatabaseError> {
    for table in tables {
        let place = qualified(&table.schema, &table.name);
        let doing = format!("count the rows of table {}", table_name(table));
        let query = format!("SELECT count(*) FROM ONLY {place}");
        let rows = session.value(&doing, &query)?;
        if rows != table.rows.to_string() {
            return Err(DatabaseError::Differs {
                what: format!("table {}", table_name(table)),
                reason: format!("{rows} rows where the snapshot has {}", table.rows),
            });
        }
    }
    Ok(())
}

/// Whether each of `assertions` gives one row with one value that is true. They may only read.
pub fn check_assertions(
    cluster: &Cluster,
    database: &str,
    name: &str,
    assertions: &[String],
) -> Result<(), DatabaseError> {
    if assertions.is_empty() {
        return Ok(());
    }
    let mut session = cluster.plain_session(database)?;
    session.run(
        "prepare for assertions",
        &format!(
            "SET default_transaction_read_only = on; SET statement_timeout = '{ASSERTION_LIMIT}'"
        ),
    )?;
    for sql in assertions {
        cluster.check_stop()?;
        let fails = |reason: String| DatabaseError::Assertion {
            database: name.to_owned(),
            sql: sql.clone(),
            reason,
        };
        let rows = match session.rows("ask", sql) {
            Ok(rows) => rows,
            Err(ServerError::Stopped { .. }) => return Err(DatabaseError::Interrupted),
            Err(error) => return Err(fails(error.to_string())),
        };
        match rows.as_slice() {
            [row] if row.len() == 1 => match row[0].as_deref() {
                Some("t") => {}
                Some("f") => return Err(fails("it is false".to_owned())),
                None => return Err(fails("it is null".to_owned())),
                Some(_) => {
                    return Err(fails("it gives something else than true or false".to_owned()));
                }
            },
            rows => {
                return Err(fails(format!(
                    "it gives {} rows; write it to give one row with true or false",
                    rows.len()
                )));
            }
        }
    }
    Ok(())
}
