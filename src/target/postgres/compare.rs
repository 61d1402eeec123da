//! Whether a restored database is the one that was saved: its rows as COPY writes them, its definitions
//! as `pg_dump` does.

use std::collections::BTreeMap;
use std::io::Read;

use crate::event::{Event, Observer};
use crate::postgres::{Client, conninfo, qualified};
use crate::snapshot::TableManifest;
use crate::source::archive::{Toc, TocEntry};

use super::archive::major;
use super::cluster::{Cluster, Input};
use super::error::DatabaseError;
use super::load::{Found, column_list, prepare_copy, table_name};
use super::parallel::share;

/// Bytes read at once.
const PIECE: usize = 256 << 10;
/// How many differences are told.
const TOLD: usize = 3;

/// Copies every one of `tables` out of `database` again, several at once, and compares rows, bytes and
/// BLAKE3 with the manifest.
pub fn compare_rows(
    cluster: &Cluster,
    database: &str,
    encoding: &str,
    tables: &[&TableManifest],
    workers: usize,
    observer: &dyn Observer,
) -> Result<(), DatabaseError> {
    let open = || {
        let mut session = cluster.session(database)?;
        prepare_copy(&mut session, encoding)?;
        Ok(session)
    };
    share(tables, workers, open, |session, table, _| {
        copy(session, table, observer)?.compare(table).map_err(|reason| DatabaseError::Differs {
            what: format!("table {}, copied again after its restore", table_name(table)),
            reason,
        })
    })
}

fn copy(
    session: &mut Client,
    table: &TableManifest,
    observer: &dyn Observer,
) -> Result<Found, DatabaseError> {
    let name = table_name(table);
    let doing = format!("copy table {name}");
    let place = qualified(&table.schema, &table.name);
    session.run(&doing, "BEGIN READ ONLY")?;
    let mut rows =
        session.copy_out(&doing, &format!("COPY {place}{} TO STDOUT", column_list(table)))?;
    let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0);
    let mut buffer = vec![0; PIECE];
    loop {
        let count = rows.read(&mut buffer).map_err(|error| {
            let known = error.get_ref().and_then(|inner| inner.downcast_ref());
            known.cloned().map_or_else(
                || DatabaseError::Differs { what: doing.clone(), reason: error.to_string() },
                |error: crate::postgres::ServerError| error.into(),
            )
        })?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        bytes += count as u64;
        observer.event(&Event::Progress { bytes: count as u64, items: 0 });
    }
    let rows = rows.messages();
    // A stream's end is only its statement's success when what follows succeeds.
    session.run(&doing, "COMMIT")?;
    observer.event(&Event::Progress { bytes: 0, items: 1 });
    Ok(Found { rows, bytes, hash: *hasher.finalize().as_bytes() })
}

/// What the definitions of `database` were compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thoroughness {
    /// Word for word.
    Definitions,
    /// Only kinds, names and owners: servers of different versions write the same thing differently.
    Names,
}

/// Dumps the definitions of `database` and compares them with those of the archive.
pub fn compare_schema(
    cluster: &Cluster,
    database: &str,
    archive: &Toc,
) -> Result<Thoroughness, DatabaseError> {
    let doing = format!("dump the definitions of database {database}");
    let name = conninfo(database);
    let arguments = ["-Fc", "-Z0", "-C", "--schema-only", "--no-password", "--dbname", &name];
    let output = cluster.run(&doing, "pg_dump", database, &arguments, Input::Nothing)?;
    let restored = Toc::read(output.as_slice()).map_err(|error| DatabaseError::Program {
        doing,
        server: cluster.place(),
        reason: error.to_string(),
    })?;
    let is_same = |one: &str, two: &str| major(one).is_some() && major(one) == major(two);
    let thoroughness = match is_same(&archive.dump_version, &restored.dump_version)
        && is_same(&archive.server_version, &restored.server_version)
    {
        true => Thoroughness::Definitions,
        false => Thoroughness::Names,
    };
    let (wanted, found) = (counted(archive, thoroughness), counted(&restored, thoroughness));
    let lacks = |in_one: &BTreeMap<Key<'_>, i64>, in_other: &BTreeMap<Key<'_>, i64>| {
        let missing = in_one.iter().filter(|(key, count)| in_other.get(key) != Some(count));
        missing.map(|(key, _)| key.to_string()).collect::<Vec<_>>()
    };
    let (missing, strange) = (lacks(&wanted, &found), lacks(&found, &wanted));
    if missing.is_empty() && strange.is_empty() {
        return Ok(thoroughness);
    }
    let some = |names: &[String]| names.iter().take(TOLD).cloned().collect::<Vec<_>>().join(", ");
    Err(DatabaseError::Differs {
        what: format!("definitions of database {database}"),
        reason: format!(
            "{} are missing or different ({}), {} should not be so ({})",
            missing.len(),
            some(&missing),
            strange.len(),
            some(&strange)
        ),
    })
}

