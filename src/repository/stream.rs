//! Streams as chunks, and chunks as streams: building and walking the lists of format.md section 8.
//!
//! Lists and directories are cut where their own content says so (at a record whose id, or a name
//! whose hash, ends in zeros), so that a change rewrites only the piece it is in.

use std::io::{self, Read};

use crate::pack::PackClass;
use crate::snapshot::{ChunkRef, Node, NodeError, NodeReader, StreamRef, decode_list, encode_list};

use super::error::RepositoryError;
use super::fetch::Fetcher;
use super::ingest::{Grouping, Ingest};
use super::opened::ChunkBytes;

/// A list is not cut before this many records, nor left uncut after that many.
const LIST_RECORDS: (usize, usize) = (64, 1024);
/// One record in 256 may end a list.
const LIST_MASK: u8 = 0xff;
/// A directory is not cut before this many bytes, nor left uncut after that many.
const DIRECTORY_BYTES: (usize, usize) = (16 << 10, 256 << 10);
/// One name in 256 may end a piece of a directory.
const NAME_MASK: u8 = 0xff;
/// Deepest list (format.md section 8).
const MAX_DEPTH: u8 = 8;

/// Collects the chunks of one stream; memory is bounded whatever its length.
#[derive(Debug, Default)]
pub struct StreamBuilder {
    len: u64,
    levels: Vec<Vec<ChunkRef>>,
}

impl StreamBuilder {
    /// An empty stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds the next chunk.
    pub fn push(
        &mut self,
        ingest: &mut Ingest<'_>,
        chunk: ChunkRef,
    ) -> Result<(), RepositoryError> {
        self.len += u64::from(chunk.len);
        self.push_at(ingest, 0, chunk)
    }

    fn push_at(
        &mut self,
        ingest: &mut Ingest<'_>,
        level: usize,
        chunk: ChunkRef,
    ) -> Result<(), RepositoryError> {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        let records = &mut self.levels[level];
        records.push(chunk);
        let (min, max) = LIST_RECORDS;
        let is_cut = chunk.id.as_bytes()[0] & LIST_MASK == 0;
        if records.len() >= max || (records.len() >= min && is_cut) {
            self.flush(ingest, level)?;
        }
        Ok(())
    }

    fn flush(&mut self, ingest: &mut Ingest<'_>, level: usize) -> Result<(), RepositoryError> {
        let records = std::mem::take(&mut self.levels[level]);
        let list = encode_list(&records);
        let chunk = ingest.store_chunk(PackClass::Tree, &list, Grouping::Shared)?;
        self.push_at(ingest, level + 1, chunk)
    }

    /// The reference to the whole stream.
    pub fn finish(mut self, ingest: &mut Ingest<'_>) -> Result<StreamRef, RepositoryError> {
        let mut level = 0;
        while level + 1 < self.levels.len() {
            if !self.levels[level].is_empty() {
                self.flush(ingest, level)?;
            }
            level += 1;
        }
        let depth = u8::try_from(level).unwrap_or(u8::MAX);
        if depth > MAX_DEPTH {
            return Err(RepositoryError::Internal(
                "a stream needs lists deeper than the format allows",
            ));
        }
        Ok(StreamRef { len: self.len, depth, chunks: self.levels.pop().unwrap_or_default() })
    }
}

/// Collects the nodes of one directory, in order of their names.
#[derive(Debug, Default)]
pub struct DirectoryBuilder {
    buffer: Vec<u8>,
    stream: StreamBuilder,
}

impl DirectoryBuilder {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one node. One whose record no reader would take is an error: everything after it in the
    /// directory would be lost with it.
    pub fn push(&mut self, ingest: &mut Ingest<'_>, node: &Node) -> Result<(), RepositoryError> {
        crate::snapshot::try_encode_node(node, &mut self.buffer).map_err(|_| {
            RepositoryError::Internal("an entry's record is longer than the format allows")
        })?;
        self.cut_after(ingest, &node.name)
    }

    /// Adds one node that is already encoded.
    pub fn push_encoded(
        &mut self,
        ingest: &mut Ingest<'_>,
        name: &[u8],
        record: &[u8],
    ) -> Result<(), RepositoryError> {
        self.buffer.extend_from_slice(record);
        self.cut_after(ingest, name)
    }

    fn cut_after(&mut self, ingest: &mut Ingest<'_>, name: &[u8]) -> Result<(), RepositoryError> {
        let (min, max) = DIRECTORY_BYTES;
        if self.buffer.len() < min {
            return Ok(());
        }
        let is_cut = ingest.chunk_id(name).as_bytes()[0] & NAME_MASK == 0;
        if self.buffer.len() >= max || is_cut {
            self.flush(ingest)?;
        }
        Ok(())
    }

    fn flush(&mut self, ingest: &mut Ingest<'_>) -> Result<(), RepositoryError> {
        let chunk = ingest.store_chunk(PackClass::Tree, &self.buffer, Grouping::Shared)?;
        self.buffer.clear();
        self.stream.push(ingest, chunk)
    }

    /// The reference to the directory.
    pub fn finish(mut self, ingest: &mut Ingest<'_>) -> Result<StreamRef, RepositoryError> {
        if !self.buffer.is_empty() {
            self.flush(ingest)?;
        }
        self.stream.finish(ingest)
    }
}

