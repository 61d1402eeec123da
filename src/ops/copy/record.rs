//! Where it is remembered what a copy holds, and how far behind it is.

use std::collections::HashSet;
use std::path::PathBuf;

use crate::id::{SnapshotId, to_hex};
use crate::index::{CopyStamp, Holdings, IndexError};
use crate::repository::Repository;

/// Digits of the name of a record.
const NAME_LEN: usize = 16;

/// How far a copy is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Lag {
    /// Snapshots of the repository that it has not.
    pub behind: u64,
    /// When a copy was completed last, nanoseconds since 1970.
    pub copied: Option<i64>,
}

fn path(repository: &Repository, location: &str) -> Option<PathBuf> {
    let state_dir = repository.environment().state_dir.as_ref()?;
    let name = to_hex(&blake3::hash(location.as_bytes()).as_bytes()[..NAME_LEN / 2]);
    let directory = state_dir.join(repository.config().id.to_hex()).join("copies");
    Some(directory.join(format!("{name}.sqlite")))
}

/// The record of the copy at `location`, as its store tells that: without a password.
pub fn holdings(repository: &Repository, location: &str) -> Result<Holdings, IndexError> {
    let id = repository.config().id;
    match path(repository, location) {
        Some(path) => Holdings::open(&path, id),
        None => Holdings::in_memory(id),
    }
}

/// How far the copy at `location` is behind, as far as this machine knows: without asking the copy. `None` if
/// nothing was ever copied there from here.
pub fn lag(
    repository: &Repository,
    location: &str,
    snapshots: &[SnapshotId],
) -> Result<Option<Lag>, IndexError> {
    if !path(repository, location).is_some_and(|path| path.exists()) {
        return Ok(None);
    }
    let holdings = holdings(repository, location)?;
    let CopyStamp { listed: Some(_), copied } = holdings.stamp()? else { return Ok(None) };
    let held: HashSet<SnapshotId> = holdings.snapshots()?.into_iter().collect();
    let behind = snapshots.iter().filter(|id| !held.contains(id)).count() as u64;
    Ok(Some(Lag { behind, copied }))
}
