//! Hard links whose first name, which has content and metadata, is not among what is restored: the first
//! of them that is takes its place.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::StopFlag;
use crate::ops::browse::TreeWalk;
use crate::repository::{Fetcher, RepositoryError};
use crate::snapshot::{Node, StreamRef};

/// The hard link groups among what is restored.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Groups whose first name came.
    first: BTreeSet<u64>,
    /// Of each group the path of the further name that came first.
    further: BTreeMap<u64, Vec<u8>>,
}

impl Links {
    /// Takes note of an entry, in the order of the walk.
    pub fn note(&mut self, path: &[u8], node: &Node) {
        let Some(group) = node.hard_link else { return };
        if !node.is_further_link {
            self.first.insert(group);
        } else if !self.first.contains(&group) {
            self.further.entry(group).or_insert_with(|| path.to_vec());
        }
    }

    /// Looks for the first names that did not come: gives the path that takes its place, and the node
    /// with that path's name. Those that cannot be found are left out.
    pub fn without_first<E: From<RepositoryError>>(
        mut self,
        fetcher: &Fetcher<'_>,
        root: &StreamRef,
        stop: &StopFlag,
        mut found: impl FnMut(Vec<u8>, Node) -> Result<(), E>,
    ) -> Result<(), E> {
        self.further.retain(|group, _| !self.first.contains(group));
        let mut walk = TreeWalk::new(fetcher, b"", root);
        while !self.further.is_empty() {
            if stop.is_stopped() {
                return Err(RepositoryError::Interrupted.into());
            }
            let entry = match walk.next_entry() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                // The walk goes on behind the directory that cannot be read.
                Err(error) if error.is_damage() => continue,
                Err(error) => return Err(error.into()),
            };
            walk.enter(&entry);
            let Some(group) = entry.node.hard_link.filter(|_| !entry.node.is_further_link) else {
                continue;
            };
            if let Some(path) = self.further.remove(&group) {
                let start =
                    path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
                let name = path[start..].to_vec();
                found(path, Node { name, ..entry.node })?;
            }
        }
        Ok(())
    }
}
