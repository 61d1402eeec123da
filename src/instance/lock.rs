//! One work at a time on an instance of this machine.
//!
//! The kernel frees the lock when its process dies: a stale one cannot exist. The file stays, for
//! removing it would let two processes lock two files of the same name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::clock::Clock;
use crate::event::StopFlag;

/// How often a lock that somebody holds is tried again.
const INTERVAL: Duration = Duration::from_millis(200);

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error("somebody else works on instance `{instance}`{}", holder(.process))]
    Held {
        /// Instance.
        instance: String,
        /// Process, if it is known.
        process: Option<u32>,
    },
    /// Its file cannot be made or locked.
    #[error("cannot lock {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Somebody asked to stop while we waited.
    #[error("stopped on request")]
    Interrupted,
}

fn holder(process: &Option<u32>) -> String {
    process.map_or_else(String::new, |process| format!(" (process {process})"))
}

/// The lock of an instance, held until it is dropped.
#[derive(Debug)]
pub struct InstanceLock {
    _file: File,
}

/// Locks `instance`; if somebody holds it, tries again until `wait` is over.
pub fn lock(
    state_dir: &Path,
    instance: &str,
    wait: Duration,
    clock: &dyn Clock,
    stop: &StopFlag,
) -> Result<InstanceLock, LockError> {
    let directory = state_dir.join("locks");
    let path = directory.join(format!("{instance}.lock"));
    let failed = |error: io::Error| LockError::Io { path: path.clone(), error };
    fs::create_dir_all(&directory).map_err(failed)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    let start = clock.elapsed();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => {}
            Err(error) => return Err(failed(error.into())),
        }
        if stop.is_stopped() {
            return Err(LockError::Interrupted);
        }
        let left = wait.saturating_sub(clock.elapsed().saturating_sub(start));
        if left.is_zero() {
            let process = read_process(&mut file);
            return Err(LockError::Held { instance: instance.to_owned(), process });
        }
        std::thread::sleep(left.min(INTERVAL));
    }
    // Only for the message others get.
    file.set_len(0).map_err(failed)?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes()).map_err(failed)?;
    Ok(InstanceLock { _file: file })
}

fn read_process(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let stop = StopFlag::new();
        let take = |wait| lock(directory.path(), "mrs", wait, &SystemClock, &stop);
        let held = take(Duration::ZERO).unwrap();
        let error = take(Duration::from_millis(300)).unwrap_err();
        let own = std::process::id();
        assert!(matches!(error, LockError::Held { process: Some(id), .. } if id == own), "{error}");
        lock(directory.path(), "other", Duration::ZERO, &SystemClock, &stop).unwrap();
        drop(held);
        drop(take(Duration::ZERO).unwrap());
    }

    #[test]
    fn a_stop_ends_the_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let stop = StopFlag::new();
        let _held = lock(directory.path(), "mrs", Duration::ZERO, &SystemClock, &stop).unwrap();
        stop.stop();
        let error = lock(directory.path(), "mrs", Duration::from_secs(60), &SystemClock, &stop)
            .unwrap_err();
        assert!(matches!(error, LockError::Interrupted));
    }
}
