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
    write_config(&place, "");
    let text = std::fs::read_to_string(place.path("config.toml")).unwrap();
    place.write("config.toml", text.replace("\"UTC\"", "\"Europe/Nowhere\"").as_bytes());
    let ran = run(&place, &["schedule"]);
    ran.fails(2, "`Europe/Nowhere` is no time zone", "");
    assert!(ran.stderr.contains("config.toml:"), "{ran:?}");
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

#[test]
fn review_stacks_are_looked_at_by_the_scheduler_and_by_timers_once() {
    let place = configured("schedule = { run = \"0 0 1 1 *\" }\n[review]\nhome = \"/nowhere/x\"");
    let reviews = place.path("reviews");
    let config = fs::read_to_string(place.path("config.toml")).unwrap();
    let config = config.replace("/nowhere/x", &reviews.display().to_string());
    place.write("config.toml", config.as_bytes());
    let ran = ok(&place, &["schedule", "--list"]);
    assert!(ran.stdout.contains("review stacks") && ran.stdout.contains("expire"), "{ran:?}");
    let ran = ok(&place, &["schedule", "--list", "-i", "mrs"]);
    assert!(!ran.stdout.contains("expire"), "{ran:?}");
    // Nobody looked for years.
    let ledger = "state/ledger/_reviews/expire.json";
    fs::create_dir_all(place.path("state/ledger/_reviews")).unwrap();
    place.write(ledger, b"{\"since\":\"2020-01-01T00:00:00Z\"}\n");
    let known = || -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(place.path(ledger)).unwrap()).unwrap()
    };
    let scheduler = Scheduler::start(&place);
    wait_until("the look", || known()["exit_code"] == 0);
    assert_eq!(scheduler.stop().code, Some(0));
    // The timer finds it done, whoever asks by hand does it; in the turn of a quarter it is due again.
    let started = known()["started"].clone();
    let quarter = |time: &serde_json::Value| {
        let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
        time.as_second() / 900
    };
    let ran = ok(&place, &["expire", "--due", "--json"]);
    if quarter(&known()["started"]) == quarter(&started) {
        assert_eq!(ran.summary()["is_due"], false, "{ran:?}");
        assert_eq!(known()["started"], started);
    }
    ok(&place, &["expire"]);
    assert_ne!(known()["started"], started);
    // One that a machine's end left unfinished is begun again.
    place.write(ledger, b"{\"started\":\"2026-01-01T00:00:00Z\",\"attempts\":1}\n");
    ok(&place, &["schedule", "--once"]);
    assert_eq!(known()["exit_code"], 0);
}

#[test]
fn jobs_find_the_credentials_that_the_scheduler_was_handed() {
    let place = configured("schedule = { run = \"0 0 1 1 *\" }");
    let config = fs::read_to_string(place.path("config.toml")).unwrap();
    let file = format!("key = {{ file = \"{}\" }}", place.path("password").display());
    let config = config.replace(&file, "key = { credential = \"repo-key\" }");
    place.write("config.toml", config.as_bytes());
    let night = |directory: &str| {
        waited_for(&place, "run");
        let mut command = place.bare();
        command.env("CREDENTIALS_DIRECTORY", place.path(directory));
        let output = command.args(["-c", "config.toml", "schedule", "--once"]).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let password = fs::read(place.path("password")).unwrap();
    // As systemd hands them over: all in one directory, those of an instance by its name.
    fs::create_dir_all(place.path("new")).unwrap();
    place.write("new/mrs.repo-key", &password);
    place.write("new/repo-key", b"somebody else's");
    assert_eq!(night("new"), (Some(0), String::new()));
    // As an old systemd leaves them: the files themselves, in a directory an instance.
    fs::create_dir_all(place.path("old/mrs")).unwrap();
    place.write("old/mrs/repo-key", &password);
    assert_eq!(night("old"), (Some(0), String::new()));
    assert_eq!(snapshots_with(&place, &password), 2);
    fs::create_dir_all(place.path("none")).unwrap();
    let (code, said) = night("none");
    assert_ne!(code, Some(0));
    assert!(said.contains("credential repo-key"), "{said}");
}

fn snapshots_with(place: &Place, password: &[u8]) -> u64 {
    fs::create_dir_all(place.path("mine")).unwrap();
    place.write("mine/repo-key", password);
    let mut command = place.bare();
    command.env("CREDENTIALS_DIRECTORY", place.path("mine"));
    let output = command.args(["-c", "config.toml", "snapshots", "--json"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    last["snapshots"].as_u64().unwrap()
}
