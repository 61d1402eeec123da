//! What is being done to a home, and what is kept of before: one directory an operation, on the home's own file
//! system, so that everything is exchanged by renames.
//!
//! ```text
//! /home/.mrs-production.mrs-backup/3/operation.json    what is done, and how far it is
//! /home/.mrs-production.mrs-backup/3/in/               what comes into the home
//! /home/.mrs-production.mrs-backup/3/out/              what was there before
//! ```
//!
//! A home that is a mount point has it inside, as `.mrs-backup`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::HomeError;

/// Longest file of an operation.
const LONGEST: u64 = 16 << 20;
/// The file of an operation.
const FILE: &str = "operation.json";

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A snapshot comes into the home.
    Restore,
    /// What was there before comes back.
    Undo,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Everything is loaded beside. Nothing was touched.
    Loading,
    /// What was put aside becomes what comes in. Nothing was touched.
    Turning,
    /// Containers are stopped.
    Stopping,
    /// Databases and files are exchanged.
    Exchanging,
    /// A new server is made and filled.
    Filling,
    /// Containers are started.
    Starting,
    /// It came to its end.
    Done,
    /// It is being taken back.
    TakingBack,
    /// Everything is back; what was to come in is kept again.
    Returning,
}

/// A file or directory of the home that is exchanged as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Relative to the home.
    pub path: PathBuf,
    /// Whether there is something that comes in. Otherwise what is there only goes.
    pub comes: bool,
}

/// A database that is exchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// The name that changes hands.
    pub name: String,
    /// What comes in is called so until then.
    pub incoming: String,
    /// Whether there is one now, which goes.
    pub replaces: bool,
    /// What was there is called so from then on, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aside: Option<String>,
    /// Whether it was exchanged.
    #[serde(default)]
    pub is_done: bool,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its number, and its directory's name.
    pub number: u32,
    /// What.
    pub kind: Kind,
    /// Of which instance.
    pub instance: String,
    /// Id of the snapshot that came in, or was taken back.
    pub snapshot: String,
    /// When it began.
    pub time: Timestamp,
    /// Until when is kept what was there before.
    pub until: Option<Timestamp>,
    /// How far it is.
    pub phase: Phase,
    /// What is exchanged.
    pub items: Vec<Item>,
    /// Databases.
    pub databases: Vec<Database>,
    /// Containers that were stopped and are to be started again.
    pub containers: Vec<String>,
    /// The database's container stops as well: its files are exchanged.
    pub with_server: bool,
    /// Containers are made anew from the compose file, which is another one.
    pub by_compose: bool,
    /// The compose service of a new server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Of an undo: what it takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Box<Operation>>,
}

/// Operations on one home.
#[derive(Debug, Clone)]
pub struct Journal {
    base: PathBuf,
}

impl Journal {
    /// The one of `home`, which need not be there yet.
    pub fn open(home: &Path) -> Result<Self, HomeError> {
        let failed = HomeError::io("look at", home);
        let (Some(parent), Some(name)) = (home.parent(), home.file_name()) else {
            return Err(failed(io::Error::from(io::ErrorKind::InvalidInput)));
        };
        let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
        let is_mounted = device(home).is_some_and(|own| Some(own) != device(parent));
        let base = match is_mounted {
            true => home.join(".mrs-backup"),
            false => parent.join(format!(".{}.mrs-backup", name.to_string_lossy())),
        };
        Ok(Self { base })
    }

    /// The directory of all operations.
    pub fn base(&self) -> &Path {
        &self.base
    }

    fn directory(&self, number: u32) -> PathBuf {
        self.base.join(number.to_string())
    }

    /// What comes in.
    pub fn incoming(&self, number: u32) -> PathBuf {
        self.directory(number).join("in")
    }

    /// What goes out.
    pub fn outgoing(&self, number: u32) -> PathBuf {
        self.directory(number).join("out")
    }

