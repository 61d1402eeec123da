//! What goes wrong leaves the live database as it was, and says what it was.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::site::{Site, assert_same, files};

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

#[test]
fn a_database_of_the_other_name_is_kept_when_it_is_replaced() {
    let site = Site::new();
    site.backup();
    site.server.psql("postgres", "CREATE DATABASE other");
    site.server.psql("other", "CREATE TABLE precious AS SELECT 7 AS n");
    let args = ["restore", "latest", "--database", "--as", "other", "--json"];
    site.run(&args).fails(2, "database other is to be replaced");
    let summary = site.ok(&[&args[..], &["--yes"]].concat()).summary();
    let kept = summary["kept"].as_str().unwrap();
    assert_eq!(site.server.psql(kept, "SELECT n FROM precious"), "7");
    assert_eq!(site.server.psql("other", "SELECT count(*) FROM public.bill"), "3000");
    site.ok(&["undo", "--database", "other", "--yes"]);
    assert_eq!(site.server.psql("other", "SELECT n FROM precious"), "7");
}

#[test]
fn a_role_that_may_not_come_in_changes_nothing() {
    let site = Site::new();
    site.backup();
    let before = site.contents("app");
    site.server.psql("postgres", "CREATE ROLE django LOGIN PASSWORD 'geheim'");
    let config = fs::read_to_string(site.path("config.toml")).unwrap();
    let socket = format!("host = \"{}\"", site.server.socket_dir().display());
    let password = |text: &str| {
        fs::write(site.path("pg"), text).unwrap();
        fs::set_permissions(site.path("pg"), fs::Permissions::from_mode(0o600)).unwrap();
        let file = format!("password = {{ file = {:?} }}", site.path("pg"));
        let config = config.replace(&socket, &format!("host = \"127.0.0.1\"\n{file}"));
        let config = config.replace("user = \"postgres\"", "user = \"django\"");
        fs::write(site.path("config.toml"), config).unwrap();
    };
    password("falsch");
    let ran = site.restore(&[]);
    ran.fails(1, "password authentication failed");
    assert!(!ran.stderr.contains("falsch"), "{ran:?}");
    // The right one, of a role that may not make databases.
    password("geheim");
    let ran = site.restore(&["--other-cluster"]);
    ran.fails(1, "permission denied");
    assert_eq!(site.databases(), ["app"]);
    assert_same(&site.contents("app"), &before);
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
