//! The deployments of a home, `.mrs-backup/deploys/<number>/`: the record, and the compose file that was deployed.
//! Directories are 0700 and files 0600: compose files hold secrets.

use std::fs;
use std::path::{Path, PathBuf};

use super::{DeployError, Record, State, files};

/// Longest record.
const LONGEST: u64 = 4 << 20;
/// Longest compose file.
const LONGEST_FILE: u64 = 16 << 20;

/// All deployments of a home.
#[derive(Debug, Clone)]
pub struct History {
    directory: PathBuf,
    /// By number.
    records: Vec<Record>,
    /// Records that cannot be read, with the reason.
    pub damaged: Vec<String>,
}

impl History {
    /// Of the home at `home`, which need not be there.
    pub fn open(home: &Path) -> Result<Self, DeployError> {
        let directory = home.join(".mrs-backup/deploys");
        let mut history = Self { directory, records: Vec::new(), damaged: Vec::new() };
        let entries = match fs::read_dir(&history.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(history),
            Err(error) => return Err(DeployError::files("read", &history.directory, &error)),
        };
        for entry in entries {
            let entry =
                entry.map_err(|error| DeployError::files("read", &history.directory, &error))?;
            let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            match history.read(number) {
                Ok(Some(record)) => history.records.push(record),
                // Killed before its first record: nothing of it was done.
                Ok(None) => {}
                Err(reason) => history.damaged.push(format!("deployment {number}: {reason}")),
            }
        }
        history.records.sort_by_key(|record| record.number);
        Ok(history)
    }

    fn read(&self, number: u32) -> Result<Option<Record>, String> {
        let path = self.place(number).join("record.json");
        let bytes = files::read(&path, LONGEST).map_err(|error| error.to_string())?;
        let Some(bytes) = bytes else { return Ok(None) };
        let record: Record = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        match record.number == number {
            true => Ok(Some(record)),
            false => Err("its number is another one".to_owned()),
        }
    }

    fn place(&self, number: u32) -> PathBuf {
        self.directory.join(format!("{number:06}"))
    }

    /// All, the oldest first.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// One.
    pub fn find(&self, number: u32) -> Option<&Record> {
        self.records.iter().find(|record| record.number == number)
    }

    /// The number the next one gets: never one that was used, however the clock goes.
    pub fn next_number(&self) -> u32 {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let used = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        used.max().unwrap_or(0).saturating_add(1)
    }

    /// The newest that ended well, or that was put back: what runs, unless one after it failed or is unfinished.
    pub fn good(&self) -> Option<&Record> {
        let mut good = None;
        for record in &self.records {
            match record.state {
                State::Good => good = Some(record.number),
                State::RolledBack { to } => good = Some(to),
                _ => {}
            }
        }
        good.and_then(|number| self.find(number))
    }

    /// Those after the last good one that replaced something and left it so: failed, or killed on the way.
    pub fn open_ends(&self) -> Vec<&Record> {
        let mut open: Vec<&Record> = Vec::new();
        for record in &self.records {
            match record.state {
                State::Good | State::RolledBack { .. } => open.clear(),
                State::Replacing | State::RollingBack { .. } | State::Stuck => open.push(record),
                State::Begun | State::Dropped => {}
            }
        }
        open
    }

    /// The last one, if it did not come to an end.
    pub fn unfinished(&self) -> Option<&Record> {
        self.records.last().filter(|record| !record.state.is_ended())
    }

    /// The compose file of a deployment.
    pub fn compose_file(&self, number: u32) -> Result<String, DeployError> {
        let path = self.place(number).join("docker-compose.yml");
        let bytes = files::read(&path, LONGEST_FILE)?.ok_or_else(|| DeployError::NoDeployment {
            message: format!(
                "the compose file of deployment {number} is not there: {}",
                path.display()
            ),
        })?;
        String::from_utf8(bytes).map_err(|error| {
            let reason = error.to_string();
            DeployError::Files { doing: "read", path, reason }
        })
    }

    /// Remembers the compose file of a deployment.
    pub fn put_compose_file(&self, number: u32, text: &str) -> Result<(), DeployError> {
        let place = self.place(number);
        files::make_directory(&place)?;
        files::replace(&place.join("docker-compose.yml"), text.as_bytes())
    }

    /// Writes a record, new or changed.
    pub fn put(&mut self, record: &Record) -> Result<(), DeployError> {
        let place = self.place(record.number);
        files::make_directory(&place)?;
        let mut text = serde_json::to_vec_pretty(record).map_err(|error| DeployError::Files {
            doing: "write",
            path: place.clone(),
            reason: error.to_string(),
        })?;
        text.push(b'\n');
        files::replace(&place.join("record.json"), &text)?;
        match self.records.iter_mut().find(|known| known.number == record.number) {
            Some(known) => *known = record.clone(),
            None => self.records.push(record.clone()),
        }
        Ok(())
    }

    /// Drops the oldest until `keep` good ones are left, never one that is needed for the way back. Gives
    /// references of images that no remaining record has.
    pub fn prune(&mut self, keep: usize) -> Result<Vec<String>, DeployError> {
        let good = self
            .records
            .iter()
            .filter(|record| record.state == State::Good)
            .map(|record| record.number);
        let good: Vec<u32> = good.collect();
        let oldest_kept = good.iter().rev().nth(keep.saturating_sub(1)).copied().unwrap_or(0);
        let needed: Vec<u32> = self
            .records
            .iter()
            .filter(|record| record.number >= oldest_kept)
            .map(Record::version)
            .collect();
        let (kept, gone): (Vec<Record>, Vec<Record>) = std::mem::take(&mut self.records)
            .into_iter()
            .partition(|record| record.number >= oldest_kept || needed.contains(&record.number));
        self.records = kept;
        for record in &gone {
            let place = self.place(record.number);
            fs::remove_dir_all(&place)
                .map_err(|error| DeployError::files("remove", &place, &error))?;
        }
        let references = |records: &[Record]| -> Vec<String> {
            records
                .iter()
                .flat_map(|record| record.images.values().map(|image| image.reference.clone()))
                .collect()
        };
        let used = references(&self.records);
        let mut free = references(&gone);
        free.retain(|reference| !used.contains(reference));
        free.sort();
        free.dedup();
        Ok(free)
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
