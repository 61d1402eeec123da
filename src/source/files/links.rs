//! Files with several names.

use std::collections::HashSet;

use rustix::fs::Statx;

use super::stat::identity;

/// The hard link groups of one walk.
pub(super) struct Links {
    salt: [u8; 32],
    /// Groups whose first name was shown.
    shown: HashSet<u64>,
}

impl Links {
    /// No groups yet, for a walk from `root`.
    pub(super) fn new(root: &[u8]) -> Self {
        Self { salt: *blake3::hash(root).as_bytes(), shown: HashSet::new() }
    }

    /// Number of a file's group, if it has several names. It is drawn from root, device and inode
    /// rather than counted: it stays the same from walk to walk for as long as the device keeps its number,
    /// and the groups of several roots saved together do not meet.
    pub(super) fn group(&self, stat: &Statx) -> Option<u64> {
        if stat.stx_nlink < 2 {
            return None;
        }
        let (device, inode) = identity(stat);
        let mut hasher = blake3::Hasher::new_keyed(&self.salt);
        hasher.update(&device.to_le_bytes()).update(&inode.to_le_bytes());
        hasher.finalize().as_bytes().first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// Whether the first name of the group was shown.
    pub(super) fn is_shown(&self, group: u64) -> bool {
        self.shown.contains(&group)
    }

    /// The first name of the group, if there is one, was shown.
    pub(super) fn show(&mut self, group: Option<u64>) {
        self.shown.extend(group);
    }
}
