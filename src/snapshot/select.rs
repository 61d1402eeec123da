//! Which snapshot people mean: an id's first digits, `latest`, `latest:INSTANCE`, a date.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::event::counted;
use crate::id::SnapshotId;

use super::manifest::Snapshot;

/// A snapshot with its id, as selection sees it.
pub type Selected = (SnapshotId, Snapshot);

/// What was asked for, with filters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// Only of this instance.
    pub instance: Option<String>,
    /// Only with all of these tags.
    pub tags: Vec<String>,
    /// Only from this host.
    pub host: Option<String>,
}

/// Why no single snapshot is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// There are none at all.
    #[error("no snapshot fits `{text}`: the repository has none yet")]
    Empty {
        /// What was asked.
        text: String,
    },
    /// None fits.
    #[error("no snapshot fits `{text}`: {known}")]
    None {
        /// What was asked.
        text: String,
        /// What is there instead.
        known: String,
    },
    /// Several fit.
    #[error("`{text}` fits {count} snapshots: {examples}")]
    Ambiguous {
        /// What was asked.
        text: String,
        /// How many fit.
        count: usize,
        /// Some of them.
        examples: String,
    },
}

/// Fewest digits of an id that are taken for one.
const MIN_ID_DIGITS: usize = 4;

impl Selector {
    /// Those that pass the filters, oldest first.
    pub fn filter(&self, snapshots: Vec<Selected>) -> Vec<Selected> {
        let mut kept: Vec<_> =
            snapshots.into_iter().filter(|(_, snapshot)| self.passes(snapshot)).collect();
        kept.sort_by_key(|(id, snapshot)| (snapshot.start, snapshot.counter, *id));
        kept
    }

    fn passes(&self, snapshot: &Snapshot) -> bool {
        self.instance.as_ref().is_none_or(|instance| *instance == snapshot.instance)
            && self.host.as_ref().is_none_or(|host| *host == snapshot.host)
            && self.tags.iter().all(|tag| snapshot.tags.contains(tag))
    }

    /// The one `text` means: `latest`, `latest:INSTANCE`, digits of an id (4 or more), or a date or time
    /// (`2026-11-22`, `2026-11-22T23:00`: the newest not after its end, in `zone`). `latest` prefers complete snapshots
    /// and takes an incomplete one only if there is no complete one.
    pub fn find<'a>(
        &self,
        text: &str,
        snapshots: &'a [Selected],
        zone: &jiff::tz::TimeZone,
    ) -> Result<&'a Selected, SelectError> {
        let passing = || snapshots.iter().filter(|(_, snapshot)| self.passes(snapshot));
        let found = if text == "latest" {
            latest(passing().collect())
        } else if let Some(instance) = text.strip_prefix("latest:") {
            latest(passing().filter(|(_, snapshot)| snapshot.instance == instance).collect())
        } else if is_id(text) {
            only(text, passing())?
        } else if let Some(end) = end_of(text, zone) {
            passing()
                .filter(|(_, snapshot)| i128::from(snapshot.start) < end)
                .max_by_key(|(id, snapshot)| (snapshot.start, snapshot.counter, *id))
        } else {
            None
        };
        found.ok_or_else(|| {
            if snapshots.is_empty() {
                return SelectError::Empty { text: text.to_owned() };
            }
            let known = self.known(text, snapshots, &passing().collect::<Vec<_>>());
            SelectError::None { text: text.to_owned(), known }
        })
    }

    /// What somebody who asked for `text` may have meant, or why it cannot be.
    fn known(&self, text: &str, all: &[Selected], passing: &[&Selected]) -> String {
        let instances: BTreeSet<_> = all.iter().map(|(_, snapshot)| &*snapshot.instance).collect();
        let instances = instances.into_iter().collect::<Vec<_>>().join(", ");
        if passing.is_empty() {
            let all = counted(all.len(), "snapshot");
            return format!("instance, host and tags leave none of {all} (of {instances})");
        }
        if text.starts_with("latest:") {
            return format!("there are snapshots of {instances}");
        }
        if is_id(text) {
            return format!("the nearest ids are {}", nearest(text, passing).join(", "));
        }
        let is_short_id = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_short_id {
            return format!("an id is {MIN_ID_DIGITS} digits or more");
        }
        "it is none of an id, `latest`, `latest:INSTANCE`, and a date since the first snapshot"
            .to_owned()
    }
}