    /// All operations, the newest first. One that cannot be read is an error: it may be at half its way.
    pub fn all(&self) -> Result<Vec<Operation>, HomeError> {
        let entries = match fs::read_dir(&self.base) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(HomeError::io("list", &self.base)(error)),
        };
        let mut found: Vec<Operation> = Vec::new();
        for entry in entries {
            let entry = entry.map_err(HomeError::io("list", &self.base))?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.parse::<u32>().is_ok()) {
                found.extend(read(&entry.path().join(FILE))?);
            }
        }
        found.sort_by_key(|operation| std::cmp::Reverse((operation.time, operation.number)));
        Ok(found)
    }

    /// The one that did not come to its end.
    pub fn unfinished(&self) -> Result<Option<Operation>, HomeError> {
        Ok(self.all()?.into_iter().find(|operation| operation.phase != Phase::Done))
    }

    /// Those of which something is kept, the newest first.
    pub fn kept(&self) -> Result<Vec<Operation>, HomeError> {
        let mut all = self.all()?;
        all.retain(|operation| operation.phase == Phase::Done);
        Ok(all)
    }

    /// A number nobody has.
    pub fn next_number(&self) -> u32 {
        let numbers = fs::read_dir(&self.base).into_iter().flatten().flatten();
        let numbers = numbers.filter_map(|entry| {
            let name = entry.file_name();
            name.to_str()?.split('.').next()?.parse::<u32>().ok()
        });
        numbers.max().unwrap_or(0) + 1
    }

    /// Writes an operation down, durably.
    pub fn write(&self, operation: &Operation) -> Result<(), HomeError> {
        let directory = self.directory(operation.number);
        let path = directory.join(FILE);
        let replace = || -> io::Result<()> {
            for directory in [&self.base, &directory] {
                DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            }
            let aside = directory.join("operation.tmp");
            let mut open = OpenOptions::new();
            let mut file = open.write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
            file.write_all(&serde_json::to_vec(operation)?)?;
            file.sync_all()?;
            fs::rename(&aside, &path)?;
            File::open(&directory)?.sync_all()?;
            File::open(&self.base)?.sync_all()
        };
        replace().map_err(HomeError::io("write", &path))
    }

    /// What was put aside becomes what comes in. Done again, it changes nothing.
    pub fn turn(&self, number: u32) -> Result<(), HomeError> {
        replace(&self.outgoing(number), &self.incoming(number))
    }

    /// The other way round.
    pub fn turn_back(&self, number: u32) -> Result<(), HomeError> {
        replace(&self.incoming(number), &self.outgoing(number))
    }

    /// Removes all that is kept of an operation. Killed meanwhile, the next one to remove anything goes on.
    pub fn remove(&self, operation: &Operation) -> Result<(), HomeError> {
        let directory = self.directory(operation.number);
        let gone = self.base.join(format!("{}.gone", operation.number));
        if directory.exists() {
            fs::rename(&directory, &gone).map_err(HomeError::io("remove", &directory))?;
        }
        self.sweep()
    }

    /// Removes what a killed removal left.
    pub fn sweep(&self) -> Result<(), HomeError> {
        for entry in fs::read_dir(&self.base).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "gone") {
                fs::remove_dir_all(&path).map_err(HomeError::io("remove", &path))?;
            }
        }
        // Only if nothing is kept.
        let _ = fs::remove_dir(&self.base);
        Ok(())
    }
}

/// `from` takes the place of `to`, of which only empty directories are left.
fn replace(from: &Path, to: &Path) -> Result<(), HomeError> {
    if !from.exists() {
        return Ok(());
    }
    match fs::remove_dir_all(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(HomeError::io("remove", to)(error));
        }
        _ => {}
    }
    fs::rename(from, to).map_err(HomeError::io("rename", from))
}

fn read(path: &Path) -> Result<Option<Operation>, HomeError> {
    let file = match File::open(path) {
        Ok(file) => file,
        // Killed before it was written: nothing was done.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(HomeError::io("read", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).map_err(HomeError::io("read", path))?;
    match serde_json::from_slice(&bytes) {
        Ok(operation) => Ok(Some(operation)),
        Err(error) => Err(HomeError::refused(
            format!("{} makes no sense: {error}", path.display()),
            "look what lies beside it; `in` is what was to come into the home, `out` what was there before",
        )),
    }
}
