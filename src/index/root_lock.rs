//! Who may remember files of a root: one run at a time.
//!
//! Staged rows are not told apart by run. Without this, a run that ends would make valid what another
//! one staged; should that one die before its packs are stored, the next run would take files for
//! stored that are not.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;

use super::store::{Index, IndexError};

/// The right to stage and commit the state of one root, until it is dropped. The kernel takes it back
/// when the process dies.
#[derive(Debug)]
pub struct RootLock {
    _file: Option<File>,
}

impl Index {
    /// Takes the lock of `root`, or gives `None` if another run has it (or locks do not work there).
    pub fn lock_root(&self, root: &str) -> Result<Option<RootLock>, IndexError> {
        let database = self.path();
        let directory = match database.parent() {
            Some(directory) if database.is_absolute() || database.exists() => directory,
            // In memory: nobody else sees it.
            _ => return Ok(Some(RootLock { _file: None })),
        };
        // Roots hold any characters and are long: the file is named by a hash.
        let name = blake3::hash(root.as_bytes()).to_hex();
        let path = directory.join(format!("root-{}.lock", &name[..16]));
        let locked = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map(|file| (file.try_lock(), file));
        match locked {
            Ok((Ok(()), file)) => Ok(Some(RootLock { _file: Some(file) })),
            Ok((Err(TryLockError::WouldBlock | TryLockError::Error(_)), _)) => Ok(None),
            Err(error) => Err(IndexError {
                path: path.display().to_string(),
                doing: "locking what is remembered of a source",
                reason: error.to_string(),
                is_damage: false,
            }),
        }
    }
}
