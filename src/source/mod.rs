//! Where the content of a snapshot comes from.

use std::io::Read;

pub mod archive;
pub mod command;
mod error;
pub mod files;
pub mod postgres;
pub(crate) mod process;

pub use error::{SourceError, StreamError};

use crate::snapshot::{DatabaseManifest, SourceRecord};

/// Gives streams one after another (a command's output, a database's dump).
pub trait StreamSource: Send {
    /// The next stream, or `None` at the end.
    ///
    /// When the stream's reader reaches the end it first verifies that the stream is whole (exit
    /// status, archive trailer) and returns an error (a [`StreamError`] inside) instead of `Ok(0)`
    /// when it is not: completeness is part of reading. A reader dropped before its end stops what
    /// feeds it and leaves the source incomplete.
    fn next_stream(&mut self) -> Result<Option<OpenStream<'_>>, SourceError>;

    /// Where its streams will appear in the snapshot's tree, as far as that is known beforehand.
    fn paths(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// What to write into the snapshot about it: valid after the last stream.
    fn record(&self) -> SourceRecord;

    /// The databases it dumped.
    fn databases(&self) -> Vec<DatabaseManifest> {
        Vec::new()
    }
}

/// A stream being read.
pub struct OpenStream<'a> {
    /// Path in the snapshot's tree (`postgres/mrs.dump`).
    pub path: Vec<u8>,
    /// Its bytes.
    pub reader: Box<dyn Read + Send + 'a>,
}

impl std::fmt::Debug for OpenStream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpenStream({})", String::from_utf8_lossy(&self.path))
    }
}
