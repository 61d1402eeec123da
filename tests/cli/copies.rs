//! Copies as people and timers make them: by name and by location, in the night, one failing beside others.

use std::fs;

use super::nights::{configured, ok, run, write_config};
use super::{Place, names};

const TWO: &str = "[instance.mrs.copy.near]\nlocation = \"../near\"";

/// Two copies; `..` is not taken in a configuration, so both are absolute.
fn two(place: &Place) -> String {
    format!(
        "[instance.mrs.copy.near]\nlocation = \"{}\"\n[instance.mrs.copy.far]\nlocation = \"{}\"\n\
         delete_after = \"never\"\nsample = \"100%\"",
        place.text("near"),
        place.text("far")
    )
}

fn with_copies() -> Place {
    let place = configured("");
    let lines = two(&place);
    write_config(&place, &lines);
    place
}

#[test]
fn the_night_copies_and_the_copies_restore() {
    let place = with_copies();
    let ran = ok(&place, &["run", "--json"]);
    let copies: Vec<_> = ran.lines().into_iter().filter(|line| line["type"] == "copy").collect();
    assert_eq!(copies.len(), 2, "{ran:?}");
    assert!(copies.iter().all(|copy| copy["result"] == "ok" && copy["begun"] == true), "{ran:?}");
    let steps = ran.summary()["steps"].as_array().unwrap().clone();
    assert_eq!(steps[1]["step"], "copy");
    for name in ["near", "far"] {
        let at = place.text(name);
        let with = ["--repo", &at, "--password-file", "password", "--state-dir", "other-state"];
        let target = place.text(&format!("back-{name}"));
        let ran = place.run_bare(&[&["restore", "latest:mrs", &target], &with[..]].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(fs::read(place.path(&format!("back-{name}/a.txt"))).unwrap(), b"alpha\n");
        let ran = place.run_bare(&[&["check", "--read-data"], &with[..]].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    let ran = ok(&place, &["snapshots"]);
    assert_eq!(ran.stdout.matches("up to date, 0 min ago").count(), 2, "{ran:?}");
    ok(&place, &["run", "--skip", "copy"]);
    let ran = ok(&place, &["snapshots"]);
    assert_eq!(ran.stdout.matches("1 snapshot behind").count(), 2, "{ran:?}");
    let lines = ok(&place, &["stats", "--json"]).lines();
    let near = lines.iter().find(|line| line["copy"] == "near").unwrap();
    assert_eq!(near["behind"], 1);
}

#[test]
fn one_that_fails_does_not_stop_the_others() {
    let place = with_copies();
    ok(&place, &["run"]);
    // By its name it comes first.
    fs::remove_dir_all(place.path("far")).unwrap();
    place.write("far", b"a file in the way");
    let ran = run(&place, &["run", "--json"]);
    assert_eq!(ran.code, Some(20), "{ran:?}");
    let copies: Vec<_> = ran.lines().into_iter().filter(|line| line["type"] == "copy").collect();
    assert_eq!((&copies[0]["copy"], &copies[0]["exit_code"]), (&"far".into(), &20.into()));
    assert_eq!((&copies[1]["copy"], &copies[1]["exit_code"]), (&"near".into(), &0.into()));
    assert_eq!(copies[1]["report"]["snapshots"], 1);
    assert_eq!(ran.summary()["exit_code"], 20);
    // The disk is not mounted: what was there is not begun anew.
    fs::remove_file(place.path("far")).unwrap();
    let ran = run(&place, &["copy", "--to", "far"]);
    ran.fails(20, "is the right disk mounted there?", "--start-over");
    assert!(!place.path("far").exists());
    ok(&place, &["copy", "--to", "far", "--start-over"]);
    ok(&place, &["copy"]);
}

#[test]
fn a_mount_that_is_missing_is_told_before_anything_is_written() {
    let place = configured("");
    let lines = format!(
        "[instance.mrs.copy.disk]\nlocation = \"{0}/repo\"\nrequire_mount = \"{0}\"",
        place.text("disk")
    );
    write_config(&place, &lines);
    fs::create_dir(place.path("disk")).unwrap();
    let ran = run(&place, &["run"]);
    ran.fails(20, "is not mounted", "mount the disk");
    assert!(names(&place.path("disk")).is_empty());
}

#[test]
fn a_dry_run_shows_and_changes_nothing() {
    let place = Place::ready();
    place.backup();
    let target = place.text("second");
    let ran = place.ok(&["copy", "--to", &target, "--dry-run"]);
    assert!(ran.stdout.contains("(a new copy)") && ran.stdout.contains("1 snapshot"), "{ran:?}");
    assert!(ran.stdout.contains("nothing was changed"));
    assert!(!place.path("second").exists());
    let ran = place.ok(&["copy", "--to", &target]);
    assert!(ran.stdout.contains("1 snapshot put"), "{ran:?}");
    let before = names(&place.path("second"));
    place.ok(&["copy", "--to", &target, "--dry-run"]);
    assert_eq!(names(&place.path("second")), before);
    let ran = place.ok(&["copy", "--to", &target, "--audit", "--json"]);
    assert_eq!(ran.summary()["copies"][0]["report"]["snapshots"], 0);
}

#[test]
fn what_is_missing_here_comes_back_from_a_copy() {
    let place = with_copies();
    ok(&place, &["run"]);
    ok(&place, &["run"]);
    // The repository's disk is put back to nothing.
    fs::remove_dir_all(place.path("repo/snapshots")).unwrap();
    fs::create_dir(place.path("repo/snapshots")).unwrap();
    run(&place, &["copy"]).fails(20, "has no snapshot any more", "--to primary");
    let ran = ok(&place, &["copy", "--from", "near", "--to", "primary"]);
    assert!(ran.stdout.contains("2 snapshots put"), "{ran:?}");
    ok(&place, &["check", "--read-data"]);
    ok(&place, &["copy"]);
}

#[test]
fn nonsense_is_refused_with_a_way_out() {
    let place = Place::ready();
    place.backup();
    place.run(&["copy"]).fails(2, "no copy is named", "--to LOCATION");
    place.run(&["copy", "--to", "cellar"]).fails(2, "there is no copy `cellar`", "./cellar");
    place.run(&["copy", "--to", "./repo"]).fails(2, "cannot be copied to itself", "");
    place.run(&["copy", "--to", "./src"]).fails(20, "it holds something else", "empty place");
    place.run(&["copy", "--to", "primary", "--from", "./none"]).fails(10, "no repository", "");
    let ran = place.run(&["copy", "--to", "ftp://me:hush@127.0.0.1:1/x", "--json"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("password in the arguments"), "{ran:?}");
    assert!(!(ran.stdout.clone() + &ran.stderr).contains("hush"), "{ran:?}");
    let other = Place::ready();
    let at = other.text("repo");
    let ran = place.run(&["copy", "--to", &at]);
    ran.fails(20, "holds repository", "choose a missing or empty place");
    assert_eq!(place.run(&["copy", "--to", "./x", "--sample", "2"]).code, Some(2));
    let broken = configured("");
    write_config(&broken, TWO);
    run(&broken, &["copy"]).fails(2, "leads upwards", "");
}

#[test]
fn an_hour_of_their_own_takes_them_out_of_the_night() {
    let place = with_copies();
    let lines = two(&place);
    let schedule = "schedule = { run = \"0 23 * * *\", copy = \"0 3 * * *\" }\n";
    write_config(&place, &(schedule.to_owned() + &lines));
    let ran = ok(&place, &["run", "--json"]);
    assert!(!place.path("near").exists(), "{ran:?}");
    let ran = ok(&place, &["run", "--job", "copy", "--json"]);
    assert_eq!(ran.summary()["steps"].as_array().unwrap().len(), 1);
    assert!(place.path("near/config").exists());
}

#[test]
fn into_another_repository_with_another_password() {
    let place = Place::ready();
    let first = place.backup();
    place.write("src/a.txt", b"second");
    place.backup();
    place.write("other-password", b"something else entirely");
    let other = place.text("other");
    let reencrypt =
        ["copy", "--re-encrypt", "--to", &other, "--to-password-file", "other-password"];
    place.run(&reencrypt).fails(2, "there is no repository at", "mrs-backup init");
    let with = ["--repo", &other, "--password-file", "other-password"];
    let ran = place.run_bare(&[&["init", "--kdf-memory", "8"], &with[..]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    place.run(&["copy", "--re-encrypt", "--to", &other]).fails(
        2,
        "no password is given",
        "--to-password-file",
    );
    let ran = place.ok(&[&reencrypt[..], &["--dry-run"]].concat());
    assert!(ran.stdout.contains(&first[..8]) && ran.stdout.contains("nothing was changed"));
    let ran = place.ok(&reencrypt);
    assert!(ran.stdout.contains("2 snapshots copied"), "{ran:?}");
    assert!(place.ok(&reencrypt).stdout.contains("0 snapshots copied"), "once is enough");
    let ran = place.run_bare(&[&["check", "--read-data"], &with[..]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let back = place.text("back");
    let ran = place.run_bare(&[&["restore", "latest", &back], &with[..]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let at = format!("back/{}", place.tree("/a.txt"));
    assert_eq!(fs::read(place.path(&at)).unwrap(), b"second");
    // The old password opens nothing there.
    assert_eq!(place.run(&["snapshots", "--repo", &other]).code, Some(12));
    let same = ["copy", "--re-encrypt", "--to", "primary", "--to-password-file", "password"];
    place.run(&same).fails(2, "the same repository", "leave out");
}
