//! A database of a snapshot as it comes into the target: every row rewritten while it passes.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use crate::anonymize::transform::FileSink;
use crate::anonymize::{
    Charset, Counts, Kept, Originals, Program, RewriteError, Rewriter, Rewritten, RowStream,
    TableProgram,
};
use crate::ops::restore_database::{Contents, Incoming};
use crate::snapshot::TableManifest;
use crate::source::archive::{ExchangedArchive, RowsFilter, Toc, TocEntry};
use crate::target::postgres::Found;

/// Rewrites a database's rows on their way.
pub struct Anonymized<'a> {
    /// As it is stored.
    pub contents: &'a Contents<'a, 'a>,
    /// Its table of contents, without what must not leave.
    pub toc: &'a Toc,
    /// The rules.
    pub program: &'a Program,
    /// Its encoding.
    pub charset: Charset,
    /// What was removed.
    pub originals: &'a Originals,
    /// Which rows.
    pub kept: &'a Kept,
    /// Takes placeholders.
    pub files: &'a dyn FileSink,
    failure: Mutex<Option<RewriteError>>,
    counts: Mutex<BTreeMap<String, Counts>>,
}

/// Counts and hashes what is read, and compares it with what was stored.
pub struct Verified<R> {
    inner: R,
    check: Check,
}

/// What passed of a table.
pub struct Check {
    hasher: blake3::Hasher,
    bytes: u64,
    rows: u64,
    wanted: TableManifest,
}

impl Check {
    /// Of `table`.
    pub fn new(table: &TableManifest) -> Self {
        Self { hasher: blake3::Hasher::new(), bytes: 0, rows: 0, wanted: table.clone() }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.rows += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    }

    /// Whether it was what the snapshot says.
    pub fn finish(&self) -> io::Result<()> {
        let hash = *self.hasher.finalize().as_bytes();
        let found = Found { rows: self.rows, bytes: self.bytes, hash };
        // Of an extension's table only a part may have been saved.
        match self.wanted.hash {
            Some(_) => found.compare(&self.wanted).map_err(io::Error::other),
            None => Ok(()),
        }
    }
}

impl<R: Read> Verified<R> {
    /// Of the rows of `table`.
    pub fn new(inner: R, table: &TableManifest) -> Self {
        Self { inner, check: Check::new(table) }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.check.push(buffer.get(..count).unwrap_or_default());
        if count == 0 && !buffer.is_empty() {
            self.check.finish()?;
        }
        Ok(count)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Anonymized<'a> {
    /// Of `contents`.
    pub fn new(
        contents: &'a Contents<'a, 'a>,
        toc: &'a Toc,
        program: &'a Program,
        charset: Charset,
        originals: &'a Originals,
        kept: &'a Kept,
        files: &'a dyn FileSink,
    ) -> Self {
        let (failure, counts) = (Mutex::default(), Mutex::default());
        Self { contents, toc, program, charset, originals, kept, files, failure, counts }
    }

    /// The first row that was not rewritten, and why. What others say of it is less.
    pub fn take_failure(&self) -> Option<RewriteError> {
        lock(&self.failure).take()
    }

    /// What was done to the columns of each table.
    pub fn take_counts(&self) -> BTreeMap<String, Counts> {
        std::mem::take(&mut *lock(&self.counts))
    }

    fn note(&self, error: &io::Error) {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<RewriteError>());
        if let Some(found) = inner {
            lock(&self.failure).get_or_insert_with(|| found.clone());
        }
    }

    fn rewriter(&self, table: &'a TableProgram) -> Rewriter<'a> {
        let kept = self.kept.of(&table.title);
        Rewriter::new(table, self.charset, self.originals, self.files).keeping(kept)
    }

    /// How many rows of a table have to come.
    fn wanted(&self, program: &TableProgram, rows: u64) -> u64 {
        match program.is_emptied {
            true => 0,
            false => self.kept.rows_of(&program.title, rows),
        }
    }

    /// How many rows of a table come.
    fn rows_of(&self, table: &TableManifest) -> Result<u64, String> {
        let program = self.program_of(&table.schema, &table.name)?;
        Ok(self.wanted(program, table.rows))
    }

    fn program_of(&self, schema: &str, name: &str) -> Result<&'a TableProgram, String> {
        self.program.table(schema, name).ok_or_else(|| format!("no rule names {schema}.{name}"))
    }

