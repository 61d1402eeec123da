//! The database.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rusqlite::{Connection, Transaction};

use crate::id::{KeyId, ObjectId, PackId, RepositoryId, SnapshotId};
use crate::pack::{PackClass, SegmentEntry};

use super::db::{Database, Failure, bytes, from_sql, to_sql, valid};
use super::rows::class_from;
use super::schema;
use super::state::Staging;

/// What went wrong with the local database.
#[derive(Debug, thiserror::Error)]
#[error("the local index {path} failed while {doing}: {reason}")]
pub struct IndexError {
    /// Its file.
    pub path: String,
    /// What was being done.
    pub doing: &'static str,
    /// In SQLite's words.
    pub reason: String,
    /// The content of the file is to blame: making it again helps.
    pub is_damage: bool,
}

/// How opening went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opened {
    /// The old file was unusable (garbage, or made by a newer version) and was moved here; the index starts empty.
    pub set_aside: Option<PathBuf>,
    /// It did not exist (or was set aside) and is empty.
    pub is_new: bool,
}

/// One place where a chunk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// In which pack.
    pub pack: PackId,
    /// Of which class.
    pub class: PackClass,
    /// In which segment; `entry.chunks` is empty unless it was asked for.
    pub entry: SegmentEntry,
    /// First byte of the chunk in the segment's raw bytes.
    pub chunk_offset: u32,
    /// Length of the chunk.
    pub chunk_len: u32,
    /// Whether the pack was in the last listing.
    pub is_present: bool,
    /// Whether a known condemned object names the pack.
    pub is_condemned: bool,
}

/// One pack the index knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackRow {
    /// Which.
    pub id: PackId,
    /// Of which class.
    pub class: PackClass,
    /// Length in bytes.
    pub size: u64,
    /// Epoch of its header.
    pub key: KeyId,
    /// Whether it was in the last listing.
    pub is_present: bool,
    /// Whether a known condemned object names it.
    pub is_condemned: bool,
    /// Whether its index object is not stored yet.
    pub is_pending: bool,
}

/// Numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexCounts {
    /// Packs.
    pub packs: u64,
    /// Segments.
    pub segments: u64,
    /// Chunks (places; a chunk stored twice counts twice).
    pub chunks: u64,
    /// Raw bytes of all segments.
    pub raw_bytes: u64,
    /// Bytes of all packs.
    pub pack_bytes: u64,
}

/// The local index of one repository. Shared between threads.
#[derive(Debug)]
pub struct Index {
    database: Database,
    pub(super) staging: Mutex<Staging>,
    /// Of a database in memory; others have a file.
    suspects: Mutex<HashSet<PackId>>,
}

impl Index {
    /// Opens (or makes) the database in `directory`, mode 0600. A file that is garbage, of another repository, or from a newer
    /// version is set aside, never deleted.
    pub fn open(directory: &Path, repository: RepositoryId) -> Result<(Self, Opened), IndexError> {
        let (database, opened) = schema::open(directory, repository)
            .map_err(|failure| error(directory, "opening it", &failure))?;
        Ok((Self { database, staging: Mutex::default(), suspects: Mutex::default() }, opened))
    }

