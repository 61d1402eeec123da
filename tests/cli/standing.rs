//! `status`: what is told of nights that went well, badly or not at all, and how soon.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::nights::{configured, ok, run, silent_server, wait_for_client, write_config};
use super::{Place, Ran};

const NIGHTLY: &str = "schedule = { run = \"0 23 * * *\" }\nretention = { last = 3 }";

/// The line about the only instance.
fn record(place: &Place) -> Value {
    let ran = run(place, &["status", "--json"]);
    let lines = ran.lines();
    let found = lines.iter().find(|line| line["type"] == "status");
    found.unwrap_or_else(|| panic!("no status: {ran:?}")).clone()
}

fn last_night(record: &Value) -> String {
    let nights = record["nights"].as_array().unwrap();
    nights.last().map_or_else(String::new, |night| night["state"].as_str().unwrap().to_owned())
}

#[test]
fn a_good_night_is_told_without_opening_anything() {
    let place = configured(NIGHTLY);
    ok(&place, &["run"]);
    // Neither the repository nor its password is needed.
    fs::rename(place.path("repo"), place.path("away")).unwrap();
    fs::remove_file(place.path("password")).unwrap();
    let ran = ok(&place, &["status"]);
    assert!(ran.stdout.starts_with("mrs: safe. Last good 0 min ago."), "{ran:?}");
    for words in ["nights ", "1 ok", "size ", "1 snapshot", "disk ", "free", "next ", "run in"] {
        assert!(ran.stdout.contains(words), "`{words}`: {ran:?}");
    }
    assert!(ran.stdout.contains("#  1 ok"), "the strip ends with tonight: {ran:?}");
    assert_eq!(ok(&place, &[]).stdout, ok(&place, &["status"]).stdout, "without a command");
    let record = record(&place);
    assert_eq!(last_night(&record), "ok");
    assert_eq!(record["severity"], "ok");
    assert_eq!(record["snapshots"], 1);
    assert!(record["repository_bytes"].as_u64().unwrap() > 0);
    assert_eq!(record["sizes"].as_array().unwrap().len(), 1);
    assert_eq!(record["last_error"], Value::Null);
    let quiet = ok(&place, &["-q", "status"]);
    assert_eq!(quiet.stdout.lines().count(), 1, "{quiet:?}");
}

#[test]
fn a_bad_night_is_told_with_the_command_to_run_next() {
    let place = configured(NIGHTLY);
    ok(&place, &["run"]);
    fs::rename(place.path("src"), place.path("gone")).unwrap();
    run(&place, &["run"]).fails(1, "nothing of instance", "");
    let ran = ok(&place, &["status"]);
    assert!(ran.stdout.contains("mrs: safe, but look at it."), "{ran:?}");
    assert!(ran.stdout.contains("The last run ended failed at snapshot"), "{ran:?}");
    assert!(ran.stdout.contains("last error"), "{ran:?}");
    assert!(ran.stdout.contains("nothing of instance `mrs` is there"), "{ran:?}");
    assert!(ran.stdout.contains("do next   mrs-backup doctor mrs --only paths"), "{ran:?}");
    fs::rename(place.path("gone"), place.path("src")).unwrap();
    ok(&place, &["run"]);
    assert!(!ok(&place, &["status"]).stdout.contains("last error"), "made good");
}

#[test]
fn what_keeps_the_run_from_beginning_is_told_as_well() {
    let place = configured(NIGHTLY);
    fs::remove_file(place.path("password")).unwrap();
    run(&place, &["run"]).fails(2, "password", "");
    let record = record(&place);
    assert_eq!(last_night(&record), "failed");
    assert_eq!(record["severity"], "critical", "never backed up: {record}");
    assert!(record["last_error"]["message"].as_str().unwrap().contains("password"), "{record}");
    let ran = ok(&place, &["status"]);
    assert!(ran.stdout.starts_with("mrs: NOT BACKED UP."), "{ran:?}");
}

