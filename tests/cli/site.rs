//! Three instances as they are in life: a night that is missing, one that failed, one that stands out; and one that nobody backs up any more.

use std::fs;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Place;
use super::page::catalogue;

/// Nights that are told of.
const NIGHTS: i64 = 120;

/// Their configuration, and what runs have left of them.
pub fn site(place: &Place) {
    let root = place.dir.path().display();
    fs::create_dir_all(place.path("state/history")).unwrap();
    fs::create_dir_all(place.path("state/known")).unwrap();
    let mut config = "version = 1\n".to_owned();
    for name in ["mrs-production", "mrs-staging", "mrs-ecole"] {
        config.push_str(&format!(
            "[instance.{name}]\nhome = \"{root}/src\"\ntimezone = \"UTC\"\n\
             schedule = {{ run = \"0 23 * * *\", test_restore = \"0 5 * * 0\" }}\n"
        ));
        if name == "mrs-production" {
            config.push_str(
                "[instance.mrs-production.copy.offsite]\nlocation = \"/mnt/elsewhere\"\n",
            );
        }
        let mut lines = String::new();
        let mut put = |value: Value| lines.push_str(&format!("{value}\n"));
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        for night in (1..=NIGHTS).rev() {
            let day = today.saturating_sub(jiff::Span::new().days(night));
            tested(day, &mut put);
            backed_up(name, night, day, &mut put);
        }
        happened(&mut put);
        place.write(&format!("state/history/{name}.jsonl"), lines.as_bytes());
        catalogue(place, name, 200);
        noted(place, name);
    }
    place.write("config.toml", config.as_bytes());
}

fn at(day: Date, hour: i8) -> Timestamp {
    day.at(hour, 0, 10, 0).to_zoned(TimeZone::UTC).unwrap().timestamp()
}

/// The test of a restore on Sundays.
fn tested(day: Date, put: &mut impl FnMut(Value)) {
    if day.weekday() != Weekday::Sunday {
        return;
    }
    let (time, run, step) = (at(day, 5), format!("test-{day}"), "test-restore");
    put(json!({ "type": "begun", "run": run, "time": time, "jobs": [step], "steps": [step],
        "process": { "id": 1 } }));
    put(json!({ "type": "step", "run": run, "step": step, "result": "ok", "exit_code": 0 }));
    put(json!({ "type": "ended", "run": run, "time": time, "result": "ok", "exit_code": 0 }));
}

/// What became of a night, counted back from today.
fn backed_up(name: &str, night: i64, day: Date, put: &mut impl FnMut(Value)) {
    let is_first = name == "mrs-production";
    let is_left_out = if is_first { night == 9 } else { name == "mrs-ecole" && night < 4 };
    if is_left_out {
        return;
    }
    let (snapshot, copy, code) = match night {
        17 if is_first => ("ok", "failed", 20),
        23 if is_first => ("incomplete", "ok", 3),
        31 if is_first => ("failed", "not-tried", 1),
        12 if name == "mrs-staging" => ("failed", "not-tried", 1),
        _ => ("ok", "ok", 0),
    };
    let (run, begun) = (format!("{night:016x}"), at(day, 23));
    let is_odd = night == 4 && is_first;
    let added = if is_odd { 400_000_000 } else { 5_000_000 + night % 7 * 900_000 };
    put(json!({ "type": "begun", "run": run, "time": begun, "jobs": ["run"],
        "steps": ["snapshot", "copy"], "process": { "id": 1 } }));
    put(json!({ "type": "step", "run": run, "step": "snapshot", "result": snapshot,
        "exit_code": 0, "seconds": 74.5, "bytes": added,
        "total_bytes": 1_400_000_000 - night * 1_000_000 }));
    if is_first {
        put(json!({ "type": "step", "run": run, "step": "copy", "result": copy,
            "exit_code": code, "seconds": 12.0, "message": "no route to host" }));
    }
    let end = begun + SignedDuration::from_secs(90);
    let result = if code == 0 { "ok" } else { "failed" };
    put(json!({ "type": "ended", "run": run, "time": end, "result": result, "exit_code": code }));
    put(json!({ "type": "measured", "time": end,
        "repository_bytes": 3_200_000_000_i64 - night * 12_000_000,
        "free_bytes": 90_000_000_000_i64 + night * 900_000_000 }));
}

/// Marks beside the snapshots.
fn happened(put: &mut impl FnMut(Value)) {
    let marks =
        [(40, "deploy", "image 1.8"), (12, "restore", "one table"), (6, "deploy", "image 1.9")];
    for (days, kind, text) in marks {
        let time = Timestamp::now() - SignedDuration::from_hours(24 * days);
        put(
            json!({ "type": "happened", "time": time, "kind": kind, "result": "ok", "text": text }),
        );
    }
}

/// What the last run noted down.
fn noted(place: &Place, name: &str) {
    let now = Timestamp::now();
    let copies = match name {
        "mrs-production" => {
            json!([{ "name": "offsite", "location": "/mnt/elsewhere", "behind": 0, "copied": now }])
        }
        _ => json!([]),
    };
    let known = json!({ "time": now, "repository": "ab", "location": "/mnt/backup",
        "repository_bytes": 3_188_000_000_u64, "free_bytes": 90_000_000_000_u64, "snapshots": 42,
        "newest": null, "newest_complete": null, "recent": [], "copies": copies,
        "has_databases": true, "failed_proof": null, "objections": [],
        "proof": { "time": now - SignedDuration::from_hours(30), "snapshot": "cd", "seconds": 252.0 } });
    place.write(&format!("state/known/{name}.summary.json"), known.to_string().as_bytes());
}
