//! What is remembered of one directory, read and written a part at a time: it may have millions of files.

use rusqlite::{OptionalExtension, params};

use super::db::{bytes, lock};
use super::state::{BYTES_AT_ONCE, FileState, Step, Written};
use super::state_codec::{PartEncoder, decode_files};
use super::store::{Index, IndexError};

/// The remembered files of a directory in order of their names, of which one part is in memory.
#[derive(Debug)]
pub struct StateReader {
    /// The loss generation under which the directory's chunks were last known usable.
    pub generation: i64,
    /// Number of the directory's row.
    row: i64,
    parts: i64,
    next_part: i64,
    files: std::iter::Peekable<std::vec::IntoIter<FileState>>,
    is_damaged: bool,
}

impl Index {
    /// What is remembered of a directory, if anything.
    pub fn read_state(
        &self,
        root: &str,
        directory: &[u8],
    ) -> Result<Option<StateReader>, IndexError> {
        self.read("reading the state of a directory", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT d.no, d.generation, d.parts, p.files FROM root AS r
                 CROSS JOIN directory AS d ON d.root = r.no AND d.stage = 0 AND d.path = ?2
                 CROSS JOIN part AS p ON p.no = d.no << 20
                 WHERE r.name = ?1 AND d.parts > 0",
            )?;
            let mut rows = statement.query(params![root, directory])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let mut files = Vec::new();
            if decode_files(bytes(row, 3, "files of a directory")?, &mut files).is_none() {
                return Ok(None);
            }
            Ok(Some(StateReader {
                generation: row.get(1)?,
                row: row.get(0)?,
                parts: row.get(2)?,
                next_part: 1,
                files: files.into_iter().peekable(),
                is_damaged: false,
            }))
        })
    }
}

impl StateReader {
    /// Number of the directory's row, for [`Index::retain_directories`].
    pub fn row(&self) -> i64 {
        self.row
    }

    /// Whether some of it could not be read: it ended early.
    pub fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// The next file, which stays the next.
    pub fn peek(&mut self, index: &Index) -> Result<Option<&FileState>, IndexError> {
        while self.files.peek().is_none() && self.next_part < self.parts && !self.is_damaged {
            self.read_part(index)?;
        }
        Ok(self.files.peek())
    }

    /// The next file.
    pub fn next_file(&mut self, index: &Index) -> Result<Option<FileState>, IndexError> {
        self.peek(index)?;
        Ok(self.files.next())
    }

    #[cfg(test)]
    pub(super) fn held_files(&self) -> usize {
        self.files.len()
    }

    fn read_part(&mut self, index: &Index) -> Result<(), IndexError> {
        let Some(number) = self.row.checked_mul(1 << 20).map(|first| first + self.next_part) else {
            self.is_damaged = true;
            return Ok(());
        };
        let part: Option<Vec<u8>> =
            index.read("reading the state of a directory", |connection| {
                Ok(connection
                    .prepare_cached("SELECT files FROM part WHERE no = ?1")?
                    .query_row([number], |row| row.get(0))
                    .optional()?)
            })?;
        let mut files = Vec::new();
        let read = part.and_then(|part| decode_files(&part, &mut files));
        self.is_damaged = read.is_none();
        if read.is_some() {
            self.files = files.into_iter().peekable();
            self.next_part += 1;
        }
        Ok(())
    }
}

/// Collects what is to be remembered of a directory. What there is no room for in memory is written, and
/// counts no sooner than the rest.
#[derive(Debug)]
pub struct StateWriter {
    step: Step,
    part: PartEncoder,
    bytes: usize,
}

impl StateWriter {
    /// Of `directory` in `root`, no files yet.
    pub fn new(root: &str, directory: &[u8]) -> Self {
        let (root, directory) = (root.to_owned(), directory.to_vec());
        let step = Step { root, directory, generation: 0, written: None, parts: Vec::new() };
        Self { step, part: PartEncoder::default(), bytes: 0 }
    }

    /// Adds a file; names ascend.
    pub fn push(&mut self, index: &Index, file: &FileState) -> Result<(), IndexError> {
        if let Some(part) = self.part.push(file) {
            self.bytes += part.len();
            self.step.parts.push(part);
        }
        if self.bytes >= BYTES_AT_ONCE {
            let parts = std::mem::take(&mut self.step.parts);
            self.step.written = Some(index.write_parts(&self.step, &parts)?);
            self.bytes = 0;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes
    }

    /// Stages it: at [`Index::commit_state`] it replaces all that is remembered of the directory itself.
    pub fn finish(mut self, index: &Index, generation: i64) -> Result<(), IndexError> {
        self.step.generation = generation;
        self.step.parts.push(self.part.finish());
        index.stage(self.step)
    }
}

impl Index {
    /// Writes parts of a directory before their turn; they are behind those written before.
    fn write_parts(&self, step: &Step, parts: &[Vec<u8>]) -> Result<Written, IndexError> {
        self.write("staging state", |tx| step.append(tx, parts))
    }

    pub(super) fn stage(&self, step: Step) -> Result<(), IndexError> {
        let mut staging = lock(&self.staging);
        staging.push(step);
        if staging.is_full() {
            self.flush(&mut staging)?;
        }
        Ok(())
    }
}
