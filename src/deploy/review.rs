//! Review stacks: a deployment of a branch, in a directory of its own, that goes by itself.
//!
//! `~/.yourlabs.compose/<project>/` has the compose file and `removeat` (seconds since 1970), as an earlier tool
//! left them, and `.mrs-backup/review.json`: our mark, without which a directory is never removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::compose::{Document, Node, Project, project_name};
use crate::id::to_hex;

use super::{DeployError, files};

/// Longest name without the digits that tell it from others.
const LONGEST_SLUG: usize = 40;
/// Longest state.
const LONGEST: u64 = 64 << 10;
/// No stack is older: such a time is a mistake.
const EARLIEST: i64 = 1_420_070_400;
/// No stack is to live longer: neither is such a time.
const FARTHEST: SignedDuration = SignedDuration::from_hours(10 * 366 * 24);
/// A clock may differ by this.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// What is remembered of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewState {
    /// Version of this form.
    pub v: u32,
    /// The project: our mark is for this directory and no copy of it.
    pub project: String,
    /// What it was called by whoever deployed it.
    pub asked: String,
    /// When it was deployed first.
    pub created: Timestamp,
    /// When it was deployed last.
    pub deployed: Timestamp,
    /// When it goes.
    pub remove_at: Timestamp,
}

/// How long a stack stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Until then.
    Until(Timestamp),
    /// It cannot be known: it stays.
    Unknown(String),
}

/// A stack on disk.
#[derive(Debug, Clone)]
pub struct Review {
    /// The project and its directory.
    pub project: Project,
    /// How long it stays.
    pub standing: Standing,
    /// Our mark, if the directory carries it.
    pub state: Option<ReviewState>,
}

/// All stacks of one user.
#[derive(Debug, Clone)]
pub struct Reviews {
    /// The directory they are in.
    pub base: PathBuf,
}

