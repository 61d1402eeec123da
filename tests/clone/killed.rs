//! A copy killed at each of its steps: the target is whole, nothing readable is left, the next copy works.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
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

/// Holds the name of staging's database, so that nobody can rename it.
fn held(stage: &Stage) -> std::process::Child {
    let mut holder = stage.staging.command("psql");
    let sql = "BEGIN; COMMENT ON DATABASE app IS 'held'; SELECT pg_sleep(600)";
    let child =
        holder.args(["-Xq", "-d", "postgres", "-c", sql]).stderr(Stdio::null()).spawn().unwrap();
    wait_for(
        stage,
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()",
    );
    child
}

/// Waits until a count is not 0.
fn wait_for(stage: &Stage, count: &str) {
    let began = std::time::Instant::now();
    while stage.staging.psql("postgres", count) == "0" {
        assert!(began.elapsed() < Duration::from_secs(60), "{count}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Lets go of the name: by the server, which otherwise goes on for a client that is gone.
fn let_go(stage: &Stage, mut holder: std::process::Child) {
    let _ = holder.kill();
    let _ = holder.wait();
    let ours = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                WHERE (query LIKE '%pg_sleep(600)%' OR query LIKE 'ALTER DATABASE%') AND pid <> pg_backend_pid()";
    stage.staging.psql("postgres", ours);
    wait_for(
        stage,
        "SELECT (count(*) = 0)::int FROM pg_stat_activity WHERE query LIKE 'ALTER DATABASE%' AND pid <> pg_backend_pid()",
    );
}

/// A renaming that waits.
const WAITS: &str = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'ALTER DATABASE%RENAME%' AND wait_event_type = 'Lock'";

#[test]
fn killed_between_files_and_database_the_files_go_back() {
    let stage = Stage::with_persons(50);
    let files = || names(&stage.path("staging/mrsattachments"));
    let holder = held(&stage);
    let mut child = stage.spawn_copy();
    wait_for(&stage, WAITS);
    assert_ne!(files(), ["old.pdf"], "the files are the new ones, the database is the old one");
    child.kill().unwrap();
    child.wait().unwrap();
    let_go(&stage, holder);
    assert_eq!(stage.staging("SELECT n FROM of_staging"), "1");
    // The next command puts the files back first, even if it does nothing else.
    stage.edit_rules("number = { digits", "numero = { digits");
    let ran = stage.run(&["clone", "production", "staging", "--yes", "-v"]);
    ran.fails(32, &["put back", "column numero"]);
    stage.edit_rules("numero = { digits", "number = { digits");
    assert_eq!(files(), ["old.pdf"]);
    assert_eq!(names(&stage.path("staging")), [".env", "mrsattachments"]);

    // The same on the way back.
    assert_eq!(stage.copy(&[]).code, Some(0));
    let new = files();
    assert_ne!(new, ["old.pdf"]);
    let holder = held(&stage);
    let mut undo = stage.command(&["-i", "staging", "undo", "--database", "app", "--yes"]);
    let mut child = undo.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(&stage, WAITS);
    assert_eq!(files(), ["old.pdf"], "the files are back, the database is not");
    child.kill().unwrap();
    child.wait().unwrap();
    let_go(&stage, holder);
    assert_eq!(stage.staging("SELECT count(*) FROM person_person"), "50");
    // The next undo looks first, and then does all of it.
    let ran = stage.ok(&["-i", "staging", "undo", "--database", "app", "--yes", "-v"]);
    assert!(ran.stderr.contains("put back"), "{ran:?}");
    assert_eq!(
        (stage.staging("SELECT n FROM of_staging"), files()),
        ("1".to_owned(), vec!["old.pdf".to_owned()])
    );
    // What is dropped is dropped with its files.
    let kept = |directory: &str| directory.contains("__old_");
    assert!(names(&stage.path("staging")).iter().any(|name| kept(name)));
    stage.ok(&["-i", "staging", "undo", "--drop", "--database", "app", "--yes"]);
    assert!(!names(&stage.path("staging")).iter().any(|name| kept(name)));

    // So it is when a restore drops what was kept long enough.
    stage.ok(&["-i", "staging", "init", "--kdf-memory", "8"]);
    stage.ok(&["run", "staging", "--only", "snapshot"]);
    assert_eq!(stage.copy(&[]).code, Some(0));
    assert!(names(&stage.path("staging")).iter().any(|name| kept(name)));
    let old = stage.databases().into_iter().find(|name| kept(name)).unwrap();
    let setting = format!(
        "SELECT substr(s, 17) FROM pg_db_role_setting r JOIN pg_database d ON d.oid = setdatabase, \
         unnest(setconfig) s WHERE datname = '{old}' AND s LIKE 'mrs_backup.kept=%'"
    );
    let mut marker: serde_json::Value =
        serde_json::from_str(&stage.staging.psql("postgres", &setting)).unwrap();
    assert_eq!(marker["reason"], "clone");
    marker["until"] = "2026-01-01T00:00:00Z".into();
    let past = format!("ALTER DATABASE \"{old}\" SET mrs_backup.kept = '{marker}'");
    stage.staging.psql("postgres", &past);
    stage.ok(&["-i", "staging", "restore", "latest", "--database", "app", "--yes"]);
    assert!(!stage.databases().contains(&old), "{:?}", stage.databases());
    assert!(!names(&stage.path("staging")).iter().any(|name| kept(name)));
}
