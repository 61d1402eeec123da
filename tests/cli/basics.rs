//! Every command once, the way it is meant.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::{PROGRAM, Place, Ran};

#[test]
fn from_init_to_restore() {
    let place = Place::new();
    let ran = place.ok(&["init", "--kdf-memory", "8", "--label", "first"]);
    assert!(ran.stdout.contains("Write down"), "{ran:?}");
    place.ok(&["backup", "src", "--tag", "one", "--exclude", "*.tmp"]);
    let first = place.snapshots()[0]["id"].as_str().unwrap().to_owned();
    place.write("src/c.txt", b"gamma");
    let second = place.backup();

    let ran = place.ok(&["snapshots"]);
    assert!(ran.stdout.contains(&first[..8]) && ran.stdout.contains("complete"), "{ran:?}");
    let ran = place.ok(&["snapshots", "--tag", "one"]);
    assert!(!ran.stdout.contains(&second[..8]), "{ran:?}");

    let ran = place.ok(&["ls", "latest", &place.tree(""), "-l"]);
    assert!(ran.stdout.contains("c.txt") && ran.stdout.contains("-rw-"), "{ran:?}");
    let ran = place.ok(&["ls", &second[..8], "-r"]);
    assert!(ran.stdout.contains("sub/b.txt"), "{ran:?}");
    let ran = place.ok(&["find", "*.txt", "--snapshot", "latest"]);
    assert_eq!(ran.stdout.matches(".txt").count(), 3, "{ran:?}");
    assert_eq!(place.run(&["find", "nothing-like-it"]).code, Some(1));
    let ran = place.ok(&["diff", &first[..8], "latest"]);
    assert!(ran.stdout.contains("+ ") && ran.stdout.contains("c.txt"), "{ran:?}");
    assert!(!ran.stdout.contains("b.txt"), "{ran:?}");
    let ran = place.ok(&["dump", "latest", &place.tree("/a.txt")]);
    assert_eq!(ran.stdout, "alpha\n");
    place.ok(&["dump", "latest", &place.tree("/a.txt"), "-o", "copy"]);
    assert_eq!(fs::read(place.path("copy")).unwrap(), b"alpha\n");
    place.run(&["dump", "latest", &place.tree("/a.txt"), "-o", "copy"]).fails(1, "copy", "");
    let ran = place.ok(&["stats"]);
    assert!(ran.stdout.contains("restored"), "{ran:?}");
    place.ok(&["stats", "latest"]);

    place.ok(&["restore", "latest", "out", "--path", &place.tree(""), "--verify"]);
    assert_eq!(fs::read(place.path("out/a.txt")).unwrap(), b"alpha\n");
    assert_eq!(fs::read(place.path("out/sub/b.txt")).unwrap().len(), 300_000);
    place.ok(&["check"]);
    place.ok(&["check", "--read-data"]);
    place.ok(&["check", "--read-data-subset", "50%"]);
}

/// Work is done in silence, a question is answered all the same.
#[test]
fn quiet_means_failures_and_answers() {
    let place = Place::new();
    let silent = |args: &[&str]| {
        let ran = place.ok(&[args, &["-q"]].concat());
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""), "{args:?}");
    };
    silent(&["init", "--kdf-memory", "8"]);
    silent(&["backup", "src"]);
    silent(&["backup", "src"]);
    silent(&["check"]);
    assert_eq!(place.ok(&["snapshots", "-q"]).stdout.lines().count(), 3);
    let policy = ["forget", "--keep-last", "1"];
    let shown = place.ok(&[&policy[..], &["-q"]].concat()).stdout;
    assert!(shown.contains("GOES") && !shown.contains("nothing was removed"), "{shown}");
    silent(&[&policy[..], &["--apply"]].concat());
    assert_eq!(place.snapshots().len(), 1);
    silent(&["prune"]);
    silent(&["restore", "latest", "out"]);
    place.run(&["restore", "nothing", "out", "-q"]).fails(
        1,
        "no snapshot fits",
        "mrs-backup snapshots",
    );
}

#[test]
fn the_index_is_made_anew() {
    let place = Place::ready();
    place.backup();
    fs::remove_dir_all(place.path("state")).unwrap();
    place.ok(&["ls", "latest"]);
    place.ok(&["index", "rebuild"]);
    fs::remove_dir_all(place.path("repo/index")).unwrap();
    fs::create_dir(place.path("repo/index")).unwrap();
    place.ok(&["index", "rebuild", "--from-packs"]);
    place.ok(&["restore", "latest", "out"]);
    place.ok(&["check", "--read-data"]);
}

