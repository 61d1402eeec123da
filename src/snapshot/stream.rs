//! References to chunked streams, and lists of chunks.

use crate::id::ChunkId;

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
