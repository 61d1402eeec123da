//! Stores one stream's bytes: small files share segments, larger ones are cut by content, and
//! what does not compress is neither cut small nor compressed.

use std::io::{self, Read};
use std::sync::Arc;

use crate::chunker::{Chunker, GearTable, looks_incompressible};
use crate::pack::PackClass;
use crate::repository::{Grouping, Ingest, RepositoryError, StreamBuilder};
use crate::snapshot::StreamRef;

/// Files up to this length are one chunk.
const WHOLE_FILE_BYTES: usize = 64 << 10;
/// Chunks below this length share a segment with their neighbours.
const SHARED_CHUNK_BYTES: usize = 32 << 10;
/// A stream's first bytes, by which its compressibility is judged.
const SAMPLE_BYTES: usize = 64 << 10;

/// How storing a stream ended.
pub(super) struct Stored {
    /// What was stored.
    pub content: StreamRef,
    /// The error at which reading stopped; the content ends there.
    pub read_error: Option<io::Error>,
}

/// Ends at the first error and keeps it, so that all that was read before is cut and stored.
struct UntilError<R> {
    reader: R,
    error: Option<io::Error>,
}

impl<R: Read> Read for UntilError<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.error.is_some() {
            return Ok(0);
        }
        match self.reader.read(buffer) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                self.error = Some(error);
                Ok(0)
            }
            result => result,
        }
    }
}

/// Reads streams into a pipeline, reusing its buffers.
pub(super) struct ContentStore {
    gear: Arc<GearTable>,
    sample: Vec<u8>,
}

impl ContentStore {
    pub fn new(ingest: &Ingest<'_>) -> Self {
        Self { gear: Arc::clone(ingest.gear()), sample: Vec::new() }
    }

    /// Stores all that `reader` gives; `progress` is told the length of each piece.
    pub fn store(
        &mut self,
        ingest: &mut Ingest<'_>,
        reader: &mut dyn Read,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Stored, RepositoryError> {
        let mut sample = std::mem::take(&mut self.sample);
        sample.clear();
        let read_error = fill(reader, &mut sample, SAMPLE_BYTES.max(WHOLE_FILE_BYTES) + 1).err();
        let stored = if read_error.is_some() || sample.len() <= WHOLE_FILE_BYTES {
            progress(sample.len() as u64);
            store_whole(ingest, &sample).map(|content| Stored { content, read_error })
        } else {
            self.store_cut(ingest, &sample, reader, progress)
        };
        self.sample = sample;
        stored
    }

    fn store_cut(
        &self,
        ingest: &mut Ingest<'_>,
        sample: &[u8],
        reader: &mut dyn Read,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Stored, RepositoryError> {
        let is_opaque = looks_incompressible(&sample[..SAMPLE_BYTES]);
        let config = ingest.repository().config();
        let profile = if is_opaque { config.opaque } else { config.text };
        let buffer = ingest.take_scratch();
        let mut rest = UntilError { reader, error: None };
        let input = sample.chain(&mut rest);
        let mut chunker = Chunker::with_buffer(&self.gear, profile, input, buffer);
        let mut stream = StreamBuilder::new();
        let failed = loop {
            match chunker.next_chunk() {
                Ok(Some(bytes)) => {
                    let grouping = match (is_opaque, bytes.len() < SHARED_CHUNK_BYTES) {
                        (false, false) => Grouping::Alone,
                        (false, true) => Grouping::Shared,
                        (true, false) => Grouping::AloneRaw,
                        (true, true) => Grouping::SharedRaw,
                    };
                    let chunk = ingest.store_chunk(PackClass::Data, bytes, grouping)?;
                    progress(bytes.len() as u64);
                    stream.push(ingest, chunk)?;
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        ingest.keep_scratch(chunker.into_buffer());
        Ok(Stored { content: stream.finish(ingest)?, read_error: rest.error.or(failed) })
    }
}

/// Stores bytes that are all of their stream as one chunk.
fn store_whole(ingest: &mut Ingest<'_>, bytes: &[u8]) -> Result<StreamRef, RepositoryError> {
    let mut stream = StreamBuilder::new();
    if !bytes.is_empty() {
        let grouping = match (looks_incompressible(bytes), bytes.len() < SHARED_CHUNK_BYTES) {
            (false, false) => Grouping::Alone,
            (false, true) => Grouping::Shared,
            (true, false) => Grouping::AloneRaw,
            (true, true) => Grouping::SharedRaw,
        };
        let chunk = ingest.store_chunk(PackClass::Data, bytes, grouping)?;
        stream.push(ingest, chunk)?;
    }
    stream.finish(ingest)
}

/// Reads until `buffer` holds `len` bytes or the stream ends; keeps what was read before an error.
fn fill(reader: &mut dyn Read, buffer: &mut Vec<u8>, len: usize) -> io::Result<()> {
    let missing = u64::try_from(len.saturating_sub(buffer.len())).unwrap_or(u64::MAX);
    reader.take(missing).read_to_end(buffer).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{backup_with, init};

    /// Gives `len` bytes and then fails, once; after that it would go on.
    struct Failing(usize, bool);

    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 && !std::mem::replace(&mut self.1, true) {
                return Err(io::Error::other("bad sector"));
            }
            let count = if self.1 { buffer.len() } else { buffer.len().min(self.0) };
            buffer[..count].fill(b'x');
            self.0 = self.0.saturating_sub(count);
            Ok(count)
        }
    }

    #[test]
    fn all_that_was_read_before_an_error_is_stored() {
        let repository = init(&Arc::default());
        for (counter, len) in [0, 1000, WHOLE_FILE_BYTES + 1, 100_000, 9_000_000].iter().enumerate()
        {
            backup_with(&repository, counter as u64 + 1, |ingest| {
                let mut store = ContentStore::new(ingest);
                let stored =
                    store.store(ingest, &mut Failing(*len, false), &mut |_| {}).expect("stored");
                assert_eq!(stored.content.len, *len as u64);
                assert_eq!(stored.read_error.expect("an error").to_string(), "bad sector");
                StreamRef::default()
            });
        }
    }
}