#[test]
fn streams_are_stored_as_files() {
    let place = Place::ready();
    place.ok(&["backup", "--command", "dump.sql", "--", "printf", "select %s", "1"]);
    assert_eq!(place.ok(&["dump", "latest", "dump.sql"]).stdout, "select 1");
    let mut command = place.command();
    command.args(["backup", "--stdin", "in/put.txt"]).stdin(Stdio::piped());
    command.stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"from a pipe").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(place.ok(&["dump", "latest", "in/put.txt"]).stdout, "from a pipe");
}

#[test]
fn the_level_of_compression_is_chosen() {
    let place = Place::ready();
    let mut state = 7_u32;
    let mut word = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        format!("{:x} ", (state >> 20).wrapping_mul(2_654_435_761) >> (state % 3 * 4))
    };
    let text: String = (0..80_000).map(|_| word()).collect();
    place.write("src/words", text.as_bytes());
    let stored = |level: &str| {
        let other = place.text(&format!("repo-{level}"));
        place.ok(&["init", "--repo", &other, "--kdf-memory", "8"]);
        let args = ["backup", "src/words", "--json", "--repo", &other, "--compression", level];
        place.ok(&args).summary()["stored_bytes"].as_u64().unwrap()
    };
    let (fast, small) = (stored("1"), stored("19"));
    assert!(small * 100 < fast * 95, "{small} and {fast} bytes");
    for level in ["0", "20", "x"] {
        let ran = place.run(&["backup", "src", "--compression", level]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
    }
}

#[test]
fn a_failing_command_leaves_no_snapshot() {
    let place = Place::ready();
    let script = "echo half of a dump; exit 3";
    let ran = place.run(&["backup", "--command", "dump.sql", "--", "sh", "-c", script]);
    ran.fails(1, "sh", "");
    let ran = place.run(&["backup", "--command", "dump.sql", "--", "/no/such/program"]);
    ran.fails(1, "/no/such/program", "");
    assert!(place.snapshots().is_empty());
    place.run(&["backup", "--command", "x"]).fails(2, "", "");
    place.run(&["backup", "--command", "../x", "--", "true"]).fails(2, "..", "");
}

#[test]
fn a_dry_run_changes_nothing() {
    let place = Place::ready();
    place.backup();
    let before = super::names(&place.path("repo"));
    let ran = place.ok(&["backup", "src", "--dry-run"]);
    assert!(ran.stdout.contains("would back up"), "{ran:?}");
    let ran = place.ok(&["restore", "latest", "out", "--dry-run"]);
    assert!(ran.stdout.contains("nothing was written"), "{ran:?}");
    assert!(!place.path("out").exists());
    assert_eq!(super::names(&place.path("repo")), before);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let place = Place::ready();
    for number in 0..3000 {
        place.write(&format!("src/sub/a rather long name of a file {number}"), b"");
    }
    place.backup();
    for rest in ["ls latest -r", "ls latest -r --json", "find 'a*'"] {
        let script = format!("{PROGRAM} {rest} | head -n 1; exit ${{PIPESTATUS[0]}}");
        let mut command = Command::new("bash");
        let own = place.command();
        command.env_clear().envs(own.get_envs().filter_map(|(k, v)| Some((k, v?))));
        let ran = Ran::of(command.args(["-c", &script]));
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
    }
}

#[test]
fn work_goes_on_when_nobody_reads_about_it() {
    let place = Place::ready();
    place.backup();
    let unread = |args: &[&str]| {
        let mut command = place.command();
        let mut child = command.args(args).stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        child.wait().unwrap().code()
    };
    for json in [&[][..], &["--json"]] {
        let target = format!("out{}", json.len());
        assert_eq!(unread(&[&["restore", "latest", &target], json].concat()), Some(0));
        assert!(place.path(&target).join(place.tree("/a.txt")).exists());
        assert_eq!(unread(&[&["backup", "src", "missing"], json].concat()), Some(3));
    }
}

#[test]
fn completions_and_manual_pages() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = place.run_bare(&["completions", shell]);
        assert!(ran.code == Some(0) && ran.stdout.contains("snapshots"), "{ran:?}");
    }
    assert_eq!(place.run_bare(&["man", "pages/man1"]).code, Some(0));
    for page in ["mrs-backup.1", "mrs-backup-restore.1", "mrs-backup-key-rotate.1"] {
        let metadata = fs::metadata(place.path("pages/man1").join(page)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o644, "{page}: everybody may read it");
    }
    assert!(place.run_bare(&["man"]).stdout.contains(".TH"));
}

#[test]
fn key_files_open_at_once_and_are_private() {
    let place = Place::new();
    let ran = place.run_bare(&["key", "generate", "key"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let metadata = fs::metadata(place.path("key")).unwrap();
    assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (64, 0o600));
    place.run_bare(&["key", "generate", "key"]).fails(1, "key", "");
    for args in [&["init"][..], &["backup", "src"], &["check"]] {
        let ran = place.run_bare(&[args, &["--repo", "repo", "--key-file", "key"]].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
}
