//! What a copy of this repository holds, as far as this machine knows: which objects it has put there or
//! found there, and since when the source has them no more. So a nightly copy need not list every pack.
//!
//! A file of its own for each copy. It is a cache: without it the copy is listed whole, once, and the delay
//! of its deletions begins anew.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::id::{ObjectId, PackId, RepositoryId, SnapshotId};
use crate::store::ObjectName;

use super::db::{Failure, bytes, from_sql, lock, to_sql, valid};
use super::store::{IndexError, error};

const PATIENCE: Duration = Duration::from_secs(30);
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS stamp (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    repository BLOB NOT NULL,
    listed INTEGER,
    copied INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS held (
    kind INTEGER NOT NULL,
    id BLOB NOT NULL,
    size INTEGER NOT NULL,
    gone INTEGER,
    dropped INTEGER,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;";

/// What is known of one object of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// Its length in bytes.
    pub size: u64,
    /// When it was first found that the source has it no more, nanoseconds since 1970.
    pub gone: Option<i64>,
    /// When it was deleted from the copy; it is not there any more.
    pub dropped: Option<i64>,
}

impl Holding {
    /// Whether the copy has it.
    pub const fn is_there(&self) -> bool {
        self.dropped.is_none()
    }
}

/// When what was done last, nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CopyStamp {
    /// The copy was listed whole.
    pub listed: Option<i64>,
    /// A copy was completed.
    pub copied: Option<i64>,
}

/// The record of one copy. Shared between threads.
#[derive(Debug)]
pub struct Holdings {
    connection: Mutex<Connection>,
    path: PathBuf,
}

impl Holdings {
    /// Opens (or makes) the record at `path`, mode 0600. One that is damaged or of another repository is
    /// made anew.
    pub fn open(path: &Path, repository: RepositoryId) -> Result<Self, IndexError> {
        let failed = |failure: &Failure| error(path, "opening it", failure);
        if let Some(directory) = path.parent() {
            private_directory(directory).map_err(|error| failed(&error.into()))?;
        }
        let opened = open(path, repository).or_else(|failure| {
            if !failure.is_damage() {
                return Err(failure);
            }
            super::references::remove(path)?;
            open(path, repository)
        });
        let connection = opened.map_err(|failure| failed(&failure))?;
        Ok(Self { connection: Mutex::new(connection), path: path.to_owned() })
    }

    /// One that lives in memory.
    pub fn in_memory(repository: RepositoryId) -> Result<Self, IndexError> {
        let path = PathBuf::from(":memory:");
        let connection =
            open(&path, repository).map_err(|failure| error(&path, "opening it", &failure))?;
        Ok(Self { connection: Mutex::new(connection), path })
    }

    /// All objects, those deleted by us among them.
    pub fn all(&self) -> Result<HashMap<ObjectName, Holding>, IndexError> {
        self.read("listing what a copy holds", |connection| {
            let mut statement =
                connection.prepare_cached("SELECT kind, id, size, gone, dropped FROM held")?;
            let mut rows = statement.query([])?;
            let mut all = HashMap::new();
            while let Some(row) = rows.next()? {
                let name = name_of(row.get(0)?, bytes(row, 1, OBJECT)?);
                let size = from_sql(row.get(2)?, "size of an object")?;
                let holding = Holding { size, gone: row.get(3)?, dropped: row.get(4)? };
                all.insert(valid(name, OBJECT)?, holding);
            }
            Ok(all)
        })
    }

