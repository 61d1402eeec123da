//! What files looked like when they were last read: an unchanged file costs one `stat`.
//!
//! Rows belong to a *root* (instance and source) and a directory in it. What a run learns is staged
//! and becomes valid only with [`Index::commit_state`], after its snapshot is published.

use super::store::{Index, IndexError};

/// One file as it was when its content was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileState {
    /// Name in its directory.
    pub name: Vec<u8>,
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime: i128,
    /// Change time, nanoseconds since 1970.
    pub ctime: i128,
    /// Its node as [`crate::snapshot::encode_node`] writes it.
    pub node: Vec<u8>,
}

/// What is remembered of one directory: its files in order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DirectoryState {
    /// The loss generation under which its chunks were last known usable.
    pub generation: i64,
    /// Its regular files, by name.
    pub files: Vec<FileState>,
}

impl Index {
    /// What is remembered of a directory, if anything. Read in bounded pieces internally (directories of millions of files).
    pub fn directory_state(
        &self,
        root: &str,
        directory: &[u8],
    ) -> Result<Option<DirectoryState>, IndexError> {
        let _ = (root, directory);
        todo!()
    }

    /// Stages what a directory looks like now.
    pub fn stage_state(
        &self,
        root: &str,
        directory: &[u8],
        state: &DirectoryState,
    ) -> Result<(), IndexError> {
        let _ = (root, directory, state);
        todo!()
    }

    /// Forgets what was staged for `root` by a run that did not end.
    pub fn discard_staged(&self, root: &str) -> Result<(), IndexError> {
        let _ = root;
        todo!()
    }

    /// Makes staged rows of `root` valid, and drops rows of directories not in... those explicitly removed with [`Index::stage_removed`].
    pub fn commit_state(&self, root: &str) -> Result<(), IndexError> {
        let _ = root;
        todo!()
    }
}
