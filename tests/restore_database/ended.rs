//! Restores whose sessions, programs or server end under them: the live database is as it was.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::site::{Ran, Site, assert_same};
use crate::support::postgres::run;

/// One with a table that takes a while.
fn site() -> Site {
    let site = Site::new();
    site.sql(
        "CREATE TABLE public.large AS SELECT g, repeat(md5(g::text), 20) AS a FROM generate_series(1, 60000) g",
    );
    site
}

/// The server's programs, with a shell script in place of `pg_restore`; `$REAL` is the real one.
fn with_script(site: &Site, script: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    for name in ["pg_dump", "pg_dumpall"] {
        symlink(site.server.bin_dir().join(name), directory.path().join(name)).unwrap();
    }
    let real = site.server.bin_dir().join("pg_restore");
    let program = directory.path().join("pg_restore");
    fs::write(&program, format!("#!/bin/sh\nREAL={}\n{script}\n", real.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().to_owned();
    (directory, path)
}

/// Restores and does `act` as soon as rows of a table are on their way.
fn restore_while(site: &Site, act: impl FnOnce()) -> Ran {
    let mut child = site.spawn(&["restore", "latest", "--database", "app", "--yes", "--json"]);
    let reader = BufReader::new(child.stdout.take().unwrap());
    let lines =
        std::thread::spawn(move || reader.lines().map_while(Result::ok).collect::<Vec<_>>());
    let copying =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY \"public\".\"large\"%'";
    let deadline = Instant::now() + Duration::from_secs(60);
    while site.server.psql("postgres", copying) == "0" {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    act();
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: lines.join().unwrap().join("\n"),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn a_program_killed_in_any_section_stops_before_the_swap() {
    let site = site();
    site.backup();
    site.sql("DELETE FROM public.bill");
    let before = site.contents("app");
    let own = site.server.bin_dir().to_owned();
    let mut site = site;
    for section in ["pre-data", "data", "post-data"] {
        let dies =
            format!("case \"$*\" in *--section={section}*) kill -9 $$;; esac; exec $REAL \"$@\"");
        // All is done, but it does not say so.
        let lies = format!(
            "$REAL \"$@\" || exit; case \"$*\" in *--section={section}*) kill -9 $$;; esac"
        );
        for script in [dies, lies] {
            let (_directory, programs) = with_script(&site, &script);
            site = site.with_programs(programs);
            let ran = site.restore(&[]);
            ran.fails(1, "killed by signal 9");
            assert!(ran.stderr.contains("database `app` is as it was"), "{ran:?}");
            assert_eq!(site.databases(), ["app"], "{section}");
        }
    }
    assert_same(&site.contents("app"), &before);
    assert_eq!(site.with_programs(own).restore(&[]).code, Some(0));
}

#[test]
fn a_session_that_is_ended_names_its_table() {
    let site = site();
    site.backup();
    let before = site.contents("app");
    let ran = restore_while(&site, || {
        let all = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE application_name LIKE 'mrs-backup/%'";
        site.server.psql("postgres", all);
    });
    ran.fails(1, "database `app` is as it was");
    assert!(ran.stderr.contains("cannot restore table public."), "{ran:?}");
    assert_eq!(site.databases(), ["app"]);
    assert_same(&site.contents("app"), &before);
    assert_eq!(site.restore(&[]).code, Some(0));
}

#[test]
fn a_server_that_falls_over_keeps_the_live_database() {
    let site = site();
    site.backup();
    // Sequences skip some values when a server recovers.
    let contents = || {
        let all = site.contents("app");
        all.lines().filter(|line| !line.contains("setval")).collect::<Vec<_>>().join("\n")
    };
    let before = contents();
    let ran = restore_while(&site, || {
        // What PostgreSQL takes for a crash: it ends all sessions, recovers and goes on.
        let pid = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY \"public\".\"large\"%'";
        let pid = site.server.psql("postgres", pid);
        if !pid.is_empty() {
            run(Command::new("kill").args(["-9", &pid]));
        }
    });
    ran.fails(1, "database `app` is as it was");
    assert_eq!(site.databases(), ["app"], "{ran:?}");
    assert_same(&contents(), &before);
    assert_eq!(site.restore(&[]).code, Some(0));
}