    /// Whether the whole file can be read. Takes as long as reading it does.
    pub fn is_sound(&self) -> Result<bool, IndexError> {
        let checked = self.read("looking for damage", |connection| {
            Ok(connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))?)
        });
        match checked {
            Ok(answer) => Ok(answer == "ok"),
            Err(error) if error.is_damage => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Moves the file in `directory` away; the next [`Index::open`] makes a new one. An error if
    /// anybody has it open.
    pub fn set_aside(directory: &Path) -> Result<PathBuf, IndexError> {
        schema::set_aside_alone(directory)
            .map_err(|failure| error(directory, "setting it aside", &failure))
    }

    /// One that lives in memory.
    pub fn in_memory(repository: RepositoryId) -> Result<Self, IndexError> {
        let database = schema::in_memory(repository)
            .map_err(|failure| error(Path::new(":memory:"), "opening it", &failure))?;
        Ok(Self { database, staging: Mutex::default(), suspects: Mutex::default() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.database.path()
    }

    /// Index objects that are loaded.
    pub fn objects(&self) -> Result<HashSet<ObjectId>, IndexError> {
        self.read("listing index objects", |connection| {
            let mut statement = connection.prepare_cached("SELECT id FROM object")?;
            let mut rows = statement.query([])?;
            let mut objects = HashSet::new();
            while let Some(row) = rows.next()? {
                let id = ObjectId::from_slice(bytes(row, 0, OBJECT)?);
                objects.insert(valid(id, OBJECT)?);
            }
            Ok(objects)
        })
    }

    /// Loaded index objects that name one of `packs`.
    pub fn objects_naming(&self, packs: &HashSet<PackId>) -> Result<Vec<ObjectId>, IndexError> {
        self.read("looking for index objects", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT object.id FROM pack JOIN object_pack ON object_pack.pack = pack.no
                 JOIN object ON object.no = object_pack.object WHERE pack.id = ?1",
            )?;
            let mut found = HashSet::new();
            for pack in packs {
                let mut rows = statement.query([pack.as_bytes()])?;
                while let Some(row) = rows.next()? {
                    found.insert(valid(ObjectId::from_slice(bytes(row, 0, OBJECT)?), OBJECT)?);
                }
            }
            Ok(found.into_iter().collect())
        })
    }

    /// All packs known.
    pub fn packs(&self) -> Result<Vec<PackRow>, IndexError> {
        self.read("listing packs", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, class, size, key, present, condemned, pending IS NOT NULL FROM pack",
            )?;
            let mut rows = statement.query([])?;
            let mut packs = Vec::new();
            while let Some(row) = rows.next()? {
                packs.push(PackRow {
                    id: valid(PackId::from_slice(bytes(row, 0, PACK)?), PACK)?,
                    class: class_from(row.get(1)?)?,
                    size: from_sql(row.get(2)?, "size of a pack")?,
                    key: KeyId(row.get(3)?),
                    is_present: row.get(4)?,
                    is_condemned: row.get(5)?,
                    is_pending: row.get(6)?,
                });
            }
            Ok(packs)
        })
    }

    /// Grows whenever something usable was lost or condemned.
    pub fn loss_generation(&self) -> Result<i64, IndexError> {
        self.read("reading the loss generation", |connection| {
            Ok(connection
                .prepare_cached("SELECT loss_generation FROM meta")?
                .query_row([], |row| row.get(0))?)
        })
    }

    /// Numbers.
    pub fn counts(&self) -> Result<IndexCounts, IndexError> {
        self.read("counting", |connection| {
            let [packs, segments, chunks, raw_bytes, pack_bytes] = connection
                .prepare_cached(
                    "SELECT count(*), coalesce(sum(segments), 0), coalesce(sum(chunks), 0),
                     coalesce(sum(raw_bytes), 0), coalesce(sum(size), 0) FROM pack",
                )?
                .query_row([], |row| {
                    Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?])
                })?
                .map(|number: i64| from_sql(number, "totals of packs"));
            Ok(IndexCounts {
                packs: packs?,
                segments: segments?,
                chunks: chunks?,
                raw_bytes: raw_bytes?,
                pack_bytes: pack_bytes?,
            })
        })
    }

    /// Snapshots of this repository this machine has ever seen listed: id, instance, counter.
    pub fn seen_snapshots(&self) -> Result<Vec<(SnapshotId, String, u64)>, IndexError> {
        self.read("listing snapshots seen before", |connection| {
            let mut statement =
                connection.prepare_cached("SELECT id, instance, counter FROM seen")?;
            let mut rows = statement.query([])?;
            let mut seen = Vec::new();
            while let Some(row) = rows.next()? {
                seen.push((
                    valid(SnapshotId::from_slice(bytes(row, 0, SNAPSHOT)?), SNAPSHOT)?,
                    row.get(1)?,
                    from_sql(row.get(2)?, "counter of a snapshot")?,
                ));
            }
            Ok(seen)
        })
    }

    /// Remembers that these were listed.
    pub fn remember_snapshots(&self, seen: &[(SnapshotId, String, u64)]) -> Result<(), IndexError> {
        self.write("remembering snapshots", |tx| {
            let mut insert =
                tx.prepare_cached("INSERT OR REPLACE INTO seen VALUES (?1, ?2, ?3)")?;
            for (id, instance, counter) in seen {
                insert.execute((id.as_bytes(), instance, to_sql(*counter)?))?;
            }
            Ok(())
        })
    }

    /// Takes these out of the memory (they were forgotten on purpose).
    pub fn unremember_snapshots(&self, gone: &[SnapshotId]) -> Result<(), IndexError> {
        self.write("forgetting snapshots", |tx| {
            let mut delete = tx.prepare_cached("DELETE FROM seen WHERE id = ?1")?;
            for id in gone {
                delete.execute([id.as_bytes()])?;
            }
            Ok(())
        })
    }

    pub(super) fn lock_suspects(&self) -> std::sync::MutexGuard<'_, HashSet<PackId>> {
        super::db::lock(&self.suspects)
    }

    pub(super) fn read<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, IndexError> {
        self.database.read(work).map_err(|failure| self.failed(doing, &failure))
    }

    /// All statements see one state.
    pub(super) fn read_together<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, IndexError> {
        self.database.read_together(work).map_err(|failure| self.failed(doing, &failure))
    }

    pub(super) fn write<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, IndexError> {
        self.database.write(work).map_err(|failure| self.failed(doing, &failure))
    }

    /// Damage met in the middle of the work is noted, so that the next opening makes the file anew.
    fn failed(&self, doing: &'static str, failure: &Failure) -> IndexError {
        if failure.is_damage() {
            schema::mark_damaged(self.path());
        }
        error(self.path(), doing, failure)
    }
}

const OBJECT: &str = "id of an index object";
const PACK: &str = "id of a pack";
const SNAPSHOT: &str = "id of a snapshot";

pub(super) fn error(path: &Path, doing: &'static str, failure: &Failure) -> IndexError {
    let (reason, is_damage) = (failure.reason(), failure.is_damage());
    IndexError { path: path.display().to_string(), doing, reason, is_damage }
}
