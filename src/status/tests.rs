use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::concern::{Concern, Severity};
use super::overview::{Reading, overview};
use super::*;
use crate::calendar::CronLine;
use crate::history::{Begun, Ended, Measured, Process, Record, StepDone, assemble};
use crate::instance::config::Config;
use crate::instance::{Job, Step};
use crate::schedule::Entry;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn config(lines: &str) -> Config {
    let text =
        format!("version = 1\n[instance.mrs]\nhome = \"/srv\"\ntimezone = \"UTC\"\n{lines}\n");
    Config::parse(&text, std::path::Path::new("/x"), &|_| None).expect("a configuration")
}

/// A night with these results of its steps; an empty one: it was killed there.
fn night(time: Timestamp, results: &[(Step, &str)]) -> Vec<Record> {
    let run = time.to_string();
    let mut records = vec![Record::Begun(Begun {
        run: run.clone(),
        time,
        jobs: vec![Job::Run],
        steps: results.iter().map(|(step, _)| *step).collect(),
        process: Process::default(),
    })];
    let mut code = 0;
    for (step, result) in results {
        if result.is_empty() {
            return records;
        }
        let exit_code = u8::from(*result != "ok");
        code = code.max(exit_code);
        records.push(Record::Step(StepDone {
            run: run.clone(),
            step: *step,
            result: (*result).to_owned(),
            exit_code: Some(exit_code),
            seconds: 1.0,
            bytes: Some(1000),
            total_bytes: Some(100_000),
            snapshot: None,
            failed: Vec::new(),
            message: (*result != "ok").then(|| "no route to host".to_owned()),
            hint: None,
        }));
    }
    let result = if code == 0 { "ok" } else { "failed" }.to_owned();
    let time = time + SignedDuration::from_mins(5);
    records.push(Record::Ended(Ended {
        run,
        time,
        result,
        exit_code: code,
        message: None,
        hint: None,
    }));
    records
}

fn status(config: &Config, records: Vec<Record>, now: Timestamp) -> InstanceStatus {
    let instance = &config.instances["mrs"];
    let since = Some(at("2026-11-01T12:00:00Z"));
    let due = |job: &Job| (NextRun { job: *job, due: None, last: Entry::default() }, since);
    let jobs = instance.schedule.value.jobs.keys().map(due).collect();
    let reading = Reading { instance, told: assemble(records), known: None, jobs, limit: None };
    overview(reading, now)
}

fn letters(nights: &[Night]) -> String {
    let letter = |night: &Night| match night.state {
        NightState::Ok => '#',
        NightState::Running => '>',
        NightState::Incomplete => '~',
        NightState::Failed => 'x',
        NightState::Missing => '!',
        NightState::Pending => ',',
        NightState::NotDue => '.',
        NightState::Unknown => '?',
    };
    nights.iter().map(letter).collect()
}

#[test]
fn nights_are_told_apart() {
    let config = config("schedule = { run = \"0 23 * * *\" }");
    let good = [(Step::Snapshot, "ok"), (Step::Prune, "ok")];
    let mut records = night(at("2026-11-20T23:00:10Z"), &good);
    records.extend(night(at("2026-11-21T23:00:10Z"), &[(Step::Snapshot, "incomplete")]));
    records.extend(night(at("2026-11-22T23:00:10Z"), &[(Step::Snapshot, "failed")]));
    // The machine was off on the 23rd: caught up in the morning; nobody was there on the 24th.
    records.extend(night(at("2026-11-24T08:00:00Z"), &good));
    records.extend(night(at("2026-11-25T23:00:10Z"), &[(Step::Snapshot, "")]));
    let now = at("2026-11-26T12:00:00Z");
    let found = status(&config, records.clone(), now);
    let strip = letters(&found.nights);
    assert_eq!(strip.len(), 30);
    assert!(strip.ends_with("!!!#~x#!x"), "{strip}");
    assert!(strip.starts_with("?????"), "before anybody waited for it: {strip}");
    assert_eq!(found.nights.last().expect("nights").date.to_string(), "2026-11-25");
    assert_eq!(found.last_good, Some(at("2026-11-24T08:05:00Z")));
    assert_eq!(found.severity(), Severity::Critical, "stale: {:?}", found.concerns);
    let error = found.last_error.expect("it was killed");
    assert!(error.message.contains("killed") && error.next == "mrs-backup run mrs", "{error:?}");
    // What failed and was made good the same night is good.
    records.extend(night(at("2026-11-26T09:00:00Z"), &good));
    let found = status(&config, records.clone(), now);
    assert!(letters(&found.nights).ends_with("x#!#"), "{}", letters(&found.nights));
    assert_eq!((found.severity(), found.last_error), (Severity::Ok, None));
    // A moment after eleven it is about to begin, two hours later it is missing.
    let found = status(&config, records.clone(), at("2026-11-26T23:00:30Z"));
    assert!(letters(&found.nights).ends_with("#!#,"), "{}", letters(&found.nights));
    let found = status(&config, records, at("2026-11-27T01:00:00Z"));
    assert!(letters(&found.nights).ends_with("#!#!"), "{}", letters(&found.nights));
}

