//! Proofs that snapshots restore, and that nothing of them stays.

use std::fs;
use std::io::{BufRead, BufReader};

use crate::site::Site;

fn scratch_entries(site: &Site) -> Vec<String> {
    let Ok(entries) = fs::read_dir(site.scratch()) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_proof_restores_compares_and_leaves_a_receipt_and_nothing_else() {
    let site =
        Site::new().with("assertions = { app = [\"SELECT count(*) = 3000 FROM public.bill\"] }");
    site.server
        .psql("postgres", "CREATE ROLE boss SUPERUSER LOGIN; ALTER DATABASE app OWNER TO boss");
    site.backup();
    let ran = site.ok(&["snapshots"]);
    assert!(ran.stdout.contains("no restore was proven yet: mrs-backup test-restore"), "{ran:?}");
    let ran = site.ok(&["test-restore", "--json"]);
    let summary = ran.summary();
    assert_eq!(summary["is_proven"], true, "{ran:?}");
    let one = &summary["databases"][0];
    assert_eq!((&one["database"], &one["assertions"]), (&"app".into(), &1.into()), "{ran:?}");
    assert_eq!(one["schema"], "definitions are the same");
    assert_eq!(one["amcheck"], "no damage");
    assert_eq!(scratch_entries(&site), [""; 0]);
    let ran = site.ok(&["snapshots"]);
    assert!(ran.stdout.contains("last proven restore: "), "{ran:?}");
    // The live server has seen nothing of it.
    assert_eq!(site.databases(), ["app"]);
}

#[test]
fn what_does_not_hold_is_no_proof() {
    let site =
        Site::new().with("assertions = { app = [\"SELECT count(*) = 1 FROM public.bill\"] }");
    site.backup();
    let ran = site.run(&["test-restore", "--json"]);
    ran.fails(21, "did NOT restore: the assertion `SELECT count(*) = 1");
    let summary = ran.summary();
    assert_eq!((&summary["is_proven"], &summary["exit_code"]), (&false.into(), &21.into()));
    assert!(site.ok(&["snapshots"]).stdout.contains("no restore was proven yet"));
    assert_eq!(scratch_entries(&site), [""; 0]);
    site.run(&["test-restore", "--database", "nope"]).fails(2, "has no database `nope`");
}

#[test]
fn what_a_killed_proof_leaves_is_destroyed_by_the_next() {
    let site = Site::new();
    site.backup();
    let mut child = site.spawn(&["test-restore", "--json"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("\"step\":\"rows\"")));
    child.kill().unwrap();
    child.wait().unwrap();
    let left = scratch_entries(&site);
    assert_eq!(left.len(), 2, "{left:?}");
    let directory = left.iter().find(|name| !name.ends_with(".lock")).unwrap();
    let data = site.scratch().join(directory).join("data");
    let pid = fs::read_to_string(data.join("postmaster.pid")).unwrap();
    let pid = pid.lines().next().unwrap().to_owned();
    let is_alive = || fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data);
    assert!(is_alive(), "its server goes on");
    // Somebody else's, however it is called.
    fs::create_dir(site.scratch().join("test-restore-mine")).unwrap();
    let ran = site.ok(&["test-restore"]);
    assert!(ran.stdout.contains("destroyed what a killed one left"), "{ran:?}");
    assert!(!is_alive());
    assert_eq!(scratch_entries(&site), ["test-restore-mine"]);
}

#[test]
fn asked_to_stop_it_destroys_its_server() {
    let site = Site::new();
    site.backup();
    let mut child = site.spawn(&["test-restore", "--json"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("\"step\":\"definitions\"")));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(scratch_entries(&site), [""; 0]);
}
