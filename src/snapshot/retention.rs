//! Which snapshots stay, by a policy: a pure function from snapshots to verdicts with reasons.
//!
//! The rules are those restic's users know: any rule keeps by itself; a period (a day, a week) is one of the
//! calendar, in the instance's time zone, counts only if it has a snapshot, and is stood for by its newest one; as long
//! as a rule has periods left, the oldest snapshot stays as well. What differs:
//!
//! * Snapshots are judged instance by instance, whatever their paths and hosts.
//! * Incomplete snapshots use nothing up: one stays where a complete one would and there is none.
//! * The newest complete snapshot always stays, and so does what was tried after it.
//! * The hour that comes twice in autumn is two hours.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::calendar::CalendarSpan;
use crate::id::SnapshotId;

use super::pins::Pin;

/// A piece of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// An hour of the clock.
    Hour,
    /// A day.
    Day,
    /// A week of ISO 8601, from Monday on.
    Week,
    /// A month.
    Month,
    /// A quarter of a year.
    Quarter,
    /// A year.
    Year,
}

impl Period {
    /// All of them, shortest first.
    pub const ALL: [Self; 6] =
        [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Quarter, Self::Year];

    /// As in `keep-daily`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Quarter => "quarterly",
            Self::Year => "yearly",
        }
    }
}

/// How many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// So many; 0 turns the rule off.
    Times(u32),
    /// As many as there are.
    Unlimited,
}

impl Count {
    const fn is_left(self) -> bool {
        !matches!(self, Self::Times(0))
    }

    const fn less_one(self) -> Self {
        match self {
            Self::Times(count) => Self::Times(count.saturating_sub(1)),
            Self::Unlimited => Self::Unlimited,
        }
    }
}

/// What is to stay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetentionPolicy {
    /// The newest snapshots.
    pub last: Option<Count>,
    /// The newest snapshot of each of the newest periods.
    pub counts: BTreeMap<Period, Count>,
    /// Everything within so long before the newest snapshot.
    pub within: Option<CalendarSpan>,
    /// The newest snapshot of each period within so long before the newest snapshot.
    pub within_periods: BTreeMap<Period, CalendarSpan>,
    /// Snapshots that have all tags of one of these lists.
    pub tags: Vec<Vec<String>>,
}

impl RetentionPolicy {
    /// What production keeps: 7 last, 7 daily, 5 weekly, 12 monthly, 75 yearly.
    pub fn production() -> Self {
        let counts = [(Period::Day, 7), (Period::Week, 5), (Period::Month, 12), (Period::Year, 75)];
        Self {
            last: Some(Count::Times(7)),
            counts: counts.map(|(period, count)| (period, Count::Times(count))).into(),
            ..Self::default()
        }
    }

    /// Whether no rule keeps anything: with such a policy everything would go.
    pub fn keeps_nothing(&self) -> bool {
        let is_on = |count: &Count| count.is_left();
        !self.last.as_ref().is_some_and(is_on)
            && !self.counts.values().any(is_on)
            && self.within.is_none()
            && self.within_periods.is_empty()
            && self.tags.is_empty()
    }
}

impl std::fmt::Display for RetentionPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = |count: &Count| match count {
            Count::Times(count) => count.to_string(),
            Count::Unlimited => "unlimited".to_owned(),
        };
        let mut rules = Vec::new();
        rules.extend(self.last.as_ref().map(|last| format!("last {}", count(last))));
        rules.extend(
            self.counts.iter().map(|(period, n)| format!("{} {}", period.word(), count(n))),
        );
        rules.extend(self.within.map(|span| format!("within {span}")));
        let spans = self.within_periods.iter();
        rules.extend(spans.map(|(period, span)| format!("within {} {span}", period.word())));
        rules.extend(self.tags.iter().map(|tags| format!("tag {}", tags.join("+"))));
        f.write_str(&if rules.is_empty() { "nothing".to_owned() } else { rules.join(", ") })
    }
}

/// A snapshot as a policy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub id: SnapshotId,
    /// Start.
    pub time: Timestamp,
    /// Its number in the instance's history.
    pub counter: u64,
    /// Whether it is complete.
    pub is_complete: bool,
    /// Tags.
    pub tags: Vec<String>,
}

/// Why a snapshot stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is among the last.
    Last,
    /// It is the newest of a period.
    Newest(Period),
    /// It is the oldest, and the rule has periods left.
    Oldest(Period),
    /// It is within a span before the newest.
    Within(CalendarSpan),
    /// It is the newest of a period within a span.
    WithinPeriod(Period, CalendarSpan),
    /// It has these tags.
    Tags(Vec<String>),
    /// Somebody pinned it.
    Pinned(Pin),
    /// It is the newest complete one, and no rule keeps it.
    NewestComplete,
    /// It is incomplete, and no complete one is newer.
    NotReplaced,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Last => f.write_str("last"),
            Self::Newest(period) => f.write_str(period.word()),
            Self::Oldest(period) => write!(f, "oldest, {} not used up", period.word()),
            Self::Within(span) => write!(f, "within {span}"),
            Self::WithinPeriod(period, span) => write!(f, "{} within {span}", period.word()),
            Self::Tags(tags) => write!(f, "tag {}", tags.join("+")),
            Self::Pinned(pin) => write!(f, "pinned{pin}"),
            Self::NewestComplete => f.write_str("newest complete"),
            Self::NotReplaced => f.write_str("no complete one is newer"),
        }
    }
}

/// What becomes of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Which.
    pub id: SnapshotId,
    /// Why it stays; empty: it goes.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// Whether it stays.
    pub fn stays(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// One snapshot with its periods, which are looked up once.
struct Placed<'a> {
    candidate: &'a Candidate,
    periods: [(i64, i32); 6],
}

