//! Ctrl-C and SIGTERM: the run ends soon with 130, and what was uploaded is not uploaded again.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::{Rig, Running, support, text};

const FILES: u64 = 18;
const EACH: usize = 1 << 20;

/// Waits until some packs are there.
fn wait_for_packs(rig: &Rig, child: &mut Running, wanted: usize) {
    let start = Instant::now();
    loop {
        let found = fs::read_dir(rig.path("repo/packs")).map_or(0, Iterator::count);
        if found >= wanted {
            return;
        }
        assert!(child.is_running() && start.elapsed() < Duration::from_secs(30), "{found} packs");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn an_interrupted_backup_keeps_what_it_stored() {
    for signal in [Signal::INT, Signal::TERM] {
        let rig = Rig::empty();
        for number in 0..FILES {
            let bytes = support::noise(number, EACH);
            fs::write(rig.path(&format!("data/{number}")), bytes).expect("a file");
        }
        let args = ["backup", &text(&rig.path("data")), "--json"];
        let mut child = Running::start(rig.command(&args));
        wait_for_packs(&rig, &mut child, 5);
        child.signal(signal);
        let asked = Instant::now();
        let (_, ran) = child.end(Duration::from_secs(20));
        println!("{signal:?}: ended after {:?}", asked.elapsed());
        let summary = ran.expect(130).summary();
        assert_eq!(summary["result"], "interrupted");
        assert!(rig.snapshots().is_empty());
        assert!(rig.objects("sessions").is_empty(), "nobody has to wait for this run");
        let whole = FILES * EACH as u64;
        let next = rig.backup();
        let stored = next["stored_bytes"].as_u64().expect("a number");
        let new = next["new_bytes"].as_u64().expect("a number");
        assert!(stored < whole * 9 / 10 && new < whole * 9 / 10, "{stored} and {new} of {whole}");
        rig.assert_restores("latest");
        rig.assert_clean();
    }
}

/// A source that gives nothing for a long time does not keep the program from ending.
#[test]
fn an_interrupted_command_ends_with_the_run() {
    let rig = Rig::empty();
    let script = "echo $$ > pid; echo first; exec sleep 60";
    let args = ["backup", "--command", "out", "--", "sh", "-c", script];
    let child = Running::start(rig.command(&args));
    let start = Instant::now();
    while fs::read_to_string(rig.path("pid")).map_or(true, |text| !text.ends_with('\n')) {
        assert!(start.elapsed() < Duration::from_secs(20), "the command does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.signal(Signal::TERM);
    child.end(Duration::from_secs(20)).1.expect(130);
    let pid = fs::read_to_string(rig.path("pid")).expect("a number");
    assert!(!std::path::Path::new("/proc").join(pid.trim()).exists(), "the command runs on");
    assert!(rig.snapshots().is_empty());
    rig.assert_clean();
}

#[test]
fn an_interrupted_restore_or_check_ends_with_130() {
    let rig = Rig::empty();
    for number in 0..FILES {
        let bytes = support::noise(number, EACH);
        fs::write(rig.path(&format!("data/{number}")), bytes).expect("a file");
    }
    rig.backup();
    let target = rig.path("restored");
    let child = Running::start(rig.command(&["restore", "latest", &text(&target)]));
    let start = Instant::now();
    while !crate::below(&target, &rig.path("data")).exists() {
        assert!(start.elapsed() < Duration::from_secs(20), "the restore does not start");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.signal(Signal::INT);
    child.end(Duration::from_secs(20)).1.expect(130);
    let left = crate::files(&target);
    let is_half = |path: &std::path::PathBuf| path.extension().is_some();
    assert!(!left.iter().any(is_half), "temporary files are left: {left:?}");
    for path in left {
        assert_eq!(fs::metadata(&path).expect("a file").len(), EACH as u64, "{path:?}");
    }
}
