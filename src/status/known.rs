//! What the last look at a repository told, kept below the state directory.
//!
//! Three files an instance: the summary, which every `status` reads; the catalogue of snapshots and receipts, which the
//! page reads; and what was read of the repository, so that the next look only reads what is new.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longest file that is read.
const LONGEST: u64 = 64 << 20;

/// The summary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// When the repository was looked at.
    pub time: Timestamp,
    /// Its id.
    pub repository: String,
    /// Where it is, without a password.
    pub location: String,
    /// Bytes of all its packs.
    pub repository_bytes: u64,
    /// Bytes free there, if its store can tell.
    pub free_bytes: Option<u64>,
    /// Number of snapshots of the instance.
    pub snapshots: u64,
    /// The newest snapshot.
    pub newest: Option<KnownSnapshot>,
    /// The newest complete one.
    pub newest_complete: Option<KnownSnapshot>,
    /// Starts of the snapshots of the last weeks, and whether they are complete.
    pub recent: Vec<(Timestamp, bool)>,
    /// Copies of the configuration.
    pub copies: Vec<KnownCopy>,
    /// Whether the instance has databases, of which a restore can be proven.
    pub has_databases: bool,
    /// The last restore that was proven.
    pub proof: Option<KnownProof>,
    /// The last test of a restore, if it failed: when, and why.
    pub failed_proof: Option<(Timestamp, String)>,
    /// What keeps retention from dropping snapshots.
    pub objections: Vec<String>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KnownSnapshot {
    /// Its id in hexadecimal digits.
    pub id: String,
    /// Instance.
    pub instance: String,
    /// Start.
    pub time: Timestamp,
    /// End.
    pub end: Timestamp,
    /// Its number in the instance's history.
    pub counter: u64,
    /// Whether it is complete.
    pub is_complete: bool,
    /// Bytes in it.
    pub bytes: u64,
    /// Bytes it added to the repository, compressed.
    pub stored_bytes: u64,
    /// Tags.
    pub tags: Vec<String>,
    /// Why it stays; empty: it goes with the next `forget`.
    pub reasons: Vec<String>,
    /// Rows of each table, as `database/schema.table`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rows: BTreeMap<String, u64>,
}

/// A copy of the repository elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownCopy {
    /// Its name in the configuration.
    pub name: String,
    /// Where it is, without a password.
    pub location: String,
    /// Snapshots it lacks.
    pub behind: u64,
    /// When it was brought up to date last.
    pub copied: Option<Timestamp>,
}

/// A proven restore.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KnownProof {
    /// When.
    pub time: Timestamp,
    /// Of which snapshot, in hexadecimal digits.
    pub snapshot: String,
    /// How long the restore took.
    pub seconds: f64,
}

/// A receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownReceipt {
    /// Its id in hexadecimal digits.
    pub id: String,
    /// `run`, `check`, ...
    pub kind: String,
    /// When.
    pub time: Timestamp,
    /// Instance.
    pub instance: String,
    /// Host.
    pub host: String,
    /// `ok`, `incomplete`, `failed`.
    pub result: String,
    /// The snapshot it is about, in hexadecimal digits.
    pub snapshot: Option<String>,
    /// More.
    pub details: BTreeMap<String, String>,
}

/// Snapshots and receipts of one instance, or all that was read of a repository.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalogue {
    /// Of which repository.
    pub repository: String,
    /// Snapshots, oldest first.
    pub snapshots: Vec<KnownSnapshot>,
    /// Receipts, oldest first.
    pub receipts: Vec<KnownReceipt>,
}

/// What is known cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {error}", path.display())]
pub struct KnownError {
    doing: &'static str,
    path: PathBuf,
    error: io::Error,
}

/// Where it is kept.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// The one in a state directory.
    pub fn new(state_dir: &Path) -> Self {
        Self { directory: state_dir.join("known") }
    }

    fn path(&self, instance: &str, what: &str) -> PathBuf {
        self.directory.join(format!("{instance}.{what}.json"))
    }

    /// The summary; `None` if no run ever noted one down, or if it makes no sense.
    pub fn summary(&self, instance: &str) -> Result<Option<Known>, KnownError> {
        read(&self.path(instance, "summary"))
    }

    /// The catalogue of an instance.
    pub fn catalogue(&self, instance: &str) -> Result<Catalogue, KnownError> {
        Ok(read(&self.path(instance, "catalogue"))?.unwrap_or_default())
    }

    /// All that was read of the repository of an instance.
    pub(super) fn seen(&self, instance: &str) -> Result<Catalogue, KnownError> {
        Ok(read(&self.path(instance, "seen"))?.unwrap_or_default())
    }

    /// Notes everything down. The summary comes last: it is never newer than what it sums up.
    pub fn put(
        &self,
        instance: &str,
        known: &Known,
        catalogue: &Catalogue,
        seen: &Catalogue,
    ) -> Result<(), KnownError> {
        self.write(&self.path(instance, "seen"), seen)?;
        self.write(&self.path(instance, "catalogue"), catalogue)?;
        self.write(&self.path(instance, "summary"), known)
    }

    fn write(&self, path: &Path, value: &impl Serialize) -> Result<(), KnownError> {
        let replace = || -> io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
            let aside = path.with_extension(format!("{}.tmp", std::process::id()));
            let mut options = OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
            let mut text = serde_json::to_vec(value)?;
            text.push(b'\n');
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&aside, path)?;
            File::open(&self.directory)?.sync_all()
        };
        replace().map_err(|error| KnownError { doing: "write", path: path.to_owned(), error })
    }
}

/// A file that makes no sense is as good as none: the next run writes it anew.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, KnownError> {
    let failed = |error| KnownError { doing: "read", path: path.to_owned(), error };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).map_err(failed)?;
    Ok(serde_json::from_slice(&bytes).ok())
}
