//! Directories of a snapshot: an entry by its name, without reading all of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::id::ChunkId;
use crate::repository::{ChunkWalk, Fetcher, RepositoryError};
use crate::snapshot::{ChunkRef, Node, NodeReader, StreamRef};

/// Directories whose pieces are remembered, and pieces whose entries are.
const MOST_DIRECTORIES: usize = 64;
const MOST_PIECES: usize = 24;

/// The entries of one piece of a directory: pieces end where an entry does.
type Entries = Arc<Vec<Node>>;
/// The chunks a directory refers to, and all pieces they lead to.
type List = (Vec<ChunkRef>, Arc<Vec<ChunkRef>>);

/// An entry, and where it is: the piece of the directory, and the place in it.
#[derive(Debug)]
pub struct Found {
    pub piece: usize,
    pub place: usize,
    pub node: Node,
}

/// Looks names up.
#[derive(Debug)]
pub struct Directories {
    fetcher: &'static Fetcher<'static>,
    lists: Mutex<VecDeque<List>>,
    pieces: Mutex<VecDeque<(ChunkId, Entries)>>,
}

impl Directories {
    /// Of one repository.
    pub fn new(fetcher: &'static Fetcher<'static>) -> Self {
        Self { fetcher, lists: Mutex::default(), pieces: Mutex::default() }
    }

    /// The pieces of a directory.
    pub fn list(&self, directory: &StreamRef) -> Result<Arc<Vec<ChunkRef>>, RepositoryError> {
        if directory.depth == 0 {
            return Ok(Arc::new(directory.chunks.clone()));
        }
        if let Some(found) = recent(&self.lists, |(key, _)| *key == directory.chunks) {
            return Ok(found.1);
        }
        let mut walk = ChunkWalk::new(self.fetcher, directory);
        let mut chunks = Vec::new();
        while let Some(chunk) = walk.next_chunk()? {
            chunks.push(chunk);
        }
        let chunks = Arc::new(chunks);
        remember(&self.lists, MOST_DIRECTORIES, (directory.chunks.clone(), Arc::clone(&chunks)));
        Ok(chunks)
    }

    /// The entries of one piece.
    pub fn entries(&self, piece: &ChunkRef) -> Result<Entries, RepositoryError> {
        if let Some(found) = recent(&self.pieces, |(id, _)| *id == piece.id) {
            return Ok(found.1);
        }
        let bytes = self.fetcher.chunk(piece)?;
        let mut reader = NodeReader::default();
        reader.push(&bytes);
        let mut nodes = Vec::new();
        let damaged = |reason: String| RepositoryError::DamagedTree {
            location: self.fetcher.repository().store().location().clone(),
            reason,
        };
        while let Some(node) = reader.next_node().map_err(|error| damaged(error.to_string()))? {
            nodes.push(node);
        }
        reader.finish().map_err(|error| damaged(error.to_string()))?;
        let nodes = Arc::new(nodes);
        remember(&self.pieces, MOST_PIECES, (piece.id, Arc::clone(&nodes)));
        Ok(nodes)
    }

    /// The entry at a place in a piece.
    pub fn at(
        &self,
        directory: &StreamRef,
        (piece, place): (usize, usize),
    ) -> Result<Option<Node>, RepositoryError> {
        let pieces = self.list(directory)?;
        let Some(piece) = pieces.get(piece) else { return Ok(None) };
        Ok(self.entries(piece)?.get(place).cloned())
    }

    /// The entry of this name, and where it is: the piece, and the place in it.
    pub fn find(
        &self,
        directory: &StreamRef,
        name: &[u8],
    ) -> Result<Option<Found>, RepositoryError> {
        let pieces = self.list(directory)?;
        // The last piece whose first name is not greater has it, if any has.
        let (mut low, mut high) = (0, pieces.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(piece) = pieces.get(middle) else { break };
            let entries = self.entries(piece)?;
            match entries.first() {
                Some(first) if first.name.as_slice() <= name => low = middle + 1,
                _ => high = middle,
            }
        }
        let Some(number) = low.checked_sub(1) else { return Ok(None) };
        let Some(piece) = pieces.get(number) else { return Ok(None) };
        let entries = self.entries(piece)?;
        let found = entries.binary_search_by(|node| node.name.as_slice().cmp(name));
        let found = found.ok().and_then(|at| Some((at, entries.get(at)?)));
        Ok(found.map(|(at, node)| Found { piece: number, place: at, node: node.clone() }))
    }
}

fn recent<T: Clone>(kept: &Mutex<VecDeque<T>>, is_it: impl Fn(&T) -> bool) -> Option<T> {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let at = kept.iter().position(is_it)?;
    let found = kept.remove(at)?;
    kept.push_front(found.clone());
    Some(found)
}

fn remember<T>(kept: &Mutex<VecDeque<T>>, most: usize, value: T) {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.push_front(value);
    kept.truncate(most);
}
