//! The ledger: when each task of each instance was begun, and how it ended.
//!
//! Whoever runs a job writes it down here, under the instance's lock: the scheduler, a timer of systemd,
//! cron, somebody by hand. So they all know what is due, and nothing runs twice. One small file a job, replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::task::Task;

/// Longest file that is read; ours are of 200 bytes.
const LONGEST: u64 = 64 << 10;

/// What is known about one job of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Entry {
    /// When the scheduler first saw it: nothing before that was missed.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// When it was begun last.
    #[serde(default)]
    pub started: Option<Timestamp>,
    /// When that ended; `None` while it runs, and if it was killed.
    #[serde(default)]
    pub finished: Option<Timestamp>,
    /// Its exit code.
    #[serde(default)]
    pub exit_code: Option<u8>,
    /// How often it was begun since it last came to an end.
    #[serde(default)]
    pub attempts: u32,
}

/// The file of a job cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} the ledger {}: {error}", path.display())]
pub struct LedgerError {
    doing: &'static str,
    path: PathBuf,
    error: io::Error,
}

/// The ledger of this machine.
#[derive(Debug, Clone)]
pub struct Ledger {
    directory: PathBuf,
}

impl Ledger {
    /// The one in a state directory.
    pub fn new(state_dir: &Path) -> Self {
        Self { directory: state_dir.join("ledger") }
    }

    fn path(&self, instance: &str, task: Task) -> PathBuf {
        self.directory.join(instance).join(format!("{}.json", task.name()))
    }

    /// What is known. A file that makes no sense is as good as none: rather a job too many than one
    /// too few.
    pub fn read(&self, instance: &str, task: impl Into<Task>) -> Result<Entry, LedgerError> {
        use io::Read;
        let path = self.path(instance, task.into());
        let failed = |error| LedgerError { doing: "read", path: path.clone(), error };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Entry::default()),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        file.take(LONGEST).read_to_end(&mut bytes).map_err(failed)?;
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Takes note that the job is there to be run, if nobody did before.
    pub fn first_seen(
        &self,
        instance: &str,
        task: impl Into<Task>,
        now: Timestamp,
    ) -> Result<Entry, LedgerError> {
        let task = task.into();
        let known = self.read(instance, task)?;
        if known != Entry::default() {
            return Ok(known);
        }
        let entry = Entry { since: Some(now), ..Entry::default() };
        self.write(instance, task, &entry)?;
        Ok(entry)
    }

    /// The job begins. Only under the instance's lock.
    pub fn begin(
        &self,
        instance: &str,
        task: impl Into<Task>,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let task = task.into();
        let known = self.read(instance, task)?;
        let attempts = if is_ended(&known) { 1 } else { known.attempts.saturating_add(1) };
        let entry =
            Entry { started: Some(now), finished: None, exit_code: None, attempts, ..known };
        self.write(instance, task, &entry)
    }

    /// The job ended. Only under the instance's lock.
    pub fn finish(
        &self,
        instance: &str,
        task: impl Into<Task>,
        now: Timestamp,
        exit_code: u8,
    ) -> Result<(), LedgerError> {
        let task = task.into();
        let known = self.read(instance, task)?;
        let entry = Entry { finished: Some(now), exit_code: Some(exit_code), ..known };
        self.write(instance, task, &entry)
    }

    fn write(&self, instance: &str, task: Task, entry: &Entry) -> Result<(), LedgerError> {
        let path = self.path(instance, task);
        let replace = || -> io::Result<()> {
            let directory = path.parent().unwrap_or(&self.directory);
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            let aside = path.with_extension(format!("{}.tmp", std::process::id()));
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&aside)?;
            let mut text = serde_json::to_vec(entry)?;
            text.push(b'\n');
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&aside, &path)?;
            File::open(directory)?.sync_all()
        };
        replace().map_err(|error| LedgerError { doing: "write", path: path.clone(), error })
    }
}

/// Code of a job that somebody stopped.
const INTERRUPTED: u8 = 130;

/// Whether the last beginning came to an end of its own.
pub(super) fn is_ended(entry: &Entry) -> bool {
    entry.started.is_none() || entry.exit_code.is_some_and(|code| code != INTERRUPTED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::Job;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn what_was_begun_is_known_until_it_ends() {
        let directory = tempfile::tempdir().expect("a directory");
        let ledger = Ledger::new(directory.path());
        assert_eq!(ledger.read("mrs", Job::Run).expect("nothing yet"), Entry::default());
        let (seen, begun) = (at("2026-11-25T12:00Z"), at("2026-11-25T23:00Z"));
        ledger.first_seen("mrs", Job::Run, seen).expect("written");
        let again = ledger.first_seen("mrs", Job::Run, begun).expect("known");
        assert_eq!(again.since, Some(seen));
        ledger.begin("mrs", Job::Run, begun).expect("written");
        ledger.begin("mrs", Job::Run, begun).expect("written");
        let killed = ledger.read("mrs", Job::Run).expect("read");
        assert_eq!((killed.attempts, killed.finished), (2, None));
        ledger.finish("mrs", Job::Run, begun, 130).expect("written");
        ledger.begin("mrs", Job::Run, begun).expect("written");
        assert_eq!(ledger.read("mrs", Job::Run).expect("read").attempts, 3, "stopped is not ended");
        ledger.finish("mrs", Job::Run, begun, 3).expect("written");
        let entry = ledger.read("mrs", Job::Run).expect("read");
        assert_eq!(
            (entry.since, entry.exit_code, entry.finished),
            (Some(seen), Some(3), Some(begun))
        );
        ledger.begin("mrs", Job::Run, begun).expect("written");
        assert_eq!(ledger.read("mrs", Job::Run).expect("read").attempts, 1);
        assert_eq!(ledger.read("mrs", Job::Check).expect("another job"), Entry::default());
        assert_eq!(ledger.read("school", Job::Run).expect("another instance"), Entry::default());
    }

    #[test]
    fn what_makes_no_sense_is_as_good_as_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let ledger = Ledger::new(directory.path());
        ledger.begin("mrs", Job::Run, at("2026-11-25T23:00Z")).expect("written");
        let path = directory.path().join("ledger/mrs/run.json");
        for text in ["", "{", "[]", "{\"started\": 3}"] {
            fs::write(&path, text).expect("a file");
            assert_eq!(ledger.read("mrs", Job::Run).expect(text), Entry::default());
        }
        // Fields of later versions are passed over.
        fs::write(&path, "{\"started\":\"2026-11-25T23:00:00Z\",\"new\":1}").expect("a file");
        let known = ledger.read("mrs", Job::Run).expect("read");
        assert_eq!(known.started, Some(at("2026-11-25T23:00Z")));
        fs::remove_file(&path).expect("removed");
        fs::create_dir(&path).expect("a directory");
        assert!(
            ledger.read("mrs", Job::Run).expect_err("no file").to_string().contains("run.json")
        );
    }
}
