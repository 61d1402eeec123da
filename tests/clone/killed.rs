//! A copy killed at each of its steps: the target is whole, nothing readable is left, the next copy works.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use crate::stage::{Stage, names};

/// Its steps in order.
const STEPS: [&str; 9] = [
    "survey",
    "database",
    "definitions",
    "rows",
    "indexes",
    "statistics",
    "gates",
    "files",
    "swap",
];

/// Starts a copy and gives it back when it comes to `step`.
fn until(stage: &Stage, step: &str) -> std::process::Child {
    let mut child = stage.spawn_copy();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_there = |line: std::io::Result<String>| {
        let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_ne!(line["type"], "error", "{line}");
        line["type"] == "progress" && line["step"] == step
    };
    let has_come = lines.into_iter().any(is_there);
    if !has_come {
        let _ = child.wait();
    }
    assert!(has_come, "the copy ended without the step {step}");
    child
}

#[test]
fn killed_at_any_step_the_target_is_whole_and_the_next_copy_works() {
    let stage = Stage::with_persons(300);
    for step in STEPS {
        let mut child = until(&stage, step);
        child.kill().unwrap();
        child.wait().unwrap();
        // The database is the old one or the new one, never half of one.
        let is_new = stage.staging("SELECT to_regclass('of_staging') IS NULL") == "t";
        assert!(!is_new || step == "swap", "{step}");
        assert_eq!(stage.staging("SELECT 1"), "1");
    }
    let ran = stage.copy(&[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(stage.staging("SELECT count(*) FROM person_person"), "300");
    let half = stage.databases().iter().filter(|name| name.ends_with("__new")).count();
    assert_eq!(half, 0);
    let left = names(&stage.path("staging")).iter().filter(|name| name.ends_with("__new")).count();
    assert_eq!(left, 0);
}

#[test]
fn asked_to_stop_it_leaves_nothing_behind() {
    let stage = Stage::with_persons(300);
    for step in ["definitions", "rows", "indexes"] {
        let mut child = until(&stage, step);
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{step}");
        std::thread::sleep(Duration::from_millis(50));
        stage.is_untouched();
    }
}
