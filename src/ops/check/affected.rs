//! What cannot be restored any more, by snapshot and path.

use std::collections::HashSet;

use crate::event::StopFlag;
use crate::id::{ChunkId, SnapshotId};
use crate::ops::browse::{TreeWalk, display_path};
use crate::ops::tree::{Folder, Known, fold};
use crate::repository::{ChunkWalk, Fetcher, Repository, RepositoryError};
use crate::snapshot::{Node, NodeKind, Snapshot, StreamRef};

use super::packs::lost_chunks;
use super::report::{AffectedSnapshot, Findings, Step};
use super::trees::Lost;
use super::{BadPlaces, CACHE};

/// Paths listed for each snapshot.
const MAX_PATHS: usize = 1000;

/// What snapshots need of what is lost.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Lost chunks that some file needs.
    pub lost: HashSet<ChunkId>,
    /// Directories could not be read: nobody knows what they need.
    pub is_blind: bool,
}

/// Finds and reports the paths that need what is lost.
pub(super) fn find_affected(
    repository: &Repository,
    snapshots: &[&(SnapshotId, Snapshot)],
    bad: &BadPlaces,
    lost: &mut Lost,
    findings: &Findings<'_>,
    stop: &StopFlag,
) -> Result<Needs, RepositoryError> {
    lost.chunks.extend(lost_chunks(repository, bad)?);
    if lost.chunks.is_empty() && !lost.has_unreadable {
        return Ok(Needs::default());
    }
    let step = Step::begin(findings.observer, "affected", None);
    let fetcher = Fetcher::new(repository, CACHE);
    let needs = Needs { lost: HashSet::new(), is_blind: false };
    let mut count = Affected { fetcher: &fetcher, lost: &lost.chunks, needs };
    let mut known = Known::default();
    for (id, snapshot) in snapshots {
        let total = fold(&fetcher, &snapshot.root, &mut known, &mut count, stop)?.0;
        step.progress(0, 1);
        if total > 0 {
            findings.affected(AffectedSnapshot {
                id: *id,
                instance: snapshot.instance.clone(),
                time: snapshot.start,
                is_complete: snapshot.is_complete,
                paths: paths(&mut count, snapshot, &known, stop)?,
                total,
            });
        }
    }
    Ok(count.needs)
}

/// How many paths are affected. The same directory may be in a tree at very many paths.
#[derive(Debug, Clone, Copy, Default)]
struct Total(u64);

impl std::ops::AddAssign for Total {
    fn add_assign(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}

struct Affected<'a> {
    fetcher: &'a Fetcher<'a>,
    lost: &'a HashSet<ChunkId>,
    needs: Needs,
}

impl Affected<'_> {
    /// Whether a file needs something that is lost.
    fn is_affected(&mut self, node: &Node) -> Result<bool, RepositoryError> {
        let Some(content) = node.content.as_ref().filter(|_| node.kind != NodeKind::Directory)
        else {
            return Ok(false);
        };
        let mut walk = ChunkWalk::new(self.fetcher, content);
        let mut is_affected = false;
        loop {
            match walk.next_chunk() {
                Ok(Some(chunk)) if self.lost.contains(&chunk.id) => {
                    self.needs.lost.insert(chunk.id);
                    is_affected = true;
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(is_affected),
                Err(error) if error.is_damage() => {
                    self.needs.is_blind = true;
                    return Ok(true);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Folder for Affected<'_> {
    type Total = Total;

    fn open(&mut self, _: &[u8], _: &StreamRef) -> Result<(), RepositoryError> {
        Ok(())
    }

    fn entry(&mut self, _: &[u8], node: &Node) -> Result<Total, RepositoryError> {
        Ok(Total(self.is_affected(node)?.into()))
    }

    fn unreadable(&mut self, _: &[u8], _: RepositoryError) -> Result<Total, RepositoryError> {
        self.needs.is_blind = true;
        Ok(Total(1))
    }
}

/// The first affected paths of a snapshot.
fn paths(
    count: &mut Affected<'_>,
    snapshot: &Snapshot,
    known: &Known<Total>,
    stop: &StopFlag,
) -> Result<Vec<String>, RepositoryError> {
    let mut walk = TreeWalk::new(count.fetcher, b"", &snapshot.root);
    let mut paths = Vec::new();
    while paths.len() < MAX_PATHS {
        if stop.is_stopped() {
            return Err(RepositoryError::Interrupted);
        }
        match walk.next_entry() {
            Ok(Some(entry)) => {
                if count.is_affected(&entry.node)? {
                    paths.push(display_path(&entry.path));
                }
                let content = entry.node.content.as_ref();
                // Directories below which nothing is affected are passed over.
                if content.and_then(|content| known.get(content)).is_some_and(|total| total.0 > 0) {
                    walk.enter(&entry);
                }
            }
            Ok(None) => break,
            Err(error) if error.is_damage() => {
                paths.push(display_path(walk.failed_path()) + "/");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(paths)
}
