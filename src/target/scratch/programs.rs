//! Which of the host's installations of PostgreSQL makes a server.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::target::postgres::major;

use super::ScratchError;

/// Directories in which distributions keep their installations, with the part behind the version.
const INSTALLATIONS: [(&str, &str, &str); 3] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
];

/// An installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// Where its programs are.
    pub directory: PathBuf,
    /// Its version.
    pub version: String,
}

/// The installation in `directory`, if there is a server in it.
fn look(directory: &Path) -> Option<Programs> {
    if !directory.join("initdb").exists() {
        return None;
    }
    let mut command = Command::new(directory.join("postgres"));
    command.arg("--version").env_clear().env("LC_ALL", "C").stdin(Stdio::null());
    let output = command.stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, rest) = text.split_once("(PostgreSQL) ")?;
    let version = rest.split_whitespace().next()?.to_owned();
    Some(Programs { directory: directory.to_owned(), version })
}

/// Programs that make a server of version `wanted` or newer: those in `chosen`, or else the oldest that
/// will do of what is installed.
pub fn find_programs(chosen: &[PathBuf], wanted: u32) -> Result<Programs, ScratchError> {
    let fits = |found: &Programs| major(&found.version).is_some_and(|own| own >= wanted);
    if let Some(found) = chosen.iter().filter_map(|directory| look(directory)).find(fits) {
        return Ok(found);
    }
    let mut candidates: Vec<PathBuf> = Vec::new();
    for (parent, prefix, below) in INSTALLATIONS {
        let Ok(entries) = std::fs::read_dir(parent) else { continue };
        let names = entries.flatten().filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.strip_prefix(prefix)
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        });
        candidates.extend(names.map(|entry| entry.path().join(below)));
    }
    candidates.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    let mut found: Vec<Programs> =
        candidates.iter().filter_map(|directory| look(directory)).filter(fits).collect();
    found.sort_by_key(|found| major(&found.version));
    found.into_iter().next().ok_or_else(|| {
        let chosen = chosen.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        let looked = format!(
            "looked in {}{}/usr/lib/postgresql, /usr/pgsql-* and the search path",
            chosen.join(", "),
            if chosen.is_empty() { "" } else { ", " },
        );
        ScratchError::NoPrograms { major: wanted, looked }
    })
}
