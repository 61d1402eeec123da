//! A new database in the place of the live one, and back.
//!
//! Everything that must be remembered is remembered by the server itself, in settings of the database
//! it is about, which follow it when it is renamed and change in the same transaction: a database that
//! is being restored carries [`HALF_MADE`], one that was put aside [`KEPT`]. So a swap is made or not
//! made, whatever dies when, and `undo` needs no file. The settings mean nothing to PostgreSQL.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::postgres::{Client, identifier, literal};

use super::cluster::Cluster;
use super::create::exists;
use super::error::DatabaseError;

/// Setting of a database that is being restored.
const HALF_MADE: &str = "mrs_backup.restore";
/// Setting of a database that was put aside.
const KEPT: &str = "mrs_backup.kept";
/// Longest name of a database, in bytes.
const LONGEST_NAME: usize = 63;
/// How often others are thrown out of a database while a rename waits for it to be empty.
const THROW_OUT: Duration = Duration::from_millis(100);

/// Why a database was put aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// A restored one took its place.
    Restore,
    /// An anonymized copy of another instance's took its place.
    Clone,
    /// The one of before took its place again.
    Undo,
}

/// What a marked database says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The database whose place it is to take, or had.
    pub of: String,
    /// Id of the snapshot: the one it is made from, or the one that took its place.
    pub snapshot: String,
    /// Since when.
    pub time: Timestamp,
    /// Until when it is kept; only of those put aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: Reason,
}

/// A database with a marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// Its name now.
    pub name: String,
    /// What it says.
    pub marker: Marker,
    /// Bytes on disk.
    pub bytes: u64,
}

/// `database` with `suffix`, within PostgreSQL's limit.
fn beside(database: &str, suffix: &str) -> String {
    let mut len = database.len().min(LONGEST_NAME - suffix.len());
    while !database.is_char_boundary(len) {
        len -= 1;
    }
    format!("{}{suffix}", &database[..len])
}

/// What `database` is called while it is restored.
pub fn new_name(database: &str) -> String {
    beside(database, "__new")
}

/// What `database` is called once it is put aside, at `time`: a name that is free.
pub fn old_name(
    session: &mut Client,
    database: &str,
    time: Timestamp,
) -> Result<String, DatabaseError> {
    let mut name = numbered_name(database, time, 1);
    let mut number = 2;
    while exists(session, &name)? {
        name = numbered_name(database, time, number);
        number += 1;
    }
    Ok(name)
}

fn numbered_name(database: &str, time: Timestamp, number: u32) -> String {
    let suffix = time.strftime("__old_%Y%m%dT%H%M%SZ").to_string();
    let number = if number == 1 { String::new() } else { format!("_{number}") };
    beside(database, &format!("{suffix}{number}"))
}

fn rename(from: &str, to: &str) -> String {
    format!("ALTER DATABASE {} RENAME TO {}", identifier(from), identifier(to))
}

/// SQL that marks `name`.
fn mark(name: &str, setting: &str, marker: &Marker) -> String {
    let text = serde_json::to_string(marker).unwrap_or_default();
    format!("ALTER DATABASE {} SET {setting} = {}", identifier(name), literal(&text))
}

/// SQL that takes the mark away.
fn unmark(name: &str, setting: &str) -> String {
    format!("ALTER DATABASE {} RESET {setting}", identifier(name))
}

/// Marks `name` as being restored.
pub fn mark_half_made(
    session: &mut Client,
    name: &str,
    marker: &Marker,
) -> Result<(), DatabaseError> {
    Ok(session.run(&format!("mark database {name}"), &mark(name, HALF_MADE, marker))?)
}

/// All databases with one of our marks.
fn marked(session: &mut Client, setting: &str) -> Result<Vec<Marked>, DatabaseError> {
    let query = format!(
        "SELECT d.datname, substr(item, {}), pg_catalog.pg_database_size(d.oid) \
         FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase, \
         pg_catalog.unnest(s.setconfig) item \
         WHERE s.setrole = 0 AND pg_catalog.starts_with(item, {}) ORDER BY d.datname",
        setting.len() + 2,
        literal(&format!("{setting}="))
    );
    let rows = session.rows("look for databases of restores", &query)?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let [name, text, bytes] = <[Option<String>; 3]>::try_from(row).ok()?;
            // What somebody else wrote there is not ours.
            let marker = serde_json::from_str(&text?).ok()?;
            Some(Marked { name: name?, marker, bytes: bytes?.parse().unwrap_or(0) })
        })
        .collect())
}

/// Databases of restores that did not come to their end, or are still at work.
pub fn half_made(session: &mut Client) -> Result<Vec<Marked>, DatabaseError> {
    marked(session, HALF_MADE)
}

/// Databases put aside, the newest first.
pub fn kept(session: &mut Client) -> Result<Vec<Marked>, DatabaseError> {
    let mut found = marked(session, KEPT)?;
    found.sort_by(|one, two| (two.marker.time, &two.name).cmp(&(one.marker.time, &one.name)));
    Ok(found)
}

/// One exchange of databases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swap {
    /// The name that changes hands.
    pub live: String,
    /// The database that gets it.
    pub incoming: String,
    /// What the live one is called from then on; `None`: there is none.
    pub aside: Option<String>,
    /// What the one put aside is marked with.
    pub marker: Marker,
}

impl Swap {
    fn statements(&self) -> Vec<String> {
        let mut all = Vec::new();
        if let Some(aside) = &self.aside {
            all.push(rename(&self.live, aside));
            all.push(mark(aside, KEPT, &self.marker));
        }
        all.push(rename(&self.incoming, &self.live));
        all.push(unmark(&self.live, HALF_MADE));
        all.push(unmark(&self.live, KEPT));
        all
    }

