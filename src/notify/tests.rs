use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::crypto::Secret;
use crate::history::{Begun, Ended, Process, Run, StepDone};
use crate::instance::config::{EventKind, Language};
use crate::instance::{Job, Step};
use crate::status::{Anomaly, Concern, ErrorTold, InstanceStatus, Night, NightState, Overview};

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn run(result: &str, code: u8) -> Run {
    let time = at("2026-11-25T23:00:00Z");
    Run {
        begun: Begun {
            run: "ab12".to_owned(),
            time,
            jobs: vec![Job::Run],
            steps: vec![Step::Snapshot],
            process: Process::default(),
        },
        steps: vec![StepDone {
            run: "ab12".to_owned(),
            step: Step::Snapshot,
            result: result.to_owned(),
            exit_code: Some(code),
            seconds: 1.0,
            bytes: Some(5),
            total_bytes: Some(50),
            snapshot: None,
            failed: Vec::new(),
            message: (code != 0).then(|| "no <route> & more".to_owned()),
            hint: None,
        }],
        ended: Some(Ended {
            run: "ab12".to_owned(),
            time: time + SignedDuration::from_mins(1),
            result: result.to_owned(),
            exit_code: code,
            message: None,
            hint: None,
        }),
    }
}

fn overview(runs: Vec<Run>, concerns: Vec<Concern>, now: &str) -> Overview {
    let instance = InstanceStatus {
        name: "mrs".to_owned(),
        zone: jiff::tz::TimeZone::UTC,
        concerns,
        last_good: None,
        limit: SignedDuration::from_hours(26),
        nights: Vec::new(),
        copies: Vec::new(),
        tests: None,
        proof: None,
        running: None,
        next: Vec::new(),
        points: Vec::new(),
        sizes: Vec::new(),
        known: None,
        days_until_full: None,
        last_error: None,
        last_steps: Vec::new(),
        runs,
        happened: Vec::new(),
    };
    Overview { now: at(now), host: "server".to_owned(), instances: vec![instance] }
}

const WEDNESDAY: &str = "2026-11-25T23:05:00Z";

/// What is told after a run: kinds, and whether each is a change.
fn told(memory: &mut Memory, result: &str, code: u8) -> Vec<(EventKind, bool)> {
    let overview = overview(vec![run(result, code)], Vec::new(), WEDNESDAY);
    decide(memory, &overview, Some("mrs"))
        .into_iter()
        .map(|one| (one.kind, one.is_change))
        .collect()
}

#[test]
fn changes_are_told_once() {
    let mut memory = Memory::default();
    assert_eq!(told(&mut memory, "ok", 0), [(EventKind::Success, false)]);
    assert_eq!(told(&mut memory, "failed", 1), [(EventKind::Failure, true)]);
    assert_eq!(told(&mut memory, "failed", 1), [(EventKind::Failure, false)], "the same again");
    assert_eq!(told(&mut memory, "incomplete", 3), [(EventKind::Failure, true)], "another one");
    assert_eq!(told(&mut memory, "interrupted", 130), [], "somebody wanted that");
    assert_eq!(
        told(&mut memory, "ok", 0),
        [(EventKind::Success, false), (EventKind::Recovery, true)]
    );
    assert_eq!(told(&mut memory, "ok", 0), [(EventKind::Success, false)]);
}

#[test]
fn a_good_night_is_no_news_while_something_else_still_fails() {
    let mut memory = Memory::default();
    told(&mut memory, "failed", 1);
    let mut still = overview(vec![run("ok", 0)], Vec::new(), WEDNESDAY);
    still.instances[0].last_error = Some(ErrorTold {
        time: at(WEDNESDAY),
        step: Some(Step::Check),
        message: "damaged".to_owned(),
        next: String::new(),
    });
    let kinds = |memory: &mut Memory, now: &Overview| -> Vec<EventKind> {
        decide(memory, now, Some("mrs")).into_iter().map(|one| one.kind).collect()
    };
    assert_eq!(kinds(&mut memory, &still), [EventKind::Success]);
    still.instances[0].last_error = None;
    assert_eq!(kinds(&mut memory, &still), [EventKind::Success, EventKind::Recovery]);
}

