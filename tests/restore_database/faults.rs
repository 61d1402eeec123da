//! What goes wrong leaves the live database as it was, and says what it was.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::site::{Site, assert_same, files};
use crate::support::postgres::TestServer;

#[test]
fn a_database_that_is_in_the_way_is_left_alone() {
    let site = Site::new();
    site.backup();
    site.server.psql("postgres", "CREATE DATABASE app__new");
    site.server.psql("app__new", "CREATE TABLE somebodys AS SELECT 7 AS n");
    let ran = site.restore(&[]);
    ran.fails(1, "database `app__new` is in the way");
    assert_eq!(site.server.psql("app__new", "SELECT n FROM somebodys"), "7");
    // One that is empty is what a restore leaves that is killed right after making it.
    site.server.psql("app__new", "DROP TABLE somebodys");
    assert_eq!(site.restore(&[]).code, Some(0));
    assert_eq!(site.databases().len(), 2);
}

/// A shell whose `psql` leads to the server.
fn shell(site: &Site, script: &str) -> Command {
    let mut command = Command::new("bash");
    for (name, value) in site.server.command("psql").get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command.args(["-c", script]).stdout(Stdio::null()).process_group(0);
    command
}

#[test]
fn sessions_in_the_live_database_are_ended_and_come_back_to_the_new_one() {
    let site = Site::new();
    site.backup();
    site.sql("DELETE FROM public.bill");
    // One that works, one that holds a transaction open, and one that comes back at once, again and again.
    let mut sleeping = site.server.command("psql");
    let mut sleeping = sleeping.args(["-Xqc", "SELECT pg_sleep(60)", "app"]).spawn().unwrap();
    let script = "exec 3> >(exec psql -Xq app); echo 'BEGIN; SELECT 1;' >&3; sleep 60";
    let mut idle = shell(&site, script).spawn().unwrap();
    let script = "while :; do psql -XAtqc 'SELECT count(*) FROM public.bill' app; done 2>/dev/null";
    let mut eager = shell(&site, script).spawn().unwrap();
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'app'";
    let deadline = Instant::now() + Duration::from_secs(20);
    while site.server.psql("postgres", busy).parse::<u32>().unwrap() < 2 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    let ran = site.restore(&[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(site.sql("SELECT count(*) FROM public.bill"), "3000");
    for child in [&mut idle, &mut eager] {
        let group = rustix::process::Pid::from_child(child);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        child.wait().unwrap();
    }
    assert!(!sleeping.wait().unwrap().success(), "its session was ended");
}

#[test]
fn an_assertion_that_does_not_hold_stops_before_the_swap() {
    let site = Site::new().with("assertions = { app = [\"SELECT count(*) > 0 FROM public.person\", \"SELECT count(*) = 1 FROM public.bill\"] }");
    site.backup();
    site.sql("DELETE FROM public.log");
    let before = site.contents("app");
    let ran = site.restore(&[]);
    ran.fails(1, "the assertion `SELECT count(*) = 1 FROM public.bill` does not hold");
    assert!(ran.stderr.contains("database `app` is as it was"), "{ran:?}");
    assert_eq!(site.databases(), ["app"]);
    assert_same(&site.contents("app"), &before);
    let site = site.with("assertions = { app = [\"SELECT 1\"] }");
    site.restore(&[]).fails(1, "something else than true or false");
    let site = site.with("assertions = { app = [\"DELETE FROM public.bill RETURNING true\"] }");
    site.restore(&[]).fails(1, "read-only transaction");
}

#[test]
fn a_snapshot_with_a_damaged_chunk_names_the_table_and_changes_nothing() {
    let site = Site::new();
    // Enough that it fills packs of its own.
    site.sql(
        "CREATE TABLE public.large AS SELECT g, encode(sha256(g::text::bytea), 'hex') AS a, \
         encode(sha256((-g)::text::bytea), 'hex') AS b FROM generate_series(1, 40000) g",
    );
    site.backup();
    let before = site.contents("app");
    let packs = files(&site.repository().join("packs"));
    let largest = packs.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(largest).unwrap();
    let len = file.metadata().unwrap().len();
    let mut byte = [0];
    for at in (len / 4..len / 4 * 3).step_by(20_000) {
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x55], at).unwrap();
    }
    let ran = site.restore(&[]);
    ran.fails(1, "rows of table public.large cannot be read from the repository");
    assert!(ran.stderr.contains("hint: mrs-backup check --read-data"), "{ran:?}");
    assert_eq!(site.databases(), ["app"]);
    assert_same(&site.contents("app"), &before);
    let ran = site.run(&["test-restore"]);
    ran.fails(21, "rows of table public.large cannot be read");
    assert!(site.ok(&["snapshots"]).stdout.contains("no restore was proven"));
}

