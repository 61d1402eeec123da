//! The whole night: steps in their order, what is left out after a bad one, what is due.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Place, Ran};

/// An instance `mrs` with these lines in its configuration, and its repository.
pub fn configured(lines: &str) -> Place {
    let place = Place::new();
    write_config(&place, lines);
    let ran = place.run_bare(&["-c", "config.toml", "init", "mrs", "--kdf-memory", "8"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    place
}

pub fn write_config(place: &Place, lines: &str) {
    let root = place.dir.path().display();
    let text = format!(
        "version = 1\n[instance.mrs]\nhome = \"{root}/src\"\nrepository = \"{root}/repo\"\n\
         key = {{ file = \"{root}/password\" }}\npaths = [\"a.txt\", \"sub\"]\ntimezone = \"UTC\"\n{lines}\n"
    );
    place.write("config.toml", text.as_bytes());
}

pub fn run(place: &Place, args: &[&str]) -> Ran {
    place.run_bare(&[&["-c", "config.toml"], args].concat())
}

pub fn ok(place: &Place, args: &[&str]) -> Ran {
    let ran = run(place, args);
    assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    ran
}

/// Steps of a summary with their results.
fn steps(ran: &Ran) -> Vec<(String, String)> {
    let text = |step: &Value, name: &str| step[name].as_str().unwrap_or_default().to_owned();
    let summary = ran.summary();
    let steps = summary["steps"].as_array().unwrap_or_else(|| panic!("no steps: {ran:?}"));
    steps.iter().map(|step| (text(step, "step"), text(step, "result"))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(step, result)| ((*step).to_owned(), (*result).to_owned())).collect()
}

/// The crontab line of the minute before now: due, and then not for a day.
pub fn a_minute_ago() -> String {
    let time = (jiff::Timestamp::now() - jiff::SignedDuration::from_mins(1)).to_string();
    format!("{} {} * * *", &time[14..16], &time[11..13])
}

pub fn snapshots(place: &Place) -> usize {
    ok(place, &["snapshots", "--json"]).summary()["snapshots"].as_u64().unwrap() as usize
}

pub fn entry(place: &Place, job: &str) -> Value {
    let text = fs::read_to_string(place.path(&format!("state/ledger/mrs/{job}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_good_night_does_every_step() {
    let place = configured("retention = { last = 1 }\ncheck = { read_data_subset = \"100%\" }");
    let all = pairs(&[("snapshot", "ok"), ("forget", "ok"), ("prune", "ok"), ("check", "ok")]);
    let ran = ok(&place, &["run", "--json"]);
    assert_eq!(steps(&ran), all, "one instance needs no name");
    place.write("src/a.txt", b"changed");
    let ran = ok(&place, &["run", "mrs", "--json"]);
    assert_eq!(steps(&ran), all);
    assert_eq!(ran.summary()["steps"][1]["forgotten"], 1);
    assert!(ran.summary()["snapshot"].is_string(), "what the snapshot says comes first");
    assert!(ran.lines().iter().filter(|line| line["type"] == "step").count() == 4, "{ran:?}");
    assert_eq!(snapshots(&place), 1);
    let ran = ok(&place, &["run"]);
    assert!(
        ran.stdout.contains("is complete")
            && ran.stdout.contains("1 snapshot of mrs forgotten, 1 stay")
    );
    assert_eq!(entry(&place, "run")["exit_code"], 0);
    ok(&place, &["check", "--read-data"]);
}

#[test]
fn nothing_is_dropped_after_an_incomplete_night() {
    let place = configured("retention = { last = 1 }\ncheck = { read_data_subset = \"100%\" }");
    ok(&place, &["run"]);
    fs::remove_file(place.path("src/a.txt")).unwrap();
    let ran = run(&place, &["run", "--json"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let expected =
        [("snapshot", "incomplete"), ("forget", "not-tried"), ("prune", "ok"), ("check", "ok")];
    assert_eq!(steps(&ran), pairs(&expected));
    assert_eq!(snapshots(&place), 2);
    let ran = run(&place, &["run"]);
    assert!(
        ran.stdout.contains("forget of mrs was left out: the snapshot of tonight is incomplete")
    );
    // Also away from the night.
    run(&place, &["run", "--only", "forget"]).fails(1, "ended `incomplete`", "mrs-backup run");
    run(&place, &["forget", "--apply"]).fails(1, "the last run on", "--ignore failed-run");
    place.write("src/a.txt", b"back");
    ok(&place, &["run"]);
    assert_eq!(snapshots(&place), 1);
}

#[test]
fn a_failed_snapshot_leaves_out_what_depends_on_it() {
    let place = configured("retention = { last = 1 }\ncheck = { read_data_subset = \"100%\" }");
    ok(&place, &["run"]);
    fs::rename(place.path("src"), place.path("gone")).unwrap();
    let ran = run(&place, &["run", "--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let expected =
        [("snapshot", "failed"), ("forget", "not-tried"), ("prune", "ok"), ("check", "ok")];
    assert_eq!(steps(&ran), pairs(&expected));
    let hint = ran.summary()["steps"][0]["message"].to_string();
    assert!(hint.contains("nothing of instance `mrs`"), "{hint}");
    run(&place, &["forget", "--apply"]).fails(1, "ended `failed`", "--ignore failed-run");
    assert_eq!(entry(&place, "run")["exit_code"], 1);
}

#[test]
fn a_nearly_full_disk_gets_no_snapshot() {
    let place = configured("min_free = \"9000TiB\"");
    let ran = run(&place, &["run"]);
    ran.fails(1, "bytes are free at", "min_free");
    assert_eq!(snapshots(&place), 0);
    write_config(&place, "min_free = \"0\"");
    ok(&place, &["run"]);
}

#[test]
fn steps_are_chosen() {
    let place = configured("retention = { last = 1 }");
    ok(&place, &["run"]);
    let ran = ok(&place, &["run", "--only", "check,snapshot", "--json"]);
    assert_eq!(steps(&ran), pairs(&[("snapshot", "ok"), ("check", "ok")]), "in their order");
    let ran = ok(&place, &["run", "--skip", "forget,prune", "--json"]);
    assert_eq!(steps(&ran), pairs(&[("snapshot", "ok")]));
    let ran = ok(&place, &["run", "--job", "prune", "--json"]);
    assert_eq!(steps(&ran), pairs(&[("forget", "ok"), ("prune", "ok")]));
    let ran = ok(&place, &["run", "--job", "check", "--json"]);
    assert_eq!(steps(&ran), pairs(&[("check", "ok")]));
    assert_eq!(
        ran.summary()["steps"][0]["counts"]["packs_read"],
        ran.summary()["steps"][0]["counts"]["packs"]
    );
    run(&place, &["run", "--only", "snapshots"]).fails(2, "snapshots", "");
    run(&place, &["run", "--only", "snapshot", "--due"]).fails(2, "cannot be used with", "");
    let ran = ok(&place, &["run", "--dry-run"]);
    assert!(ran.stdout.contains("(snapshot, forget, prune)"), "{ran:?}");
}

#[test]
fn who_prunes_is_said_by_the_schedule() {
    let place = configured("schedule = { run = \"0 23 * * *\", prune = \"0 4 * * *\" }");
    let ran = ok(&place, &["run", "--json"]);
    assert_eq!(steps(&ran), pairs(&[("snapshot", "ok")]), "the prune job prunes");
}

#[test]
fn what_is_due_runs_once_whoever_asks() {
    let place = configured("retention = { last = 1 }");
    run(&place, &["run", "--due"]).fails(2, "nothing is ever due", "schedule = {");
    write_config(&place, "schedule = { run = \"0 0 1 1 *\" }\nretention = { last = 9 }");
    let ran = ok(&place, &["run", "--due"]);
    assert!(ran.stdout.contains("nothing is due for mrs; next is run at"), "{ran:?}");
    assert_eq!(snapshots(&place), 0);
    write_config(&place, &format!("schedule = {{ run = \"{}\" }}", a_minute_ago()));
    let ran = ok(&place, &["run", "--due"]);
    assert!(ran.stdout.contains("is complete"), "{ran:?}");
    let ran = ok(&place, &["run", "--all", "--due"]);
    assert!(ran.stdout.contains("nothing is due"), "{ran:?}");
    assert_eq!(snapshots(&place), 1);
    // By hand it runs always, and that counts.
    fs::remove_dir_all(place.path("state/ledger")).unwrap();
    ok(&place, &["run"]);
    ok(&place, &["run", "--due"]);
    assert_eq!(snapshots(&place), 2);
    // Only one of the jobs that are due.
    let line = a_minute_ago();
    write_config(&place, &format!("schedule = {{ run = \"{line}\", check = \"{line}\" }}"));
    fs::remove_dir_all(place.path("state/ledger")).unwrap();
    let ran = ok(&place, &["run", "--due", "--job", "check", "--json"]);
    assert_eq!(steps(&ran), pairs(&[("check", "ok")]));
    let ran = ok(&place, &["run", "--due", "--json"]);
    assert_eq!(steps(&ran)[0], ("snapshot".to_owned(), "ok".to_owned()));
    assert!(!steps(&ran).iter().any(|(step, _)| step == "check"), "done already");
}

/// A database server that takes connections and never answers.
pub fn silent_server() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let lines = format!(
        "postgres = {{ host = \"127.0.0.1\", port = {port}, user = \"x\", databases = [\"x\"] }}"
    );
    (listener, lines)
}

/// A night that has begun and does not go on.
fn stuck(place: &Place, listener: &TcpListener) -> Child {
    let mut command = place.bare();
    command.args(["-c", "config.toml", "run", "--json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    wait_for_client(listener);
    child
}

/// Waits until somebody connects; the connection is left open.
pub fn wait_for_client(listener: &TcpListener) {
    listener.set_nonblocking(true).unwrap();
    let start = Instant::now();
    loop {
        if let Ok((stream, _)) = listener.accept() {
            // Closed with the test: until then nobody gets an answer.
            std::mem::forget(stream);
            std::thread::sleep(Duration::from_millis(200));
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "nobody connects");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_stopped_night_is_begun_again() {
    let (listener, lines) = silent_server();
    let place = configured(&lines);
    let child = stuck(&place, &listener);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert_eq!(
        (&entry(&place, "run")["exit_code"], &entry(&place, "run")["attempts"]),
        (&130.into(), &1.into())
    );
    // Due again, in ten minutes.
    write_config(&place, "schedule = { run = \"0 0 1 1 *\" }");
    let ran = ok(&place, &["schedule", "--list", "--json"]);
    let line = ran.lines().into_iter().find(|line| line["type"] == "scheduled").unwrap();
    let next: jiff::Timestamp = line["next"].as_str().unwrap().parse().unwrap();
    assert!(next < jiff::Timestamp::now() + jiff::SignedDuration::from_mins(11), "{line}");
    let ran = ok(&place, &["run", "--json"]);
    assert_eq!(steps(&ran)[0], ("snapshot".to_owned(), "ok".to_owned()));
    assert_eq!(entry(&place, "run")["attempts"], 2);
}

#[test]
fn a_killed_night_blocks_nobody() {
    let (listener, lines) = silent_server();
    let place = configured(&lines);
    let mut child = stuck(&place, &listener);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(entry(&place, "run")["finished"], Value::Null);
    write_config(&place, "");
    ok(&place, &["run"]);
    assert_eq!(entry(&place, "run")["exit_code"], 0);
    ok(&place, &["check", "--read-data"]);
}

#[test]
fn a_test_restore_is_a_job_like_others() {
    // Nothing of this instance can be proven to restore into a server: it has no database.
    let line = a_minute_ago();
    let place = configured(&format!("schedule = {{ test_restore = \"{line}\" }}"));
    ok(&place, &["run", "mrs"]);
    let ran = run(&place, &["run", "--due", "--json"]);
    assert_ne!(ran.code, Some(0), "{ran:?}");
    assert_eq!(steps(&ran).len(), 1, "of the last summary, after that of the child: {ran:?}");
    assert!(entry(&place, "test-restore")["exit_code"].as_u64().unwrap() > 0);
    let ran = run(&place, &["run", "--only", "test-restore"]);
    assert!(ran.stderr.contains("error: "), "the child says why: {ran:?}");
}

#[test]
fn killed_at_any_step_the_next_night_goes_on() {
    let place = configured(
        "retention = { last = 1 }\ncheck = { read_data_subset = \"100%\" }\nmin_free = \"1MiB\"",
    );
    ok(&place, &["run"]);
    // How long a night takes here and now tells at which moments to kill one.
    let begun = Instant::now();
    ok(&place, &["run"]);
    let whole = begun.elapsed();
    const MOMENTS: u32 = 24;
    let mut killed = 0;
    for moment in 0..MOMENTS {
        place.write("src/a.txt", format!("night {moment}").repeat(3000).as_bytes());
        let mut command = place.bare();
        command.args(["-c", "config.toml", "run"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(whole * moment / MOMENTS);
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
    }
    assert!(killed >= MOMENTS / 3, "{killed} were killed");
    let ran = ok(&place, &["run", "--json"]);
    let all = pairs(&[("snapshot", "ok"), ("forget", "ok"), ("prune", "ok"), ("check", "ok")]);
    assert_eq!(steps(&ran), all);
    assert_eq!(snapshots(&place), 1, "what the others left is dropped as well");
    ok(&place, &["check", "--read-data"]);
}
