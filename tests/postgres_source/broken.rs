//! Nights that go wrong: each has to be told, and nothing may be left behind.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Once;

use super::*;
use crate::support::postgres::run;

/// A directory with the server's programs, one of them replaced by a shell script.
fn with_script(server: &TestServer, script: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    symlink(server.bin_dir().join("pg_dumpall"), directory.path().join("pg_dumpall")).unwrap();
    let program = directory.path().join("pg_dump");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().to_owned();
    (directory, path)
}

/// A `psql` in the background that runs `sql`.
fn session(
    server: &TestServer,
    database: &str,
    application: &str,
    sql: &str,
) -> std::process::Child {
    let mut command = server.command("psql");
    command.env("PGAPPNAME", application).args(["-XAtq", "-d", database, "-c", sql]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Two tables, one of which takes a while to read.
fn two_tables(server: &TestServer) {
    fill(server, "mrs", 200_000);
    server.psql("mrs", "CREATE TABLE small AS SELECT n FROM generate_series(1, 1000) n");
}

const CLAIM: &str = "postgres/mrs/tables/public.claim.copy";
const SMALL: &str = "postgres/mrs/tables/public.small.copy";
const REST: &str = "postgres/mrs/rest.dump";

/// Reads `mrs` while `act` is done once, as soon as `at` bytes of `path` were read.
fn read_while(
    settings: PostgresSettings,
    path: &'static str,
    at: usize,
    act: impl Fn() + Sync + 'static,
) -> (PostgresSource, Collected) {
    let once = Once::new();
    let collected = Collected::watched(move |reading, bytes| {
        if reading == path && bytes >= at {
            once.call_once(&act);
        }
    });
    let mut source = source(settings);
    source.read_all(&collected).unwrap();
    (source, collected)
}

fn psql_later(server: &TestServer, sql: &str) -> impl Fn() + Sync + 'static {
    let host = server.socket_dir().to_owned();
    let (bin, port, sql) = (server.bin_dir().to_owned(), server.port(), sql.to_owned());
    move || {
        let mut command = Command::new(bin.join("psql"));
        command.env("PGHOST", &host).env("PGPORT", port.to_string()).env("PGUSER", "postgres");
        run(command.args(["-XAtqc", &sql, "postgres"]));
    }
}

/// Ends our sessions whose last statement is like `like`.
fn terminating(like: &str) -> String {
    format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE application_name LIKE 'mrs-backup/%' AND query LIKE '{like}'"
    )
}

#[test]
fn a_session_that_copies_is_ended_and_the_other_tables_are_there() {
    let server = TestServer::start();
    two_tables(&server);
    let end = psql_later(&server, &terminating("COPY \"public\".\"claim\"%"));
    let settings = PostgresSettings { workers: 1, ..settings(&server, &["mrs"]) };
    let (source, collected) = read_while(settings, CLAIM, 1 << 20, end);
    // A new session with the same view read what was left.
    assert_eq!(collected.paths(), [REST, SMALL]);
    let [failed] = &collected.failed()[..] else { panic!("{:?}", collected.failed()) };
    assert!(failed.starts_with(CLAIM) && failed.contains("copy table public.claim"), "{failed}");
    assert!(failed.contains("terminating connection") || failed.contains("closed"), "{failed}");
    assert_eq!(source.record().incomplete.len(), 1);
    let names: Vec<_> = source.databases()[0].tables.iter().map(|t| t.name.clone()).collect();
    assert_eq!(names, ["small"], "only what is whole is listed");
    expect_no_sessions(&server);
}

#[test]
fn the_session_that_holds_the_snapshot_is_ended() {
    let server = TestServer::start();
    two_tables(&server);
    let end = psql_later(&server, &terminating("SELECT c.oid, a.attname%"));
    let (source, collected) = read_while(settings(&server, &["mrs"]), CLAIM, 1 << 20, end);
    let [failed] = &collected.failed()[..] else { panic!("{:?}", collected.failed()) };
    assert!(failed.contains("end the transaction that held the snapshot"), "{failed}");
    assert_eq!(source.record().incomplete.len(), 1);
    expect_no_sessions(&server);
}

