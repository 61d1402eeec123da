//! When a line is next.
//!
//! Lines for certain hours (`30 2 * * *`) mean the clock on the wall. In the hour that is skipped in spring they
//! come as much later as the clock is moved, in the hour that comes twice in autumn they come the first
//! time: neither lost nor doubled. Lines for every hour (`*/15 * * * *`) mean time that passes, and go on
//! evenly through both.

use chrono::{DateTime, Datelike, NaiveDate, Timelike, Utc};
use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::cron::CronLine;

/// How far apart two readings of the clock for one moment can be.
const LARGEST_SHIFT: SignedDuration = SignedDuration::from_hours(25);
/// How many moments that the zone has not, or has twice, are passed over: a minute each of two days.
const PASSED_OVER: usize = 2 * 2 * 24 * 60;
/// How many changes of the clock are looked through: two a year until the next 29 February, and those
/// that some zones make for a month of fasting.
const CHANGES: usize = 64;

impl CronLine {
    /// The first moment after `after`; `None` if there is none before 2100, where the crate's calendar ends.
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let next = |part: &cron::Schedule| match self.is_every_hour() {
            true => passing_time(part, after, zone),
            false => on_the_wall(part, after, zone),
        };
        self.parts.iter().filter_map(next).min()
    }
}

fn on_the_wall(part: &cron::Schedule, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    // Just after a change of the clock, hours that it skipped may still be to come.
    let is_near_change = zone
        .preceding(after)
        .next()
        .is_some_and(|change| after.duration_since(change.timestamp()) < LARGEST_SHIFT);
    let wall = zone.to_datetime(after);
    let from = if is_near_change { wall.checked_sub(LARGEST_SHIFT).ok()? } else { wall };
    part.after(&to_chrono(from)?).take(PASSED_OVER).find_map(|found| {
        let wall = from_chrono(&found)?;
        wall.to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp()).filter(|at| *at > after)
    })
}

fn passing_time(part: &cron::Schedule, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    // Between two changes the clock on the wall shows the time that passes.
    let mut from = after;
    let mut wall = zone.to_datetime(after);
    for _ in 0..CHANGES {
        let offset = zone.to_offset(from);
        let found = from_chrono(&part.after(&to_chrono(wall)?).next()?)?;
        let at = offset.to_timestamp(found).ok()?;
        let change = match zone.following(from).next().map(|change| change.timestamp()) {
            Some(change) if change <= at => change,
            _ => return Some(at),
        };
        // The moment of the change itself may be meant.
        wall = zone.to_datetime(change).checked_sub(SignedDuration::from_secs(1)).ok()?;
        from = change;
    }
    None
}

/// The crate computes in UTC: a reading of the wall clock dressed up as that.
fn to_chrono(wall: civil::DateTime) -> Option<DateTime<Utc>> {
    let [month, day, hour, minute, second] =
        [wall.month(), wall.day(), wall.hour(), wall.minute(), wall.second()]
            .map(|number| u32::from(number.unsigned_abs()));
    let date = NaiveDate::from_ymd_opt(i32::from(wall.year()), month, day)?;
    Some(date.and_hms_opt(hour, minute, second)?.and_utc())
}

fn from_chrono(wall: &DateTime<Utc>) -> Option<civil::DateTime> {
    let small = |number: u32| i8::try_from(number).ok();
    civil::DateTime::new(
        i16::try_from(wall.year()).ok()?,
        small(wall.month())?,
        small(wall.day())?,
        small(wall.hour())?,
        small(wall.minute())?,
        0,
        0,
    )
    .ok()
}
