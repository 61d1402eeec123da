//! What `--delete` never removes, whatever the snapshot says.
//!
//! The repository may lie where it is restored to; deleting it while it is read would be the end of it. And a
//! directory that a walk did not enter (another file system, the repository itself) is stored as an empty
//! one: that says nothing of what is in it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::snapshot::StreamRef;

/// The directories of the repository that is restored from.
#[derive(Debug)]
pub(super) struct Guard {
    own: Vec<PathBuf>,
}

/// What of one directory of the target stays.
pub(super) enum Stays<'g> {
    All,
    /// What leads to one of these.
    Own(PathBuf, &'g [PathBuf]),
}

impl Guard {
    /// Of these directories, links in their paths followed.
    pub fn new(own: Vec<PathBuf>) -> Self {
        Self { own }
    }

    /// For the directory `place` of the target, which has `content` in the snapshot.
    pub fn of(&self, place: &Path, content: &StreamRef) -> Stays<'_> {
        let Ok(real) = place.canonicalize() else { return Stays::All };
        let is_own = self.own.iter().any(|own| real.starts_with(own));
        if is_own || (content.len == 0 && is_mount_point(&real)) {
            return Stays::All;
        }
        Stays::Own(real, &self.own)
    }
}

impl Stays<'_> {
    /// Whether `name` of the directory stays.
    pub fn has(&self, name: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Own(place, own) => {
                let path = place.join(std::ffi::OsStr::from_bytes(name));
                own.iter().any(|own| own.starts_with(&path))
            }
        }
    }
}

/// Whether another file system is mounted there. What cannot be looked at may be anything.
fn is_mount_point(place: &Path) -> bool {
    let device = |path: &Path| fs::symlink_metadata(path).map(|found| found.dev());
    let above = place.parent().unwrap_or(place);
    match (device(place), device(above)) {
        (Ok(place), Ok(above)) => place != above,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_to_the_repository_stays_and_what_is_in_it() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        fs::create_dir_all(home.join("backup/repo/packs")).unwrap();
        fs::create_dir_all(home.join("backup/repository")).unwrap();
        let guard = Guard::new(vec![home.join("backup/repo")]);
        let content = StreamRef { len: 1, ..StreamRef::default() };
        let stays = |place: &str, name: &[u8]| guard.of(&home.join(place), &content).has(name);
        assert!(stays("", b"backup") && stays("backup", b"repo"));
        assert!(stays("backup/repo", b"anything") && stays("backup/repo/packs", b"anything"));
        assert!(!stays("", b"log") && !stays("backup", b"other"));
        assert!(!stays("backup", b"repository") && !stays("backup/repository", b"x"));
        // Also by another way.
        std::os::unix::fs::symlink(home.join("backup"), home.join("link")).unwrap();
        assert!(stays("link", b"repo") && stays("link/repo", b"x") && !stays("link", b"other"));
        assert!(stays("not/there", b"x"), "what cannot be looked at is left alone");
    }

    #[test]
    fn an_empty_directory_says_nothing_of_what_is_mounted_there() {
        let guard = Guard::new(Vec::new());
        let empty = StreamRef::default();
        assert!(guard.of(Path::new("/proc"), &empty).has(b"x"));
        let content = StreamRef { len: 1, ..StreamRef::default() };
        assert!(!guard.of(Path::new("/proc"), &content).has(b"x"));
        assert!(!guard.of(Path::new("/etc"), &empty).has(b"x"));
    }
}
