//! Packs a check has found damaged: nothing new is to rely on them. They count as condemned ones do, so that
//! the next backup that sees the same data stores it again, but they are read where nothing else is left.
//!
//! A list in a file of its own beside the database, which is only a cache and may be deleted.

use std::collections::HashSet;
use std::path::PathBuf;

use crate::id::PackId;

use super::store::{Index, IndexError};

const FILE: &str = "suspect-packs";

impl Index {
    fn suspects_file(&self) -> Option<PathBuf> {
        let database = self.path();
        database.exists().then(|| database.with_file_name(FILE))
    }

    /// Packs known to be damaged.
    pub fn suspects(&self) -> Result<HashSet<PackId>, IndexError> {
        let Some(path) = self.suspects_file() else {
            return Ok(self.lock_suspects().clone());
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(HashSet::new()),
            // Not text any more: what it said is found again by the next check.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(HashSet::new()),
            Err(error) => Err(failed(&path, "reading the list of damaged packs", &error)),
        }
    }

    /// Replaces the list.
    pub fn set_suspects(&self, suspects: &HashSet<PackId>) -> Result<(), IndexError> {
        let Some(path) = self.suspects_file() else {
            self.lock_suspects().clone_from(suspects);
            return Ok(());
        };
        if self.suspects()? == *suspects {
            return Ok(());
        }
        let mut lines: Vec<String> = suspects.iter().map(|id| format!("{id}\n")).collect();
        lines.sort();
        let aside = path.with_extension("new");
        std::fs::write(&aside, lines.concat())
            .and_then(|()| std::fs::rename(&aside, &path))
            .map_err(|error| failed(&path, "writing the list of damaged packs", &error))
    }
}

fn failed(path: &std::path::Path, doing: &'static str, error: &std::io::Error) -> IndexError {
    let (path, reason) = (path.display().to_string(), error.to_string());
    IndexError { path, doing, reason, is_damage: false }
}
