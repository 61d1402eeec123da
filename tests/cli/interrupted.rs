//! A night interrupted at each of its steps, and nights where nothing may be deleted.
//!
//! The program itself runs, under `strace`, which kills it at the n-th time any of its threads renames, removes or
//! makes durable a file: every object, every entry of the ledger is one. That is tried for every n, so each step is
//! cut in every place.

use std::process::{Command, Stdio};

use super::nights::{configured, ok, run};
use super::{Place, Ran};

const LINES: &str =
    "retention = { last = 1 }\ncheck = { read_data_subset = \"100%\" }\nmin_free = \"1MiB\"";

/// A night that gets `signal` at its `n`-th `call`.
fn interrupted(place: &Place, call: &str, n: usize, signal: &str) -> Ran {
    let program = place.bare();
    let mut command = Command::new("strace");
    command.args(["--follow-forks", "--quiet=all", "--output=/dev/null"]);
    command.arg(format!("--trace={call}"));
    command.arg(format!("--inject={call}:signal={signal}:when={n}"));
    command.arg(program.get_program()).args(["-c", "config.toml", "run", "--json"]);
    command.env_clear().current_dir(place.dir.path()).stdin(Stdio::null());
    for (name, value) in program.get_envs() {
        command.env(name, value.expect("it is set"));
    }
    Ran::of(&mut command)
}

fn results(ran: &Ran) -> Vec<String> {
    let summary = ran.summary();
    let steps = summary["steps"].as_array().unwrap_or_else(|| panic!("no steps: {ran:?}"));
    steps.iter().map(|step| format!("{} {}", step["step"], step["result"])).collect()
}

/// Interrupts nights at their first `call`, at the one `step` later and so on, until one comes through. Gives how
/// many were interrupted.
fn at_every(call: &str, step: usize, signal: &str) -> usize {
    let place = configured(LINES);
    ok(&place, &["run"]);
    let all = ["snapshot", "forget", "prune", "check"].map(|step| format!("\"{step}\" \"ok\""));
    let mut interruptions = 0;
    for n in (1..1000).step_by(step) {
        place.write("src/a.txt", format!("night {n}").repeat(3000).as_bytes());
        let ran = interrupted(&place, call, n, signal);
        let came_through = ran.code == Some(0);
        if !came_through {
            interruptions += 1;
            assert!(signal == "SIGKILL" || ran.code == Some(130), "{call} {n}: {ran:?}");
        }
        // Nobody does anything in between: the next night goes on, whatever is left.
        place.write("src/a.txt", format!("the night after {n}").repeat(3000).as_bytes());
        let ran = ok(&place, &["run", "--json"]);
        assert_eq!(results(&ran), all, "{call} {n}: {ran:?}");
        let left = ok(&place, &["snapshots", "--json"]).summary()["snapshots"].clone();
        assert_eq!(left, 1, "{call} {n}: what the interrupted one left is dropped as well");
        if came_through {
            break;
        }
        assert!(n < 990, "no night comes through");
    }
    ok(&place, &["check", "--read-data"]);
    interruptions
}

#[test]
fn killed_at_every_removal_the_next_night_goes_on() {
    let killed = at_every("unlink", 1, "SIGKILL");
    assert!(killed >= 8, "only {killed} were killed");
}

#[test]
fn killed_at_every_publishing_the_next_night_goes_on() {
    let killed = at_every("renameat2", 1, "SIGKILL") + at_every("rename", 1, "SIGKILL");
    assert!(killed >= 8, "only {killed} were killed");
}

#[test]
fn killed_while_something_is_made_durable_the_next_night_goes_on() {
    let killed = at_every("fsync", 5, "SIGKILL");
    assert!(killed >= 5, "only {killed} were killed");
}

#[test]
fn asked_to_stop_the_next_night_goes_on() {
    let stopped = at_every("fsync", 5, "SIGTERM");
    assert!(stopped >= 4, "only {stopped} were stopped");
}

/// A directory in which files can be made and not removed, until this is dropped.
struct AppendOnly<'p>(&'p Place);

impl<'p> AppendOnly<'p> {
    fn new(place: &'p Place) -> Self {
        chattr(place, "+a");
        Self(place)
    }
}

impl Drop for AppendOnly<'_> {
    fn drop(&mut self) {
        chattr(self.0, "-a");
    }
}

fn chattr(place: &Place, mode: &str) {
    let done = Command::new("chattr").arg(mode).arg(place.path("repo/packs")).output();
    let done = done.expect("chattr is there (apt-get install e2fsprogs)");
    assert!(done.status.success(), "as root, on ext4: {done:?}");
}

#[test]
fn where_nothing_can_be_deleted_nights_go_well_and_drop_nothing() {
    let place = configured("retention = { last = 1 }");
    ok(&place, &["run"]);
    let append_only = AppendOnly::new(&place);
    for night in 2..4 {
        place.write("src/a.txt", format!("night {night}").as_bytes());
        let ran = ok(&place, &["run", "--json"]);
        assert_eq!(ran.summary()["steps"][1]["append_only"], true, "{ran:?}");
        assert_eq!(ran.summary()["steps"][2]["append_only"], true, "{ran:?}");
        let left = ok(&place, &["snapshots", "--json"]).summary()["snapshots"].clone();
        assert_eq!(left, night);
    }
    let ran = ok(&place, &["prune", "--yes"]);
    assert!(ran.stdout.contains("append-only"), "{ran:?}");
    let ran = run(&place, &["forget", "--apply"]);
    assert!(format!("{ran:?}").contains("append-only"), "{ran:?}");
    let left = ok(&place, &["snapshots", "--json"]).summary()["snapshots"].clone();
    assert_eq!(left, 3);
    drop(append_only);
    let ran = ok(&place, &["run", "--json"]);
    assert_eq!(ran.summary()["steps"][1]["forgotten"], 3, "{ran:?}");
}

#[test]
fn a_tag_is_more_than_nothing() {
    let place = Place::ready();
    for command in [&["backup", "src", "--tag", ""][..], &["snapshots", "--tag", " "]] {
        place.run(command).fails(2, "at least one character", "");
    }
}