#[test]
fn never_is_as_bad_as_stale() {
    let config = config("schedule = { run = \"0 23 * * *\" }");
    let found = status(&config, Vec::new(), at("2026-11-26T12:00:00Z"));
    assert_eq!(found.concerns, [Concern::Never]);
    assert_eq!(found.severity(), Severity::Critical);
    let text = sentence(&found, at("2026-11-26T12:00:00Z"), Language::En);
    assert_eq!(text, "NOT BACKED UP.");
    let found = status(
        &config,
        night(at("2026-11-25T23:00:00Z"), &[(Step::Snapshot, "ok")]),
        at("2026-11-26T12:00:00Z"),
    );
    assert_eq!(found.limit, SignedDuration::from_hours(26));
    assert_eq!(
        sentence(&found, at("2026-11-26T12:00:00Z"), Language::En),
        "safe. Last good 12 h ago."
    );
    let french = sentence(&found, at("2026-11-26T12:00:00Z"), Language::Fr);
    assert_eq!(french, "en sécurité. Dernière bonne sauvegarde il y a 12 h.");
}

#[test]
fn how_old_is_too_old_follows_from_the_schedule() {
    let limit = |lines: &str| status(&config(lines), Vec::new(), at("2026-11-26T12:00:00Z")).limit;
    let hours = SignedDuration::from_hours;
    assert_eq!(limit(""), hours(26));
    assert_eq!(limit("schedule = { run = \"0 * * * *\" }"), hours(3));
    assert_eq!(limit("schedule = { run = \"0 23 * * 0\" }"), hours(7 * 24 + 2));
    assert_eq!(limit("max_age = \"5h\"\nschedule = { run = \"0 23 * * *\" }"), hours(5));
}

#[test]
fn errors_that_were_made_good_are_told_no_more() {
    let config = config("schedule = { run = \"0 23 * * *\" }");
    let now = at("2026-11-26T00:30:00Z");
    let bad = [(Step::Snapshot, "ok"), (Step::Check, "failed")];
    let mut records = night(at("2026-11-24T23:00:00Z"), &bad);
    records.extend(night(at("2026-11-25T23:00:00Z"), &[(Step::Snapshot, "ok")]));
    let found = status(&config, records.clone(), now);
    let error = found.last_error.expect("the check is still bad");
    assert_eq!(
        (error.step, error.next.as_str()),
        (Some(Step::Check), "mrs-backup run mrs --only check")
    );
    assert_eq!(error.message, "no route to host");
    records.extend(night(at("2026-11-26T00:00:00Z"), &[(Step::Check, "ok")]));
    assert_eq!(status(&config, records, now).last_error, None);
}

#[test]
fn a_disk_fills_up_by_a_line_through_its_free_bytes() {
    let start = at("2026-11-01T00:00:00Z");
    let line = |count: i64, free: &dyn Fn(i64) -> u64| -> Vec<(Timestamp, u64)> {
        (0..count).map(|day| (start + SignedDuration::from_hours(24 * day), free(day))).collect()
    };
    const GIB: u64 = 1 << 30;
    let days =
        days_until_full(&line(11, &|day| 100 * GIB - day as u64 * GIB)).expect("it fills up");
    assert!((days - 90.0).abs() < 0.01, "{days}");
    assert_eq!(days_until_full(&line(11, &|_| 100 * GIB)), None);
    assert_eq!(days_until_full(&line(11, &|day| 100 * GIB + day as u64 * GIB)), None);
    assert_eq!(days_until_full(&line(2, &|day| 100 * GIB - day as u64 * GIB)), None, "too little");
    assert_eq!(days_until_full(&[]), None);
    let same: Vec<_> = (0..5).map(|n| (start, n)).collect();
    assert_eq!(days_until_full(&same), None);
}