#[test]
fn pg_dump_is_ended_or_killed_or_lies() {
    let server = TestServer::start();
    two_tables(&server);
    let in_archive = || PostgresSettings { stream_from: 1 << 40, ..settings(&server, &["mrs"]) };

    let end = psql_later(&server, &terminating("COPY public.claim%"));
    let (source, collected) = read_while(in_archive(), REST, 1 << 20, end);
    let [failed] = &collected.failed()[..] else { panic!("{:?}", collected.failed()) };
    // How the server's farewell reads depends on how far it came.
    assert!(failed.contains("failed (exit status 1): pg_dump: error"), "{failed}");
    assert_eq!(source.record().incomplete.len(), 1);
    assert_eq!(source.databases().len(), 0, "nothing of it is whole");

    let scripts = tempfile::tempdir().unwrap();
    let pid_file = scripts.path().join("pid");
    let real = server.bin_dir().join("pg_dump");
    let script = format!("echo $$ >{}; exec {} \"$@\"", pid_file.display(), real.display());
    let (_directory, bin_dir) = with_script(&server, &script);
    let mut settings = in_archive();
    settings.server.bin_dir = Some(bin_dir);
    let kill = move || {
        let pid = fs::read_to_string(&pid_file).unwrap();
        run(Command::new("kill").args(["-9", pid.trim()]));
    };
    let (_, collected) = read_while(settings, REST, 1 << 20, kill);
    assert!(collected.failed()[0].contains("killed by signal 9"), "{:?}", collected.failed());

    // A wrapper swallows the failure: only the archive tells.
    let script = format!(
        "[ \"$1\" = --version ] && exec {real} --version; {real} \"$@\" | head -c 3000000; exit 0",
        real = real.display()
    );
    let (_directory, bin_dir) = with_script(&server, &script);
    let mut settings = in_archive();
    settings.server.bin_dir = Some(bin_dir);
    let (_, collected) = read_while(settings, REST, usize::MAX, || ());
    assert!(
        collected.failed()[0].contains("it ends after 3000000 bytes"),
        "{:?}",
        collected.failed()
    );

    // One that leaves a table out which was not excluded.
    let script = format!(
        "[ \"$1\" = --version ] && exec {real} --version; exec {real} \"$@\" --exclude-table-data=small",
        real = real.display()
    );
    let (_directory, bin_dir) = with_script(&server, &script);
    let mut settings = in_archive();
    settings.server.bin_dir = Some(bin_dir);
    let (_, collected) = read_while(settings, REST, usize::MAX, || ());
    assert_eq!(
        collected.failed(),
        ["public.small: its rows are not in the archive that pg_dump wrote"]
    );
    expect_no_sessions(&server);
}

#[test]
fn pg_dump_that_ends_at_any_point_is_told() {
    let server = TestServer::start();
    two_tables(&server);
    let real = server.bin_dir().join("pg_dump").display().to_string();
    let version = format!("[ \"$1\" = --version ] && exec {real} --version; ");
    let in_archive = || PostgresSettings { stream_from: 1 << 40, ..settings(&server, &["mrs"]) };
    // Its own end: at once, with a word, without its last byte, with all its bytes.
    let ends = [
        ("kill -9 $$".to_owned(), "killed by signal 9"),
        ("echo no >&2; exit 3".to_owned(), "exit status 3): no"),
        (format!("{real} \"$@\" | head -c 4096; kill -9 $$"), "killed by signal 9"),
        (format!("{real} \"$@\" | head -c -1"), "it ends after"),
        (format!("{real} \"$@\"; kill -9 $$"), "killed by signal 9"),
        (format!("{real} \"$@\"; exit 1"), "exit status 1"),
    ];
    for (script, told) in ends {
        let (_directory, bin_dir) = with_script(&server, &format!("{version}{script}"));
        let mut settings = in_archive();
        settings.server.bin_dir = Some(bin_dir);
        let (source, collected) = read_while(settings, REST, usize::MAX, || ());
        let failed = collected.failed().join("\n");
        assert!(failed.contains(told), "{script}: {failed}");
        assert_eq!((source.databases().len(), collected.paths().len()), (0, 0), "{script}");
        assert_eq!(source.record().incomplete.len(), 1, "{script}");
    }
    // Its session's end, at the server: early, in the middle, late.
    let all = {
        let collected = read_whole(&mut source(in_archive()));
        collected.stream(REST).len()
    };
    for at in [0, all / 2, all - (9 << 20)] {
        let end = psql_later(&server, &terminating("%COPY public.%"));
        let (source, collected) = read_while(in_archive(), REST, at, end);
        let failed = collected.failed().join("\n");
        assert!(failed.contains("exit status 1): pg_dump: error"), "{at}: {failed}");
        assert_eq!(source.databases().len(), 0, "{at}");
    }
    expect_no_sessions(&server);
}

