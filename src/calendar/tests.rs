use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};
use proptest::prelude::*;

use super::*;

fn line(text: &str) -> CronLine {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn at(text: &str) -> Zoned {
    text.parse().expect("a time with its zone")
}

/// The next `count` firings after `from`, as its zone's clock shows them.
fn firings(text: &str, from: &str, count: usize) -> Vec<String> {
    let (line, from) = (line(text), at(from));
    let mut after = from.timestamp();
    let mut found = Vec::new();
    for _ in 0..count {
        after = line.next_after(after, from.time_zone()).expect("a next one");
        found.push(after.to_zoned(from.time_zone().clone()).strftime("%m-%d %H:%M%:z").to_string());
    }
    found
}

#[test]
fn wrong_lines_name_the_field() {
    for (text, expected) in [
        ("", "it is empty; write five"),
        ("0 23 * *", "it has 4 fields; write five"),
        ("0 0 23 * * *", "it has 6 fields (seconds"),
        ("@reboot", "no time"),
        ("@often", "the words are @hourly"),
        ("60 2 * * *", "minute (field 1): `60` is not within 0-59"),
        ("-1 2 * * *", "minute (field 1): `` is not understood"),
        ("0 24 * * *", "hour (field 2): `24` is not within 0-23"),
        ("0 2 0 * *", "day of the month (field 3): `0` is not within 1-31"),
        ("0 2 L * *", "day of the month (field 3): `L` is not understood"),
        ("0 2 ? * *", "day of the month (field 3): `?` is not understood"),
        ("0 2 30 2 *", "day of the month (field 3): none of the months"),
        ("0 2 31 4,6 *", "would never run"),
        ("0 2 31 4,6 */2", "would never run"),
        ("0 2 * 13 *", "month (field 4): `13` is not within 1-12"),
        ("0 2 * jam *", "month (field 4): `jam` is not understood; use 1-12 or jan-dec"),
        ("0 2 * * 8", "day of the week (field 5): `8` is not within 0-7"),
        ("0 2 * * 1#2", "day of the week (field 5): `1#2` is not understood"),
        ("0 22-2 * * *", "hour (field 2): `22-2` runs backwards; write `22-23,0-2`"),
        ("*/0 * * * *", "minute (field 1): `*/0` has a step of 0"),
        ("*/90 * * * *", "minute (field 1): `*/90` has a step larger"),
        ("5/15 * * * *", "minute (field 1): a step needs a range; write `5-59/...`"),
        ("*/x * * * *", "minute (field 1): `*/x` has no number after `/`"),
        ("1,,2 * * * *", "minute (field 1): `1,,2` has a comma with nothing beside it"),
        ("1e1 * * * *", "minute (field 1): `1e1` is not understood"),
        ("99999999999 * * * *", "minute (field 1): `99999999999` is not within"),
        ("+5 * * * *", "minute (field 1): `+5` is not understood"),
        ("é * * * *", "minute (field 1): `é` is not understood"),
    ] {
        let error = CronLine::from_str(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
    let long = "1,".repeat(500) + "1 * * * *";
    assert!(CronLine::from_str(&long).expect_err("long").to_string().contains("longer"));
}

#[test]
fn weekdays_are_those_of_crontab() {
    // 25 November 2026 is a Wednesday.
    let from = "2026-11-25T12:00[Europe/Paris]";
    for (text, expected) in [
        ("0 5 * * 0", "11-29 05:00+01:00"),
        ("0 5 * * 7", "11-29 05:00+01:00"),
        ("0 5 * * sun", "11-29 05:00+01:00"),
        ("0 5 * * 1", "11-30 05:00+01:00"),
        ("0 5 * * Mon", "11-30 05:00+01:00"),
        ("0 5 * * 6", "11-28 05:00+01:00"),
        ("0 5 * * fri-sun", "11-27 05:00+01:00"),
        ("0 5 * * 5-7", "11-27 05:00+01:00"),
        ("@weekly", "11-29 00:00+01:00"),
        ("@monthly", "12-01 00:00+01:00"),
        ("@yearly", "01-01 00:00+01:00"),
    ] {
        assert_eq!(firings(text, from, 1), [expected], "{text}");
    }
}

#[test]
fn either_day_will_do() {
    let found = firings("0 3 13 * fri", "2026-11-01T00:00[UTC]", 6);
    let expected = ["11-06", "11-13", "11-20", "11-27", "12-04", "12-11"];
    assert_eq!(found, expected.map(|day| format!("{day} 03:00+00:00")));
    // With a star in one of them both have to fit.
    let found = firings("0 3 */2 * mon", "2026-11-14T00:00[UTC]", 3);
    assert_eq!(found, ["11-23 03:00+00:00", "12-07 03:00+00:00", "12-21 03:00+00:00"]);
    let found = firings("0 3 1,15 * mon", "2026-11-14T00:00[UTC]", 3);
    assert_eq!(found, ["11-15 03:00+00:00", "11-16 03:00+00:00", "11-23 03:00+00:00"]);
}

#[test]
fn a_night_of_two_thirty_is_neither_lost_nor_doubled() {
    let spring = firings("30 2 * * *", "2027-03-26T12:00[Europe/Paris]", 4);
    assert_eq!(
        spring,
        ["03-27 02:30+01:00", "03-28 03:30+02:00", "03-29 02:30+02:00", "03-30 02:30+02:00"]
    );
    let autumn = firings("30 2 * * *", "2027-10-29T12:00[Europe/Paris]", 4);
    assert_eq!(
        autumn,
        ["10-30 02:30+02:00", "10-31 02:30+02:00", "11-01 02:30+01:00", "11-02 02:30+01:00"]
    );
    // Also for whoever asks in the very hour.
    let late = firings("30 2 * * *", "2027-03-28T03:10[Europe/Paris]", 1);
    assert_eq!(late, ["03-28 03:30+02:00"]);
}

#[test]
fn what_runs_every_hour_goes_on_evenly() {
    let autumn = firings("*/30 * * * *", "2027-10-31T01:45[Europe/Paris]", 5);
    assert_eq!(
        autumn,
        [
            "10-31 02:00+02:00",
            "10-31 02:30+02:00",
            "10-31 02:00+01:00",
            "10-31 02:30+01:00",
            "10-31 03:00+01:00"
        ]
    );
    let spring = firings("*/30 * * * *", "2027-03-28T01:15[Europe/Paris]", 3);
    assert_eq!(spring, ["03-28 01:30+01:00", "03-28 03:00+02:00", "03-28 03:30+02:00"]);
}

#[test]
fn every_day_of_twenty_years_has_one_firing() {
    for (name, text) in [
        ("Europe/Paris", "30 2 * * *"),
        ("America/New_York", "0 2 * * *"),
        ("Australia/Lord_Howe", "15 2 * * *"),
        ("America/Sao_Paulo", "0 0 * * *"),
        ("Asia/Kathmandu", "59 23 * * *"),
    ] {
        let zone = TimeZone::get(name).expect("a zone");
        let line = line(text);
        let start: Timestamp = "2010-01-01T12:00:00Z".parse().expect("a time");
        let (mut after, mut days) = (start, BTreeMap::new());
        while after < start + SignedDuration::from_hours(24 * 365 * 20) {
            let next = line.next_after(after, &zone).expect("a next one");
            assert!(next > after, "{name}");
            *days.entry(zone.to_datetime(next).date()).or_insert(0) += 1;
            after = next;
        }
        let (first, last) =
            (*days.keys().next().expect("days"), *days.keys().last().expect("days"));
        let all = first.until(last).expect("a span").get_days();
        assert_eq!(usize::try_from(all).expect("days") + 1, days.len(), "{name}: a day is lost");
        assert!(days.values().all(|count| *count == 1), "{name}: a day is doubled");
    }
}

#[test]
fn leap_days_are_waited_for() {
    let found = firings("0 4 29 2 *", "2088-03-01T00:00[UTC]", 2);
    assert_eq!(found, ["02-29 04:00+00:00"; 2]);
    let zone = TimeZone::UTC;
    let next =
        line("*/5 * 29 feb *").next_after(at("2026-03-01T00:00[Europe/Paris]").timestamp(), &zone);
    assert_eq!(next.expect("a leap day").to_string(), "2028-02-29T00:00:00Z");
}

/// One field of a line, with the values it means.
fn field(min: u32, max: u32) -> impl Strategy<Value = (String, Vec<u32>)> {
    let value = min..=max;
    prop_oneof![
        2 => Just(("*".to_owned(), (min..=max).collect())),
        2 => value.clone().prop_map(|one| (one.to_string(), vec![one])),
        1 => (value.clone(), value.clone()).prop_map(|(a, b)| {
            let (a, b) = (a.min(b), a.max(b));
            (format!("{a}-{b}"), (a..=b).collect())
        }),
        1 => (value.clone(), value).prop_map(|(a, b)| (format!("{a},{b}"), vec![a, b])),
    ]
}

proptest! {
    #[test]
    fn the_next_one_is_the_first_minute_that_fits(
        (minute, minutes) in field(0, 59),
        (hour, hours) in field(0, 23),
        (day, days) in field(1, 28),
        (month, months) in field(1, 12),
        (weekday, weekdays) in field(0, 6),
        start in 0_i64..2_000_000_000,
    ) {
        let line = line(&format!("{minute} {hour} {day} {month} {weekday}"));
        let start = Timestamp::from_second(start).expect("a time");
        let next = line.next_after(start, &TimeZone::UTC).expect("a next one");
        let fits = |time: &Zoned| {
            let of = |number: i8| u32::try_from(number).expect("a number");
            let in_month = days.contains(&of(time.day()));
            let in_week = weekdays.contains(&of(time.weekday().to_sunday_zero_offset()));
            let is_day = match (day.as_str(), weekday.as_str()) {
                ("*", _) => in_week,
                (_, "*") => in_month,
                _ => in_month || in_week,
            };
            minutes.contains(&of(time.minute())) && hours.contains(&of(time.hour()))
                && months.contains(&of(time.month())) && is_day && time.second() == 0
        };
        let next = next.to_zoned(TimeZone::UTC);
        prop_assert!(fits(&next), "{line}: {next}");
        // No earlier minute of the days before fits, looked at one by one.
        let start = start.to_zoned(TimeZone::UTC);
        let mut minute = next.checked_sub(1.minute()).expect("earlier");
        for _ in 0..3000 {
            if minute <= start {
                break;
            }
            prop_assert!(!fits(&minute), "{line}: {minute} comes before {next}");
            minute = minute.checked_sub(1.minute()).expect("earlier");
        }
    }

    #[test]
    fn nothing_panics(text in "\\PC{0,40}", words in "[0-9*,/a-z-]{1,6}( [0-9*,/a-z-]{1,6}){4}") {
        let _ = CronLine::from_str(&text);
        if let Ok(line) = CronLine::from_str(&words) {
            let zone = TimeZone::get("Europe/Paris").expect("a zone");
            prop_assert!(line.next_after(Timestamp::UNIX_EPOCH, &zone).is_some());
        }
        let _ = CalendarSpan::from_str(&text);
    }
}

#[test]
fn spans_are_those_of_restic() {
    for (text, expected) in [("14d", "14d"), ("2y5m7d3h", "2y5m7d3h"), ("1w", "1w"), (" 6m ", "6m")]
    {
        assert_eq!(text.parse::<CalendarSpan>().expect(text).to_string(), expected);
    }
    for (text, expected) in [
        ("", "empty"),
        ("5", "a unit is missing"),
        ("d", "a number is missing"),
        ("5x", "unknown unit"),
        ("1d2d", "comes twice"),
        ("0d", "nothing"),
        ("99999d", "larger"),
        ("-5d", "a number is missing"),
    ] {
        let error = text.parse::<CalendarSpan>().expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let zone = TimeZone::get("Europe/Paris").expect("a zone");
    let time = at("2027-03-28T12:00[Europe/Paris]").timestamp();
    let day: CalendarSpan = "1d".parse().expect("a span");
    // A day of 23 hours: the clock on the wall shows the same.
    assert_eq!(day.before(time, &zone), at("2027-03-27T12:00[Europe/Paris]").timestamp());
    assert_eq!(day.after(day.before(time, &zone), &zone), time);
    let month: CalendarSpan = "1m".parse().expect("a span");
    let end = at("2027-03-31T12:00[UTC]").timestamp();
    assert_eq!(month.before(end, &TimeZone::UTC), at("2027-02-28T12:00[UTC]").timestamp());
    let ages: CalendarSpan = "9999y9999m9999d9999h".parse().expect("a span");
    assert!(ages.before(time, &zone) < at("-008000-01-01T00:00[UTC]").timestamp());
    let more: CalendarSpan = "9999y9999m9999w9999d9999h".parse().expect("a span");
    assert_eq!(more.after(time, &zone), Timestamp::MAX);
}

#[test]
fn delays_stay_the_same_and_below_the_most() {
    let most = Duration::from_secs(600);
    let delays: Vec<Duration> = (0..100).map(|n| spread(&format!("host/i{n}/run"), most)).collect();
    assert!(delays.iter().all(|delay| *delay < most));
    assert!(delays.iter().any(|delay| *delay != delays[0]), "spread");
    assert_eq!(delays[7], spread("host/i7/run", most));
    assert_eq!(spread("x", Duration::ZERO), Duration::ZERO);
}

#[test]
fn calendars_of_systemd_say_the_same() {
    let paris = TimeZone::get("Europe/Paris").expect("a zone");
    for (text, expected) in [
        ("0 23 * * *", vec!["*-*-* 23:00:00 Europe/Paris"]),
        ("30 2 * * *", vec!["*-*-* 02:30:00 Europe/Paris", "*-*-* 03:30:00 Europe/Paris"]),
        ("0 5 * * 6", vec!["Sat *-*-* 05:00:00 Europe/Paris"]),
        ("*/20 * * * *", vec!["*-*-* *:00,20,40:00 Europe/Paris"]),
        (
            "0 5 13 1-2 fri",
            vec!["*-01,02-13 05:00:00 Europe/Paris", "Fri *-01,02-* 05:00:00 Europe/Paris"],
        ),
    ] {
        assert_eq!(line(text).on_calendar(&paris), expected, "{text}");
    }
}