    /// Does it, in one transaction; everybody else is thrown out of both databases meanwhile.
    ///
    /// A rename locks the database, so that nobody can come in any more, and then waits up to 5 s for
    /// those inside to go. Connections are not forbidden beforehand: that would outlive us if we died.
    pub fn run(&self, cluster: &Cluster) -> Result<(), DatabaseError> {
        // From here on it is done or not done: nobody stops it halfway.
        let cluster = cluster.unstoppable();
        let mut session = cluster.maintenance(&self.live)?;
        let mut helper = cluster.maintenance(&self.live)?;
        let throw_out = self.throw_out();
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let is_done = &is_done;
            scope.spawn(move || {
                while !is_done.load(Ordering::SeqCst)
                    && helper.run("end other sessions", &throw_out).is_ok()
                {
                    std::thread::sleep(THROW_OUT);
                }
            });
            let result = self.transaction(&mut session);
            is_done.store(true, Ordering::SeqCst);
            result.or_else(|error| match self.is_made(&cluster) {
                // The connection broke after the server had understood.
                Ok(true) => Ok(()),
                Ok(false) | Err(_) => Err(error),
            })
        })
    }

    /// Whether the swap happened: the incoming database is not called as before any more.
    fn is_made(&self, cluster: &Cluster) -> Result<bool, DatabaseError> {
        Ok(!exists(&mut cluster.maintenance(&self.live)?, &self.incoming)?)
    }

    fn throw_out(&self) -> String {
        format!(
            "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
             WHERE datname IN ({}, {}) AND pid <> pg_catalog.pg_backend_pid()",
            literal(&self.live),
            literal(&self.incoming)
        )
    }

    fn transaction(&self, session: &mut Client) -> Result<(), DatabaseError> {
        let doing = format!("put database {} in the place of {}", self.incoming, self.live);
        session.run(&doing, "BEGIN")?;
        for statement in self.statements() {
            if let Err(error) = session.run(&doing, &statement) {
                // The first error is the one to tell; without a connection it is rolled back anyway.
                let _ = session.run(&doing, "ROLLBACK");
                return Err(error.into());
            }
        }
        Ok(session.run(&doing, "COMMIT")?)
    }
}

/// Drops a database that is half made, its large tables first.
///
/// To drop a database PostgreSQL makes a checkpoint, and a checkpoint that finds the disk full (perhaps just
/// what ended the restore) ends the whole server. To drop a table needs none, and gives its room back.
pub fn drop_half_made(
    cluster: &Cluster,
    session: &mut Client,
    name: &str,
) -> Result<(), DatabaseError> {
    let query = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), c.relkind \
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE c.relkind IN ('r', 'm') AND c.oid >= 16384 \
                 AND pg_catalog.pg_total_relation_size(c.oid) > 1048576 \
                 ORDER BY pg_catalog.pg_total_relation_size(c.oid) DESC LIMIT 1000";
    let doing = format!("empty database {name}");
    // Only a precaution: what cannot be done here does not keep the database from being dropped.
    if let Ok(mut inside) = cluster.session(name)
        && let Ok(large) = inside.rows(&doing, query)
    {
        for row in large {
            let [Some(table), Some(kind)] = row.as_slice() else { continue };
            let noun = if kind == "m" { "MATERIALIZED VIEW" } else { "TABLE" };
            let _ = inside.run(&doing, &format!("DROP {noun} IF EXISTS {table} CASCADE"));
        }
    }
    drop_database(session, name)
}

/// Drops a database, with whoever is in it.
pub fn drop_database(session: &mut Client, name: &str) -> Result<(), DatabaseError> {
    let doing = format!("drop database {name}");
    let version = session.value("ask the version", "SHOW server_version_num")?;
    if version.parse::<u32>().is_ok_and(|version| version >= 130_000) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(name));
        return Ok(session.run(&doing, &sql)?);
    }
    let throw_out = format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
         WHERE datname = {} AND pid <> pg_catalog.pg_backend_pid()",
        literal(name)
    );
    session.run(&doing, &throw_out)?;
    Ok(session.run(&doing, &format!("DROP DATABASE IF EXISTS {}", identifier(name)))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beside_stay_within_the_limit() {
        let time: Timestamp = "2026-11-25T03:04:05Z".parse().unwrap();
        assert_eq!(new_name("mrs"), "mrs__new");
        assert_eq!(numbered_name("mrs", time, 1), "mrs__old_20261125T030405Z");
        assert_eq!(numbered_name("mrs", time, 2), "mrs__old_20261125T030405Z_2");
        let long = "é".repeat(31);
        for name in [new_name(&long), numbered_name(&long, time, 10)] {
            assert!(name.len() <= LONGEST_NAME && name.starts_with("éé"), "{name}");
        }
    }

    #[test]
    fn a_swap_is_renames_and_marks() {
        let time: Timestamp = "2026-11-25T03:04:05Z".parse().unwrap();
        let marker = Marker {
            of: "mrs".to_owned(),
            snapshot: "ab".to_owned(),
            time,
            until: None,
            reason: Reason::Restore,
        };
        let swap = Swap {
            live: "mrs".to_owned(),
            incoming: "mrs__new".to_owned(),
            aside: Some("mrs__old".to_owned()),
            marker,
        };
        let statements = swap.statements();
        assert_eq!(statements[0], "ALTER DATABASE \"mrs\" RENAME TO \"mrs__old\"");
        assert!(statements[1].starts_with("ALTER DATABASE \"mrs__old\" SET mrs_backup.kept = "));
        assert_eq!(statements[2], "ALTER DATABASE \"mrs__new\" RENAME TO \"mrs\"");
        let first = Swap { aside: None, ..swap };
        assert_eq!(first.statements().len(), 3, "nothing is put aside");
    }
}