    /// Snapshots that are there.
    pub fn snapshots(&self) -> Result<Vec<SnapshotId>, IndexError> {
        self.read("listing the snapshots of a copy", |connection| {
            let mut statement = connection
                .prepare_cached("SELECT id FROM held WHERE kind = ?1 AND dropped IS NULL")?;
            let mut rows = statement.query([SNAPSHOT])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                all.push(valid(SnapshotId::from_slice(bytes(row, 0, OBJECT)?), OBJECT)?);
            }
            Ok(all)
        })
    }

    /// These are there now, with these sizes.
    pub fn add(&self, objects: &[(ObjectName, u64)]) -> Result<(), IndexError> {
        self.write("recording what a copy holds", |tx| {
            let mut insert = tx.prepare_cached(
                "INSERT OR REPLACE INTO held (kind, id, size) VALUES (?1, ?2, ?3)",
            )?;
            for (name, size) in objects {
                if let Some((kind, id)) = parts(name) {
                    insert.execute(params![kind, id, to_sql(*size)?])?;
                }
            }
            Ok(())
        })
    }

    /// These are not there: nobody deleted them.
    pub fn remove(&self, objects: &[ObjectName]) -> Result<(), IndexError> {
        self.each("recording what a copy lost", objects, |tx, kind, id| {
            tx.prepare_cached("DELETE FROM held WHERE kind = ?1 AND id = ?2")?
                .execute(params![kind, id])?;
            Ok(())
        })
    }

    /// The source has these no more (`since`), or has them again (`None`). What was known to be gone
    /// keeps its time.
    pub fn set_gone(&self, objects: &[ObjectName], since: Option<i64>) -> Result<(), IndexError> {
        self.each("recording what the source has no more", objects, |tx, kind, id| {
            tx.prepare_cached(
                "UPDATE held SET gone = CASE WHEN ?3 IS NULL THEN NULL ELSE coalesce(gone, ?3) END
                 WHERE kind = ?1 AND id = ?2",
            )?
            .execute(params![kind, id, since])?;
            Ok(())
        })
    }

    /// These were deleted from the copy on purpose. Packs are taken out of the record: their names never
    /// come back. Of others it is kept in mind, so that one that reappears is found out.
    pub fn set_dropped(&self, objects: &[ObjectName], now: i64) -> Result<(), IndexError> {
        self.each("recording what was deleted from a copy", objects, |tx, kind, id| {
            let done = if kind == PACK {
                tx.prepare_cached("DELETE FROM held WHERE kind = ?1 AND id = ?2")?
                    .execute(params![kind, id])
            } else {
                tx.prepare_cached("UPDATE held SET dropped = ?3 WHERE kind = ?1 AND id = ?2")?
                    .execute(params![kind, id, now])
            };
            done.map(|_| ()).map_err(Failure::from)
        })
    }

    /// Forgets everything: the copy is made from nothing again.
    pub fn clear(&self) -> Result<(), IndexError> {
        self.write("clearing the record of a copy", |tx| {
            tx.execute("DELETE FROM held", [])?;
            tx.execute("UPDATE stamp SET listed = NULL, copied = NULL", [])?;
            Ok(())
        })
    }

    /// When what was done last.
    pub fn stamp(&self) -> Result<CopyStamp, IndexError> {
        self.read("reading when a copy was made", |connection| {
            Ok(connection.query_row("SELECT listed, copied FROM stamp", [], |row| {
                Ok(CopyStamp { listed: row.get(0)?, copied: row.get(1)? })
            })?)
        })
    }

    /// The copy was listed whole.
    pub fn set_listed(&self, now: i64) -> Result<(), IndexError> {
        self.write("recording a listing", |tx| {
            tx.execute("UPDATE stamp SET listed = ?1", [now])?;
            Ok(())
        })
    }

    /// A copy was completed.
    pub fn set_copied(&self, now: i64) -> Result<(), IndexError> {
        self.write("recording a copy", |tx| {
            tx.execute("UPDATE stamp SET copied = ?1", [now])?;
            Ok(())
        })
    }

    fn each(
        &self,
        doing: &'static str,
        objects: &[ObjectName],
        act: impl Fn(&Transaction<'_>, i64, &[u8]) -> Result<(), Failure>,
    ) -> Result<(), IndexError> {
        self.write(doing, |tx| {
            objects
                .iter()
                .filter_map(|name| parts(name).map(|(kind, id)| (kind, id.to_owned())))
                .try_for_each(|(kind, id)| act(tx, kind, &id))
        })
    }

    fn read<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, IndexError> {
        work(&self.lock()).map_err(|failure| error(&self.path, doing, &failure))
    }

    fn write<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, IndexError> {
        let mut connection = self.lock();
        let done = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(Failure::from)
            .and_then(|tx| {
                let value = work(&tx)?;
                tx.commit()?;
                Ok(value)
            });
        done.map_err(|failure| error(&self.path, doing, &failure))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        lock(&self.connection)
    }
}

const OBJECT: &str = "an object of a copy";
const KEY: i64 = 0;
const PACK: i64 = 1;
const INDEX: i64 = 2;
const SNAPSHOT: i64 = 3;
const RECEIPT: i64 = 4;

