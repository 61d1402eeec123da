//! What files looked like when they were last read: an unchanged file costs one `stat`.
//!
//! Rows belong to a *root* (instance and source) and a directory in it. What a run learns is staged
//! and becomes valid only with [`Index::commit_state`], after its snapshot is published.

use rusqlite::{OptionalExtension, Transaction, params};

use super::db::{Failure, lock};
use super::row_set::RowSet;
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

/// Values of `directory.stage`: what counts, what is staged, what is only begun.
const STAGED: i64 = 1;
const BEGUN: i64 = 2;

/// Bits of a row number that count the parts of a directory.
const PART_BITS: u32 = 20;
/// Directories kept in memory before they are written, as one transaction each would be slow.
const DIRECTORIES_AT_ONCE: usize = 256;
pub(super) const BYTES_AT_ONCE: usize = 4 << 20;
/// Rows looked through in one go.
const ROWS_AT_ONCE: i64 = 4096;

/// What is staged and not written yet, in order.
#[derive(Debug, Default)]
pub(super) struct Staging {
    steps: Vec<Step>,
    bytes: usize,
}

impl Staging {
    pub(super) fn push(&mut self, step: Step) {
        self.bytes += step.parts.iter().map(Vec::len).sum::<usize>();
        self.steps.push(step);
    }

    pub(super) fn is_full(&self) -> bool {
        self.steps.len() >= DIRECTORIES_AT_ONCE || self.bytes >= BYTES_AT_ONCE
    }
}

/// What is to be remembered of one directory.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) root: String,
    pub(super) directory: Vec<u8>,
    pub(super) generation: i64,
    /// Where its first parts are, if they were written before their turn.
    pub(super) written: Option<Written>,
    pub(super) parts: Vec<Vec<u8>>,
}

/// A directory's row that is only begun, and how many of its parts are there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    row: i64,
    parts: i64,
}

impl Index {
    /// Forgets what was staged for `root` by a run that did not end.
    pub fn discard_staged(&self, root: &str) -> Result<(), IndexError> {
        let mut staging = lock(&self.staging);
        staging.steps.retain(|step| step.root != root);
        self.write("discarding staged state", |tx| {
            let Some(root) = known_root(tx, root)? else {
                return Ok(());
            };
            for stage in [STAGED, BEGUN] {
                drop_stage(tx, root, stage)?;
            }
            Ok(())
        })
    }

    /// Makes what was staged for `root` valid: each staged directory replaces what was remembered of it.
    /// Other directories stay as they are.
    pub fn commit_state(&self, root: &str) -> Result<(), IndexError> {
        let mut staging = lock(&self.staging);
        self.flush(&mut staging)?;
        self.write("committing state", |tx| {
            let Some(root) = known_root(tx, root)? else {
                return Ok(());
            };
            loop {
                let replaced = numbers(
                    tx,
                    "SELECT old.no FROM directory AS new CROSS JOIN directory AS old
                     ON old.root = ?1 AND old.stage = 0 AND old.path = new.path
                     WHERE new.root = ?1 AND new.stage = 1 LIMIT ?2",
                    params![root, ROWS_AT_ONCE],
                )?;
                if replaced.is_empty() {
                    break;
                }
                drop_directories(tx, &replaced)?;
            }
            tx.execute("UPDATE directory SET stage = 0 WHERE root = ?1 AND stage = 1", [root])?;
            Ok(())
        })
    }

    /// Drops what is remembered of directories of `root` whose rows are not in `met`, and tells how many
    /// that were. What is staged stays.
    pub fn retain_directories(&self, root: &str, met: &RowSet) -> Result<u64, IndexError> {
        self.write("forgetting directories that are gone", |tx| {
            let Some(root) = known_root(tx, root)? else {
                return Ok(0);
            };
            let known: i64 = tx
                .prepare_cached("SELECT count(*) FROM directory WHERE root = ?1 AND stage = 0")?
                .query_row([root], |row| row.get(0))?;
            if u64::try_from(known) == Ok(met.len()) {
                return Ok(0);
            }
            let (mut dropped, mut after) = (0, None::<Vec<u8>>);
            loop {
                let rows: Vec<(i64, Vec<u8>)> = tx
                    .prepare_cached(
                        "SELECT no, path FROM directory WHERE root = ?1 AND stage = 0
                         AND (?2 IS NULL OR path > ?2) ORDER BY path LIMIT ?3",
                    )?
                    .query_map(params![root, after, ROWS_AT_ONCE], |row| {
                        Ok((row.get(0)?, row.get(1)?))
                    })?
                    .collect::<Result<_, _>>()?;
                let Some((_, last)) = rows.last() else { return Ok(dropped) };
                after = Some(last.clone());
                let gone: Vec<i64> =
                    rows.iter().map(|(row, _)| *row).filter(|row| !met.contains(*row)).collect();
                drop_directories(tx, &gone)?;
                dropped += gone.len() as u64;
            }
        })
    }

