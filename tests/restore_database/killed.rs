//! A restore killed at each of its steps: the live database is whole, the next restore works.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use crate::site::{Site, assert_same};

/// Its steps in order.
const STEPS: [&str; 7] =
    ["database", "definitions", "rows", "indexes", "statistics", "gates", "swap"];

/// Starts a restore and gives it back when it comes to `step`.
fn until(site: &Site, step: &str) -> std::process::Child {
    let args = ["restore", "latest", "--database", "app", "--yes", "--json"];
    let mut child = site.spawn(&args);
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
    assert!(has_come, "the restore ended without the step {step}");
    child
}

#[test]
fn killed_at_any_step_the_live_database_is_whole_and_the_next_restore_works() {
    let site = Site::new();
    let saved = site.contents("app");
    site.backup();
    site.sql("DELETE FROM public.bill WHERE id > 10");
    let changed = site.contents("app");
    for step in STEPS {
        let mut child = until(&site, step);
        // The swap takes some milliseconds: kill it before, within or after.
        std::thread::sleep(Duration::from_millis(if step == "swap" { 15 } else { 0 }));
        child.kill().unwrap();
        child.wait().unwrap();
        let live = site.contents("app");
        if live == saved {
            // The swap is made or not made, and then it is remembered.
            assert_eq!(step, "swap");
            site.ok(&["undo", "--yes"]);
            assert_same(&site.contents("app"), &changed);
            site.ok(&["undo", "--drop", "--yes"]);
        } else {
            assert_same(&live, &changed);
            site.run(&["undo", "--yes"]).fails(1, "no database of `app` is kept");
        }
        let ran = site.restore(&[]);
        assert_eq!(ran.code, Some(0), "after {step}: {ran:?}");
        assert_same(&site.contents("app"), &saved);
        assert_eq!(site.databases().len(), 2, "{:?}", site.databases());
        site.ok(&["undo", "--yes"]);
        site.ok(&["undo", "--drop", "--yes"]);
        assert_eq!(site.databases(), ["app"]);
    }
}

#[test]
fn asked_to_stop_it_leaves_nothing_behind() {
    let site = Site::new();
    site.backup();
    for step in ["definitions", "rows", "indexes"] {
        let mut child = until(&site, step);
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{step}");
        assert_eq!(site.databases(), ["app"], "{step}");
        let query =
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'mrs-backup%'";
        assert_eq!(site.server.psql("postgres", query), "0", "{step}");
    }
}

#[test]
fn two_restores_of_a_database_do_not_meet() {
    let site = Site::new();
    site.backup();
    // From another machine there is no lock of the instance: the server has to say it.
    let query =
        "SELECT pg_advisory_lock(hashtext('mrs-backup restore'), hashtext('app')), pg_sleep(60)";
    let mut other = site.server.command("psql");
    let mut other = other.args(["-Xqc", query, "postgres"]).spawn().unwrap();
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    while site.server.psql("postgres", held) == "0" {
        std::thread::sleep(Duration::from_millis(20));
    }
    site.restore(&[]).fails(11, "another restore of database `app` is at work");
    other.kill().unwrap();
    other.wait().unwrap();
    site.server.psql(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' \
         AND pid <> pg_backend_pid()",
    );
    assert_eq!(site.databases(), ["app"]);
    assert_eq!(site.restore(&[]).code, Some(0));
}
