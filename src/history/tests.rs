use std::fs;
use std::io::Write;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::instance::{Job, Step};

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn begun(run: &str, time: Timestamp) -> Record {
    Record::Begun(Begun {
        run: run.to_owned(),
        time,
        jobs: vec![Job::Run],
        steps: vec![Step::Snapshot, Step::Forget],
        process: Process::this(),
    })
}

fn step(run: &str, step: Step, result: &str) -> Record {
    Record::Step(StepDone {
        run: run.to_owned(),
        step,
        result: result.to_owned(),
        exit_code: Some(0),
        seconds: 1.5,
        bytes: Some(7),
        total_bytes: Some(70),
        snapshot: None,
        failed: Vec::new(),
        message: None,
        hint: None,
    })
}

fn ended(run: &str, time: Timestamp) -> Record {
    let (result, run) = ("ok".to_owned(), run.to_owned());
    Record::Ended(Ended { run, time, result, exit_code: 0, message: None, hint: None })
}

#[test]
fn a_run_is_put_together_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let history = History::new(directory.path());
    let start = at("2026-11-25T23:00:00Z");
    assert_eq!(history.read("mrs", start).expect("nothing yet"), []);
    let written = [
        begun("a", start),
        step("a", Step::Snapshot, "ok"),
        begun("b", start + SignedDuration::from_hours(24)),
        step("a", Step::Forget, "failed"),
        ended("a", start + SignedDuration::from_mins(2)),
        step("gone", Step::Copy, "ok"),
    ];
    for record in &written {
        history.add("mrs", record).expect("written");
    }
    let records = history.read("mrs", start).expect("read");
    assert_eq!(records, written);
    let told = assemble(records);
    assert_eq!(told.runs.len(), 2);
    let (first, second) = (&told.runs[0], &told.runs[1]);
    assert_eq!((first.state(), second.state()), (RunState::Ended, RunState::Running));
    assert_eq!((first.at(), second.at()), (None, Some(Step::Snapshot)));
    assert_eq!(first.step(Step::Forget).expect("a step").result, "failed");
    assert_eq!(first.last_time(), start + SignedDuration::from_mins(2));
    assert!(first.is_of(Job::Run) && !first.is_of(Job::Check));
    assert_eq!(history.instances(), ["mrs"]);
}

#[test]
fn who_died_is_seen() {
    let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("a process");
    let of_child = |process: &Process| Process { id: child.id(), ..process.clone() };
    let this = Process::this();
    assert!(this.is_alive());
    assert!(!of_child(&this).is_alive(), "another with the same number is not it");
    let other_boot = Process { boot: "x".to_owned(), ..this.clone() };
    assert!(!other_boot.is_alive());
    assert!(!Process::default().is_alive());
    child.kill().expect("killed");
    child.wait().expect("waited for");
}

#[test]
fn a_line_that_was_cut_off_hides_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let history = History::new(directory.path());
    let start = at("2026-11-25T23:00:00Z");
    history.add("mrs", &begun("a", start)).expect("written");
    let path = directory.path().join("history/mrs.jsonl");
    let mut file = fs::OpenOptions::new().append(true).open(&path).expect("the file");
    file.write_all(b"{\"type\":\"of-later\",\"x\":1}\n{\"type\":\"ended\",\"run\":\"a\",\"ti")
        .expect("written");
    history.add("mrs", &ended("a", start)).expect("written");
    let told = assemble(history.read("mrs", start).expect("read"));
    assert_eq!(told.runs[0].state(), RunState::Ended);
}

#[test]
fn long_histories_lose_their_beginning_and_are_read_from_the_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let history = History::new(directory.path());
    let start = at("2020-01-01T00:00:00Z");
    history.add("mrs", &begun("first", start)).expect("written");
    let path = directory.path().join("history/mrs.jsonl");
    let line = fs::read(&path).expect("a line");
    // More than is kept, without a fsync for each.
    let mut file = fs::OpenOptions::new().append(true).open(&path).expect("the file");
    let times = (4 << 20) / line.len() + 10;
    file.write_all(&line.repeat(times)).expect("written");
    let late = start + SignedDuration::from_hours(9000);
    history.add("mrs", &begun("last", late)).expect("written");
    let len = fs::metadata(&path).expect("metadata").len();
    assert!(len < (2 << 20) + 1024 && len > 1 << 20, "{len}");
    let some = history.read("mrs", late).expect("read");
    assert!(some.len() < 1000, "only the end is read: {}", some.len());
    assert_eq!(some.last(), Some(&begun("last", late)));
    let all = history.read("mrs", start).expect("read");
    assert!(all.len() > 5000, "{}", all.len());
}

#[test]
fn several_write_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let history = History::new(directory.path());
    let start = at("2026-11-25T23:00:00Z");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let history = &history;
            scope.spawn(move || {
                for number in 0..20 {
                    let record = begun(&format!("{thread}-{number}"), start);
                    history.add("mrs", &record).expect("written");
                }
            });
        }
    });
    assert_eq!(history.read("mrs", start).expect("read").len(), 80);
}
