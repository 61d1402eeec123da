//! Directories that change places together with a database, noted down before the first rename.
//!
//! Files go first, the database last and in one transaction of its server. Somebody killed between both leaves a note:
//! the next command looks at the server, and where the database did not change places, neither do the directories.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::postgres::literal;
use crate::target::postgres::{Cluster, DatabaseError, kept};

use super::error::CloneError;

/// Longest note, in bytes.
const LONGEST: u64 = 16 << 20;

/// A directory that changes places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwappedDirectory {
    /// Its name.
    pub live: PathBuf,
    /// What comes in is called so until then.
    pub incoming: PathBuf,
    /// What the one before is called from then on; `None`: there was none.
    pub kept: Option<PathBuf>,
}

/// An exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The database.
    pub database: String,
    /// There was one of this name.
    pub replaces: bool,
    /// The database that is put aside says so.
    pub time: Timestamp,
    /// What comes in was made for that alone: if it does not, it goes.
    pub is_made: bool,
    /// The directories.
    pub directories: Vec<SwappedDirectory>,
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Writes a file of ours, durably and at once.
fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let temporary = path.with_extension("tmp");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_parent(path)
}

impl SwappedDirectory {
    fn forward(&self) -> io::Result<()> {
        if let Some(kept) = &self.kept {
            fs::rename(&self.live, kept)?;
        }
        fs::rename(&self.incoming, &self.live)?;
        sync_parent(&self.live)
    }

    /// Back, from wherever it stands: that is seen from what exists. Gives whether there was anything to do.
    fn backward(&self) -> io::Result<bool> {
        let mut is_moved = false;
        if !is_there(&self.incoming) && is_there(&self.live) {
            fs::rename(&self.live, &self.incoming)?;
            is_moved = true;
        }
        if let Some(kept) = self.kept.as_ref().filter(|kept| is_there(kept)) {
            fs::rename(kept, &self.live)?;
            is_moved = true;
        }
        sync_parent(&self.live)?;
        Ok(is_moved)
    }
}

impl Exchange {
    /// Puts all directories into their places; all or none.
    pub fn forward(&self) -> io::Result<()> {
        let result = self.directories.iter().try_for_each(SwappedDirectory::forward);
        if result.is_err() {
            // The first error is the one to tell; the note is still there.
            let _ = self.backward();
        }
        result
    }

    /// Puts all back; gives those that had moved.
    fn backward(&self) -> io::Result<Vec<PathBuf>> {
        let mut back = Vec::new();
        for directory in self.directories.iter().rev() {
            if directory.backward()? {
                back.push(directory.live.clone());
            }
            if self.is_made && is_there(&directory.incoming) {
                fs::remove_dir_all(&directory.incoming)?;
            }
        }
        Ok(back)
    }

    /// Whether the database changed places.
    fn is_done(&self, cluster: &Cluster) -> Result<bool, DatabaseError> {
        let mut session = cluster.maintenance(&self.database)?;
        if self.replaces {
            let is_it = |marker: &crate::target::postgres::Marker| {
                marker.of == self.database && marker.time == self.time
            };
            return Ok(kept(&mut session)?.iter().any(|found| is_it(&found.marker)));
        }
        let query = format!(
            "SELECT count(*) FROM pg_catalog.pg_database WHERE datname = {}",
            literal(&self.database)
        );
        Ok(session.value("look for the database", &query)? != "0")
    }
}

/// Where the exchange of one instance is noted down.
#[derive(Debug, Clone)]
pub struct Journal {
    /// The exchange that is under way.
    path: PathBuf,
    /// All directories that ever changed places, so that they are found again whatever the rules say by then.
    places: PathBuf,
}