/// A name for compose of any text: as it is if it is one; otherwise what fits of it, and eight digits that tell
/// `feature/x` from `feature-x`.
pub fn slug(text: &str) -> String {
    if text.len() <= LONGEST_SLUG && project_name(text).is_ok() {
        return text.to_owned();
    }
    let mut slug = String::new();
    for letter in text.chars().flat_map(char::to_lowercase) {
        match letter {
            'a'..='z' | '0'..='9' | '_' => slug.push(letter),
            _ if slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
        if slug.len() >= LONGEST_SLUG {
            break;
        }
    }
    let kept = slug.trim_matches(['-', '_']);
    let kept = if kept.is_empty() { "review" } else { kept };
    let digits = to_hex(&Sha256::digest(text.as_bytes())[..4]);
    format!("{kept}-{digits}")
}

impl Reviews {
    /// The project of this name.
    pub fn project(&self, asked: &str) -> Project {
        let name = slug(asked);
        Project { directory: self.base.join(&name), name }
    }

    /// All of them, by name. What is no directory is none.
    pub fn list(&self, now: Timestamp) -> Result<Vec<Review>, DeployError> {
        let entries = match fs::read_dir(&self.base) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(DeployError::files("read", &self.base, &error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| DeployError::files("read", &self.base, &error))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // A link leads to what is somebody else's.
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_directory && project_name(&name).is_ok() {
                found.push(self.read(&name, now));
            }
        }
        found.sort_by(|a, b| a.project.name.cmp(&b.project.name));
        Ok(found)
    }

    /// One of them.
    pub fn read(&self, name: &str, now: Timestamp) -> Review {
        let project = Project { name: name.to_owned(), directory: self.base.join(name) };
        let state = read_state(&project);
        let removeat = read_removeat(&project.directory, now);
        let (state, standing) = match (state, removeat) {
            (Err(reason), _) => (None, Standing::Unknown(reason)),
            (Ok(state), Err(reason)) => (state, Standing::Unknown(reason)),
            (Ok(None), Ok(None)) => {
                (None, Standing::Unknown("nothing says how long it is to live".to_owned()))
            }
            (Ok(None), Ok(Some(time))) => (None, Standing::Until(time)),
            (Ok(Some(state)), Ok(time)) => {
                let standing = standing(&state, time, now);
                (Some(state), standing)
            }
        };
        Review { project, standing, state }
    }

    /// Marks the directory, and gives the stack `lifetime` from now on, never less than it has. Both files are
    /// replaced as a whole.
    pub fn extend(
        &self,
        asked: &str,
        lifetime: Duration,
        now: Timestamp,
        is_deployed: bool,
    ) -> Result<ReviewState, DeployError> {
        let project = self.project(asked);
        let known = self.read(&project.name, now);
        let until = now.checked_add(lifetime).unwrap_or(Timestamp::MAX);
        let remove_at = match known.standing {
            Standing::Until(before) if known.state.is_some() => before.max(until),
            _ => until,
        };
        let earlier = known.state.as_ref();
        let state = ReviewState {
            v: 1,
            project: project.name.clone(),
            asked: earlier.map_or_else(|| asked.to_owned(), |state| state.asked.clone()),
            created: earlier.map_or(now, |state| state.created),
            deployed: if is_deployed { now } else { earlier.map_or(now, |state| state.deployed) },
            remove_at,
        };
        files::make_directory(&project.directory.join(".mrs-backup"))?;
        let failed = |error: serde_json::Error| DeployError::Files {
            doing: "write",
            path: state_path(&project.directory),
            reason: error.to_string(),
        };
        let text = serde_json::to_vec_pretty(&state).map_err(failed)?;
        files::replace(&state_path(&project.directory), &text)?;
        let seconds = format!("{}\n", remove_at.as_second());
        files::replace(&project.directory.join("removeat"), seconds.as_bytes())?;
        Ok(state)
    }
}

fn state_path(directory: &Path) -> PathBuf {
    directory.join(".mrs-backup/review.json")
}

fn read_state(project: &Project) -> Result<Option<ReviewState>, String> {
    let bytes =
        files::read(&state_path(&project.directory), LONGEST).map_err(|error| error.to_string())?;
    let Some(bytes) = bytes else { return Ok(None) };
    let state: ReviewState = serde_json::from_slice(&bytes)
        .map_err(|error| format!("its state cannot be read: {error}"))?;
    match state.project == project.name {
        true => Ok(Some(state)),
        false => Err(format!("its state is that of project `{}`", state.project.escape_debug())),
    }
}

fn read_removeat(directory: &Path, now: Timestamp) -> Result<Option<Timestamp>, String> {
    let bytes =
        files::read(&directory.join("removeat"), LONGEST).map_err(|error| error.to_string())?;
    let Some(bytes) = bytes else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    let wrong = || {
        let told: String = text.trim().chars().take(40).flat_map(char::escape_default).collect();
        format!("removeat has `{told}`, which is no time in seconds since 1970")
    };
    let seconds: i64 = text.trim().parse().map_err(|_| wrong())?;
    let time = Timestamp::from_second(seconds).map_err(|_| wrong())?;
    let latest = now.checked_add(FARTHEST).unwrap_or(Timestamp::MAX);
    if seconds < EARLIEST || time > latest {
        return Err(wrong());
    }
    Ok(Some(time))
}

/// The later of both times: whoever prolonged either of them meant it.
fn standing(state: &ReviewState, removeat: Option<Timestamp>, now: Timestamp) -> Standing {
    let deployed = state.deployed.max(state.created);
    if deployed.duration_since(now) > TOLERANCE {
        return Standing::Unknown("it was deployed in the future: the clock went back".to_owned());
    }
    if state.remove_at < state.created || state.remove_at.duration_since(now) > FARTHEST {
        return Standing::Unknown("the time in its state makes no sense".to_owned());
    }
    Standing::Until(removeat.map_or(state.remove_at, |time| time.max(state.remove_at)))
}

/// What a review stack may not have: volumes that other stacks have, too, and a server that sends mail to people.
pub fn objection(document: &Document, project: &Project, may_mail: bool) -> Option<DeployError> {
    let volumes = document.root.get("volumes").map_or(&[][..], Node::entries);
    for (key, volume) in volumes {
        let own = [format!("{}_{key}", project.name), format!("{}-{key}", project.name)];
        let name = volume.get("name").and_then(Node::as_str);
        let is_external = volume.get("external").is_some_and(|node| node.as_str() != Some("false"));
        if let Some(name) = name.filter(|name| !is_external && !own.iter().any(|own| own == name)) {
            return Some(DeployError::request(
                format!(
                    "volume `{key}` has the fixed name `{name}`: all review stacks would share it, and the first that goes would remove it"
                ),
                "leave `name` out in the compose file",
            ));
        }
    }
    if may_mail {
        return None;
    }
    for (service, node) in document.services() {
        let host = node
            .get("environment")
            .and_then(|block| block.get("EMAIL_HOST"))
            .and_then(Node::as_str);
        let Some(host) = host.filter(|host| !host.is_empty()) else { continue };
        let is_local = matches!(host, "localhost" | "127.0.0.1" | "::1");
        if !is_local && document.service(host).is_none() {
            return Some(DeployError::request(
                format!(
                    "service {service} would send mail through a server that is no part of the stack: a review stack writes to nobody"
                ),
                "merge docker-compose.maildev.yml, too; or give --allow-mail",
            ));
        }
    }
    None
}

#[cfg(test)]
#[path = "review_tests.rs"]
mod tests;
