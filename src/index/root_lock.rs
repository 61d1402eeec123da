//! Who may remember files of a root: one run at a time.
//!
//! Staged rows are not told apart by run. Without this, a run that ends would make valid what another
//! one staged; should that one die before its packs are stored, the next run would take files for
//! stored that are not.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

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
        let path = lock_path(directory, root);
        let locked = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map(|file| (file.try_lock(), file));
        match locked {
            Ok((Ok(()), file)) => {
                // The time of the file tells when the root was used last. Not knowing it costs nothing but rows.
                let _ = file.write_at(b"\n", 0);
                Ok(Some(RootLock { _file: Some(file) }))
            }
            Ok((Err(TryLockError::WouldBlock | TryLockError::Error(_)), _)) => Ok(None),
            Err(error) => Err(IndexError {
                path: path.display().to_string(),
                doing: "locking what is remembered of a source",
                reason: error.to_string(),
                is_damage: false,
            }),
        }
    }

    /// Forgets what is remembered of roots that no backup has used for `idle`: sources that are configured no
    /// more. Gives how many there were. One that is used again is read as if it were new.
    pub fn drop_idle_roots(&self, now: Timestamp, idle: Duration) -> Result<u64, IndexError> {
        let Some(directory) = self.path().parent().filter(|_| self.path().exists()) else {
            return Ok(0);
        };
        let mut dropped = 0;
        for root in self.roots()? {
            let path = lock_path(directory, &root);
            let used = std::fs::metadata(&path).and_then(|file| file.modified()).ok();
            let used = used.and_then(|time| Timestamp::try_from(time).ok());
            let is_idle = used.is_some_and(|used| {
                Duration::try_from(now.duration_since(used)).is_ok_and(|age| age >= idle)
            });
            if !is_idle {
                continue;
            }
            // Looked at before it is locked: locking counts as use.
            if let Some(_lock) = self.lock_root(&root)? {
                self.drop_root(&root)?;
                let _ = std::fs::remove_file(&path);
                dropped += 1;
            }
        }
        Ok(dropped)
    }
}

/// Roots hold any characters and are long: the file is named by a hash.
fn lock_path(directory: &Path, root: &str) -> PathBuf {
    let name = blake3::hash(root.as_bytes()).to_hex();
    directory.join(format!("root-{}.lock", &name[..16]))
}