/// Walks the chunks of a stream in order, reading lists as it goes.
pub struct ChunkWalk<'f, 'r> {
    fetcher: &'f Fetcher<'r>,
    /// For each open list: its depth and its records still to come, in reverse.
    stack: Vec<(u8, Vec<ChunkRef>)>,
    /// Chunks of lists that were read on the way, for those who must know of every chunk.
    lists: Vec<ChunkRef>,
}

impl<'f, 'r> ChunkWalk<'f, 'r> {
    /// A walk over `stream`.
    pub fn new(fetcher: &'f Fetcher<'r>, stream: &StreamRef) -> Self {
        let mut chunks = stream.chunks.clone();
        chunks.reverse();
        Self { fetcher, stack: vec![(stream.depth, chunks)], lists: Vec::new() }
    }

    /// The next chunk of the stream.
    pub fn next_chunk(&mut self) -> Result<Option<ChunkRef>, RepositoryError> {
        while let Some((depth, records)) = self.stack.last_mut() {
            let depth = *depth;
            let Some(chunk) = records.pop() else {
                self.stack.pop();
                continue;
            };
            if depth == 0 {
                return Ok(Some(chunk));
            }
            if depth > MAX_DEPTH {
                return Err(self.fetcher.damaged_tree("a list is nested deeper than allowed"));
            }
            let bytes = self.fetcher.chunk(&chunk)?;
            let mut list = decode_list(&bytes)
                .ok_or_else(|| self.fetcher.damaged_tree("a list ends inside a record"))?;
            list.reverse();
            self.lists.push(chunk);
            self.stack.push((depth - 1, list));
        }
        Ok(None)
    }

    /// [`next_chunk`](Self::next_chunk) for those who need not know of the lists.
    pub fn next_data_chunk(&mut self) -> Result<Option<ChunkRef>, RepositoryError> {
        let chunk = self.next_chunk();
        self.lists.clear();
        chunk
    }

    /// The list chunks met since the last call.
    pub fn take_lists(&mut self) -> Vec<ChunkRef> {
        std::mem::take(&mut self.lists)
    }
}

/// The bytes of a stream, as a reader.
pub struct StreamBytes<'f, 'r> {
    walk: ChunkWalk<'f, 'r>,
    fetcher: &'f Fetcher<'r>,
    current: Option<ChunkBytes>,
    at: usize,
    /// What stopped the reading, for callers who want more than an `io::Error`.
    error: Option<RepositoryError>,
}

impl<'f, 'r> StreamBytes<'f, 'r> {
    /// A reader of `stream`.
    pub fn new(fetcher: &'f Fetcher<'r>, stream: &StreamRef) -> Self {
        Self { walk: ChunkWalk::new(fetcher, stream), fetcher, current: None, at: 0, error: None }
    }

    /// The next piece, without copying it.
    pub fn next_piece(&mut self) -> Result<Option<ChunkBytes>, RepositoryError> {
        match self.walk.next_chunk()? {
            Some(chunk) => self.fetcher.chunk(&chunk).map(Some),
            None => Ok(None),
        }
    }

    /// The error behind the last failed `read`.
    pub fn take_error(&mut self) -> Option<RepositoryError> {
        self.error.take()
    }
}

impl Read for StreamBytes<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(piece) = &self.current {
                let rest = &piece[self.at..];
                if !rest.is_empty() {
                    let count = rest.len().min(out.len());
                    out[..count].copy_from_slice(&rest[..count]);
                    self.at += count;
                    return Ok(count);
                }
            }
            match self.next_piece() {
                Ok(Some(piece)) => {
                    self.current = Some(piece);
                    self.at = 0;
                }
                Ok(None) => return Ok(0),
                Err(error) => {
                    let message = error.to_string();
                    self.error = Some(error);
                    return Err(io::Error::other(message));
                }
            }
        }
    }
}

/// The nodes of a directory in order, read as they are asked for: memory stays small however many
/// entries there are.
pub struct DirectoryReader<'f, 'r> {
    pieces: StreamBytes<'f, 'r>,
    /// `None` once the end was reached or something failed.
    nodes: Option<NodeReader>,
}

impl<'f, 'r> DirectoryReader<'f, 'r> {
    /// A reader of the directory `stream`.
    pub fn new(fetcher: &'f Fetcher<'r>, stream: &StreamRef) -> Self {
        Self { pieces: StreamBytes::new(fetcher, stream), nodes: Some(NodeReader::default()) }
    }

    /// The next node. After an error there is nothing more.
    pub fn next_node(&mut self) -> Result<Option<Node>, RepositoryError> {
        let Some(mut nodes) = self.nodes.take() else { return Ok(None) };
        let fetcher = self.pieces.fetcher;
        let damaged = |error: NodeError| fetcher.damaged_tree(&error.to_string());
        loop {
            if let Some(node) = nodes.next_node().map_err(damaged)? {
                self.nodes = Some(nodes);
                return Ok(Some(node));
            }
            match self.pieces.next_piece()? {
                Some(piece) => nodes.push(&piece),
                None => return nodes.finish().map(|()| None).map_err(damaged),
            }
        }
    }
}

/// Visits the nodes of a directory in order.
pub fn read_directory<E: From<RepositoryError>>(
    fetcher: &Fetcher<'_>,
    stream: &StreamRef,
    mut visit: impl FnMut(Node) -> Result<(), E>,
) -> Result<(), E> {
    let mut directory = DirectoryReader::new(fetcher, stream);
    while let Some(node) = directory.next_node()? {
        visit(node)?;
    }
    Ok(())
}
