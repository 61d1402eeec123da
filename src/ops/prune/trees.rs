//! Which chunks the snapshots reach. Every tree chunk is looked at once, and only those that no prune of
//! this machine has met before are read from the store.

use crate::event::{Event, Observer, StopFlag};
use crate::id::ChunkId;
use crate::index::{Recalled, Referenced, References, ShortId, TreeChunk, TreeRole};
use crate::repository::{Fetcher, RepositoryError, Session};
use crate::snapshot::{
    ChunkRef, NodeError, NodeKind, NodeReader, Snapshot, StreamRef, decode_list,
};

/// Bytes of opened segments kept while trees are read.
const CACHE: usize = 16 << 20;
/// References collected before they are sorted in, at least.
const FRESH: usize = 1 << 18;

/// A sorted set of chunk ids, twelve bytes each. Memory is that of the set and a quarter more.
#[derive(Debug, Default)]
pub(super) struct ChunkSet {
    sorted: Vec<ShortId>,
    fresh: Vec<ShortId>,
}

impl ChunkSet {
    pub fn insert(&mut self, id: ShortId) {
        self.fresh.push(id);
        if self.fresh.len() >= FRESH.max(self.sorted.len() / 4) {
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.sorted.reserve_exact(self.fresh.len());
        self.sorted.append(&mut self.fresh);
        self.sorted.sort_unstable();
        self.sorted.dedup();
    }

    /// All of them, ascending.
    pub fn into_sorted(mut self) -> Vec<ShortId> {
        self.settle();
        self.sorted.shrink_to_fit();
        self.sorted
    }
}

/// What the walk gave.
#[derive(Debug, Default)]
pub(super) struct Reached {
    /// Chunks of files, directories and lists, ascending.
    pub chunks: Vec<ShortId>,
    /// Tree chunks met.
    pub trees: u64,
    /// Tree chunks that had to be read.
    pub trees_read: u64,
}

/// Walks the trees of `snapshots`.
pub(super) fn reach<'s>(
    session: &Session<'_>,
    snapshots: impl IntoIterator<Item = &'s Snapshot>,
    stop: &StopFlag,
    observer: &dyn Observer,
) -> Result<Reached, RepositoryError> {
    let repository = session.repository();
    let mut walk = Walk {
        session,
        fetcher: Fetcher::new(repository, CACHE),
        references: repository.index().references()?,
        chunks: ChunkSet::default(),
        reached: Reached::default(),
    };
    for snapshot in snapshots {
        walk.descend(&snapshot.root, stop)?;
        observer.event(&Event::Progress { bytes: 0, items: 1 });
    }
    walk.references.finish()?;
    walk.reached.chunks = walk.chunks.into_sorted();
    Ok(walk.reached)
}

struct Walk<'r> {
    session: &'r Session<'r>,
    fetcher: Fetcher<'r>,
    references: References,
    chunks: ChunkSet,
    reached: Reached,
}

impl Walk<'_> {
    fn descend(&mut self, root: &StreamRef, stop: &StopFlag) -> Result<(), RepositoryError> {
        let mut top = Referenced::default();
        refer(root, true, &mut top);
        // One level each; a tree may be deeper than any stack of calls.
        let mut levels = vec![top.children];
        while let Some(level) = levels.last_mut() {
            let Some(tree) = level.pop() else {
                levels.pop();
                continue;
            };
            if stop.is_stopped() {
                return Err(RepositoryError::Interrupted);
            }
            let children = self.visit(&tree)?;
            if !children.is_empty() {
                levels.push(children);
            }
        }
        Ok(())
    }

    /// Takes note of a tree chunk and of what it refers to; gives the trees below it.
    fn visit(&mut self, tree: &TreeChunk) -> Result<Vec<TreeChunk>, RepositoryError> {
        let referenced = match self.references.recall(tree)? {
            Recalled::Met => return Ok(Vec::new()),
            Recalled::Known(referenced) => referenced,
            Recalled::Unknown => {
                let referenced = read(&self.fetcher, tree)?;
                self.session.keep_alive()?;
                self.references.remember(tree, referenced.clone())?;
                self.reached.trees_read += 1;
                referenced
            }
        };
        self.reached.trees += 1;
        self.chunks.insert(ShortId::of(tree.id.as_bytes()));
        for chunk in referenced.chunks {
            self.chunks.insert(chunk);
        }
        Ok(referenced.children)
    }
}

/// Reads what a tree chunk refers to.
fn read(fetcher: &Fetcher<'_>, tree: &TreeChunk) -> Result<Referenced, RepositoryError> {
    let bytes = fetcher.chunk(&ChunkRef { id: tree.id, len: tree.len })?;
    let damaged = |reason: String| RepositoryError::DamagedTree {
        location: fetcher.repository().store().location().clone(),
        reason: format!("chunk {}: {reason}", tree.id.short()),
    };
    let mut found = Referenced::default();
    match tree.role {
        TreeRole::Nodes => {
            // Every piece of a directory holds whole nodes: that is how this program writes them.
            nodes(&bytes, &mut found).map_err(|error| damaged(error.to_string()))?;
        }
        TreeRole::List { depth, of_directory } => {
            let list = decode_list(&bytes)
                .ok_or_else(|| damaged("a list ends inside a record".to_owned()))?;
            for chunk in list {
                refer_chunk(&chunk, depth - 1, of_directory, &mut found);
            }
        }
    }
    Ok(found)
}

fn nodes(bytes: &[u8], found: &mut Referenced) -> Result<(), NodeError> {
    let mut reader = NodeReader::default();
    reader.push(bytes);
    while let Some(node) = reader.next_node()? {
        if let Some(content) = &node.content {
            refer(content, node.kind == NodeKind::Directory, found);
        }
    }
    reader.finish()
}

/// Notes the chunks of a stream reference.
fn refer(stream: &StreamRef, of_directory: bool, found: &mut Referenced) {
    for chunk in &stream.chunks {
        refer_chunk(chunk, stream.depth, of_directory, found);
    }
}

fn refer_chunk(chunk: &ChunkRef, depth: u8, of_directory: bool, found: &mut Referenced) {
    let ChunkRef { id, len } = *chunk;
    match (depth, of_directory) {
        (0, false) => found.chunks.push(short(&id)),
        (0, true) => found.children.push(TreeChunk { id, len, role: TreeRole::Nodes }),
        (depth, of_directory) => {
            let role = TreeRole::List { depth, of_directory };
            found.children.push(TreeChunk { id, len, role });
        }
    }
}

fn short(id: &ChunkId) -> ShortId {
    ShortId::of(id.as_bytes())
}