/// Kind and id; `None` for what is not recorded: the config, sessions, and what is condemned.
fn parts(name: &ObjectName) -> Option<(i64, &[u8])> {
    match name {
        ObjectName::Key(id) => Some((KEY, id.as_bytes())),
        ObjectName::Pack(id) => Some((PACK, id.as_bytes())),
        ObjectName::Index(id) => Some((INDEX, id.as_bytes())),
        ObjectName::Snapshot(id) => Some((SNAPSHOT, id.as_bytes())),
        ObjectName::Receipt(id) => Some((RECEIPT, id.as_bytes())),
        ObjectName::Config
        | ObjectName::Session { .. }
        | ObjectName::Staged { .. }
        | ObjectName::Condemned(_) => None,
    }
}

fn name_of(kind: i64, id: &[u8]) -> Option<ObjectName> {
    match kind {
        KEY => ObjectId::from_slice(id).map(ObjectName::Key),
        PACK => PackId::from_slice(id).map(ObjectName::Pack),
        INDEX => ObjectId::from_slice(id).map(ObjectName::Index),
        SNAPSHOT => SnapshotId::from_slice(id).map(ObjectName::Snapshot),
        RECEIPT => ObjectId::from_slice(id).map(ObjectName::Receipt),
        _ => None,
    }
}

fn private_directory(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn open(path: &Path, repository: RepositoryId) -> Result<Connection, Failure> {
    let connection = if path.as_os_str() == ":memory:" {
        Connection::open_in_memory()?
    } else {
        super::schema::private_file(path)?;
        super::schema::plainly(path)?
    };
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // What is recorded as stored must not be forgotten by a power cut alone; but nothing is lost by it.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.execute_batch(TABLES)?;
    connection.execute(
        "INSERT OR IGNORE INTO stamp (one, repository) VALUES (1, ?1)",
        [repository.as_bytes()],
    )?;
    let of: Vec<u8> = connection.query_row("SELECT repository FROM stamp", [], |row| row.get(0))?;
    if of != repository.as_bytes() {
        return Err(Failure::Damaged("it is of another repository"));
    }
    // Fails here if the table is somebody else's.
    connection.prepare("SELECT kind, id, size, gone, dropped FROM held LIMIT 1")?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACK_NAME: ObjectName = ObjectName::Pack(PackId::new([1; 32]));
    const SNAPSHOT_NAME: ObjectName = ObjectName::Snapshot(SnapshotId::new([2; 32]));

    #[test]
    fn it_remembers_what_is_there_what_is_gone_and_what_was_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("copies/one.sqlite");
        let repository = RepositoryId::new([7; 32]);
        let record = Holdings::open(&path, repository).unwrap();
        let key = ObjectName::Key(ObjectId::new([3; 32]));
        record.add(&[(PACK_NAME, 5), (SNAPSHOT_NAME, 6), (key, 7)]).unwrap();
        record.set_gone(&[PACK_NAME, SNAPSHOT_NAME], Some(10)).unwrap();
        record.set_gone(&[PACK_NAME], Some(20)).unwrap();
        record.set_copied(30).unwrap();
        drop(record);
        let record = Holdings::open(&path, repository).unwrap();
        let all = record.all().unwrap();
        assert_eq!(all[&PACK_NAME], Holding { size: 5, gone: Some(10), dropped: None });
        assert_eq!(all[&key], Holding { size: 7, gone: None, dropped: None });
        assert_eq!(record.stamp().unwrap(), CopyStamp { listed: None, copied: Some(30) });
        record.set_gone(&[PACK_NAME], None).unwrap();
        record.set_dropped(&[SNAPSHOT_NAME], 40).unwrap();
        let all = record.all().unwrap();
        assert_eq!(all[&PACK_NAME].gone, None);
        assert!(!all[&SNAPSHOT_NAME].is_there());
        record.set_dropped(&[PACK_NAME], 40).unwrap();
        record.remove(&[key]).unwrap();
        assert_eq!(record.all().unwrap().len(), 1);
        record.clear().unwrap();
        assert!(record.all().unwrap().is_empty());
        assert_eq!(record.stamp().unwrap(), CopyStamp::default());
    }

    #[test]
    fn garbage_and_the_record_of_another_repository_are_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("one.sqlite");
        let record = Holdings::open(&path, RepositoryId::new([7; 32])).unwrap();
        record.add(&[(PACK_NAME, 5)]).unwrap();
        drop(record);
        let other = Holdings::open(&path, RepositoryId::new([8; 32])).unwrap();
        assert!(other.all().unwrap().is_empty());
        drop(other);
        std::fs::write(&path, vec![b'x'; 10_000]).unwrap();
        let record = Holdings::open(&path, RepositoryId::new([8; 32])).unwrap();
        assert!(record.all().unwrap().is_empty());
    }
}
