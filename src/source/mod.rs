//! Where the content of a snapshot comes from.

use std::io::Read;

pub mod archive;
pub mod command;
pub mod container_logs;
mod error;
pub mod files;
pub mod foreign;
pub mod postgres;
pub(crate) mod process;
#[cfg(feature = "restic")]
pub mod restic;

pub use error::{SourceError, StreamError};

use crate::snapshot::{DatabaseManifest, SourceRecord};

/// Gives streams (a command's output, a database's tables).
pub trait StreamSource: Send {
    /// Gives every stream to `sink`, one after the other or several at once from threads of its own, and
    /// stops when the sink refuses one.
    ///
    /// When a stream's reader reaches the end it first verifies that the stream is whole (exit
    /// status, archive trailer) and returns an error (a [`StreamError`] inside) instead of `Ok(0)`
    /// when it is not: completeness is part of reading.
    fn read_all(&mut self, sink: &dyn StreamSink) -> Result<(), SourceError>;

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

/// Takes streams, from several threads at once.
pub trait StreamSink: Sync {
    /// Takes all of `reader` as the file at `path` of the snapshot's tree. A reading error is the
    /// sink's to report.
    fn store(&self, path: &[u8], reader: &mut dyn Read) -> StreamEnd;

    /// Takes note that `item` cannot be had, which makes the source incomplete.
    fn fail(&self, item: &str, message: &str);

    /// Tells people something that does not make the source incomplete.
    fn warn(&self, item: &str, message: &str);
}

/// How taking a stream went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    /// To its verified end.
    Whole,
    /// Reading failed, and the sink has told so.
    Broken,
    /// The sink takes no more streams.
    Refused,
}

/// A stream being read.
pub struct OpenStream<'a> {
    /// Path in the snapshot's tree (`dump/data.sql`).
    pub path: Vec<u8>,
    /// Its bytes.
    pub reader: Box<dyn Read + Send + 'a>,
}

impl std::fmt::Debug for OpenStream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpenStream({})", String::from_utf8_lossy(&self.path))
    }
}
