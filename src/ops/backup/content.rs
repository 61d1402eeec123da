//! Stores one stream's bytes: small files share segments, larger ones are cut by content, and
//! what does not compress is neither cut small nor compressed.

use std::io::{self, Read};
use std::sync::Arc;

use crate::chunker::{Chunk, Chunker, Features, GearTable, fill, looks_incompressible};
use crate::pack::{Likeness, PackClass};
use crate::repository::{ChunkWalk, Fetcher, Grouping, Ingest, RepositoryError, StreamBuilder};
use crate::snapshot::StreamRef;

use super::earlier::{EarlierVersion, Piece};

/// Files up to this length are one chunk.
pub(super) const WHOLE_FILE_BYTES: usize = 64 << 10;
/// Chunks below this length share a segment with their neighbours.
const SHARED_CHUNK_BYTES: usize = 32 << 10;
/// A stream's first bytes, by which its compressibility is judged.
const SAMPLE_BYTES: usize = 64 << 10;

/// How storing a stream ended.
pub(in crate::ops) struct Stored {
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

/// Bytes of opened lists of chunks of earlier versions that are kept.
const LIST_CACHE: usize = 4 << 20;

/// Reads streams into a pipeline, reusing its buffers.
pub(in crate::ops) struct ContentStore<'r> {
    gear: Arc<GearTable>,
    lists: Fetcher<'r>,
    sample: Vec<u8>,
}

impl<'r> ContentStore<'r> {
    pub fn new(ingest: &Ingest<'r>) -> Self {
        let lists = Fetcher::new(ingest.repository(), LIST_CACHE);
        Self { gear: Arc::clone(ingest.gear()), lists, sample: Vec::new() }
    }

    /// Stores all that `reader` gives; `progress` is told the length of each piece. `earlier` gives an
    /// earlier version of the stream, and is asked only if the stream is cut.
    pub fn store(
        &mut self,
        ingest: &mut Ingest<'_>,
        reader: &mut dyn Read,
        progress: &mut dyn FnMut(u64),
        earlier: &mut dyn FnMut(&Fetcher<'r>) -> Option<StreamRef>,
    ) -> Result<Stored, RepositoryError> {
        let mut sample = std::mem::take(&mut self.sample);
        // One byte more than a file may have that is stored whole.
        sample.resize(SAMPLE_BYTES.max(WHOLE_FILE_BYTES) + 1, 0);
        let (len, outcome) = fill(reader, &mut sample);
        let read_error = outcome.err();
        let stored = if read_error.is_some() || len <= WHOLE_FILE_BYTES {
            progress(len as u64);
            self.store_whole(ingest, &sample[..len]).map(|content| Stored { content, read_error })
        } else {
            let earlier = earlier(&self.lists);
            self.store_cut(ingest, &sample[..len], reader, progress, earlier)
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
        earlier: Option<StreamRef>,
    ) -> Result<Stored, RepositoryError> {
        let is_opaque = looks_incompressible(&sample[..SAMPLE_BYTES]);
        let config = ingest.repository().config();
        let profile = if is_opaque { config.opaque } else { config.text };
        let buffer = ingest.take_scratch();
        let mut rest = UntilError { reader, error: None };
        let input = sample.chain(&mut rest);
        let is_compared = !is_opaque && ingest.is_compared();
        let mut chunker =
            Chunker::with_buffer(&self.gear, profile, input, buffer).with_features(is_compared);
        let mut stream = StreamBuilder::new();
        let mut earlier = earlier.filter(|_| !is_opaque).map(|earlier| {
            let mut walk = ChunkWalk::new(&self.lists, &earlier);
            // What cannot be read ends it.
            EarlierVersion::new(std::iter::from_fn(move || walk.next_data_chunk().ok().flatten()))
        });
        let failed = loop {
            match chunker.next_chunk() {
                Ok(Some(Chunk { bytes, features })) => {
                    let pieces = match &mut earlier {
                        Some(earlier) => earlier.pieces(stream.len(), bytes.len()),
                        None => vec![Piece { len: bytes.len(), earlier: None }],
                    };
                    let is_cut = pieces.len() > 1;
                    let mut rest = bytes;
                    for piece in pieces {
                        let (bytes, after) = rest.split_at(piece.len.min(rest.len()));
                        rest = after;
                        let grouping = grouping(is_opaque, bytes.len());
                        let (class, offset) = (PackClass::Data, stream.len());
                        let features = match features {
                            Some(_) if is_cut => Some(Features::of(&self.gear, profile, bytes)),
                            features => features,
                        };
                        let likeness = Likeness { features, earlier: piece.earlier };
                        let chunk = ingest.store_like(class, bytes, grouping, likeness)?;
                        if let Some(earlier) = &mut earlier {
                            earlier.found(&chunk, offset);
                        }
                        progress(bytes.len() as u64);
                        stream.push(ingest, chunk)?;
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        ingest.keep_scratch(chunker.into_buffer());
        Ok(Stored { content: stream.finish(ingest)?, read_error: rest.error.or(failed) })
    }

    /// Stores bytes that are all of their stream as one chunk.
    fn store_whole(
        &self,
        ingest: &mut Ingest<'_>,
        bytes: &[u8],
    ) -> Result<StreamRef, RepositoryError> {
        let mut stream = StreamBuilder::new();
        if !bytes.is_empty() {
            let grouping = grouping(looks_incompressible(bytes), bytes.len());
            let is_compared = grouping == Grouping::Alone && ingest.is_compared();
            let profile = ingest.repository().config().text;
            let features = is_compared.then(|| Features::of(&self.gear, profile, bytes));
            let likeness = Likeness { features, earlier: None };
            let chunk = ingest.store_like(PackClass::Data, bytes, grouping, likeness)?;
            stream.push(ingest, chunk)?;
        }
        stream.finish(ingest)
    }
}

/// Which segment a chunk of `len` bytes goes to.
fn grouping(is_opaque: bool, len: usize) -> Grouping {
    match (is_opaque, len < SHARED_CHUNK_BYTES) {
        (false, false) => Grouping::Alone,
        (false, true) => Grouping::Shared,
        (true, false) => Grouping::AloneRaw,
        (true, true) => Grouping::SharedRaw,
    }
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
                    store.store(ingest, &mut Failing(*len, false), &mut |_| {}, &mut |_| None);
                let stored = stored.expect("stored");
                assert_eq!(stored.content.len, *len as u64);
                assert_eq!(stored.read_error.expect("an error").to_string(), "bad sector");
                StreamRef::default()
            });
        }
    }
}
