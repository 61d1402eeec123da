//! The server is gone: a new machine with the program, one copy, and the password or the recovery sheet.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use super::nights::{configured, ok, write_config};
use super::{Place, Ran, names};

/// An instance with a copy; then everything but the copy and the password is lost.
fn lost(before: impl Fn(&Place)) -> Place {
    let place = configured("");
    let lines = format!("[instance.mrs.copy.cellar]\nlocation = \"{}\"", place.text("cellar"));
    write_config(&place, &lines);
    ok(&place, &["run"]);
    before(&place);
    ok(&place, &["run"]);
    for name in ["repo", "state", "src"] {
        fs::remove_dir_all(place.path(name)).unwrap();
    }
    fs::remove_file(place.path("config.toml")).unwrap();
    place
}

#[test]
fn the_drill() {
    let place = lost(|_| ());
    let cellar = place.text("cellar");
    let with = ["--password-file", "password"];
    // 1. What is there, 2. the files.
    let ran = place.run_bare(&[&["snapshots", "--repo", &cellar], &with[..]].concat());
    assert!(ran.stdout.contains("2 snapshots"), "{ran:?}");
    let back = place.text("back");
    let restore = ["restore", "--repo", &cellar, "latest:mrs", &back];
    let ran = place.run_bare(&[&restore[..], &with].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(fs::read(place.path("back/sub/b.txt")).unwrap(), vec![b'b'; 300_000]);
    fs::rename(place.path("back"), place.path("src")).unwrap();
    // 3. The repository again, and a configuration.
    let repo = place.text("repo");
    let adopt = ["init", "--adopt", &cellar, "--repo", &repo, "--write-config", "config.toml"];
    let ran = place.run_bare(&[&adopt[..], &with].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("2 snapshots") && ran.stdout.contains("config.toml is written"));
    let mode = fs::metadata(place.path("config.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // 4. Life goes on: the next night, with the old copy as a copy again.
    ok(&place, &["check", "--read-data"]);
    let ran = ok(&place, &["run", "--json"]);
    let copy = ran.lines().into_iter().find(|line| line["type"] == "copy").unwrap();
    assert_eq!((&copy["copy"], &copy["report"]["snapshots"]), (&"adopted".into(), &1.into()));
    assert_eq!(ran.summary()["files"], 2, "{ran:?}");
    let ran = ok(&place, &["snapshots"]);
    assert!(ran.stdout.contains("3 snapshots") && ran.stdout.contains("up to date"), "{ran:?}");
}

#[test]
fn the_copy_can_be_the_repository_where_it_is() {
    let place = lost(|_| ());
    let cellar = place.text("cellar");
    let before = names(&place.path("cellar"));
    let adopt = [
        "init",
        "--adopt",
        &cellar,
        "--in-place",
        "--write-config",
        "config.toml",
        "--password-file",
        "password",
    ];
    let ran = place.run_bare(&adopt);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(names(&place.path("cellar")), before);
    fs::create_dir_all(place.path("src/sub")).unwrap();
    place.write("src/a.txt", b"after");
    ok(&place, &["run"]);
    assert!(ok(&place, &["snapshots"]).stdout.contains("3 snapshots"));
    assert!(!place.path("repo").exists());
}

#[test]
fn the_sheet_alone_opens_what_is_left() {
    let place = lost(|place| {
        ok(place, &["key", "sheet", "sheet.txt", "--recovery-key", "--kdf-memory", "8"]);
    });
    let mode = fs::metadata(place.path("sheet.txt")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let sheet = fs::read_to_string(place.path("sheet.txt")).unwrap();
    let of = |word: &str| {
        let line = sheet
            .lines()
            .find(|line| line.starts_with(word))
            .unwrap_or_else(|| panic!("{word}: {sheet}"));
        line[word.len()..].trim().to_owned()
    };
    assert!(!sheet.contains(super::PASSWORD));
    let cellar = of("cellar");
    assert_eq!(cellar, place.text("cellar"));
    fs::remove_file(place.path("password")).unwrap();
    place.write("typed", of("recovery key").as_bytes());
    // `config` and the keys are gone, too: what the page says puts them back.
    fs::remove_file(place.path("cellar/config")).unwrap();
    fs::remove_dir_all(place.path("cellar/keys")).unwrap();
    fs::create_dir(place.path("cellar/keys")).unwrap();
    let at = sheet.find("  base64 -d > config").unwrap();
    let script: String =
        sheet[at..].lines().map(|line| line.trim_start().to_owned() + "\n").collect();
    let mut shell = std::process::Command::new("sh")
        .current_dir(place.path("cellar"))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut shell.stdin.take().unwrap(), script.as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
    let back = place.text("back");
    let ran = place.run_bare(&[
        "restore",
        "--repo",
        &cellar,
        "latest:mrs",
        &back,
        "--password-file",
        "typed",
    ]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(fs::read(place.path("back/a.txt")).unwrap(), b"alpha\n");
}

#[test]
fn a_new_repository_comes_with_its_sheet() {
    let place = Place::new();
    let with = ["--kdf-memory", "8"];
    let ran = place.run(&[&["init", "--recovery-sheet", "sheet.svg"], &with[..]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let sheet = fs::read_to_string(place.path("sheet.svg")).unwrap();
    assert!(sheet.starts_with("<?xml") && sheet.contains(&place.text("repo")), "{sheet}");
    let ran = place.ok(&["key", "sheet", "-"]);
    assert!(ran.stdout.contains("does not open anything without the password"), "{ran:?}");
    place.run(&["key", "sheet", "sheet.svg"]).fails(2, "is not overwritten", "another file");
    // Told before a repository is made.
    let other = Place::new();
    other.write("sheet.svg", b"mine");
    other.run(&["init", "--recovery-sheet", "sheet.svg"]).fails(2, "is not overwritten", "");
    assert!(!other.path("repo").exists());
    other.run(&["init", "--recovery-key"]).fails(2, "has no page", "--recovery-sheet");
}

#[test]
fn nothing_is_adopted_over_something_else() {
    let place = lost(|_| ());
    let cellar = place.text("cellar");
    let adopt = |extra: &[&str]| -> Ran {
        let start = ["init", "--adopt", &cellar, "--password-file", "password"];
        place.run_bare(&[&start[..], extra].concat())
    };
    adopt(&[]).fails(2, "no repository is named", "");
    adopt(&["--repo", &cellar]).fails(2, "is the copy itself", "--in-place");
    let other = Place::ready();
    adopt(&["--repo", &other.text("repo")]).fails(20, "holds repository", "");
    adopt(&["--repo", &place.text("new"), "--write-config", "password"]).fails(
        2,
        "not overwritten",
        "",
    );
    assert!(!place.path("new").exists());
    place.write("wrong", b"nonsense");
    let wrong = ["init", "--adopt", &cellar, "--repo", "./new", "--password-file", "wrong"];
    assert_eq!(place.run_bare(&wrong).code, Some(12));
    let none = ["init", "--adopt", "./none", "--repo", "./new", "--password-file", "password"];
    assert_eq!(place.run_bare(&none).code, Some(10));
    assert!(!place.path("new").exists());
}