#[test]
fn a_table_dropped_between_discovery_and_lock_is_no_failure() {
    let server = TestServer::start();
    two_tables(&server);
    // Holds the lock while we look, and is gone when we have it.
    let mut dropping =
        session(&server, "mrs", "", "BEGIN; DROP TABLE small; SELECT pg_sleep(2); COMMIT");
    let waiting = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted";
    while server.psql("mrs", waiting) == "0" {}
    let mut source = source(settings(&server, &["mrs"]));
    let collected = read_whole(&mut source);
    assert_eq!(collected.paths(), [REST, CLAIM]);
    dropping.wait().unwrap();
}

#[test]
fn a_lock_that_is_never_given_back_is_told_and_released() {
    let server = TestServer::start();
    two_tables(&server);
    let mut holding = session(&server, "mrs", "", "BEGIN; LOCK TABLE small; SELECT pg_sleep(60)");
    while server.psql("mrs", "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'")
        == "0"
    {}
    let wait = Duration::from_millis(500);
    let mut source = source(PostgresSettings { lock_wait: wait, ..settings(&server, &["mrs"]) });
    let collected = Collected::default();
    source.read_all(&collected).unwrap();
    let [failed] = &collected.failed()[..] else { panic!("{:?}", collected.failed()) };
    assert!(failed.contains("lock timeout"), "{failed}");
    assert_eq!(collected.paths(), [""; 0]);
    expect_no_sessions(&server);
    holding.kill().unwrap();
    holding.wait().unwrap();
}

#[test]
fn rights_that_are_missing_are_told_before_anything_is_read() {
    let server = TestServer::start();
    two_tables(&server);
    server.psql(
        "mrs",
        "CREATE ROLE reader LOGIN; GRANT SELECT ON claim TO reader; \
         CREATE TABLE guarded (v integer); GRANT SELECT ON guarded TO reader",
    );
    let mut as_reader = settings(&server, &["mrs"]);
    as_reader.server.user = Some("reader".to_owned());
    let fails = |settings: &PostgresSettings| {
        let collected = Collected::default();
        source(settings.clone()).read_all(&collected).unwrap();
        assert_eq!(collected.paths(), [""; 0]);
        collected.failed().join("\n")
    };
    let failed = fails(&as_reader);
    assert!(failed.contains("role reader may not read public.small"), "{failed}");
    assert!(failed.contains("GRANT pg_read_all_data"), "{failed}");
    server.psql(
        "mrs",
        "GRANT SELECT ON small TO reader; ALTER TABLE guarded ENABLE ROW LEVEL SECURITY",
    );
    let failed = fails(&as_reader);
    assert!(failed.contains("row-level security may hide rows of public.guarded"), "{failed}");
    assert!(failed.contains("BYPASSRLS"), "{failed}");
    server.psql("mrs", "ALTER ROLE reader BYPASSRLS");
    read_whole(&mut source(as_reader));
}

#[test]
fn a_stop_leaves_no_session_and_blames_nobody() {
    let server = TestServer::start();
    two_tables(&server);
    let stop = Arc::new(StopFlag::new());
    let mut source =
        PostgresSource::new(settings(&server, &["mrs"]), "test", Arc::clone(&stop)).unwrap();
    let collected = Collected::watched(move |path, bytes| {
        if path == CLAIM && bytes > 0 {
            stop.stop();
        }
    });
    source.read_all(&collected).unwrap();
    assert!(collected.failed()[0].contains("stopped as asked"), "{:?}", collected.failed());
    assert_eq!(source.record().incomplete.len(), 1);
    expect_no_sessions(&server);
}

#[test]
fn what_a_killed_run_left_is_ended_by_the_next() {
    let server = TestServer::start();
    two_tables(&server);
    let names = ["mrs-backup/test-99999999", "mrs-backup/test-two-9", "mrs-backup/other-1"];
    let mut left: Vec<_> = names
        .iter()
        .map(|name| {
            session(
                &server,
                "mrs",
                name,
                "BEGIN; LOCK TABLE small IN SHARE MODE; SELECT pg_sleep(60)",
            )
        })
        .collect();
    while sessions(&server) != "3" {}
    read_whole(&mut source(settings(&server, &["mrs"])));
    let who = "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'mrs-backup/%' ORDER BY 1";
    assert_eq!(server.psql("postgres", who), "mrs-backup/other-1\nmrs-backup/test-two-9");
    for child in &mut left {
        let _ = child.kill();
        child.wait().unwrap();
    }
}