/// Judges the snapshots of one instance: one verdict each, newest first. `now` only tells which pins
/// have ended and which snapshots lie in the future.
pub fn judge(
    candidates: &[Candidate],
    policy: &RetentionPolicy,
    pins: &BTreeMap<SnapshotId, Vec<Pin>>,
    zone: &TimeZone,
    now: Timestamp,
) -> Vec<Verdict> {
    let mut placed: Vec<Placed<'_>> = candidates
        .iter()
        .map(|candidate| Placed { candidate, periods: periods_of(candidate.time, zone) })
        .collect();
    placed.sort_by_key(|placed| {
        let candidate = placed.candidate;
        std::cmp::Reverse((candidate.time, candidate.counter, candidate.id))
    });
    let mut reasons: Vec<Vec<Reason>> = vec![Vec::new(); placed.len()];
    if let Some(count) = policy.last {
        // Each is a period of its own.
        counted(&placed, count, |at| (at as i64, 0), &mut |at, _| reasons[at].push(Reason::Last));
    }
    for (period, count) in &policy.counts {
        let key = |at: usize| placed[at].periods[*period as usize];
        counted(&placed, *count, key, &mut |at, is_oldest| {
            reasons[at].push(match is_oldest {
                true => Reason::Oldest(*period),
                false => Reason::Newest(*period),
            });
        });
    }
    within(&placed, policy, zone, now, &mut reasons);
    for (placed, reasons) in placed.iter().zip(&mut reasons) {
        let candidate = placed.candidate;
        let has = |tags: &&Vec<String>| tags.iter().all(|tag| candidate.tags.contains(tag));
        reasons.extend(policy.tags.iter().filter(has).cloned().map(Reason::Tags));
        let pins = pins.get(&candidate.id).into_iter().flatten();
        reasons.extend(pins.filter(|pin| pin.holds(now)).cloned().map(Reason::Pinned));
    }
    let newest_complete = placed.iter().position(|placed| placed.candidate.is_complete);
    for (at, reasons) in reasons.iter_mut().enumerate().filter(|(_, reasons)| reasons.is_empty()) {
        match newest_complete {
            Some(newest) if at == newest => reasons.push(Reason::NewestComplete),
            Some(newest) if at > newest => {}
            _ => reasons.push(Reason::NotReplaced),
        }
    }
    placed
        .iter()
        .zip(reasons)
        .map(|(placed, reasons)| Verdict { id: placed.candidate.id, reasons })
        .collect()
}

/// Calls `keep` (with whether it is for being the oldest) for each snapshot that a counted rule keeps.
fn counted(
    placed: &[Placed<'_>],
    mut left: Count,
    key: impl Fn(usize) -> (i64, i32),
    keep: &mut dyn FnMut(usize, bool),
) {
    let is_complete = |at: &usize| placed[*at].candidate.is_complete;
    let with_complete: HashSet<_> = (0..placed.len()).filter(is_complete).map(&key).collect();
    let oldest = (0..placed.len()).rev().find(is_complete);
    let (mut last, mut last_incomplete) = (None, None);
    for at in 0..placed.len() {
        if !left.is_left() {
            break;
        }
        let period = key(at);
        if !is_complete(&at) {
            if !with_complete.contains(&period) && last_incomplete != Some(period) {
                last_incomplete = Some(period);
                keep(at, false);
            }
        } else if last != Some(period) {
            last = Some(period);
            left = left.less_one();
            keep(at, false);
        } else if Some(at) == oldest {
            keep(at, true);
        }
    }
}

/// The rules that look back from the newest snapshot.
fn within(
    placed: &[Placed<'_>],
    policy: &RetentionPolicy,
    zone: &TimeZone,
    now: Timestamp,
    reasons: &mut [Vec<Reason>],
) {
    let past = || placed.iter().map(|placed| placed.candidate).filter(|one| one.time <= now);
    let newest = past().find(|candidate| candidate.is_complete).or_else(|| past().next());
    let Some(newest) = newest.map(|candidate| candidate.time) else { return };
    if let Some(span) = policy.within {
        let start = span.before(newest, zone);
        for (placed, reasons) in placed.iter().zip(&mut *reasons) {
            if placed.candidate.time > start {
                reasons.push(Reason::Within(span));
            }
        }
    }
    for (period, span) in &policy.within_periods {
        let start = span.before(newest, zone);
        // Sorted: what is within comes first.
        let count = placed.iter().take_while(|placed| placed.candidate.time > start).count();
        let (inside, before) = placed.split_at(count);
        let is_all = before.iter().all(|placed| !placed.candidate.is_complete);
        let key = |at: usize| inside[at].periods[*period as usize];
        counted(inside, Count::Unlimited, key, &mut |at, is_oldest| {
            // As in restic the oldest of all stays, not the oldest within; incomplete ones do not count.
            if !is_oldest || is_all {
                reasons[at].push(Reason::WithinPeriod(*period, *span));
            }
        });
    }
}

/// What tells the periods of a moment apart, in the order of [`Period::ALL`].
fn periods_of(time: Timestamp, zone: &TimeZone) -> [(i64, i32); 6] {
    let offset = zone.to_offset(time);
    let wall = offset.to_datetime(time);
    let date = wall.date();
    let week = date.iso_week_date();
    let (year, month) = (i64::from(date.year()), i32::from(date.month()));
    let local_seconds = time.as_second() + i64::from(offset.seconds());
    [
        (local_seconds.div_euclid(3600), offset.seconds()),
        (year, i32::from(date.day_of_year())),
        (i64::from(week.year()), i32::from(week.week())),
        (year, month),
        (year, (month - 1) / 3),
        (year, 0),
    ]
}
