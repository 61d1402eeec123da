//! Killed with SIGKILL at moments nobody chose: no unlock, no repair, nothing lost.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::{Rig, Running, support, text};

/// Gives a piece now and then: so that a kill lands while packs are made, written, listed.
const SLOW: &str =
    "i=0; while [ $i -lt 40 ]; do head -c 60000 /dev/urandom; sleep 0.02; i=$((i+1)); done";

#[test]
fn every_kill_leaves_a_repository_that_just_works() {
    let rig = Rig::filled();
    let data = text(&rig.path("data"));
    let mut killed = 0;
    for round in 0..12_u64 {
        fs::write(rig.path("data/today"), support::noise(500 + round, 1_500_000)).expect("a file");
        let args = ["backup", &data, "--command", "slow.bin", "--", "sh", "-c", SLOW];
        let child = Running::start(rig.command(&args));
        // The pauses of the source add up to 0.8 s; what follows takes as long again.
        std::thread::sleep(Duration::from_millis(40 + round * 130));
        child.signal(Signal::KILL);
        let (signal, ran) = child.end(Duration::from_secs(10));
        let is_killed = signal == Some(9);
        killed += u32::from(is_killed);
        println!("round {round}: {signal:?} {ran:?}");
        let listed = rig.snapshots();
        assert!(listed.iter().all(|(_, is_complete)| *is_complete), "{listed:?}");
        if round % 3 == 2 {
            rig.backup();
            rig.assert_restores("latest");
        }
    }
    assert!(killed >= 6, "only {killed} runs were killed before their end");
    rig.backup();
    rig.assert_clean();
    for (id, _) in rig.snapshots() {
        let target = rig.path("restored");
        rig.run(&["restore", &id, &text(&target), "--verify"]).expect(0);
        fs::remove_dir_all(&target).expect("removed");
    }
    rig.assert_restores("latest");
    // Another machine sees the same.
    fs::remove_dir_all(rig.path("state")).expect("removed");
    rig.assert_clean();
    rig.backup();
    rig.assert_restores("latest");
}

/// `init` killed anywhere can be repeated or has succeeded.
#[test]
fn a_killed_init_can_be_repeated() {
    for delay in [0, 2, 5, 10, 20, 40, 80] {
        let rig = Rig::bare();
        let child = Running::start(rig.command(&["init", "--kdf-memory", "8"]));
        std::thread::sleep(Duration::from_millis(delay));
        child.signal(Signal::KILL);
        child.end(Duration::from_secs(10));
        let again = rig.run(&["init", "--kdf-memory", "8"]);
        let ran = rig.run(&["snapshots"]);
        assert_eq!(ran.code, Some(0), "after {delay} ms: {again:#?} {ran:#?}");
    }
}

/// Killed while it restores: whole files or none, and the next restore ends it.
#[test]
fn a_killed_restore_leaves_no_half_file_under_its_name() {
    let rig = Rig::empty();
    for number in 0..40 {
        let bytes = support::noise(number, 400_000);
        fs::write(rig.path(&format!("data/{number}")), bytes).expect("a file");
    }
    rig.backup();
    let target = rig.path("restored");
    for delay in [120, 180, 260] {
        let args = ["restore", "latest", &text(&target), "--yes"];
        let child = Running::start(rig.command(&args));
        std::thread::sleep(Duration::from_millis(delay));
        child.signal(Signal::KILL);
        child.end(Duration::from_secs(10));
        let restored = crate::below(&target, &rig.path("data"));
        for number in 0..40 {
            if let Ok(bytes) = fs::read(restored.join(number.to_string())) {
                assert!(bytes == support::noise(number, 400_000), "{number} is not whole");
            }
        }
    }
    let args = ["restore", "latest", &text(&target), "--yes", "--delete", "--verify"];
    rig.run(&args).expect(0);
    let restored = crate::below(&target, &rig.path("data"));
    support::assert_same_tree(&support::tree(&rig.path("data")), &support::tree(&restored));
}
