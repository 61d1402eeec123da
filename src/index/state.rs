//! What files looked like when they were last read: an unchanged file costs one `stat`.
//!
//! Rows belong to a *root* (instance and source) and a directory in it. What a run learns is staged
//! and becomes valid only with [`Index::commit_state`], after its snapshot is published.

use rusqlite::{OptionalExtension, Transaction, params};

use super::db::{Failure, bytes, lock};
use super::state_codec::{decode_files, encode_files};
use super::store::{Index, IndexError};

/// One file as it was when its content was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileState {
    /// Name in its directory.
    pub name: Vec<u8>,
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime: i128,
    /// Change time, nanoseconds since 1970.
    pub ctime: i128,
    /// Its node as [`crate::snapshot::encode_node`] writes it.
    pub node: Vec<u8>,
}

/// What is remembered of one directory: its files in order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DirectoryState {
    /// The loss generation under which its chunks were last known usable.
    pub generation: i64,
    /// Its regular files, by name.
    pub files: Vec<FileState>,
}

/// Values of `directory.stage`: what counts, what is staged, what will be removed.
const VALID: i64 = 0;
const STAGED: i64 = 1;
const REMOVED: i64 = 2;

/// Bits of a row number that count the parts of a directory.
const PART_BITS: u32 = 20;
/// Directories kept in memory before they are written, as one transaction each would be slow.
const DIRECTORIES_AT_ONCE: usize = 256;
const BYTES_AT_ONCE: usize = 4 << 20;

/// What is staged and not written yet, in order.
#[derive(Debug, Default)]
pub(super) struct Staging {
    steps: Vec<Step>,
    bytes: usize,
}

#[derive(Debug)]
struct Step {
    root: String,
    directory: Vec<u8>,
    what: Staged,
}

#[derive(Debug)]
enum Staged {
    State { generation: i64, parts: Vec<Vec<u8>> },
    Removed,
}

impl Index {
    /// What is remembered of a directory, if anything; what is damaged is not. Read in bounded pieces internally (directories of
    /// millions of files).
    pub fn directory_state(
        &self,
        root: &str,
        directory: &[u8],
    ) -> Result<Option<DirectoryState>, IndexError> {
        self.read("reading the state of a directory", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT d.generation, d.parts, p.files FROM root AS r
                 CROSS JOIN directory AS d ON d.root = r.no AND d.stage = 0 AND d.path = ?2
                 CROSS JOIN part AS p ON p.no BETWEEN d.no << 20 AND (d.no << 20) + d.parts - 1
                 WHERE r.name = ?1 ORDER BY p.no",
            )?;
            let mut rows = statement.query(params![root, directory])?;
            let mut state = DirectoryState::default();
            let (mut found, mut expected) = (0_i64, 1);
            while let Some(row) = rows.next()? {
                state.generation = row.get(0)?;
                expected = row.get(1)?;
                if decode_files(bytes(row, 2, "files of a directory")?, &mut state.files).is_none()
                {
                    return Ok(None);
                }
                found += 1;
            }
            Ok((found == expected).then_some(state))
        })
    }

    /// Stages what a directory looks like now. At commit it replaces all that is remembered of the directory itself.
    pub fn stage_state(
        &self,
        root: &str,
        directory: &[u8],
        state: &DirectoryState,
    ) -> Result<(), IndexError> {
        let parts = encode_files(&state.files);
        self.stage(root, directory, Staged::State { generation: state.generation, parts })
    }

    /// Stages that a directory is gone, with everything below it (`/` separates names; the empty path is the whole root). What
    /// was staged there before is dropped; what is staged there afterwards is kept.
    pub fn stage_removed(&self, root: &str, directory: &[u8]) -> Result<(), IndexError> {
        self.stage(root, directory, Staged::Removed)
    }

    fn stage(&self, root: &str, directory: &[u8], what: Staged) -> Result<(), IndexError> {
        let mut staging = lock(&self.staging);
        if let Staged::State { parts, .. } = &what {
            staging.bytes += parts.iter().map(Vec::len).sum::<usize>();
        }
        staging.steps.push(Step { root: root.into(), directory: directory.into(), what });
        if staging.steps.len() >= DIRECTORIES_AT_ONCE || staging.bytes >= BYTES_AT_ONCE {
            self.flush(&mut staging)?;
        }
        Ok(())
    }

    /// Forgets what was staged for `root` by a run that did not end.
    pub fn discard_staged(&self, root: &str) -> Result<(), IndexError> {
        let mut staging = lock(&self.staging);
        staging.steps.retain(|step| step.root != root);
        self.write("discarding staged state", |tx| {
            let Some(root) = known_root(tx, root)? else {
                return Ok(());
            };
            for stage in [STAGED, REMOVED] {
                drop_below(tx, root, stage, b"")?;
            }
            Ok(())
        })
    }

    /// Makes what was staged for `root` valid: first what [`Index::stage_removed`] named is dropped, then each staged directory
    /// replaces what was remembered of it. Other directories stay as they are.
    pub fn commit_state(&self, root: &str) -> Result<(), IndexError> {
        let mut staging = lock(&self.staging);
        self.flush(&mut staging)?;
        self.write("committing state", |tx| {
            let Some(root) = known_root(tx, root)? else {
                return Ok(());
            };
            for path in paths(tx, root, REMOVED)? {
                drop_below(tx, root, VALID, &path)?;
            }
            drop_below(tx, root, REMOVED, b"")?;
            let replaced: Vec<i64> = tx
                .prepare_cached(
                    "SELECT old.no FROM directory AS new CROSS JOIN directory AS old
                     ON old.root = ?1 AND old.stage = 0 AND old.path = new.path
                     WHERE new.root = ?1 AND new.stage = 1",
                )?
                .query_map([root], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            drop_directories(tx, &replaced)?;
            tx.execute("UPDATE directory SET stage = 0 WHERE root = ?1 AND stage = 1", [root])?;
            Ok(())
        })
    }

    fn flush(&self, staging: &mut Staging) -> Result<(), IndexError> {
        if staging.steps.is_empty() {
            return Ok(());
        }
        self.write("staging state", |tx| {
            for step in &staging.steps {
                let root = make_root(tx, &step.root)?;
                match &step.what {
                    Staged::State { generation, parts } => {
                        insert_staged(tx, root, &step.directory, *generation, parts)?;
                    }
                    Staged::Removed => {
                        drop_below(tx, root, STAGED, &step.directory)?;
                        tx.prepare_cached(
                            "INSERT OR IGNORE INTO directory (root, stage, path, generation, parts)
                             VALUES (?1, 2, ?2, 0, 0)",
                        )?
                        .execute(params![root, step.directory])?;
                    }
                }
            }
            Ok(())
        })?;
        *staging = Staging::default();
        Ok(())
    }
}