#[test]
fn a_killed_night_is_seen_as_failed_and_a_running_one_as_running() {
    let (listener, lines) = silent_server();
    let place = configured(&format!("{NIGHTLY}\n{lines}"));
    let mut command = place.bare();
    command.args(["-c", "config.toml", "run"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_for_client(&listener);
    let at_work = record(&place);
    assert_eq!(last_night(&at_work), "running");
    assert_eq!(at_work["running"]["step"], "snapshot");
    child.kill().unwrap();
    child.wait().unwrap();
    let killed = record(&place);
    assert_eq!((last_night(&killed).as_str(), &killed["running"]), ("failed", &Value::Null));
    assert!(killed["last_error"]["message"].as_str().unwrap().contains("killed"), "{killed}");
    assert_eq!(killed["last_error"]["next"], "mrs-backup run mrs");
}

#[test]
fn nagios_gets_its_codes() {
    let place = configured(NIGHTLY);
    let check = |args: &[&str], code: i32, words: &str| -> Ran {
        let ran = run(&place, &[&["status", "--check"], args].concat());
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert_eq!(ran.stdout.lines().count(), 1, "one line: {ran:?}");
        assert!(ran.stdout.contains(words), "`{words}`: {ran:?}");
        ran
    };
    check(&[], 2, "CRITICAL - mrs: There is no complete snapshot");
    ok(&place, &["run"]);
    let ran = check(&[], 0, "OK - mrs: safe.");
    assert!(ran.stdout.contains(" | 'mrs_age'=") && ran.stdout.contains("s;;93600"), "{ran:?}");
    std::thread::sleep(Duration::from_millis(1100));
    check(&["--max-age", "1s"], 2, "old, more than");
    check(&["--max-age", "1h"], 0, ";;3600");
    fs::remove_file(place.path("src/a.txt")).unwrap();
    assert_eq!(run(&place, &["run"]).code, Some(3));
    check(&[], 1, "WARNING - mrs: The last run ended incomplete");
    check(&["--instance", "other"], 3, "UNKNOWN - ");
    check(&["--max-age", "soon"], 3, "UNKNOWN - invalid value 'soon'");
    check(&["--shiny"], 3, "UNKNOWN - unexpected argument '--shiny'");
    place.write("config.toml", b"version = 1\nnonsense = 1\n");
    check(&[], 3, "UNKNOWN - ");
}

#[test]
fn without_a_configuration_it_says_how_to_begin() {
    let place = Place::new();
    let ran = place.run_bare(&[] as &[&str]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("Usage: mrs-backup"), "{ran:?}");
    place.run_bare(&["status"]).fails(2, "no configuration", "--config");
}

#[test]
fn a_history_that_cannot_be_written_fails_no_backup() {
    let place = configured(NIGHTLY);
    fs::create_dir_all(place.path("state")).unwrap();
    place.write("state/history", b"in the way");
    place.write("state/known", b"in the way");
    let ran = ok(&place, &["run"]);
    assert!(ran.stderr.contains("history"), "it is told: {ran:?}");
    run(&place, &["status"]).fails(1, "cannot read the history", "--state-dir");
    // Files that make no sense are as good as none.
    for name in ["history", "known"] {
        fs::remove_file(place.path(&format!("state/{name}"))).unwrap();
        fs::create_dir(place.path(&format!("state/{name}"))).unwrap();
    }
    place.write("state/history/mrs.jsonl", b"{\"type\":\"begun\"}\n\xff\xfe\n[]\n");
    place.write("state/known/mrs.summary.json", b"{\"time\":0}");
    assert!(ok(&place, &["status"]).stdout.starts_with("mrs: NOT BACKED UP."));
}

#[test]
fn snapshots_made_by_hand_count_once_a_run_has_seen_them() {
    let place = configured(NIGHTLY);
    ok(&place, &["backup", "src"]);
    assert!(ok(&place, &["status"]).stdout.contains("NOT BACKED UP"));
    ok(&place, &["run", "--only", "check"]);
    let record = record(&place);
    assert_eq!(record["severity"], "ok", "{record}");
    assert!(record["last_good"].is_string(), "{record}");
}

/// Writes a history of `nights` good nights for the instances `i0` and on, as runs would.
pub fn invented(place: &Place, instances: usize, nights: i64) {
    let root = place.dir.path().display();
    let mut text = "version = 1\n".to_owned();
    fs::create_dir_all(place.path("state/history")).unwrap();
    let now = Timestamp::now();
    // Whatever time it is now, the last night was done soon after it was due.
    let hour = (now - SignedDuration::from_hours(5)).to_zoned(jiff::tz::TimeZone::UTC).hour();
    for number in 0..instances {
        text.push_str(&format!(
            "[instance.i{number}]\nhome = \"{root}/src\"\ntimezone = \"UTC\"\n\
             schedule = {{ run = \"0 {hour} * * *\", check = \"0 5 * * 6\" }}\n"
        ));
        let mut lines = String::new();
        for night in (1..=nights).rev() {
            let time = now - SignedDuration::from_hours(24 * night - 20);
            let run = format!("{night:016x}");
            let mut put = |value: Value| lines.push_str(&format!("{value}\n"));
            put(json!({ "type": "begun", "run": run, "time": time, "jobs": ["run"],
                "steps": ["snapshot", "forget", "prune"], "process": { "id": 1 } }));
            for step in ["snapshot", "forget", "prune"] {
                put(
                    json!({ "type": "step", "run": run, "step": step, "result": "ok", "exit_code": 0,
                    "seconds": 1.25, "bytes": 1_000_000 + night, "total_bytes": 700_000_000 }),
                );
            }
            let end = time + SignedDuration::from_mins(3);
            put(
                json!({ "type": "ended", "run": run, "time": end, "result": "ok", "exit_code": 0 }),
            );
            put(json!({ "type": "measured", "time": end, "repository_bytes": 1_u64 << 32,
                "free_bytes": (1_u64 << 36) + night as u64 * 100_000_000 }));
        }
        place.write(&format!("state/history/i{number}.jsonl"), lines.as_bytes());
    }
    place.write("config.toml", text.as_bytes());
}

#[test]
fn fifty_instances_are_told_at_once() {
    let place = Place::new();
    invented(&place, 50, 500);
    let ran = ok(&place, &["status"]);
    assert_eq!(ran.stdout.matches(": safe.").count(), 50, "{ran:?}");
    assert!(ran.stdout.contains("30 ok"), "{ran:?}");
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        ok(&place, &["status"]);
        best = best.min(begun.elapsed());
    }
    println!("status of 50 instances with 500 nights each: {best:?}");
    // Of an optimized program 100 ms are promised; this one is not optimized.
    let most = if cfg!(debug_assertions) { 800 } else { 100 };
    assert!(best < Duration::from_millis(most), "{best:?}");
    // One instance is what most people have.
    let one = ok(&place, &["status", "-i", "i7"]);
    assert_eq!(one.stdout.matches(": safe.").count(), 1);
}

#[test]
fn the_configuration_says_how_old_is_too_old() {
    let place = configured(NIGHTLY);
    ok(&place, &["run"]);
    write_config(&place, &format!("max_age = \"1s\"\n{NIGHTLY}"));
    std::thread::sleep(Duration::from_millis(1100));
    let ran = ok(&place, &["status"]);
    assert!(ran.stdout.starts_with("mrs: AT RISK."), "{ran:?}");
    assert!(ok(&place, &["config", "show"]).stdout.contains("max_age"));
}