impl Journal {
    /// Of instance `name`, below the state directory.
    pub fn new(state_dir: &Path, name: &str) -> Self {
        let directory = state_dir.join("clone-exchanges");
        let at = |ending: &str| directory.join(format!("{name}.{ending}.json"));
        Self { path: at("under-way"), places: at("places") }
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> CloneError {
        CloneError::io(format!("the note of an exchange, {}", self.path.display()), error)
    }

    /// Notes an exchange down, durably. One that waits has to be settled before.
    pub fn begin(&self, exchange: &Exchange) -> Result<(), CloneError> {
        if self.pending()?.is_some() {
            return Err(self.failed(&"an earlier exchange is not settled yet"));
        }
        let mut places = self.places()?;
        let known = places.len();
        places.extend(exchange.directories.iter().map(|directory| directory.live.clone()));
        let write = || -> io::Result<()> {
            if places.len() > known {
                put(&self.places, &serde_json::to_vec(&places)?)?;
            }
            put(&self.path, &serde_json::to_vec(exchange)?)
        };
        write().map_err(|error| self.failed(&error))
    }

    /// An exchange that did not come to its end.
    pub fn pending(&self) -> Result<Option<Exchange>, CloneError> {
        self.read(&self.path)
    }

    /// All directories that ever changed places.
    pub fn places(&self) -> Result<BTreeSet<PathBuf>, CloneError> {
        Ok(self.read(&self.places)?.unwrap_or_default())
    }

    fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>, CloneError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(&error)),
        };
        let mut bytes = Vec::new();
        file.take(LONGEST).read_to_end(&mut bytes).map_err(|error| self.failed(&error))?;
        serde_json::from_slice(&bytes).map(Some).map_err(|error| self.failed(&error))
    }

    /// It is over, one way or the other.
    fn end(&self) -> Result<(), CloneError> {
        fs::remove_file(&self.path).map_err(|error| self.failed(&error))
    }

    /// Brings an exchange that did not come to its end there: where the database did not change places, the
    /// directories go back. Gives those that did. Without a note nothing is asked.
    pub fn settle(&self, cluster: &Cluster) -> Result<Vec<PathBuf>, CloneError> {
        self.settle_by(|exchange| Ok(exchange.is_done(&cluster.unstoppable())?))
    }

    fn settle_by(
        &self,
        is_done: impl FnOnce(&Exchange) -> Result<bool, CloneError>,
    ) -> Result<Vec<PathBuf>, CloneError> {
        let Some(exchange) = self.pending()? else { return Ok(Vec::new()) };
        let back = match is_done(&exchange)? {
            true => Vec::new(),
            false => exchange
                .backward()
                .map_err(|error| CloneError::io("directories cannot be put back", &error))?,
        };
        self.end()?;
        Ok(back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A home with uploads, exchanged up to a step; what went back, and what is in them afterwards.
    fn after(steps: u32, is_done: bool, was_there: bool) -> (Vec<PathBuf>, Option<String>) {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        let make = |path: &Path, text: &str| {
            fs::create_dir(path).unwrap();
            fs::write(path.join("x"), text).unwrap();
        };
        let directory = SwappedDirectory {
            live: at("uploads"),
            incoming: at("uploads__new"),
            kept: was_there.then(|| at("uploads__old_T")),
        };
        make(&directory.incoming, "new");
        if was_there {
            make(&directory.live, "old");
        }
        let journal = Journal::new(&at("state"), "staging");
        let exchange = Exchange {
            database: "app".to_owned(),
            replaces: true,
            time: Timestamp::UNIX_EPOCH,
            is_made: !was_there,
            directories: vec![directory.clone()],
        };
        journal.begin(&exchange).unwrap();
        assert!(journal.begin(&exchange).is_err(), "one at a time");
        match (steps, &directory.kept) {
            (0, _) | (1, None) => {}
            (1, Some(kept)) => fs::rename(&directory.live, kept).unwrap(),
            _ => exchange.forward().unwrap(),
        }
        let back = journal.settle_by(|found| {
            assert_eq!(*found, exchange);
            Ok(is_done)
        });
        assert_eq!(journal.pending().unwrap(), None);
        assert_eq!(journal.places().unwrap(), BTreeSet::from([directory.live.clone()]));
        assert_eq!(journal.settle_by(|_| panic!("it is over")).unwrap(), Vec::<PathBuf>::new());
        // What did not come in stays, unless it was made for that.
        assert_eq!(is_there(&directory.incoming), !is_done && was_there);
        let back = back.unwrap();
        let back = back.iter().map(|path| path.strip_prefix(home.path()).unwrap().to_owned());
        (back.collect(), fs::read_to_string(at("uploads/x")).ok())
    }

    #[test]
    fn killed_anywhere_the_directories_are_those_of_the_database() {
        let uploads = vec![PathBuf::from("uploads")];
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(after(0, false, true), (vec![], text("old")), "before the first rename");
        assert_eq!(after(1, false, true), (uploads.clone(), text("old")), "between both");
        assert_eq!(after(2, false, true), (uploads.clone(), text("old")), "the database stayed");
        assert_eq!(after(2, true, true), (vec![], text("new")), "the database went");
        assert_eq!(after(0, false, false), (vec![], None));
        assert_eq!(after(2, false, false), (uploads, None), "there was none before");
    }

    #[test]
    fn all_directories_change_places_or_none() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        for name in ["a", "a__new", "b"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("x"), name).unwrap();
        }
        let of = |name: &str| SwappedDirectory {
            live: at(name),
            incoming: at(&format!("{name}__new")),
            kept: Some(at(&format!("{name}__old"))),
        };
        let exchange = Exchange {
            database: "app".to_owned(),
            replaces: true,
            time: Timestamp::UNIX_EPOCH,
            is_made: false,
            directories: vec![of("a"), of("b")],
        };
        assert!(exchange.forward().is_err(), "b has nothing that comes in");
        for (name, text) in [("a", "a"), ("b", "b"), ("a__new", "a__new")] {
            assert_eq!(fs::read_to_string(at(name).join("x")).unwrap(), text);
        }
    }
}
