//! Runs from a configuration file.

use std::fs;

use rustix::fs::{FlockOperation, flock};

use super::{Place, Ran};

/// Two instances, `mrs` and `school`, with repositories of their own.
fn two() -> Place {
    let place = Place::new();
    let root = place.dir.path().display();
    let config = format!(
        r#"version = 1
[defaults]
key = {{ file = "{root}/password" }}
[instance.mrs]
home = "{root}/src"
repository = "{root}/repo-mrs"
paths = ["a.txt", "sub", "sub/b.txt"]
tags = ["nightly"]
[instance.school]
home = "{root}/src"
repository = "{root}/repo-school"
paths = ["a.txt"]
"#
    );
    place.write("config.toml", config.as_bytes());
    place
}

fn with_config(place: &Place, args: &[&str]) -> Ran {
    place.run_bare(&[&["-c", "config.toml"], args].concat())
}

fn ok(place: &Place, args: &[&str]) -> Ran {
    let ran = with_config(place, args);
    assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    ran
}

#[test]
fn instances_are_run_by_name_or_all() {
    let place = two();
    with_config(&place, &["run", "mrs"]).fails(10, "repo-mrs", "mrs-backup init");
    assert!(!place.path("repo-mrs").exists(), "a run never makes a repository");
    for name in ["mrs", "school"] {
        ok(&place, &["init", name, "--kdf-memory", "8"]);
    }
    with_config(&place, &["run"]).fails(2, "none is named", "mrs, school");
    with_config(&place, &["run", "mrz"]).fails(2, "did you mean `mrs`?", "");
    let ran = ok(&place, &["run", "mrs"]);
    assert_eq!(ran.stdout.lines().count(), 1, "one line for the log: {ran:?}");
    assert_eq!(ran.stderr, "");
    let ran = ok(&place, &["run", "--all", "--json"]);
    assert_eq!(ran.lines().iter().filter(|line| line["type"] == "run").count(), 2, "{ran:?}");
    assert_eq!(ran.summary()["instances"].as_array().unwrap().len(), 2);
    let ran = ok(&place, &["ls", "latest:mrs", "-r", "-i", "mrs"]);
    assert_eq!(ran.stdout, "a.txt\nsub\nsub/b.txt\n", "paths are relative to the home");
    let ran = ok(&place, &["snapshots", "-i", "mrs"]);
    assert!(ran.stdout.contains("nightly"), "{ran:?}");
}

#[test]
fn one_that_fails_does_not_stop_the_others() {
    let place = two();
    ok(&place, &["init", "school", "--kdf-memory", "8"]);
    let ran = with_config(&place, &["run", "--all"]);
    assert_eq!(ran.code, Some(10), "{ran:?}");
    assert!(ran.stderr.contains("error: mrs: "), "{ran:?}");
    assert!(ran.stdout.contains("1 of 2"), "{ran:?}");
}

