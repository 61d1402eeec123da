//! The scheduler: what it lists, what it begins, what it tells systemd, how it stops.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::nights::{
    a_minute_ago, configured, entry, ok, run, silent_server, snapshots, wait_for_client,
    write_config,
};
use super::{Place, Ran};

const PATIENCE: Duration = Duration::from_secs(60);

/// A scheduler at work, with a socket that takes what it tells systemd.
struct Scheduler {
    child: Option<Child>,
    socket: UnixDatagram,
    told: Vec<String>,
}

impl Scheduler {
    fn start(place: &Place) -> Self {
        let path = place.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut command = place.bare();
        command
            .args(["-c", "config.toml", "schedule"])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "1000000")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut scheduler =
            Self { child: Some(command.spawn().unwrap()), socket, told: Vec::new() };
        scheduler.wait_for("READY=1");
        scheduler
    }

    /// Waits until it tells something with these words.
    fn wait_for(&mut self, words: &str) -> String {
        let start = Instant::now();
        let mut bytes = [0; 4096];
        loop {
            if let Ok(len) = self.socket.recv(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..len]).into_owned();
                self.told.push(text.clone());
                if text.contains(words) {
                    return text;
                }
            }
            assert!(start.elapsed() < PATIENCE, "`{words}` is not told: {:?}", self.told);
        }
    }

    fn send(&self, signal: Signal) {
        let pid = i32::try_from(self.child.as_ref().unwrap().id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Stops it, and gives what it wrote.
    fn stop(mut self) -> Ran {
        self.send(Signal::TERM);
        let output = self.child.take().unwrap().wait_with_output().unwrap();
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Says in the ledger that the job is waited for since 2020.
fn waited_for(place: &Place, job: &str) {
    fs::create_dir_all(place.path("state/ledger/mrs")).unwrap();
    let path = format!("state/ledger/mrs/{job}.json");
    place.write(&path, b"{\"since\":\"2020-01-01T00:00:00Z\"}\n");
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waiting for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_comes_when_is_listed() {
    let place = configured("schedule = { run = \"0 0 1 1 *\", check = \"0 5 * * 6\" }");
    let ran = ok(&place, &["schedule", "--list"]);
    assert!(ran.stdout.contains("0 5 * * 6") && ran.stdout.contains("-01-01 00:00:00"), "{ran:?}");
    assert!(!place.path("state/ledger").exists(), "only looked at");
    let ran = ok(&place, &["schedule", "--list", "--json", "--job", "run"]);
    let lines: Vec<_> =
        ran.lines().into_iter().filter(|line| line["type"] == "scheduled").collect();
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["job"], &lines[0]["is_due"]), (&"run".into(), &false.into()));
    let next = lines[0]["next"].as_str().unwrap();
    assert!(next.ends_with("-01-01T00:00:00Z"), "{next}");
}

#[test]
fn what_cannot_be_scheduled_is_refused() {
    let place = configured("");
    run(&place, &["schedule", "--list"]).fails(2, "nothing is scheduled", "schedule = {");
    place.run_bare(&["schedule"]).fails(2, "no configuration", "--config");
    write_config(&place, "schedule = { run = \"61 2 * * *\" }");
    let ran = run(&place, &["schedule"]);
    ran.fails(2, "minute (field 1): `61` is not within 0-59", "config");
    assert!(ran.stderr.contains("config.toml:8:20"), "{ran:?}");
    write_config(&place, "timezone = \"Europe/Nowhere\"");
    run(&place, &["schedule"]).fails(2, "config.toml", "");
    write_config(&place, "schedule = { run = \"@daily\" }");
    run(&place, &["schedule", "-i", "nobody"]).fails(2, "there is no instance `nobody`", "");
    let ran = run(&place, &["schedule", "--repo", "x"]);
    ran.fails(2, "contradict", "--repo");
}

#[test]
fn once_does_what_is_due() {
    let line = a_minute_ago();
    let place = configured(&format!("schedule = {{ run = \"{line}\", check = \"{line}\" }}"));
    let ran = ok(&place, &["schedule", "--once"]);
    assert!(
        ran.stdout.contains("is complete") && ran.stdout.contains("no damage found"),
        "{ran:?}"
    );
    assert_eq!(snapshots(&place), 1);
    let ran = ok(&place, &["schedule", "--once"]);
    assert!(ran.stdout.contains("nothing is due"), "{ran:?}");
    assert_eq!(snapshots(&place), 1);
    fs::remove_dir_all(place.path("state/ledger")).unwrap();
    fs::remove_file(place.path("src/a.txt")).unwrap();
    let ran = run(&place, &["schedule", "--once", "--job", "run"]);
    assert_eq!(ran.code, Some(3), "that of the worst: {ran:?}");
    assert!(ran.stderr.contains("run of mrs ended with"), "{ran:?}");
}

#[test]
fn a_missed_night_is_caught_up_once_and_systemd_is_told() {
    let place = configured("schedule = { run = \"0 0 1 1 *\" }");
    waited_for(&place, "run");
    let mut scheduler = Scheduler::start(&place);
    scheduler.wait_for("STATUS=at work: run of mrs");
    wait_until("the night", || entry(&place, "run")["exit_code"] == 0);
    scheduler.wait_for("STATUS=next is run of mrs at");
    scheduler.wait_for("WATCHDOG=1");
    scheduler.wait_for("WATCHDOG=1");
    assert_eq!(snapshots(&place), 1, "years were missed, and it ran once");
    // A second one has no business here.
    run(&place, &["schedule"]).fails(11, "another scheduler runs", "systemctl");
    let ran = scheduler.stop();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("is complete"), "what jobs say is in its log: {ran:?}");
    assert_eq!(snapshots(&place), 1);
}

#[test]
fn nothing_runs_only_because_it_was_started() {
    let place = configured("schedule = { run = \"0 0 1 1 *\" }");
    let mut scheduler = Scheduler::start(&place);
    scheduler.wait_for("WATCHDOG=1");
    assert!(entry(&place, "run")["since"].is_string(), "from now on it is waited for");
    assert_eq!(scheduler.stop().code, Some(0));
    assert_eq!(snapshots(&place), 0);
}

#[test]
fn a_new_configuration_holds_and_a_wrong_one_does_not() {
    let place = configured("schedule = { check = \"0 0 1 1 *\" }");
    waited_for(&place, "run");
    let mut scheduler = Scheduler::start(&place);
    scheduler.wait_for("WATCHDOG=1");
    write_config(&place, "schedule = { run = \"0 99 1 1 *\" }");
    scheduler.send(Signal::HUP);
    scheduler.wait_for("RELOADING=1");
    let status = scheduler.wait_for("READY=1");
    assert!(status.contains("next is check of mrs"), "the old one holds: {status}");
    write_config(&place, "schedule = { run = \"0 0 1 1 *\" }");
    scheduler.send(Signal::HUP);
    scheduler.wait_for("READY=1");
    wait_until("the night", || entry(&place, "run")["exit_code"] == 0);
    let ran = scheduler.stop();
    assert!(
        ran.stderr.contains("the old configuration still holds") && ran.stderr.contains("hour")
    );
    assert_eq!(ran.code, Some(0));
}

#[test]
fn a_stop_reaches_what_is_at_work() {
    let (listener, lines) = silent_server();
    let place = configured(&format!("schedule = {{ run = \"0 0 1 1 *\" }}\n{lines}"));
    waited_for(&place, "run");
    let mut scheduler = Scheduler::start(&place);
    scheduler.wait_for("STATUS=at work");
    wait_for_client(&listener);
    let ran = scheduler.stop();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(entry(&place, "run")["exit_code"], 130, "to be begun again");
    assert_eq!(snapshots(&place), 0);
}

#[test]
fn a_timer_and_the_scheduler_do_not_run_twice() {
    let line = a_minute_ago();
    let place = configured(&format!("schedule = {{ run = \"{line}\" }}\nlock_wait = \"60s\""));
    // Four at once: two that a timer starts, two schedulers.
    let timer = ["-c", "config.toml", "run", "mrs", "--due"];
    let once = ["-c", "config.toml", "schedule", "--once"];
    let start = |args: &[&str]| {
        place.bare().args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children = [start(&timer), start(&once), start(&timer), start(&once)];
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    assert_eq!(snapshots(&place), 1);
}
