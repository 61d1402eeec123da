//! The new database: its roles, itself as the archive describes it, and what is said about it.

use std::collections::BTreeSet;

use crate::postgres::{Client, identifier, literal};
use crate::source::archive::{Toc, TocEntry};

use super::error::DatabaseError;
use super::sql::{rename_database, roles_in};

/// Roles an archive cannot be restored without: owners, and those it gives rights to.
pub fn roles_of(toc: &Toc) -> BTreeSet<String> {
    let mut roles = BTreeSet::new();
    for entry in &toc.entries {
        if !entry.owner.is_empty() {
            roles.insert(entry.owner.clone());
        }
        let kinds = ["ACL", "DEFAULT ACL", "POLICY", "DATABASE PROPERTIES"];
        if kinds.contains(&entry.kind.as_str()) {
            roles.extend(roles_in(&entry.definition));
        }
    }
    roles
}

/// Tablespaces an archive puts something into.
pub fn tablespaces_of(toc: &Toc) -> BTreeSet<String> {
    toc.entries.iter().filter_map(|entry| entry.tablespace.clone()).collect()
}

/// The names in a column of a catalogue.
fn names(session: &mut Client, doing: &str, sql: &str) -> Result<BTreeSet<String>, DatabaseError> {
    let rows = session.rows(doing, sql)?;
    Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
}

/// Which of `wanted` the server does not have.
pub fn missing_roles(
    session: &mut Client,
    wanted: &BTreeSet<String>,
) -> Result<Vec<String>, DatabaseError> {
    let there = names(session, "list roles", "SELECT rolname FROM pg_catalog.pg_roles")?;
    Ok(wanted.difference(&there).cloned().collect())
}

/// Which of `wanted` the server does not have.
pub fn missing_tablespaces(
    session: &mut Client,
    wanted: &BTreeSet<String>,
) -> Result<Vec<String>, DatabaseError> {
    let query = "SELECT spcname FROM pg_catalog.pg_tablespace";
    let there = names(session, "list tablespaces", query)?;
    Ok(wanted.difference(&there).cloned().collect())
}

/// Whether there is a database of this name.
pub fn exists(session: &mut Client, database: &str) -> Result<bool, DatabaseError> {
    let query =
        format!("SELECT 1 FROM pg_catalog.pg_database WHERE datname = {}", literal(database));
    Ok(!session.value(&format!("look for database {database}"), &query)?.is_empty())
}

/// Makes roles that cannot log in.
pub fn create_roles(session: &mut Client, roles: &[String]) -> Result<(), DatabaseError> {
    for role in roles {
        let sql = format!("CREATE ROLE {} NOLOGIN", identifier(role));
        session.run(&format!("make role {role}"), &sql)?;
    }
    Ok(())
}

/// Takes roles back that were made for a restore that failed; one that owns something stays.
pub fn drop_roles(session: &mut Client, roles: &[String]) {
    for role in roles {
        let sql = format!("DROP ROLE IF EXISTS {}", identifier(role));
        let _ = session.run(&format!("drop role {role}"), &sql);
    }
}

/// Makes the empty database `name` as the archive describes its own: encoding, locale, owner.
pub fn create_database(
    session: &mut Client,
    toc: &Toc,
    name: &str,
    without_tablespace: bool,
) -> Result<(), DatabaseError> {
    let doing = format!("make database {name}");
    let Some(entry) = toc.of_kind("DATABASE").next() else {
        return Err(DatabaseError::Read {
            what: format!("archive of database {}", toc.database),
            reason: "it does not say how its database is made (pg_dump --create)".to_owned(),
        });
    };
    let mut statement = renamed(entry, name);
    if without_tablespace && let Some(at) = statement.find(" TABLESPACE = ") {
        statement.truncate(at);
    }
    session.run(&doing, &statement)?;
    if !entry.owner.is_empty() {
        let sql =
            format!("ALTER DATABASE {} OWNER TO {}", identifier(name), identifier(&entry.owner));
        session.run(&doing, &sql)?;
    }
    Ok(())
}

fn renamed(entry: &TocEntry, name: &str) -> String {
    // Comments and rights say in their tags which database they mean.
    let own = entry.tag.strip_prefix("DATABASE ").unwrap_or(&entry.tag);
    rename_database(&entry.definition, own, name)
}

/// Gives the database `name` what the archive's database had about itself: settings, also those of
/// roles in it, comment, rights, labels.
pub fn apply_properties(session: &mut Client, toc: &Toc, name: &str) -> Result<(), DatabaseError> {
    let doing = format!("set the properties of database {name}");
    let properties = toc.of_kind("DATABASE PROPERTIES");
    let about =
        ["COMMENT", "SECURITY LABEL", "ACL"].into_iter().flat_map(|kind| toc.of_database(kind));
    for entry in about.chain(properties) {
        session.run(&doing, &renamed(entry, name))?;
    }
    Ok(())
}