#[test]
fn a_run_that_was_killed_is_told_once_by_whoever_looks() {
    let mut killed = run("ok", 0);
    killed.ended = None;
    let now = overview(vec![killed], Vec::new(), WEDNESDAY);
    let mut memory = Memory::default();
    let found = decide(&mut memory, &now, None);
    assert_eq!((found.len(), found[0].kind, found[0].is_change), (1, EventKind::Failure, true));
    assert_eq!(decide(&mut memory, &now, None), []);
}

#[test]
fn only_what_says_that_there_is_a_backup_resets_a_dead_mans_switch() {
    for (kind, way) in [
        (EventKind::Success, ""),
        (EventKind::Recovery, ""),
        (EventKind::Start, "/start"),
        (EventKind::Failure, "/fail"),
        (EventKind::Stale, "/fail"),
        (EventKind::Deploy, "/log"),
        (EventKind::Digest, "/log"),
        (EventKind::Warning, "/log"),
        (EventKind::Test, "/log"),
    ] {
        assert_eq!(healthchecks::way(kind, "ok"), way, "{kind:?}");
    }
    assert_eq!(healthchecks::way(EventKind::Deploy, "critical"), "/fail");
}

#[test]
fn what_is_stale_is_told_by_whoever_looks() {
    let mut memory = Memory::default();
    let age = SignedDuration::from_hours(30);
    let stale = || vec![Concern::Stale { age, limit: SignedDuration::from_hours(26) }];
    let mut look = |concerns| -> Vec<EventKind> {
        let overview = overview(Vec::new(), concerns, WEDNESDAY);
        decide(&mut memory, &overview, None).into_iter().map(|one| one.kind).collect()
    };
    assert_eq!(look(vec![Concern::Never]), [], "nothing was due yet");
    assert_eq!(look(stale()), [EventKind::Stale]);
    assert_eq!(look(stale()), []);
    assert_eq!(look(Vec::new()), [EventKind::Recovery]);
    assert_eq!(look(vec![Concern::Odd(Anomaly::Spike)]), [EventKind::Warning]);
    assert_eq!(look(vec![Concern::Odd(Anomaly::Spike)]), []);
    assert_eq!(look(vec![Concern::Odd(Anomaly::Shrunk)]), [EventKind::Warning]);
    assert_eq!(look(Vec::new()), []);
}

#[test]
fn the_week_is_told_on_monday_morning() {
    let mut memory = Memory::default();
    let mut look = |now| decide(&mut memory, &overview(Vec::new(), Vec::new(), now), None).len();
    assert_eq!(look("2026-11-25T12:00:00Z"), 0, "the first week is not over");
    assert_eq!(look("2026-11-30T07:59:00Z"), 0);
    assert_eq!(look("2026-11-30T08:00:30Z"), 1);
    assert_eq!(look("2026-11-30T09:00:00Z"), 0);
    assert_eq!(look("2026-12-08T12:00:00Z"), 1, "late is better than never");
}

#[test]
fn what_was_told_is_remembered_and_locked() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut file = MemoryFile::open(directory.path()).expect("a file");
    assert_eq!(file.memory, Memory::default());
    told(&mut file.memory, "failed", 1);
    let memory = file.memory.clone();
    file.close().expect("written");
    let file = MemoryFile::open(directory.path()).expect("a file");
    assert_eq!(file.memory, memory);
    drop(file);
    std::fs::write(directory.path().join("notify/told.json"), b"{{{").expect("written");
    assert_eq!(MemoryFile::open(directory.path()).expect("a file").memory, Memory::default());
}

#[test]
fn messages_say_what_happened_in_both_languages() {
    let bad = overview(vec![run("failed", 1)], vec![Concern::Never], WEDNESDAY);
    let one = bad.instances.first();
    let english = compose(EventKind::Failure, one, &bad, None, Language::En);
    assert_eq!(english.title, "mrs: the backup FAILED");
    assert_eq!((english.severity.as_str(), english.exit_code), ("critical", Some(1)));
    assert!(
        english.log.contains("snapshot: failed, 1.0 s, 5 bytes\n  no <route> & more"),
        "{}",
        english.log
    );
    let french = compose(EventKind::Recovery, one, &bad, None, Language::Fr);
    assert_eq!(french.title, "mrs: de nouveau en ordre");
    let deploy = compose(EventKind::Deploy, one, &bad, Some((false, "no image")), Language::En);
    assert_eq!(
        (deploy.title.as_str(), deploy.severity.as_str()),
        ("mrs: a deployment FAILED", "critical")
    );
    assert_eq!(deploy.text, "no image\n");
}