    /// Names of all roots of which something is remembered.
    pub(super) fn roots(&self) -> Result<Vec<String>, IndexError> {
        self.read("listing what is remembered", |connection| {
            let mut statement = connection.prepare_cached("SELECT name FROM root")?;
            let names = statement.query_map([], |row| row.get(0))?;
            Ok(names.collect::<Result<_, _>>()?)
        })
    }

    /// Forgets all of a root.
    pub(super) fn drop_root(&self, name: &str) -> Result<(), IndexError> {
        self.write("forgetting a source", |tx| {
            let Some(root) = known_root(tx, name)? else { return Ok(()) };
            for stage in [0, STAGED, BEGUN] {
                drop_stage(tx, root, stage)?;
            }
            tx.execute("DELETE FROM root WHERE no = ?1", [root])?;
            Ok(())
        })
    }

    pub(super) fn flush(&self, staging: &mut Staging) -> Result<(), IndexError> {
        if staging.steps.is_empty() {
            return Ok(());
        }
        self.write("staging state", |tx| staging.steps.iter().try_for_each(|step| step.write(tx)))?;
        *staging = Staging::default();
        Ok(())
    }
}

impl Step {
    /// Adds `parts` to those written before.
    pub(super) fn append(
        &self,
        tx: &Transaction<'_>,
        parts: &[Vec<u8>],
    ) -> Result<Written, Failure> {
        let written = match self.written {
            Some(written) => written,
            None => {
                let root = make_root(tx, &self.root)?;
                drop_one(tx, root, BEGUN, &self.directory)?;
                tx.prepare_cached(
                    "INSERT INTO directory (root, stage, path, generation, parts)
                     VALUES (?1, ?2, ?3, 0, 0)",
                )?
                .execute(params![root, BEGUN, self.directory])?;
                Written { row: tx.last_insert_rowid(), parts: 0 }
            }
        };
        let count =
            i64::try_from(parts.len()).ok().and_then(|more| more.checked_add(written.parts));
        let Some(count) = count.filter(|count| *count < 1 << PART_BITS) else {
            return Err(Failure::Refused("a directory has too many files to remember".into()));
        };
        let first = first_part(written.row)? + written.parts;
        let mut insert = tx.prepare_cached("INSERT INTO part VALUES (?1, ?2)")?;
        for (number, part) in (first..).zip(parts) {
            insert.execute(params![number, part])?;
        }
        Ok(Written { row: written.row, parts: count })
    }

    /// Writes the rest and stages it all, in place of what was staged of the directory before.
    fn write(&self, tx: &Transaction<'_>) -> Result<(), Failure> {
        let written = self.append(tx, &self.parts)?;
        let root = make_root(tx, &self.root)?;
        drop_one(tx, root, STAGED, &self.directory)?;
        tx.prepare_cached(
            "UPDATE directory SET stage = ?2, generation = ?3, parts = ?4 WHERE no = ?1",
        )?
        .execute(params![written.row, STAGED, self.generation, written.parts])?;
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

/// Drops a directory's row of one stage.
fn drop_one(tx: &Transaction<'_>, root: i64, stage: i64, path: &[u8]) -> Result<(), Failure> {
    let found = numbers(
        tx,
        "SELECT no FROM directory WHERE root = ?1 AND stage = ?2 AND path = ?3",
        params![root, stage, path],
    )?;
    drop_directories(tx, &found)
}

/// Drops all rows of one stage.
fn drop_stage(tx: &Transaction<'_>, root: i64, stage: i64) -> Result<(), Failure> {
    loop {
        let found = numbers(
            tx,
            "SELECT no FROM directory WHERE root = ?1 AND stage = ?2 LIMIT ?3",
            params![root, stage, ROWS_AT_ONCE],
        )?;
        if found.is_empty() {
            return Ok(());
        }
        drop_directories(tx, &found)?;
    }
}

fn numbers(
    tx: &Transaction<'_>,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<i64>, Failure> {
    Ok(tx.prepare_cached(sql)?.query_map(params, |row| row.get(0))?.collect::<Result<_, _>>()?)
}
