//! Is the disk there? A repository on a disk that is not mounted would be looked for, and made, on
//! the disk below.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

/// Why a place is not taken for a mounted file system.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// A directory like others.
    #[error("{} is not mounted", path.display())]
    NotMounted {
        /// Which.
        path: PathBuf,
    },
    /// It cannot be looked at.
    #[error("cannot tell whether {} is mounted: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// Fails unless a file system is mounted at `path`.
pub fn require_mount(path: &Path) -> Result<(), MountError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => MountError::NotMounted { path: path.to_owned() },
        _ => MountError::Io { path: path.to_owned(), error },
    };
    let path = path.canonicalize().map_err(failed)?;
    let Some(parent) = path.parent() else { return Ok(()) };
    // A bind mount of the same file system has the device of its parent, but a mount id of its own.
    let is_mounted = match (mount_id(&path), mount_id(parent)) {
        (Some(own), Some(above)) => own != above,
        _ => {
            let own = fs::metadata(&path).map_err(failed)?;
            let above = fs::metadata(parent).map_err(failed)?;
            own.dev() != above.dev()
        }
    };
    if is_mounted { Ok(()) } else { Err(MountError::NotMounted { path }) }
}

/// The kernel's number of the mount a path is on; kernels before 5.8 do not tell.
fn mount_id(path: &Path) -> Option<u64> {
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
    (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_told_from_directories() {
        require_mount(Path::new("/")).unwrap();
        require_mount(Path::new("/proc")).unwrap();
        let directory = tempfile::tempdir().unwrap();
        for path in [directory.path().to_owned(), directory.path().join("missing")] {
            let error = require_mount(&path).unwrap_err();
            assert!(matches!(error, MountError::NotMounted { .. }), "{error}");
        }
    }
}