/// What is compared of an entry.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'t> {
    kind: &'t str,
    schema: &'t str,
    tag: &'t str,
    owner: &'t str,
    definition: &'t str,
}

impl std::fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, tag) = (self.kind.to_lowercase(), self.tag);
        match self.schema {
            "" => write!(f, "{kind} {tag}"),
            schema => write!(f, "{kind} {tag} of schema {schema}"),
        }
    }
}

/// Whether an entry is in a dump of definitions, too.
fn is_definition(entry: &TocEntry) -> bool {
    let is_row = entry.section == 3 || entry.kind.ends_with(" DATA");
    let is_large_object = entry.kind.starts_with("BLOB") || entry.tag.starts_with("LARGE OBJECT");
    !is_row && !is_large_object
}

fn counted(toc: &Toc, thoroughness: Thoroughness) -> BTreeMap<Key<'_>, i64> {
    let mut counts = BTreeMap::new();
    for entry in toc.entries.iter().filter(|entry| is_definition(entry)) {
        let definition = match thoroughness {
            // A throw-away server has no tablespaces.
            Thoroughness::Definitions => {
                entry.definition.split(" TABLESPACE = ").next().unwrap_or_default()
            }
            Thoroughness::Names => "",
        };
        let definition = definition.trim_end().trim_end_matches(';');
        let schema = entry.schema.as_deref().unwrap_or_default();
        let (kind, tag, owner) = (entry.kind.as_str(), entry.tag.as_str(), entry.owner.as_str());
        *counts.entry(Key { kind, schema, tag, owner, definition }).or_insert(0) += 1;
    }
    counts
}

/// Runs `pg_amcheck` where it is installed; says what came of it.
pub fn check_heap_and_indexes(cluster: &Cluster, database: &str) -> Result<String, DatabaseError> {
    let doing = format!("check tables and indexes of database {database}");
    if cluster.run(&doing, "pg_amcheck", database, &["--version"], Input::Nothing).is_err() {
        cluster.check_stop()?;
        return Ok("not run: there is no pg_amcheck".to_owned());
    }
    let query = "SELECT count(*) FROM pg_catalog.pg_available_extensions WHERE name = 'amcheck'";
    if cluster.session(database)?.value(&doing, query)? == "0" {
        return Ok("not run: the server does not have the extension amcheck".to_owned());
    }
    let name = conninfo(database);
    let arguments = ["--install-missing", "--heapallindexed", "--no-password", &name];
    cluster.run(&doing, "pg_amcheck", database, &arguments, Input::Nothing)?;
    Ok("no damage".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: &str, tag: &str, section: i64, definition: &str) -> TocEntry {
        TocEntry {
            kind: kind.to_owned(),
            tag: tag.to_owned(),
            schema: Some("public".to_owned()),
            definition: definition.to_owned(),
            section,
            ..TocEntry::default()
        }
    }

    #[test]
    fn definitions_count_and_rows_do_not() {
        let toc = Toc {
            entries: vec![
                entry("TABLE", "t", 2, "CREATE TABLE t ();\n"),
                entry("TABLE DATA", "t", 3, ""),
                entry("MATERIALIZED VIEW DATA", "v", 4, "REFRESH"),
                entry("BLOB", "123", 2, ""),
                entry("ACL", "LARGE OBJECT 123", 1, ""),
                entry("DATABASE", "d", 2, "CREATE DATABASE d ENCODING = 'x' TABLESPACE = fast;\n"),
            ],
            ..Toc::default()
        };
        let counts = counted(&toc, Thoroughness::Definitions);
        let names: Vec<String> = counts.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["database d of schema public", "table t of schema public"]);
        assert!(counts.keys().all(|key| !key.definition.contains("TABLESPACE")));
        assert!(counted(&toc, Thoroughness::Names).keys().all(|key| key.definition.is_empty()));
    }
}
