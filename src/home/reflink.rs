//! Copies that share their blocks with the original, where the file system can: what did not change since the
//! snapshot is neither read from the repository nor stored twice.

use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::event::StopFlag;

/// Numbers by which btrfs, xfs and bcachefs call themselves (statfs(2)).
const SHARING: [i64; 3] = [0x9123_683e, 0x5846_5342, 0xca45_1a4e_u32 as i64];

/// Whether the file system of `directory` may share blocks between files.
pub(super) fn may_share(directory: &Path) -> bool {
    rustix::fs::statfs(directory).is_ok_and(|found| {
        #[allow(clippy::useless_conversion, reason = "its type differs between machines")]
        let kind = i64::from(found.f_type);
        SHARING.contains(&kind)
    })
}

/// Makes `copy` share the regular files of `original`, a file or directory, as far as that is possible. Gives how
/// many bytes are shared. What cannot be shared is left out: the restore fetches it.
pub(super) fn share(original: &Path, copy: &Path, stop: &StopFlag) -> u64 {
    let mut pending = vec![(original.to_owned(), copy.to_owned())];
    let mut shared = 0;
    while let Some((from, to)) = pending.pop() {
        if stop.is_stopped() {
            break;
        }
        let Ok(found) = from.symlink_metadata() else { continue };
        if found.is_dir() {
            if DirBuilder::new().recursive(true).mode(0o700).create(&to).is_err() {
                continue;
            }
            let entries = fs::read_dir(&from).into_iter().flatten().flatten();
            pending.extend(entries.map(|entry| (entry.path(), to.join(entry.file_name()))));
        } else if found.is_file() && found.len() > 0 {
            match share_file(&from, &to, found.mtime(), found.mtime_nsec()) {
                Some(()) => shared += found.len(),
                // Half a copy would be taken for a whole one.
                None => drop(fs::remove_file(&to)),
            }
        }
    }
    shared
}

fn share_file(from: &Path, to: &Path, seconds: i64, nanos: i64) -> Option<()> {
    let parent = to.parent()?;
    DirBuilder::new().recursive(true).mode(0o700).create(parent).ok()?;
    let original = File::open(from).ok()?;
    let copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).ok()?;
    rustix::fs::ioctl_ficlone(&copy, &original).ok()?;
    // By its time the restore knows whether it is the file it wants; it is read and compared all the same.
    let time = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?);
    copy.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + time)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_shared_is_left_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("from/sub")).expect("made");
        fs::write(at("from/sub/file"), "text").expect("written");
        let bytes = share(&at("from"), &at("to"), &StopFlag::new());
        match may_share(directory.path()) {
            true => assert_eq!(fs::read_to_string(at("to/sub/file")).expect("shared"), "text"),
            false => assert_eq!((bytes, at("to/sub/file").exists()), (0, false)),
        }
    }
}