fn known_root(tx: &Transaction<'_>, name: &str) -> Result<Option<i64>, Failure> {
    Ok(tx
        .prepare_cached("SELECT no FROM root WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?)
}

fn make_root(tx: &Transaction<'_>, name: &str) -> Result<i64, Failure> {
    if let Some(known) = known_root(tx, name)? {
        return Ok(known);
    }
    tx.execute("INSERT INTO root (name) VALUES (?1)", [name])?;
    Ok(tx.last_insert_rowid())
}

fn insert_staged(
    tx: &Transaction<'_>,
    root: i64,
    directory: &[u8],
    generation: i64,
    parts: &[Vec<u8>],
) -> Result<(), Failure> {
    let staged_before: Option<i64> = tx
        .prepare_cached("SELECT no FROM directory WHERE root = ?1 AND stage = 1 AND path = ?2")?
        .query_row(params![root, directory], |row| row.get(0))
        .optional()?;
    if let Some(number) = staged_before {
        drop_directories(tx, &[number])?;
    }
    let count = i64::try_from(parts.len()).ok().filter(|count| *count < 1 << PART_BITS);
    let Some(count) = count else {
        return Err(Failure::Refused("a directory has too many files to remember".into()));
    };
    tx.prepare_cached(
        "INSERT INTO directory (root, stage, path, generation, parts) VALUES (?1, 1, ?2, ?3, ?4)",
    )?
    .execute(params![root, directory, generation, count])?;
    let first = first_part(tx.last_insert_rowid())?;
    let mut insert = tx.prepare_cached("INSERT INTO part VALUES (?1, ?2)")?;
    for (number, part) in (first..).zip(parts) {
        insert.execute(params![number, part])?;
    }
    Ok(())
}

fn first_part(directory: i64) -> Result<i64, Failure> {
    directory.checked_mul(1 << PART_BITS).ok_or(Failure::Damaged("number of a directory"))
}

fn drop_directories(tx: &Transaction<'_>, numbers: &[i64]) -> Result<(), Failure> {
    let mut parts = tx.prepare_cached("DELETE FROM part WHERE no BETWEEN ?1 AND ?2")?;
    let mut directory = tx.prepare_cached("DELETE FROM directory WHERE no = ?1")?;
    for number in numbers {
        let first = first_part(*number)?;
        parts.execute([first, first | ((1 << PART_BITS) - 1)])?;
        directory.execute([number])?;
    }
    Ok(())
}

/// Drops the rows of one stage at `path` and below it.
fn drop_below(tx: &Transaction<'_>, root: i64, stage: i64, path: &[u8]) -> Result<(), Failure> {
    // What is below starts with `path/` and so lies before `path0`: `0` comes after `/`.
    let mut from = path.to_vec();
    if from.last().is_some_and(|last| *last != b'/') {
        from.push(b'/');
    }
    let mut to = from.clone();
    if let Some(last) = to.last_mut() {
        *last = b'0';
    }
    let numbers: Vec<i64> = tx
        .prepare_cached(
            "SELECT no FROM directory WHERE root = ?1 AND stage = ?2 AND path = ?3
             UNION SELECT no FROM directory WHERE root = ?1 AND stage = ?2 AND path >= ?4
             AND (?5 = x'' OR path < ?5)",
        )?
        .query_map(params![root, stage, path, from, to], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    drop_directories(tx, &numbers)
}

fn paths(tx: &Transaction<'_>, root: i64, stage: i64) -> Result<Vec<Vec<u8>>, Failure> {
    Ok(tx
        .prepare_cached("SELECT path FROM directory WHERE root = ?1 AND stage = ?2")?
        .query_map([root, stage], |row| row.get(0))?
        .collect::<Result<_, _>>()?)
}
