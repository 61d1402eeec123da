//! Ctrl-C, and what the next run finds.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Place;

/// A backup of a command that goes on for ever, once it has begun.
fn long_backup(place: &Place) -> Child {
    let script = format!("touch {}; while sleep 0.05; do echo more; done", place.text("begun"));
    let mut command = place.command();
    command.args(["backup", "--json", "--command", "log", "--", "sh", "-c", &script]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !place.path("begun").exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "the command does not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    child
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn a_stopped_backup_ends_with_130_and_the_next_one_works() {
    for signal in [Signal::INT, Signal::TERM] {
        let place = Place::ready();
        let child = long_backup(&place);
        send(&child, signal);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!((&last["type"], &last["result"]), (&"summary".into(), &"interrupted".into()));
        assert!(place.snapshots().is_empty());
        place.backup();
        place.ok(&["check", "--read-data"]);
    }
}

#[test]
fn a_killed_backup_blocks_nobody() {
    let place = Place::ready();
    let mut child = long_backup(&place);
    send(&child, Signal::KILL);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert!(place.snapshots().is_empty());
    place.backup();
    place.ok(&["restore", "latest", "out", "--verify"]);
    place.ok(&["check", "--read-data"]);
}
