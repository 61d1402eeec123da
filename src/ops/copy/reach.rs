//! Which snapshots need what cannot be copied. They wait: a snapshot that is listed has all it needs.

use std::collections::HashSet;

use crate::event::StopFlag;
use crate::id::{ChunkId, PackId, SnapshotId};
use crate::ops::check::lost_with;
use crate::ops::tree::{Folder, Known, fold};
use crate::repository::{ChunkWalk, Fetcher, Repository, RepositoryError};
use crate::snapshot::{Node, StreamRef};

/// Bytes of opened segments kept while trees are walked.
const CACHE: usize = 32 << 20;

/// Those of `snapshots` that need something that is only in `packs`.
pub(super) fn needing(
    repository: &Repository,
    packs: &[PackId],
    snapshots: &[SnapshotId],
    stop: &StopFlag,
) -> Result<Vec<SnapshotId>, RepositoryError> {
    let lost = lost_with(repository, packs)?;
    let mut found = Vec::new();
    if lost.is_empty() {
        return Ok(found);
    }
    let fetcher = Fetcher::new(repository, CACHE);
    let mut known = Known::default();
    let mut needs = Needs { fetcher: &fetcher, lost: &lost };
    for id in snapshots {
        let root = match repository.snapshot(id) {
            Ok(snapshot) => snapshot.root,
            // It cannot be copied either, and that is told then.
            Err(error) if error.concerns_object() => continue,
            Err(error) => return Err(error),
        };
        let total = fold(&fetcher, &root, &mut known, &mut needs, stop)?;
        if total.0 || needs.stream(&root)? {
            found.push(*id);
        }
    }
    Ok(found)
}

/// Whether something that is lost is needed.
#[derive(Debug, Clone, Copy, Default)]
struct Needed(bool);

impl std::ops::AddAssign for Needed {
    fn add_assign(&mut self, other: Self) {
        self.0 = self.0 || other.0;
    }
}

struct Needs<'a> {
    fetcher: &'a Fetcher<'a>,
    lost: &'a HashSet<ChunkId>,
}

impl Needs<'_> {
    fn stream(&self, content: &StreamRef) -> Result<bool, RepositoryError> {
        let mut walk = ChunkWalk::new(self.fetcher, content);
        loop {
            let next = walk.next_chunk();
            if walk.take_lists().iter().any(|list| self.lost.contains(&list.id)) {
                return Ok(true);
            }
            match next {
                Ok(Some(chunk)) if self.lost.contains(&chunk.id) => return Ok(true),
                Ok(Some(_)) => {}
                Ok(None) => return Ok(false),
                Err(error) if error.is_damage() => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Folder for Needs<'_> {
    type Total = Needed;

    fn open(&mut self, _: &[u8], _: &StreamRef) -> Result<(), RepositoryError> {
        Ok(())
    }

    fn entry(&mut self, _: &[u8], node: &Node) -> Result<Needed, RepositoryError> {
        let content = node.content.as_ref();
        // What is in a directory comes by itself; whether it can be read at all is asked here.
        content.map_or(Ok(false), |content| self.stream(content)).map(Needed)
    }

    fn unreadable(&mut self, _: &[u8], _: RepositoryError) -> Result<Needed, RepositoryError> {
        Ok(Needed(true))
    }
}
