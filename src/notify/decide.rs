//! What is new since the last time: only changes are told, unless somebody wants to hear all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::history::{Run, RunState};
use crate::instance::config::{EventKind, NotifyConfig};
use crate::status::{Concern, InstanceStatus, NightState, Overview};

/// Hour of Monday at which the week is told.
const DIGEST_HOUR: i8 = 8;
/// Code of a run that somebody stopped, which is no failure.
const INTERRUPTED: u8 = 130;
/// Longest file that is read.
const LONGEST: u64 = 1 << 20;

/// What was told last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Of each instance.
    #[serde(default)]
    instances: BTreeMap<String, Told>,
    /// When the week was told.
    #[serde(default)]
    digest: Option<Timestamp>,
}

/// What was told of one instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    /// How its last run failed.
    #[serde(default)]
    failing: Option<String>,
    /// That it is stale.
    #[serde(default)]
    stale: bool,
    /// What is odd about it.
    #[serde(default)]
    odd: BTreeSet<String>,
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// What.
    pub kind: EventKind,
    /// Of which instance; `None`: of all.
    pub instance: Option<String>,
    /// Whether it was not so before.
    pub is_change: bool,
}

/// Whether somebody with this configuration is to be told.
pub fn interest(config: &NotifyConfig, occurrence: &Occurrence) -> bool {
    let is_new = occurrence.is_change || config.every || occurrence.kind != EventKind::Failure;
    config.wants(occurrence.kind, occurrence.instance.as_deref()) && is_new
}

/// What there is to tell now, and takes note of it. `ended` is an instance of which a run has just ended.
pub fn decide(memory: &mut Memory, overview: &Overview, ended: Option<&str>) -> Vec<Occurrence> {
    let mut found = Vec::new();
    for one in &overview.instances {
        let told = memory.instances.entry(one.name.clone()).or_default();
        let mut put = |kind, is_change| {
            found.push(Occurrence { kind, instance: Some(one.name.clone()), is_change });
        };
        let is_ended = ended == Some(one.name.as_str());
        let mut is_mended = false;
        // One that was killed told nobody: whoever looks next does.
        let last = one.runs.last().filter(|run| is_ended || run.state() == RunState::Killed);
        if let Some(run) = last {
            match failure_of(run) {
                Some(failure) => {
                    let is_change = told.failing.as_ref() != Some(&failure);
                    if is_ended || is_change {
                        put(EventKind::Failure, is_change);
                    }
                    told.failing = Some(failure);
                }
                None if is_whole(run) => {
                    put(EventKind::Success, false);
                    // A good night does not mend the check that failed on Saturday.
                    is_mended = one.last_error.is_none() && told.failing.take().is_some();
                }
                None => {}
            }
        }
        let is_stale = is_stale(one);
        if is_stale && !told.stale {
            put(EventKind::Stale, true);
        }
        // One that fails still is not good again.
        is_mended |= told.stale && !is_stale && told.failing.is_none();
        told.stale = is_stale;
        let odd = odd(one);
        if odd.difference(&told.odd).next().is_some() {
            put(EventKind::Warning, true);
        }
        told.odd = odd;
        if is_mended && !is_stale {
            put(EventKind::Recovery, true);
        }
    }
    let zone = overview.instances.first().map_or(TimeZone::UTC, |one| one.zone.clone());
    match (memory.digest, last_monday(&overview.now.to_zoned(zone))) {
        // The first week is told when it is over.
        (None, _) => memory.digest = Some(overview.now),
        (Some(told), Some(due)) if told < due => {
            memory.digest = Some(overview.now);
            found.push(Occurrence { kind: EventKind::Digest, instance: None, is_change: true });
        }
        _ => {}
    }
    found
}

/// In what a run failed, if it did; two runs that failed in the same are the same failure.
fn failure_of(run: &Run) -> Option<String> {
    let Some(ended) = &run.ended else {
        return (run.state() == RunState::Killed).then(|| "killed".to_owned());
    };
    if ended.exit_code == 0 || ended.exit_code == INTERRUPTED {
        return None;
    }
    let bad = run.steps.iter().filter(|done| !matches!(done.result.as_str(), "ok" | "not-tried"));
    let steps: Vec<String> =
        bad.map(|done| format!("{}={}", done.step.name(), done.result)).collect();
    Some(if steps.is_empty() { format!("exit={}", ended.exit_code) } else { steps.join(",") })
}

fn is_whole(run: &Run) -> bool {
    run.ended.as_ref().is_some_and(|ended| ended.exit_code == 0)
}

/// Whether the last good snapshot is too old. One that was never to be made is not missed, and of one that failed the failure is told.
fn is_stale(one: &InstanceStatus) -> bool {
    let is_missing = || one.nights.iter().any(|night| night.state == NightState::Missing);
    one.concerns.iter().any(|concern| match concern {
        Concern::Stale { .. } => true,
        Concern::Never => is_missing(),
        _ => false,
    })
}

fn odd(one: &InstanceStatus) -> BTreeSet<String> {
    let is_odd = |concern: &&Concern| {
        matches!(concern, Concern::Odd(_) | Concern::DiskFull(_) | Concern::ProofOld(_))
    };
    one.concerns.iter().filter(is_odd).map(|concern| concern.word().to_owned()).collect()
}

/// The last Monday, eight o'clock, that is over.
fn last_monday(now: &Zoned) -> Option<Timestamp> {
    let today = now.date();
    let days = i64::from(today.weekday().since(Weekday::Monday));
    let monday = today.checked_sub(days.days()).ok()?;
    let at = |date: jiff::civil::Date| {
        date.at(DIGEST_HOUR, 0, 0, 0).to_zoned(now.time_zone().clone()).ok()
    };
    let due = at(monday)?;
    let due = if due.timestamp() > now.timestamp() {
        at(monday.checked_sub(7.days()).ok()?)?
    } else {
        due
    };
    Some(due.timestamp())
}

/// The file in which it is remembered, and its lock: of two who look at once one tells.
#[derive(Debug)]
pub struct MemoryFile {
    path: PathBuf,
    _lock: File,
    /// What it says.
    pub memory: Memory,
}

impl MemoryFile {
    /// Opens it below a state directory. One that makes no sense is as good as none.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let directory = state_dir.join("notify");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(directory.join("told.lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let path = directory.join("told.json");
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(file) => drop(file.take(LONGEST).read_to_end(&mut bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let memory = serde_json::from_slice(&bytes).unwrap_or_default();
        Ok(Self { path, _lock: lock, memory })
    }

    /// Replaces it as a whole, so that a full disk leaves what it said before, and lets others look.
    pub fn close(self) -> io::Result<()> {
        let aside = self.path.with_extension("tmp");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(&serde_json::to_vec(&self.memory)?)?;
        file.sync_all()?;
        fs::rename(&aside, &self.path)
    }
}