/// A file system of `mebibytes` at a directory, for as long as this lives.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn new(path: std::path::PathBuf, mebibytes: u32) -> Self {
        fs::create_dir_all(&path).unwrap();
        let options = format!("size={mebibytes}m,mode=0755");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path);
        crate::support::postgres::run(&mut command);
        Self(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_server_without_room_refuses_and_one_that_gets_full_keeps_the_live_database() {
    let place = tempfile::Builder::new().prefix("mrs-full-").tempdir_in("/tmp").unwrap();
    let disk = SmallDisk::new(place.path().join("disk"), 420);
    {
        let server = TestServer::start_on(&crate::support::postgres::installations()[0], &disk.0);
        let site = Site::on(server);
        site.server.psql("postgres", "CREATE DATABASE app");
        crate::site::fill(&site);
        site.sql(
            "CREATE TABLE public.large AS SELECT g, repeat(md5(g::text), 20) AS a \
             FROM generate_series(1, 30000) g",
        );
        site.backup();
        let before = site.contents("app");
        // A database that was made just now is written out by the first checkpoint only, and takes room then.
        site.sql("CHECKPOINT");
        let filler = disk.0.join("filler");
        let free = || {
            let stat = rustix::fs::statvfs(&disk.0).unwrap();
            stat.f_bavail * stat.f_frsize
        };
        // Others write meanwhile: what fits is written, piece by piece.
        let fill = |left: u64| {
            let mut file = fs::File::create(&filler).unwrap();
            let piece = vec![0; 256 << 10];
            while free() > left && file.write_all(&piece).is_ok() {}
        };
        // Known beforehand: nothing is begun.
        fill(20 << 20);
        site.restore(&[]).fails(1, "bytes free, but database `app` needs");
        assert_eq!(site.databases(), ["app"]);
        fs::remove_file(&filler).unwrap();
        // Found out on the way.
        let args = ["restore", "latest", "--database", "app", "--yes", "--json"];
        let mut child = site.spawn(&args);
        let pid = rustix::process::Pid::from_child(&child);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let is_filled = lines.any(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            let is_it = line["type"] == "progress" && line["step"] == "definitions";
            if is_it {
                let signal = |signal| rustix::process::kill_process(pid, signal).unwrap();
                signal(rustix::process::Signal::STOP);
                fill(4 << 20);
                signal(rustix::process::Signal::CONT);
            }
            is_it
        });
        assert!(is_filled);
        let rest: Vec<String> = lines.map(|line| line.unwrap()).collect();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr} {rest:?}");
        assert!(stderr.contains("could not extend file"), "{stderr}");
        assert!(stderr.contains("database `app` is as it was"), "{stderr}");
        // Still full: the server has not fallen over, and what was half made is gone.
        assert_eq!(site.databases(), ["app"]);
        assert_same(&site.contents("app"), &before);
        fs::remove_file(&filler).unwrap();
        assert_eq!(site.restore(&[]).code, Some(0), "with room it works");
        assert_eq!(site.databases().len(), 2);
    }
    drop(disk);
}
