//! What people see who watch: a bar on a terminal, and nothing of it anywhere else.

use std::process::Command;

use super::{PROGRAM, Place, Ran};

/// A command whose output takes two seconds.
const SLOW: &str = "head -c 2000000 /dev/zero; sleep 2; head -c 2000000 /dev/zero";

/// Runs the program on a terminal of its own; gives what that showed.
fn on_a_terminal(place: &Place, args: &str) -> Ran {
    let mut script = Command::new("script");
    script
        .args(["--quiet", "--return", "--command", &format!("{PROGRAM} {args}"), "/dev/null"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("TERM", "xterm")
        .env("HOME", place.path("home"))
        .env("MRS_BACKUP_STATE_DIR", place.path("state"))
        .env("MRS_BACKUP_REPOSITORY", place.path("repo"))
        .env("MRS_BACKUP_PASSWORD_FILE", place.path("password"))
        .current_dir(place.dir.path());
    Ran::of(&mut script)
}

#[test]
fn a_terminal_gets_a_bar_with_bytes_and_speed_and_nobody_else_does() {
    let place = Place::ready();
    let command = format!("backup --command slow -- sh -c '{SLOW}'");
    let seen = on_a_terminal(&place, &command);
    assert_eq!(seen.code, Some(0), "{seen:?}");
    for part in ["MiB", "B/s in "] {
        assert!(seen.stdout.contains(part), "{part}: {seen:?}");
    }
    // The bar is wiped away before the last line.
    assert!(seen.stdout.contains("\u{1b}["), "{seen:?}");
    let quiet = on_a_terminal(&place, &format!("--quiet {command}"));
    let json = on_a_terminal(&place, &format!("--json {command}"));
    let piped = place.run(&["backup", "--command", "slow", "--", "sh", "-c", SLOW]);
    for ran in [quiet, json, piped] {
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(!ran.stdout.contains("B/s") && !ran.stderr.contains("B/s"), "{ran:?}");
    }
}

#[test]
fn where_the_size_is_known_the_time_left_is_told() {
    let place = Place::ready();
    let big: Vec<u8> =
        (0..60_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    place.write("src/big", &big);
    place.backup();
    let seen = on_a_terminal(&place, "restore latest out --yes --verify");
    assert_eq!(seen.code, Some(0), "{seen:?}");
    for part in ["%)", "B/s, ", " left"] {
        assert!(seen.stdout.contains(part), "{part}: {seen:?}");
    }
}
