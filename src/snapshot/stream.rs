//! References to chunked streams, and lists of chunks.

use minicbor::decode::Error;

use crate::id::ChunkId;

use crate::cbor::{Writer, codec, read_map, required};

/// Bytes of one record in a list: a chunk id and a u32 length.
pub const LIST_RECORD_LEN: usize = 36;

/// One chunk of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRef {
    /// Its id.
    pub id: ChunkId,
    /// Its length in bytes.
    pub len: u32,
}

/// Where the content of a file or directory is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamRef {
    /// Length of the stream in bytes.
    pub len: u64,
    /// 0: `chunks` are the stream. d: they are the list of depth d-1. At most 8.
    pub depth: u8,
    /// The chunks.
    pub chunks: Vec<ChunkRef>,
}

/// The bytes of a list.
pub fn encode_list(chunks: &[ChunkRef]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(chunks.len() * LIST_RECORD_LEN);
    for chunk in chunks {
        bytes.extend_from_slice(chunk.id.as_bytes());
        bytes.extend_from_slice(&chunk.len.to_le_bytes());
    }
    bytes
}

/// The chunks of a list; `None` if it is no whole number of records.
pub fn decode_list(bytes: &[u8]) -> Option<Vec<ChunkRef>> {
    let records = bytes.chunks_exact(LIST_RECORD_LEN);
    if !records.remainder().is_empty() {
        return None;
    }
    records
        .map(|record| {
            let (id, len) = record.split_at(ChunkId::SIZE);
            Some(ChunkRef {
                id: ChunkId::from_slice(id)?,
                len: u32::from_le_bytes(len.try_into().ok()?),
            })
        })
        .collect()
}

/// Most levels of lists above a stream.
const MAX_DEPTH: u8 = 8;

impl StreamRef {
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.map(|map| {
            map.key(0).uint(self.len);
            if self.depth != 0 {
                map.key(1).uint(self.depth.into());
            }
            if !self.chunks.is_empty() {
                map.key(2).bytes(&encode_list(&self.chunks));
            }
        });
    }

    pub(super) fn read(d: &mut minicbor::Decoder<'_>) -> Result<Self, Error> {
        let mut len = None;
        let mut stream = Self::default();
        read_map(d, |key, d| {
            match key {
                0 => len = Some(d.u64()?),
                1 => stream.depth = d.u8()?,
                2 => {
                    stream.chunks = decode_list(d.bytes()?).ok_or_else(|| {
                        Error::message("a chunk list is no whole number of records")
                    })?;
                }
                _ => d.skip()?,
            }
            Ok(())
        })?;
        stream.len = required(len, "the length of a stream")?;
        if stream.depth > MAX_DEPTH {
            return Err(Error::message("a stream has more than 8 levels of lists"));
        }
        // Lengths are u32 and there are fewer than 2^32 of them in any object: no overflow.
        let sum: u64 = stream.chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
        if stream.depth == 0 && sum != stream.len {
            return Err(Error::message("the chunks of a stream do not add up to its length"));
        }
        Ok(stream)
    }
}

codec!(StreamRef);

/// A stream by its content: 16 bytes of a hash, so that millions of them fit into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamKey([u8; 16]);

impl StreamRef {
    /// The same for streams of the same content.
    pub fn key(&self) -> StreamKey {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.len.to_le_bytes()).update(&[self.depth]);
        for chunk in &self.chunks {
            hasher.update(chunk.id.as_bytes()).update(&chunk.len.to_le_bytes());
        }
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        StreamKey(key)
    }
}
