//! Which snapshot people mean: an id's first digits, `latest`, `latest:INSTANCE`, a date.

use std::collections::BTreeMap;

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
    /// None fits.
    #[error("no snapshot fits `{0}`")]
    None(String),
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
        } else if text.len() >= MIN_ID_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return only(text, passing());
        } else if let Some(end) = end_of(text, zone) {
            passing()
                .filter(|(_, snapshot)| i128::from(snapshot.start) < end)
                .max_by_key(|(id, snapshot)| (snapshot.start, snapshot.counter, *id))
        } else {
            None
        };
        found.ok_or_else(|| SelectError::None(text.to_owned()))
    }
}

/// The one whose id begins with `text`.
fn only<'a>(
    text: &str,
    snapshots: impl Iterator<Item = &'a Selected>,
) -> Result<&'a Selected, SelectError> {
    let digits = text.to_ascii_lowercase();
    let fitting: Vec<_> = snapshots.filter(|(id, _)| id.to_hex().starts_with(&digits)).collect();
    match fitting[..] {
        [] => Err(SelectError::None(text.to_owned())),
        [one] => Ok(one),
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
