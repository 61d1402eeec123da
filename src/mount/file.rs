//! Files of a snapshot: bytes from anywhere in them.

use crate::repository::{ChunkBytes, ChunkWalk, Fetcher, RepositoryError};
use crate::snapshot::{Extent, Node, StreamRef};

/// An open file. Reading on costs nothing but the chunks read; going back begins at the start of the list of chunks.
pub struct OpenFile {
    fetcher: &'static Fetcher<'static>,
    content: StreamRef,
    extents: Option<Vec<Extent>>,
    size: u64,
    walk: ChunkWalk<'static, 'static>,
    /// Where in the content the next chunk of the walk begins.
    next: u64,
    /// The last chunk read, and where it begins.
    current: Option<(u64, ChunkBytes)>,
}

impl OpenFile {
    /// The file that `node` is.
    pub fn new(fetcher: &'static Fetcher<'static>, node: &Node) -> Self {
        let content = node.content.clone().unwrap_or_default();
        Self {
            fetcher,
            walk: ChunkWalk::new(fetcher, &content),
            content,
            extents: node.extents.clone(),
            size: node.size(),
            next: 0,
            current: None,
        }
    }

    /// Up to `len` bytes from `offset` on; fewer only at the end.
    pub fn read(&mut self, offset: u64, len: usize) -> Result<Vec<u8>, RepositoryError> {
        let end = offset.saturating_add(len as u64).min(self.size);
        if offset >= end {
            return Ok(Vec::new());
        }
        let Some(extents) = self.extents.take() else {
            return self.content(offset, end);
        };
        let read = self.sparse(&extents, offset, end);
        self.extents = Some(extents);
        read
    }

    /// Of a file with holes: zeros but where it has data.
    fn sparse(
        &mut self,
        extents: &[Extent],
        start: u64,
        end: u64,
    ) -> Result<Vec<u8>, RepositoryError> {
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
        let mut in_content = 0;
        for extent in extents {
            let (from, to) =
                (extent.offset.max(start), extent.offset.saturating_add(extent.len).min(end));
            if from < to {
                let at = in_content + (from - extent.offset);
                let part = self.content(at, at + (to - from))?;
                let place = usize::try_from(from - start).unwrap_or(0);
                if let Some(target) = bytes.get_mut(place..place + part.len()) {
                    target.copy_from_slice(&part);
                }
            }
            in_content += extent.len;
        }
        Ok(bytes)
    }

    /// Bytes of the content from `start` up to `end`.
    fn content(&mut self, start: u64, end: u64) -> Result<Vec<u8>, RepositoryError> {
        let mut bytes = Vec::with_capacity(usize::try_from(end - start).unwrap_or(0));
        let begins = self.current.as_ref().map_or(self.next, |(begins, _)| *begins);
        if start < begins {
            self.walk = ChunkWalk::new(self.fetcher, &self.content);
            self.next = 0;
            self.current = None;
        }
        let mut at = start;
        while at < end {
            let is_here = |(begins, piece): &&(u64, ChunkBytes)| {
                at < begins + piece.len() as u64 && at >= *begins
            };
            if let Some((begins, piece)) = self.current.as_ref().filter(is_here) {
                let from = usize::try_from(at - begins).unwrap_or(0);
                let to = usize::try_from(end - begins).unwrap_or(usize::MAX).min(piece.len());
                bytes.extend_from_slice(&piece[from..to]);
                at += (to - from) as u64;
                continue;
            }
            let Some(chunk) = self.walk.next_chunk()? else { break };
            let begins = self.next;
            self.next += u64::from(chunk.len);
            // What lies before is passed over without reading it.
            if self.next > at {
                self.current = Some((begins, self.fetcher.chunk(&chunk)?));
            }
        }
        Ok(bytes)
    }
}
