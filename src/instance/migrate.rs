//! From the old scripts of a home to a configuration.
//!
//! A home that was made by hand or by a role has `backup.sh`, `prune.sh`, `restore.sh`, a password file and
//! timers of systemd. They are read as text, by [`read_home`], and never run; [`propose`] makes of them a part of a
//! configuration and the files with secrets that it names.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

mod compose;
mod offsite;
mod proposal;
mod scripts;
mod shell;
mod timers;

#[cfg(test)]
mod tests;

pub use proposal::{Choices, Proposal, SecretFile, propose};
pub use timers::{OldTimer, TimerJob};

use scripts::Findings;

/// Scripts that are read.
pub const OLD_SCRIPTS: [&str; 3] = ["backup.sh", "prune.sh", "restore.sh"];
/// Compose files that are looked at for the names of databases.
const COMPOSE_FILES: [&str; 2] = ["docker-compose.yml", "compose.yml"];
/// Longest file that is read.
const LONGEST: u64 = 1 << 20;
/// Directories of a home that have data, whether the old script saved them or not.
const USUAL_PATHS: [&str; 4] = ["docker-compose.yml", "mrsattachments", "log", "spooler"];

/// Why a home cannot be migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// It is not there.
    #[error("{} is not a directory", home.display())]
    NoHome {
        /// Which.
        home: PathBuf,
    },
    /// None of its scripts calls restic.
    #[error("{} has no old scripts: none of {} calls restic", home.display(), OLD_SCRIPTS.join(", "))]
    NoScripts {
        /// Which.
        home: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A dump is made, but of what is not said.
    #[error("the scripts of {} dump databases, but nothing there says which", home.display())]
    NoDatabase {
        /// Which.
        home: PathBuf,
    },
    /// What the scripts say makes no configuration.
    #[error("no configuration can be made of {}: {reason}", home.display())]
    Unfit {
        /// Which.
        home: PathBuf,
        /// Why.
        reason: String,
    },
}

/// An old home.
pub struct OldHome {
    /// The directory, absolute.
    pub home: PathBuf,
    /// Its last name, by which its timers are called.
    pub name: String,
    /// Files that were read.
    pub files: Vec<PathBuf>,
    /// Its timers that are not ours.
    pub timers: Vec<OldTimer>,
    /// Its scripts that are not ours.
    pub scripts: Vec<PathBuf>,
    findings: Findings,
    /// Databases the compose file names.
    databases: Vec<String>,
    /// Content of its password file.
    password: Option<Vec<u8>>,
}

/// Reads the home and, in `units`, the directory of systemd's units, its timers. `is_ours` tells files this program wrote.
pub fn read_home(
    home: &Path,
    units: &Path,
    is_ours: &dyn Fn(&str) -> bool,
) -> Result<OldHome, MigrateError> {
    let no_home = || MigrateError::NoHome { home: home.to_owned() };
    let home = std::path::absolute(home).map_err(|_| no_home())?;
    if !home.is_dir() {
        return Err(no_home());
    }
    let name = home.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut old = OldHome {
        name: name.ok_or_else(no_home)?,
        files: Vec::new(),
        timers: Vec::new(),
        scripts: Vec::new(),
        findings: Findings::default(),
        databases: Vec::new(),
        password: None,
        home,
    };
    for script in OLD_SCRIPTS {
        let path = old.home.join(script);
        let Some(text) = read_text(&path)? else { continue };
        if !is_ours(&text) {
            old.findings.read(&text);
            old.files.push(path.clone());
            old.scripts.push(path);
        }
    }
    if !old.findings.has_restic {
        return Err(MigrateError::NoScripts { home: old.home });
    }
    for file in COMPOSE_FILES {
        let path = old.home.join(file);
        let Some(text) = read_text(&path)? else { continue };
        old.databases.extend(compose::databases(&text));
        old.files.push(path);
    }
    old.timers = timers::find(&old.name, units, is_ours);
    old.files.extend(old.timers.iter().flat_map(|timer| timer.files.iter().cloned()));
    // One that lies elsewhere is named in the configuration, and stays where it is.
    if let Some(path) = old.password_file().filter(|path| path.starts_with(&old.home)) {
        old.password = read_bytes(&path)?;
        if old.password.is_some() {
            old.files.push(path);
        }
    }
    Ok(old)
}

impl OldHome {
    /// The file with restic's password, as far as it is known.
    fn password_file(&self) -> Option<PathBuf> {
        let said = self.findings.password_file.as_deref();
        let is_plain =
            |path: &Path| !path.components().any(|part| part == std::path::Component::ParentDir);
        match said {
            Some(path) => Some(self.home.join(path)).filter(|path| is_plain(path)),
            None => Some(self.home.join(".restic_password")),
        }
    }
}

/// The text of a plain file; `None` if there is nothing. Links are not followed, and nothing waits on a pipe: whoever owns
/// the home need not be who runs this.
fn read_text(path: &Path) -> Result<Option<String>, MigrateError> {
    let bytes = read_bytes(path)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, MigrateError> {
    let failed = |error: io::Error| MigrateError::Unreadable { path: path.to_owned(), error };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(rustix::io::Errno::LOOP) => {
            return Err(failed(io::Error::other("it is a symbolic link, which is not followed")));
        }
        Err(error) => return Err(failed(error.into())),
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::other("it is not a plain file")));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LONGEST {
        return Err(failed(io::Error::other("it is longer than 1 MiB, which no such file is")));
    }
    Ok(Some(bytes))
}
