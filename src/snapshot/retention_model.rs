//! A second opinion on retention, for tests: written from what restic's manual says, by grouping instead of
//! scanning, with a calendar of its own. Slow and plain.

use std::collections::BTreeMap;

/// A snapshot: seconds since 1970, whether it is complete, tags.
#[derive(Debug, Clone)]
pub struct Taken {
    pub time: i64,
    pub is_complete: bool,
    pub tags: Vec<&'static str>,
}

/// Years, months, days, hours.
pub type Span = (i64, i64, i64, i64);

/// `None`: the rule is off. A count of `usize::MAX` is "unlimited". Periods in the order hour, day, week,
/// month, quarter, year.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub last: Option<usize>,
    pub counts: [Option<usize>; 6],
    pub within: Option<Span>,
    pub within_periods: [Option<Span>; 6],
    pub tags: Vec<Vec<&'static str>>,
}

/// Where the clocks are.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    /// So many seconds east of Greenwich, all year.
    Fixed(i64),
    /// One hour east; two from the last Sunday of March to that of October, changed at 1:00 of Greenwich.
    Paris,
}

/// Days since 1970 of a date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let mut count = 0;
    if year >= 1970 {
        count += (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum::<i64>();
    } else {
        count -= (year..1970).map(|year| if leap(year) { 366 } else { 365 }).sum::<i64>();
    }
    count += (1..month).map(|month| length(year, month)).sum::<i64>();
    count + day - 1
}

/// Days of a month.
fn length(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 => 29,
        2 => 28,
        _ => 31,
    }
}

/// The date of a day since 1970.
fn date(day: i64) -> (i64, i64, i64) {
    let mut year = 1970 + day / 366 - 2;
    while days(year + 1, 1, 1) <= day {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days(year, month + 1, 1) <= day {
        month += 1;
    }
    (year, month, day - days(year, month, 1) + 1)
}

/// From 0, Monday. 1 January 1970 was a Thursday.
fn weekday(day: i64) -> i64 {
    (day + 3).rem_euclid(7)
}

fn offset(place: Place, time: i64) -> i64 {
    match place {
        Place::Fixed(offset) => offset,
        Place::Paris => {
            let (year, ..) = date(time.div_euclid(86_400));
            let change = |month| {
                let last = days(year, month, 31);
                (last - (weekday(last) + 1) % 7) * 86_400 + 3600
            };
            if (change(3)..change(10)).contains(&time) { 7200 } else { 3600 }
        }
    }
}

/// The moment at which the clock shows `local`: of two the first; of none, as much later.
fn moment(place: Place, local: i64) -> i64 {
    match place {
        Place::Fixed(offset) => local - offset,
        Place::Paris => {
            let candidates = [local - 7200, local - 3600];
            let shown = candidates.into_iter().find(|time| time + offset(place, *time) == local);
            shown.unwrap_or(local - 3600)
        }
    }
}

fn before(place: Place, time: i64, (years, months, less_days, hours): Span) -> i64 {
    let local = time + offset(place, time);
    let (year, month, day) = date(local.div_euclid(86_400));
    let month_number = year * 12 + month - 1 - years * 12 - months;
    let (year, month) = (month_number.div_euclid(12), month_number.rem_euclid(12) + 1);
    let day = day.min(length(year, month));
    let local = (days(year, month, day) - less_days) * 86_400 + local.rem_euclid(86_400);
    moment(place, local) - hours * 3600
}

/// A name of the period a moment is in; names sort as time does.
fn period(place: Place, kind: usize, time: i64) -> (i64, i64, i64) {
    let offset = offset(place, time);
    let local = time + offset;
    let day = local.div_euclid(86_400);
    let (year, month, _) = date(day);
    match kind {
        // The second of two equal hours has the smaller offset.
        0 => (local.div_euclid(3600), -offset, 0),
        1 => (day, 0, 0),
        // A week belongs to the year of its Thursday.
        2 => (day - weekday(day), 0, 0),
        3 => (year, month, 0),
        4 => (year, (month + 2) / 3, 0),
        _ => (year, 0, 0),
    }
}

/// Which of `taken`, all of different times, stay.
pub fn stays(taken: &[Taken], rules: &Rules, place: Place) -> Vec<bool> {
    let mut stay = vec![false; taken.len()];
    let by_time = |wanted: bool| {
        let mut found: Vec<usize> =
            (0..taken.len()).filter(|at| taken[*at].is_complete == wanted).collect();
        found.sort_by_key(|at| std::cmp::Reverse(taken[*at].time));
        found
    };
    let (complete, incomplete) = (by_time(true), by_time(false));
    if let Some(last) = rules.last {
        complete.iter().take(last).for_each(|at| stay[*at] = true);
        for at in &incomplete {
            let newer = complete.iter().filter(|other| taken[**other].time > taken[*at].time);
            stay[*at] |= newer.count() < last;
        }
    }
    for kind in 0..6 {
        let Some(count) = rules.counts[kind] else { continue };
        for at in newest_of_periods(taken, &complete, &incomplete, kind, place, count) {
            stay[at] = true;
        }
        let periods: BTreeMap<_, usize> =
            complete.iter().rev().map(|at| (period(place, kind, taken[*at].time), *at)).collect();
        // Not enough for one each: the oldest as well.
        if (periods.len() < count || count == usize::MAX) && !complete.is_empty() {
            stay[complete[complete.len() - 1]] = true;
        }
    }
    let newest = complete.first().or(incomplete.first()).map_or(0, |at| taken[*at].time);
    for at in 0..taken.len() {
        stay[at] |= rules.within.is_some_and(|span| taken[at].time > before(place, newest, span));
        let has = |list: &Vec<&str>| list.iter().all(|tag| taken[at].tags.contains(tag));
        stay[at] |= rules.tags.iter().any(has);
    }
    for kind in 0..6 {
        let Some(span) = rules.within_periods[kind] else { continue };
        let start = before(place, newest, span);
        let inside = |list: &[usize]| -> Vec<usize> {
            list.iter().copied().filter(|at| taken[*at].time > start).collect()
        };
        let (whole, rest) = (inside(&complete), inside(&incomplete));
        for at in newest_of_periods(taken, &whole, &rest, kind, place, usize::MAX) {
            stay[at] = true;
        }
        if whole.len() == complete.len() && !whole.is_empty() {
            stay[whole[whole.len() - 1]] = true;
        }
    }
    // Ours: the newest complete one, and what came after it.
    let newest_complete = complete.first().map(|at| taken[*at].time);
    for at in 0..taken.len() {
        stay[at] |= newest_complete.is_none_or(|newest| taken[at].time >= newest);
    }
    stay
}

/// The newest of each of the newest `count` periods, and incomplete ones where none is complete.
fn newest_of_periods(
    taken: &[Taken],
    complete: &[usize],
    incomplete: &[usize],
    kind: usize,
    place: Place,
    count: usize,
) -> Vec<usize> {
    // Oldest first, so that the newest is the one that stays in the map.
    let map = |list: &[usize]| -> BTreeMap<_, usize> {
        list.iter().rev().map(|at| (period(place, kind, taken[*at].time), *at)).collect()
    };
    let (whole, rest) = (map(complete), map(incomplete));
    let mut found: Vec<usize> = whole.values().rev().take(count).copied().collect();
    for (name, at) in &rest {
        let newer = whole.values().filter(|other| taken[**other].time > taken[*at].time).count();
        if !whole.contains_key(name) && newer < count {
            found.push(*at);
        }
    }
    found
}
