//! The strip of nights: what became of each of the last days on which something was to be done.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::calendar::CronLine;

/// A night that should have begun is not called missing before this.
const GRACE: SignedDuration = SignedDuration::from_hours(1);
/// Hours of a crontab line that are looked at: ten a day for a month, and enough to know which day it is.
const MOST_SLOTS: usize = 400;

/// What became of a night.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NightState {
    /// As it should be.
    Ok,
    /// It is at work.
    Running,
    /// Something is missing in what was made.
    Incomplete,
    /// It failed, or was killed.
    Failed,
    /// It was to be done, and nobody did.
    Missing,
    /// It is about to be done.
    Pending,
    /// It was not to be done.
    NotDue,
    /// Nobody here knows: it is before anything was noted down.
    Unknown,
}

impl NightState {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Ok,
        Self::Running,
        Self::Incomplete,
        Self::Failed,
        Self::Missing,
        Self::Pending,
        Self::NotDue,
        Self::Unknown,
    ];

    /// The best of several tries stands for the night.
    const fn rank(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Running => 1,
            Self::Incomplete => 2,
            _ => 3,
        }
    }
}

/// One night.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Night {
    /// The day on which it was to begin.
    pub date: Date,
    /// What became of it.
    pub state: NightState,
}

/// What a strip is made of.
#[derive(Debug)]
pub struct NightlyRow<'a> {
    /// When it is to be done; `None`: every day.
    pub line: Option<&'a CronLine>,
    /// Whose days.
    pub zone: &'a TimeZone,
    /// How much later than the line says it may begin.
    pub delay: SignedDuration,
    /// What was tried: when it began, and what became of it.
    pub tries: Vec<(Timestamp, NightState)>,
    /// Since when somebody waits for it.
    pub since: Option<Timestamp>,
}

/// The last `count` nights, oldest first. The last one is today's if that is due or was done, otherwise yesterday's.
pub fn nights(row: &NightlyRow<'_>, count: usize, now: Timestamp) -> Vec<Night> {
    let today = date_of(now, row.zone);
    let back = i64::try_from(count).unwrap_or(30) + 1;
    let first = today.saturating_sub(back.days());
    let slots = slots(row, first, now);
    let mut best: BTreeMap<Date, NightState> = BTreeMap::new();
    for (time, state) in &row.tries {
        // What is made good the next morning is the night's.
        let slot = slots.iter().rev().find(|slot| **slot <= *time);
        let date = date_of(slot.copied().unwrap_or(*time), row.zone);
        let entry = best.entry(date).or_insert(*state);
        if state.rank() < entry.rank() {
            *entry = *state;
        }
    }
    let is_due_today = slots.last().is_some_and(|slot| date_of(*slot, row.zone) == today);
    let last = match is_due_today || best.contains_key(&today) {
        true => today,
        false => today.yesterday().unwrap_or(today),
    };
    let mut found: Vec<Night> = Vec::with_capacity(count);
    let mut date = last;
    while found.len() < count {
        let state = best.get(&date).copied().unwrap_or_else(|| untried(row, &slots, date, now));
        found.push(Night { date, state });
        let Ok(before) = date.yesterday() else { break };
        date = before;
    }
    found.reverse();
    found
}

/// What to say of a day on which nothing was tried.
fn untried(row: &NightlyRow<'_>, slots: &[Timestamp], date: Date, now: Timestamp) -> NightState {
    let Some(since) = row.since else { return NightState::Unknown };
    let slot = match row.line {
        Some(_) => slots.iter().rev().find(|slot| date_of(**slot, row.zone) == date).copied(),
        // Without an hour the day itself is the slot: its end.
        None => end_of_day(date, row.zone),
    };
    match slot {
        None if date < date_of(since, row.zone) => NightState::Unknown,
        None => NightState::NotDue,
        Some(slot) if slot < since => NightState::Unknown,
        Some(slot) if now.duration_since(slot) < GRACE.saturating_add(row.delay) => {
            NightState::Pending
        }
        Some(_) => NightState::Missing,
    }
}

/// The hours from the day `first` on until now, oldest first.
fn slots(row: &NightlyRow<'_>, first: Date, now: Timestamp) -> Vec<Timestamp> {
    let Some(line) = row.line else { return Vec::new() };
    let Ok(start) = first.to_zoned(row.zone.clone()) else { return Vec::new() };
    let mut found = Vec::new();
    let mut at = start.timestamp();
    while let Some(next) = line.next_after(at, row.zone).filter(|next| *next <= now) {
        found.push(next);
        at = next;
        if found.len() >= MOST_SLOTS {
            // Every few minutes: one a day is enough to tell the days apart.
            return (0..)
                .map_while(|days: i64| first.checked_add(days.days()).ok())
                .map_while(|date| date.to_zoned(row.zone.clone()).ok())
                .map(|zoned| zoned.timestamp())
                .take_while(|slot| *slot <= now)
                .collect();
        }
    }
    found
}

fn date_of(time: Timestamp, zone: &TimeZone) -> Date {
    time.to_zoned(zone.clone()).date()
}

/// The end of a day.
fn end_of_day(date: Date, zone: &TimeZone) -> Option<Timestamp> {
    date.tomorrow().ok()?.to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp())
}
