//! Messages that wait: written down before they are sent, removed when they have arrived.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rustix::fs::{FlockOperation, flock};

use super::Message;

/// Older messages are of no use any more.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(72);
/// Most messages of one channel that wait; the oldest go first.
const MOST: usize = 100;
/// Longest message that is read.
const LONGEST: u64 = 1 << 20;

/// The messages of one channel that wait.
#[derive(Debug, Clone)]
pub struct Outbox {
    directory: PathBuf,
}

/// Nobody else sends meanwhile.
#[derive(Debug)]
pub struct OutboxLock {
    _file: File,
}

impl Outbox {
    /// Of the channel `name`, below a state directory.
    pub fn new(state_dir: &Path, name: &str) -> Self {
        Self { directory: state_dir.join("notify").join("outbox").join(name) }
    }

    /// Writes a message down.
    pub fn put(&self, message: &Message) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let nanos = message.time.as_nanosecond();
        let (kind, id) = (message.kind.name(), std::process::id());
        let name = format!(
            "{nanos:020}-{kind}-{}-{id}.json",
            message.instance.as_deref().unwrap_or("all")
        );
        let aside = self.directory.join(format!("{name}.tmp"));
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(&serde_json::to_vec(message)?)?;
        file.sync_all()?;
        fs::rename(&aside, self.directory.join(name))
    }

    /// What waits, oldest first. What is too old, too much or makes no sense is removed.
    pub fn list(&self, now: Timestamp) -> Vec<(PathBuf, Message)> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| is_message(path))
            .collect();
        paths.sort();
        let too_many = paths.len().saturating_sub(MOST);
        for path in paths.drain(..too_many) {
            // Whoever else removed it did the same.
            let _ = fs::remove_file(path);
        }
        let mut found = Vec::new();
        for path in paths {
            match read(&path).filter(|message| now.duration_since(message.time) < LONGEST_WAIT) {
                Some(message) => found.push((path, message)),
                None => {
                    let _ = fs::remove_file(path);
                }
            }
        }
        found
    }

    /// Waits until nobody else sends.
    pub fn lock(&self) -> io::Result<OutboxLock> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600);
        let file = file.open(self.directory.join("lock"))?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(OutboxLock { _file: file })
    }
}

fn is_message(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}

fn read(path: &Path) -> Option<Message> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}