#[test]
fn nights_that_stand_out_are_marked() {
    const MIB: u64 = 1 << 20;
    let usual = vec![(700 * MIB, 5 * MIB); 10];
    let with = |total, added| {
        let mut nights = usual.clone();
        nights.push((total, added));
        anomalies(&nights).pop().expect("one each")
    };
    assert_eq!(with(700 * MIB, 6 * MIB), None);
    assert_eq!(with(700 * MIB, 650 * MIB), Some(Anomaly::Spike), "everything is new");
    assert_eq!(with(700 * MIB, 60 * MIB), None, "a busy day");
    assert_eq!(with(MIB, 0), Some(Anomaly::Shrunk), "an empty dump");
    assert_eq!(anomalies(&[(700 * MIB, 700 * MIB), (700 * MIB, MIB)]), [None, None]);
}

#[test]
fn copies_have_nights_of_their_own() {
    let config = config(
        "schedule = { run = \"0 23 * * *\" }\n[instance.mrs.copy.cellar]\nlocation = \"/mnt/cellar\"",
    );
    let steps = [(Step::Snapshot, "ok"), (Step::Copy, "ok")];
    let mut records = night(at("2026-11-24T23:00:00Z"), &steps);
    let mut bad =
        night(at("2026-11-25T23:00:00Z"), &[(Step::Snapshot, "ok"), (Step::Copy, "failed")]);
    for record in &mut bad {
        if let Record::Step(done) = record
            && done.step == Step::Copy
        {
            done.failed = vec!["cellar".to_owned()];
        }
    }
    records.extend(bad);
    let found = status(&config, records, at("2026-11-26T12:00:00Z"));
    assert!(letters(&found.copies[0].nights).ends_with("#x"), "{:?}", found.copies);
    assert!(letters(&found.nights).ends_with("##"));
    assert_eq!(found.tests, None);
}

#[test]
fn sizes_are_read_from_the_history() {
    let config = config("");
    let size = |day: i64| {
        Record::Measured(Measured {
            time: at("2026-11-01T00:00:00Z") + SignedDuration::from_hours(24 * day),
            repository_bytes: 1 << 30,
            free_bytes: Some((40 << 30) - day as u64 * (2 << 30)),
        })
    };
    let found = status(&config, (0..11).map(size).collect(), at("2026-11-11T12:00:00Z"));
    assert!(found.days_until_full.is_some_and(|days| (days - 10.0).abs() < 0.1));
    assert!(found.concerns.iter().any(|one| matches!(one, Concern::DiskFull(_))));
}

proptest! {
    #[test]
    fn a_strip_has_one_cell_a_day_whatever_the_line(
        line in prop::sample::select(vec!["0 23 * * *", "*/5 * * * *", "30 2 * * *", "0 0 31 12 *", "0 5 * * 6"]),
        zone in prop::sample::select(vec!["UTC", "Europe/Paris", "Pacific/Apia", "America/St_Johns"]),
        now in 1_700_000_000_i64..1_900_000_000,
        ago in prop::collection::vec(0_i64..3_000_000, 0..40),
    ) {
        let line: CronLine = line.parse().expect("a line");
        let zone = TimeZone::get(zone).expect("a zone");
        let now = Timestamp::from_second(now).expect("a time");
        let tries = ago.iter().map(|ago| (now - SignedDuration::from_secs(*ago), NightState::Ok)).collect();
        let row = NightlyRow {
            line: Some(&line),
            zone: &zone,
            delay: SignedDuration::ZERO,
            tries,
            since: Some(now - SignedDuration::from_hours(240)),
        };
        let found = nights(&row, 30, now);
        prop_assert_eq!(found.len(), 30);
        let today = now.to_zoned(zone.clone()).date();
        for pair in found.windows(2) {
            prop_assert_eq!(pair[0].date.tomorrow().expect("a day"), pair[1].date);
        }
        prop_assert!(found[29].date == today || found[29].date == today.yesterday().expect("a day"));
    }
}
