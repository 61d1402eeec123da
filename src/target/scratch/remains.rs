//! What servers left whose makers were killed: their processes and files.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{ScratchError, container};

/// What our directories and locks begin with.
pub(super) const PREFIX: &str = "test-restore-";
/// What the locks' names end with.
pub(super) const LOCK_EXTENSION: &str = "lock";
/// How long a server may take to end.
const LIMIT: Duration = Duration::from_secs(10);

/// Destroys the servers below `base` whose makers are dead; gives their directories.
pub fn destroy_dead(base: &Path) -> Result<Vec<PathBuf>, ScratchError> {
    let failed =
        |doing, path: &Path, error| ScratchError::Io { doing, path: path.to_owned(), error };
    let entries = match fs::read_dir(base) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("look into", base, error)),
    };
    let mut destroyed = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(stem) = name
            .to_str()
            .filter(|name| name.starts_with(PREFIX))
            .and_then(|name| name.strip_suffix(&format!(".{LOCK_EXTENSION}")))
        else {
            continue;
        };
        // Held as long as we remove, so that two do not.
        let Some(lock) = dead_lock(&entry.path()) else { continue };
        let directory = base.join(stem);
        container::remove_of_dead(&io::read_to_string(&lock).unwrap_or_default());
        end_server(&directory.join("data"));
        remove(&directory).map_err(|error| failed("remove", &directory, error))?;
        fs::remove_file(entry.path()).map_err(|error| failed("remove", &entry.path(), error))?;
        destroyed.push(directory);
    }
    Ok(destroyed)
}

/// Takes the lock of a maker who is dead. `None`: it lives, or this is none of our files.
fn dead_lock(path: &Path) -> Option<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options.custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).ok()?);
    let file = options.open(path).ok()?;
    let found = file.metadata().ok()?;
    if !found.is_file() || found.uid() != rustix::process::geteuid().as_raw() {
        return None;
    }
    flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    // It may have been removed by another one who cleaned up, before we had the lock.
    let still = path.symlink_metadata().ok()?;
    (still.ino() == found.ino()).then_some(file)
}

/// Removes a directory that may not be there.
pub(super) fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A server that is about to end may write once more.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            std::thread::sleep(Duration::from_millis(500));
            fs::remove_dir_all(directory)
        }
        other => other,
    }
}

/// Ends the server whose data is in `data`, if it runs. A number in a file proves nothing: only a
/// process that works in just that directory is it.
fn end_server(data: &Path) {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else { return };
    let first = text.lines().next().and_then(|line| line.trim().parse::<i32>().ok());
    let Some(pid) = first.filter(|pid| *pid > 1).and_then(Pid::from_raw) else { return };
    // From here on the handle means this process, whatever becomes of its number.
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let works_there = || {
        let place = format!("/proc/{}/cwd", pid.as_raw_nonzero());
        fs::read_link(place).is_ok_and(|cwd| fs::canonicalize(data).is_ok_and(|data| cwd == data))
    };
    if !works_there() {
        return;
    }
    for signal in [Signal::QUIT, Signal::KILL] {
        let _ = pidfd_send_signal(&handle, signal);
        for _ in 0..LIMIT.as_millis() / 50 {
            if !works_there() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
