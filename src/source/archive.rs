//! Tells whether a dump in PostgreSQL's custom format (`pg_dump -Fc`) is whole, while it passes.
//!
//! `pg_dump`'s exit status is the first witness; this is the second, for the day a wrapper, a
//! container runtime or a pipe swallows the first. The table of contents says which entries have
//! data. `pg_dump` writing to a pipe cannot come back to note where that data is (the entry's
//! offset stays "not set"), but each block names its entry, so: every entry with data must appear
//! once, every block must be closed, and nothing may follow.

mod exchange;
mod merge;
mod parser;
mod rows;
mod table;
mod toc;

use std::io::{self, Read};

use super::error::StreamError;
use parser::Parser;

pub use exchange::{ExchangedArchive, FilterOf, RowsFilter};
pub use merge::{MergeError, TableEntry, merge};
pub(crate) use rows::count_lines;
pub use rows::{ArchivedRows, RowsDigest};
pub use table::TableRows;
pub use toc::{Toc, TocEntry, TocError};

/// What a walk found out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ArchiveReport {
    /// Version of the archive format (`1.14`), once known.
    pub version: Option<String>,
    /// Entries of the table of contents.
    pub entries: u64,
    /// Entries whose data passed.
    pub with_data: u64,
    /// The rows of tables that passed.
    pub tables: Vec<ArchivedRows>,
    /// Why the archive could not be walked; the bytes pass all the same.
    pub note: Option<String>,
}

/// Passes an archive on and verifies at its end that it is whole.
#[derive(Debug)]
pub struct ArchiveWalker<R> {
    inner: R,
    parser: Parser,
    failure: Option<StreamError>,
}

impl<R: Read> ArchiveWalker<R> {
    /// Walks what `inner` gives.
    pub fn new(inner: R) -> Self {
        Self { inner, parser: Parser::new(), failure: None }
    }

    /// What is known so far.
    pub fn report(&self) -> ArchiveReport {
        self.parser.report()
    }
}

impl<R: Read> Read for ArchiveWalker<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone().into());
        }
        if buf.is_empty() {
            return Ok(0);
        }
        let n = self.inner.read(buf)?;
        let verdict = if n == 0 { self.parser.finish() } else { self.parser.push(&buf[..n]) };
        verdict.map(|()| n).map_err(|reason| {
            let failure = StreamError::Archive(reason);
            self.failure = Some(failure.clone());
            failure.into()
        })
    }
}

#[cfg(test)]
#[path = "archive/tests.rs"]
mod tests;