#[test]
fn a_missing_path_makes_the_run_incomplete() {
    let place = two();
    ok(&place, &["init", "mrs", "--kdf-memory", "8"]);
    fs::remove_file(place.path("src/a.txt")).unwrap();
    let ran = with_config(&place, &["run", "mrs", "--json"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert_eq!(ran.summary()["result"], "incomplete");
    fs::remove_dir_all(place.path("src")).unwrap();
    with_config(&place, &["run", "mrs"]).fails(1, "nothing of instance `mrs`", "");
}

#[test]
fn eleven_while_somebody_works_on_it() {
    let place = two();
    ok(&place, &["init", "mrs", "--kdf-memory", "8"]);
    ok(&place, &["run", "mrs"]);
    let file = fs::File::open(place.path("state/locks/mrs.lock")).unwrap();
    flock(&file, FlockOperation::LockExclusive).unwrap();
    with_config(&place, &["run", "mrs"]).fails(11, "mrs", "--lock-wait");
    with_config(&place, &["run", "mrs", "--lock-wait", "300ms"]).fails(11, "mrs", "--lock-wait");
    flock(&file, FlockOperation::Unlock).unwrap();
    ok(&place, &["run", "mrs"]);
}

#[test]
fn a_disk_that_is_not_mounted_stays_untouched() {
    let place = two();
    ok(&place, &["init", "mrs", "--kdf-memory", "8"]);
    let config = fs::read_to_string(place.path("config.toml")).unwrap();
    fs::create_dir(place.path("mnt")).unwrap();
    let mount = format!("[instance.mrs]\nrequire_mount = \"{}\"", place.text("mnt"));
    place.write("config.toml", config.replace("[instance.mrs]", &mount).as_bytes());
    for args in [["run", "mrs"], ["init", "mrs"], ["snapshots", "-imrs"]] {
        with_config(&place, &args).fails(1, "is not mounted", "mount the disk");
    }
    assert!(super::names(&place.path("mnt")).is_empty());
}

#[test]
fn the_configuration_is_explained() {
    let place = two();
    let ran = ok(&place, &["config", "validate"]);
    assert!(ran.stdout.contains("2 instances"), "{ran:?}");
    let ran = ok(&place, &["config", "show"]);
    assert!(ran.stdout.contains("instance.mrs.home"), "{ran:?}");
    assert!(!ran.stdout.contains(super::PASSWORD), "{ran:?}");
    let schema = place.run_bare(&["config", "schema"]).stdout;
    serde_json::from_str::<serde_json::Value>(&schema).unwrap();
    place.write("config.toml", b"version = 1\n[instance.mrs]\nhome = \"/x\"\nrepositry = \"/y\"\n");
    let ran = with_config(&place, &["config", "validate"]);
    ran.fails(2, "did you mean `repository`?", "mrs-backup config schema");
    assert!(!ran.stderr.contains("config validate"), "it has just been run: {ran:?}");
    assert!(ran.stderr.contains("config.toml:4:"), "{ran:?}");
}

#[test]
fn a_dry_run_of_an_instance_does_nothing() {
    let place = two();
    let ran = ok(&place, &["run", "mrs", "--dry-run"]);
    assert!(ran.stdout.contains("would back up mrs"), "{ran:?}");
    assert!(!place.path("repo-mrs").exists() && !place.path("state").exists());
}

#[test]
fn older_variables_still_work_and_newer_ones_come_first() {
    let place = Place::ready();
    let mut command = place.bare();
    command.env("RESTIC_REPOSITORY", place.path("repo")).env("RESTIC_PASSWORD", super::PASSWORD);
    assert_eq!(Ran::of(command.arg("snapshots")).code, Some(0));
    command.env("MRS_BACKUP_REPOSITORY", place.path("elsewhere"));
    assert_eq!(Ran::of(&mut command).code, Some(10));
    assert_eq!(Ran::of(command.args(["--repo", "repo"])).code, Some(0));
}

#[test]
fn what_a_variable_says_instead_of_the_file_is_told() {
    let place = two();
    ok(&place, &["init", "mrs", "--kdf-memory", "8"]);
    ok(&place, &["run", "mrs"]);
    let with = |variables: &[(&str, &str)], args: &[&str]| {
        let mut command = place.bare();
        command.args(["-c", "config.toml"]).args(args).envs(variables.iter().copied());
        Ran::of(&mut command)
    };
    let other = place.text("repo-other");
    let repository = [("RESTIC_REPOSITORY", other.as_str())];
    let ran = with(&repository, &["init", "mrs", "--kdf-memory", "8"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = with(&repository, &["run", "mrs"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let told = format!(
        "RESTIC_REPOSITORY is set: the repository is {other}, not {}",
        place.text("repo-mrs")
    );
    assert!(ran.stderr.contains(&told), "{ran:?}");
    let shown = with(&repository, &["config", "show", "-i", "mrs"]).stdout;
    assert!(shown.contains("repo-other") && shown.contains("RESTIC_REPOSITORY"), "{shown}");
    with(&repository, &["run", "--all"]).fails(2, "--all and a repository", "RESTIC_REPOSITORY");
    // The same as in the file is nothing to tell.
    let same = place.text("repo-mrs");
    let ran = with(&[("MRS_BACKUP_REPOSITORY", &same)], &["run", "mrs"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    // A password left over opens nothing, and is named as what was tried.
    let ran = with(&[("RESTIC_PASSWORD", "left over")], &["snapshots", "-i", "mrs"]);
    ran.fails(12, "RESTIC_PASSWORD is set: what opens it", "RESTIC_PASSWORD; unset it");
    assert!(!ran.stderr.contains("left over"), "{ran:?}");
    let state = place.text("elsewhere");
    let shown = with(&[("MRS_BACKUP_STATE_DIR", &state)], &["config", "show"]).stdout;
    let line = shown.lines().find(|line| line.starts_with("state_dir ")).unwrap();
    assert!(line.contains(&state) && line.ends_with("MRS_BACKUP_STATE_DIR"), "{line}");
}

#[test]
fn a_home_can_be_saved_as_a_whole() {
    let place = two();
    let text = fs::read_to_string(place.path("config.toml")).unwrap();
    let text = text.replace(r#"paths = ["a.txt", "sub", "sub/b.txt"]"#, r#"paths = [".", "sub"]"#);
    place.write("config.toml", text.as_bytes());
    ok(&place, &["init", "mrs", "--kdf-memory", "8"]);
    for _ in 0..2 {
        ok(&place, &["run", "mrs"]);
    }
    let ran = ok(&place, &["ls", "latest:mrs", "-r", "-i", "mrs"]);
    assert_eq!(ran.stdout, "home\nhome/a.txt\nhome/sub\nhome/sub/b.txt\n");
}
