//! The file of an instance: lines are added at its end, and read from there backwards.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};

use super::Record;

/// Bytes from the end that are read first: about a month of nights.
const FIRST_PART: u64 = 64 << 10;
/// Most bytes that are ever read of one file.
const MOST: u64 = 8 << 20;
/// A file that has grown to this loses its older half.
const TOO_LONG: u64 = 4 << 20;

/// A history cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} the history {}: {error}", path.display())]
pub struct HistoryError {
    doing: &'static str,
    path: PathBuf,
    error: io::Error,
}

/// The histories of this machine.
#[derive(Debug, Clone)]
pub struct History {
    directory: PathBuf,
}

impl History {
    /// The one in a state directory.
    pub fn new(state_dir: &Path) -> Self {
        Self { directory: state_dir.join("history") }
    }

    fn path(&self, instance: &str) -> PathBuf {
        self.directory.join(format!("{instance}.jsonl"))
    }

    /// Adds a line, durably. Several processes may do so at once.
    pub fn add(&self, instance: &str, record: &Record) -> Result<(), HistoryError> {
        let path = self.path(instance);
        let write = || -> io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
            let _lock = self.lock()?;
            let mut file =
                OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
            let mut line = serde_json::to_vec(record)?;
            line.push(b'\n');
            if !ends_with_newline(&mut file)? {
                // Somebody was killed while writing: what is left of that line ends here.
                line.insert(0, b'\n');
            }
            file.write_all(&line)?;
            file.sync_data()?;
            if file.metadata()?.len() > TOO_LONG {
                self.shorten(&path, &mut file)?;
            }
            Ok(())
        };
        write().map_err(|error| HistoryError { doing: "write", path: path.clone(), error })
    }

    /// Only one at a time writes, for a file that is made shorter is replaced.
    fn lock(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600);
        let file = file.open(self.directory.join(".lock"))?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }

    /// Drops the older half.
    fn shorten(&self, path: &Path, file: &mut File) -> io::Result<()> {
        let bytes = tail(file, TOO_LONG / 2)?;
        let aside = path.with_extension("tmp");
        let mut options = OpenOptions::new();
        let mut new = options.write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        new.write_all(&bytes)?;
        new.sync_all()?;
        fs::rename(&aside, path)?;
        File::open(&self.directory)?.sync_all()
    }

    /// The lines since `since`, oldest first, and perhaps some before. What makes no sense is passed over.
    pub fn read(&self, instance: &str, since: Timestamp) -> Result<Vec<Record>, HistoryError> {
        let path = self.path(instance);
        let failed = |error| HistoryError { doing: "read", path: path.clone(), error };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let whole = file.metadata().map_err(failed)?.len();
        let mut part = FIRST_PART;
        loop {
            let bytes = tail(&mut file, part).map_err(failed)?;
            let records = parse(&bytes);
            let reaches = records.iter().find_map(Record::time).is_some_and(|time| time < since);
            if reaches || part >= whole || part >= MOST {
                return Ok(records);
            }
            part *= 4;
        }
    }

    /// Instances that have a history.
    pub fn instances(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut found: Vec<String> =
            names.filter_map(|name| Some(name.strip_suffix(".jsonl")?.to_owned())).collect();
        found.sort();
        found
    }
}

fn ends_with_newline(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == [b'\n'])
}

/// Whole lines from the last `most` bytes.
fn tail(file: &mut File, most: u64) -> io::Result<Vec<u8>> {
    let len = file.metadata()?.len();
    let start = len.saturating_sub(most);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(most.min(len)).read_to_end(&mut bytes)?;
    if start > 0 {
        let first = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        bytes.drain(..first);
    }
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Vec<Record> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.filter_map(|line| serde_json::from_slice(line).ok()).collect()
}