/// A line for each instance, the worst it has beside it, in the words of those who read it.
#[test]
fn the_week_is_told_in_one_line_an_instance() {
    use NightState as S;
    let mut week = overview(Vec::new(), Vec::new(), WEDNESDAY);
    week.instances.clear();
    let mut add = |name: &str, states: &[S], concerns: Vec<Concern>| {
        let mut one = overview(Vec::new(), concerns, WEDNESDAY).instances.remove(0);
        let date = jiff::civil::date(2026, 11, 1);
        one.nights = states.iter().map(|state| Night { date, state: *state }).collect();
        name.clone_into(&mut one.name);
        week.instances.push(one);
    };
    // Of more than seven only the last seven count, and of them those that were due.
    add("good", &[&[S::Failed; 3][..], &[S::Ok; 7]].concat(), Vec::new());
    let mixed = [S::Ok, S::Incomplete, S::Failed, S::Missing, S::NotDue, S::Ok, S::Pending];
    add("mixed", &mixed, vec![Concern::Odd(Anomaly::Spike)]);
    add("young", &[S::Unknown, S::Ok], Vec::new());
    add("new", &[], vec![Concern::Never]);
    let told = |language| {
        let told = compose(EventKind::Digest, None, &week, None, language);
        assert_eq!((told.severity.as_str(), told.instance), ("critical", None));
        (told.title, told.text)
    };
    let (title, text) = told(Language::En);
    assert_eq!(title, "server: the week");
    assert_eq!(
        text,
        "✓ good: 7 of 7 nights good\n\
         ! mixed: 2 of 5 nights good (The last snapshot added far more than usual)\n\
         ✓ young: 1 of 1 night good\n\
         ✗ new: no night was due (There is no complete snapshot)\n"
    );
    let (title, text) = told(Language::Fr);
    assert_eq!(title, "server: la semaine");
    assert_eq!(
        text,
        "✓ good: 7 nuits bonnes sur 7\n\
         ! mixed: 2 nuits bonnes sur 5 (La dernière sauvegarde a ajouté bien plus que d'habitude)\n\
         ✓ young: 1 nuit bonne sur 1\n\
         ✗ new: aucune nuit n'était prévue (Il n'y a aucune sauvegarde complète)\n"
    );
}

#[test]
fn what_waits_is_kept_for_three_days() {
    let directory = tempfile::tempdir().expect("a directory");
    let outbox = Outbox::new(directory.path(), "slack");
    let bad = overview(vec![run("failed", 1)], Vec::new(), WEDNESDAY);
    let message = compose(EventKind::Failure, bad.instances.first(), &bad, None, Language::En);
    outbox.put(&message).expect("written");
    let now = at(WEDNESDAY);
    let found = outbox.list(now);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1, message);
    assert_eq!(waiting(directory.path(), "slack", now), 1);
    assert_eq!(waiting(directory.path(), "other", now), 0);
    assert!(outbox.list(now + SignedDuration::from_hours(73)).is_empty());
    assert!(outbox.list(now).is_empty(), "removed");
}

#[test]
fn signatures_are_those_of_hmac() {
    // echo -n '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key
    let key = Secret::new(b"key".to_vec());
    let found = webhook::signature(&key, "1700000000", b"{\"a\":1}").expect("a signature");
    assert_eq!(found, "sha256=a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03");
}

#[test]
fn the_fact_file_of_netdata_is_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("netdata.fact");
    let read = |text: &str| {
        std::fs::write(&path, text).expect("written");
        slack::of_netdata(&path)
    };
    let url = "https://hooks.slack.com/services/T/B/x";
    let expected = Ok((url.to_owned(), Some("#tech".to_owned())));
    assert_eq!(
        read(&format!("{{\"slack_webhook\": \"{url}\", \"slack_channel\": \"tech\"}}")),
        expected
    );
    assert_eq!(
        read(&format!("[netdata]\nslack_webhook = {url}\nslack_channel=\"#tech\"\n")),
        expected
    );
    assert!(read("{\"slack_webhook\": \"\"}").expect_err("none").contains("no `slack_webhook`"));
    let error = read("{\"slack_webhook\": \"not an address\"}").expect_err("none");
    assert!(!error.contains("not an address"), "it may be a secret: {error}");
    std::fs::remove_file(&path).expect("removed");
    assert!(slack::of_netdata(&path).expect_err("none").contains("netdata.fact"));
}