/// Whether it is taken for the digits of an id.
fn is_id(text: &str) -> bool {
    text.len() >= MIN_ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The ids that `text` is nearest to: most digits in common at the start, then fewest mistyped.
fn nearest(text: &str, snapshots: &[&Selected]) -> Vec<String> {
    const NAMED: usize = 3;
    let text = text.to_ascii_lowercase();
    let distance = |id: &SnapshotId| {
        let id = id.to_hex();
        let same = id.bytes().zip(text.bytes()).take_while(|(one, other)| one == other).count();
        (Reverse(same), strsim::osa_distance(&id[..text.len().min(id.len())], &text))
    };
    let mut ids: Vec<SnapshotId> = snapshots.iter().map(|(id, _)| *id).collect();
    // Of ids alike, the newest.
    ids.reverse();
    ids.sort_by_cached_key(distance);
    ids.iter().take(NAMED).map(|id| id.short()).collect()
}

/// The one whose id begins with `text`, if there is one.
fn only<'a>(
    text: &str,
    snapshots: impl Iterator<Item = &'a Selected>,
) -> Result<Option<&'a Selected>, SelectError> {
    let digits = text.to_ascii_lowercase();
    let fitting: Vec<_> = snapshots.filter(|(id, _)| id.to_hex().starts_with(&digits)).collect();
    match fitting[..] {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => {
            // Enough digits to tell them apart by eye, and to paste back.
            let len = (digits.len() + 4).max(12);
            let examples: Vec<String> = fitting
                .iter()
                .take(3)
                .map(|(id, _)| id.to_hex().chars().take(len).collect())
                .collect();
            Err(SelectError::Ambiguous {
                text: text.to_owned(),
                count: fitting.len(),
                examples: examples.join(", "),
            })
        }
    }
}

/// The newest, of the complete ones if there are any. Within an instance counters tell the order, for
/// clocks may have been set back; between instances there is only the time.
fn latest(mut snapshots: Vec<&Selected>) -> Option<&Selected> {
    if snapshots.iter().any(|(_, snapshot)| snapshot.is_complete) {
        snapshots.retain(|(_, snapshot)| snapshot.is_complete);
    }
    let mut newest: BTreeMap<&str, &Selected> = BTreeMap::new();
    for selected in snapshots {
        let rank = |(id, snapshot): &Selected| (snapshot.counter, snapshot.start, *id);
        newest
            .entry(&selected.1.instance)
            .and_modify(|best| {
                if rank(selected) > rank(best) {
                    *best = selected;
                }
            })
            .or_insert(selected);
    }
    newest.into_values().max_by_key(|(id, snapshot)| (snapshot.start, *id))
}

/// First nanosecond after the day, hour, minute or second `text` names; `None` if it names none.
fn end_of(text: &str, zone: &jiff::tz::TimeZone) -> Option<i128> {
    use jiff::{ToSpan as _, civil};
    let Some((_, time)) = text.split_once(['T', 't', ' ']) else {
        let date: civil::Date = text.parse().ok()?;
        let end = date.tomorrow().ok()?.to_zoned(zone.clone()).ok()?;
        return Some(end.timestamp().as_nanosecond());
    };
    // An offset has a colon of its own: only what is before it tells how exact the time is.
    let clock = time.split(['Z', 'z', '+', '-', '[']).next().unwrap_or(time);
    let exactness = match clock.matches(':').count() {
        0 => 1.hour(),
        1 => 1.minute(),
        _ if clock.contains('.') => 1.nanosecond(),
        _ => 1.second(),
    };
    let start = match text.parse::<jiff::Timestamp>() {
        Ok(timestamp) => timestamp,
        Err(_) => text.parse::<civil::DateTime>().ok()?.to_zoned(zone.clone()).ok()?.timestamp(),
    };
    Some(start.checked_add(exactness).ok()?.as_nanosecond())
}