    fn filter(&self, entry: &TocEntry) -> io::Result<Box<dyn RowsFilter + Send + '_>> {
        let schema = entry.schema.as_deref().unwrap_or_default();
        let program = self.program_of(schema, &entry.tag).map_err(io::Error::other)?;
        let manifest = self.contents.manifest.tables.iter();
        let manifest = manifest.clone().find(|t| t.schema == schema && t.name == entry.tag);
        let manifest = manifest.ok_or_else(|| io::Error::other("a table that nobody listed"))?;
        Ok(Box::new(Filter {
            whole: self,
            rows: RowStream::new(self.rewriter(program)),
            check: Check::new(manifest),
            title: program.title.clone(),
        }))
    }
}

/// The rows of one table in the archive.
struct Filter<'a, 's> {
    whole: &'s Anonymized<'a>,
    rows: RowStream<'a>,
    check: Check,
    title: String,
}

impl RowsFilter for Filter<'_, '_> {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.check.push(bytes);
        self.rows.push(bytes, out).map_err(|error| {
            let error = io::Error::other(error);
            self.whole.note(&error);
            error
        })
    }

    fn finish(&mut self) -> io::Result<()> {
        self.check.finish()?;
        if !self.rows.is_whole() {
            return Err(io::Error::other("the last row has no end"));
        }
        lock(&self.whole.counts).insert(self.title.clone(), self.rows.counts().clone());
        Ok(())
    }
}

/// Rows of a stream; what goes wrong is noted.
struct Noting<'a, 's, R> {
    whole: &'s Anonymized<'a>,
    rows: Rewritten<'a, R>,
    title: String,
}

impl<R: Read> Read for Noting<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.rows.read(buffer).inspect_err(|error| self.whole.note(error))?;
        if count == 0 && !buffer.is_empty() {
            lock(&self.whole.counts).insert(self.title.clone(), self.rows.counts().clone());
        }
        Ok(count)
    }
}

impl Incoming for Anonymized<'_> {
    fn encoding(&self) -> &str {
        &self.contents.manifest.encoding
    }

    fn streamed(&self) -> Vec<&TableManifest> {
        self.contents.streamed()
    }

    fn archived(&self) -> Vec<TableManifest> {
        let mut tables: Vec<TableManifest> =
            self.contents.archived().into_iter().cloned().collect();
        for table in &mut tables {
            let program = self.program.table(&table.schema, &table.name);
            table.rows = program.map_or(table.rows, |program| self.wanted(program, table.rows));
        }
        tables
    }

    fn open<'s>(&'s self, table: &TableManifest) -> Result<Box<dyn Read + 's>, String> {
        let program = self.program_of(&table.schema, &table.name)?;
        let rows = Verified::new(self.contents.open(table)?, table);
        Ok(Box::new(Noting {
            whole: self,
            rows: Rewritten::new(rows, self.rewriter(program)),
            title: program.title.clone(),
        }))
    }

    fn compare(&self, table: &TableManifest, found: &Found) -> Result<(), String> {
        let wanted = self.rows_of(table)?;
        match found.rows == wanted {
            true => Ok(()),
            false => Err(format!("{} rows where {wanted} should have come", found.rows)),
        }
    }

    fn archive_bytes(&self) -> u64 {
        self.contents.archive_bytes()
    }

    fn archive<'s>(&'s self) -> Result<Box<dyn Read + Send + 's>, String> {
        let filter_of = Box::new(|entry: &TocEntry| self.filter(entry));
        let archive = ExchangedArchive::new(self.contents.archive(), self.toc, filter_of);
        Ok(Box::new(archive.map_err(|error| error.to_string())?))
    }
}
