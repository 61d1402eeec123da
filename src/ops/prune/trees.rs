//! Which chunks snapshots reach. Every tree chunk is looked at once, and only those that nobody on this machine has looked at
//! before are read from the store.

use crate::event::{Event, Observer, StopFlag};
use crate::id::ChunkId;
use crate::index::{Recalled, Referenced, References, ShortId, TreeChunk, TreeRole};
use crate::repository::{Fetcher, Repository, RepositoryError};
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

    /// Sorts in what is fresh: from the end, so that no second list is needed.
    fn settle(&mut self) {
        self.fresh.sort_unstable();
        self.fresh.dedup();
        let (mut old, mut new) = (self.sorted.len(), self.fresh.len());
        self.sorted.reserve_exact(new);
        self.sorted.extend_from_slice(&self.fresh);
        while new > 0 {
            let at = old + new - 1;
            if old > 0 && self.sorted[old - 1] > self.fresh[new - 1] {
                old -= 1;
                self.sorted[at] = self.sorted[old];
            } else {
                new -= 1;
                self.sorted[at] = self.fresh[new];
            }
        }
        self.fresh.clear();
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
pub(in crate::ops) struct Reached {
    /// Chunks of files, directories and lists, ascending.
    pub chunks: Vec<ShortId>,
    /// Tree chunks met.
    pub trees: u64,
    /// Tree chunks that had to be read.
    pub trees_read: u64,
}

/// Walks the trees of `snapshots`. Before a tree is read, `show_life` is called: that takes time. If these are all snapshots there
/// are (`is_all`), what is remembered of trees that they do not have is dropped.
pub(in crate::ops) fn reach<'s>(
    repository: &Repository,
    snapshots: impl IntoIterator<Item = &'s Snapshot>,
    is_all: bool,
    show_life: &dyn Fn() -> Result<(), RepositoryError>,
    stop: &StopFlag,
    observer: &dyn Observer,
) -> Result<Reached, RepositoryError> {
    let mut walk = Walk {
        is_all,
        show_life,
        fetcher: Fetcher::new(repository, CACHE),
        references: repository.index().references()?,
        chunks: ChunkSet::default(),
        reached: Reached::default(),
    };
    for snapshot in snapshots {
        walk.descend(&snapshot.root, stop)?;
        observer.event(&Event::Progress { bytes: 0, items: 1 });
    }
    let remembered = if is_all { walk.references.finish() } else { walk.references.flush() };
    if is_all {
        remembered?;
    }
    walk.reached.chunks = walk.chunks.into_sorted();
    Ok(walk.reached)
}

struct Walk<'r> {
    is_all: bool,
    show_life: &'r dyn Fn() -> Result<(), RepositoryError>,
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
                (self.show_life)()?;
                let referenced = read(&self.fetcher, tree)?;
                let remembered = self.references.remember(tree, referenced.clone());
                // Without room for what only saves time next time, a forget goes on: it may be what makes room.
                if self.is_all {
                    remembered?;
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_each_id_once_in_order() {
        let id = |n: u32| ShortId::of(blake3::hash(&n.to_le_bytes()).as_bytes());
        let mut set = ChunkSet::default();
        let mut expected = std::collections::BTreeSet::new();
        for round in 0..40_u32 {
            // Ever more that are known, some that are not, in no order.
            for n in 0..500 {
                let one = id(n * 7 % 500 * (round % 5 + 1) + round);
                set.insert(one);
                expected.insert(one);
            }
            set.settle();
            assert!(set.fresh.is_empty());
            assert!(set.sorted.iter().eq(&expected), "{round}");
        }
        assert_eq!(set.into_sorted(), expected.into_iter().collect::<Vec<_>>());
        assert_eq!(ChunkSet::default().into_sorted(), []);
    }
}
