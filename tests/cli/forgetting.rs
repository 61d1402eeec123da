//! Retention from the outside: what is shown, what goes, what never does.

use std::sync::Arc;

use mrs_backup::clock::FixedClock;
use mrs_backup::crypto::slot::Credential;
use mrs_backup::crypto::{Secret, SystemRandom};
use mrs_backup::event::{Observer, Silent, StopFlag};
use mrs_backup::ops::backup::{BackupPlan, FilesInput, backup};
use mrs_backup::repository::{Environment, IngestOptions, Repository};
use mrs_backup::source::files::WalkOptions;
use mrs_backup::store::open_store;

use super::{PASSWORD, Place, Ran};

/// A snapshot of `src` made at `time` by a clock of its own; gives the first digits of its id.
pub fn snapshot_at(place: &Place, repository: &str, instance: &str, time: &str) -> String {
    let environment = Environment {
        clock: Arc::new(FixedClock::new(time.parse().unwrap())),
        random: Arc::new(SystemRandom),
        host: "test".to_owned(),
        state_dir: None,
    };
    let password = Credential::Password(Secret::new(PASSWORD.as_bytes().to_vec()));
    let store = open_store(&place.text(repository)).unwrap();
    let repository = Repository::open(store, &password, environment).unwrap();
    let plan = BackupPlan {
        instance: instance.to_owned(),
        tags: Vec::new(),
        files: vec![FilesInput {
            path: place.path("src"),
            tree_path: b"src".to_vec(),
            options: Arc::new(WalkOptions::default()),
        }],
        streams: Vec::new(),
        ingest: IngestOptions::default(),
    };
    let observer: Arc<dyn Observer> = Arc::new(Silent);
    let made = backup(&repository, plan, &StopFlag::new(), &observer).unwrap();
    made.commit.id.short()
}

/// Ids of a day each, 20 November 2025 being the last.
fn nights(place: &Place, count: i64) -> Vec<String> {
    nights_until(place, count, "2025-11-20T22:00:00Z".parse().unwrap())
}

fn nights_until(place: &Place, count: i64, end: jiff::Timestamp) -> Vec<String> {
    let night = |back: i64| {
        let time = end - jiff::SignedDuration::from_hours(24 * back);
        place.write("src/a.txt", format!("night {back}").repeat(2000).as_bytes());
        snapshot_at(place, "repo", "mrs", &time.to_string())
    };
    (0..count).rev().map(night).collect()
}

fn ids(place: &Place) -> Vec<String> {
    let short = |line: &serde_json::Value| line["short_id"].as_str().unwrap().to_owned();
    place.snapshots().iter().map(short).collect()
}

fn verdicts(ran: &Ran) -> Vec<(bool, String)> {
    let lines = ran.lines().into_iter().filter(|line| line["type"] == "verdict");
    lines.map(|line| (line["stays"].as_bool().unwrap(), line["reasons"].to_string())).collect()
}

#[test]
fn what_goes_is_shown_first_and_goes_with_apply() {
    let place = Place::ready();
    let all = nights(&place, 5);
    let rules = ["forget", "--keep-daily", "2", "--keep-last", "1"];
    let ran = place.ok(&rules);
    assert!(ran.stdout.contains("keeps last 1, daily 2 (command line)"), "{ran:?}");
    assert!(ran.stdout.contains("2 stay, 3 go; only these need"), "{ran:?}");
    assert!(ran.stdout.contains("2025-11  ...............xxx##"), "the calendar: {ran:?}");
    assert!(ran.stdout.contains("--apply does it"), "{ran:?}");
    assert_eq!(ids(&place), all, "shown only");
    place.ok(&[&rules[..], &["--yes", "--dry-run"]].concat());
    assert_eq!(ids(&place), all, "shown only");

    let ran = place.ok(&[&rules[..], &["--apply", "--json"]].concat());
    assert_eq!(verdicts(&ran).iter().filter(|(stays, _)| *stays).count(), 2);
    let summary = ran.summary();
    assert_eq!((&summary["applied"], &summary["forgotten"]), (&true.into(), &3.into()));
    assert!(summary["groups"][0]["bytes_only_these_need"].as_u64().unwrap() > 0, "{summary}");
    assert_eq!(ids(&place), all[3..]);
    place.ok(&["check", "--read-data"]);
    // Again: nothing is left to do.
    let ran = place.ok(&[&rules[..], &["--yes"]].concat());
    assert!(ran.stdout.contains("2 stay, 0 go"), "{ran:?}");
}

#[test]
fn rules_that_keep_nothing_are_refused() {
    let place = Place::ready();
    nights(&place, 2);
    for rule in [&["--keep-daily", "0"][..], &["--keep-tag", ","], &["--keep-last", "0"]] {
        let ran = place.run(&[&["forget", "--apply"], rule].concat());
        ran.fails(2, "every snapshot would go", "--keep-daily");
    }
    place.run(&["forget", "--keep-daily=-1"]).fails(2, "unlimited", "");
    place.run(&["forget", "--keep-within", "3 weeks"]).fails(2, "14d", "");
    assert_eq!(ids(&place).len(), 2);
    // Without any configuration nobody knows what this instance should keep.
    place.run(&["forget", "--apply"]).fails(2, "in no configuration", "--keep-daily");
    // No rule wants any: the newest complete one stays all the same.
    let ran = place.ok(&["forget", "--keep-tag", "release", "--apply"]);
    assert!(ran.stdout.contains("newest complete"), "{ran:?}");
    assert_eq!(ids(&place).len(), 1);
}

#[test]
fn an_empty_repository_has_nothing_to_forget() {
    let place = Place::ready();
    let ran = place.ok(&["forget", "--keep-daily", "7", "--apply"]);
    assert!(ran.stdout.contains("there are no snapshots"), "{ran:?}");
}

#[test]
fn clocks_that_look_wrong_stop_it() {
    let place = Place::ready();
    let mut all = nights(&place, 3);
    all.push(snapshot_at(&place, "repo", "mrs", "2091-01-01T00:00:00Z"));
    let ran = place.run(&["forget", "--keep-last", "1", "--apply"]);
    ran.fails(1, &format!("snapshot {} is from 2091-01-01", all[3]), "--ignore clock");
    assert_eq!(ids(&place), all);
    // The wrong one goes by name, and all is well again.
    place.ok(&["forget", &all[3], "--apply"]);
    place.ok(&["forget", "--keep-last", "1", "--apply"]);
    assert_eq!(ids(&place), all[2..3]);
}

#[test]
fn nothing_goes_after_a_bad_night() {
    let place = Place::ready();
    nights_until(&place, 3, jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24));
    assert_eq!(place.run(&["backup", "src", "missing", "-i", "mrs"]).code, Some(3));
    let rules = ["forget", "-i", "mrs", "--keep-last", "1", "--apply"];
    place.run(&rules).fails(1, "is incomplete", "--ignore failed-run");
    assert_eq!(ids(&place).len(), 4);
    place.ok(&[&rules[..], &["--ignore", "failed-run"]].concat());
    // The newest complete one, and the incomplete one that came after it.
    assert_eq!(ids(&place).len(), 2);
}

#[test]
fn pinned_ones_and_the_last_complete_one_stay() {
    let place = Place::ready();
    let all = nights(&place, 3);
    place.run(&["pin", &all[0]]).fails(2, "--reason", "");
    place.run(&["pin", &all[0], "--reason", " "]).fails(2, "say why", "");
    place.run(&["pin", &all[0], "--reason", "x", "--until", "2020-01-01"]).fails(2, "ended", "");
    place.ok(&["pin", &all[0], "--reason", "before version 2", "--for", "6m"]);
    let ran = place.ok(&["pin"]);
    assert!(ran.stdout.contains(&all[0]) && ran.stdout.contains("before version 2"), "{ran:?}");
    let ran = place.ok(&["forget", "--keep-last", "1", "--apply"]);
    assert!(ran.stdout.contains("pinned until"), "{ran:?}");
    assert_eq!(ids(&place), [&all[0][..], &all[2]]);
    place.run(&["forget", &all[0], "--apply"]).fails(1, "pinned", "unpin");
    place.ok(&["unpin", &all[0]]);
    place.run(&["unpin", &all[0]]).fails(2, "not pinned", "mrs-backup pin");
    place.run(&["forget", &all[0], &all[2], "--apply"]).fails(1, "last complete one", "");
    place.ok(&["forget", &all[0], "--yes"]);
    place.run(&["forget", "latest", "--apply"]).fails(1, "last complete one", "");
    place.run(&["forget", "abcd", "--apply"]).fails(1, "no snapshot fits", "");
    place.run(&["forget", &all[2], "--keep-last", "1"]).fails(2, "cannot be used with", "");
    assert_eq!(ids(&place), all[2..]);
}

#[test]
fn instances_of_one_repository_are_judged_apart() {
    let place = Place::ready();
    let all = nights(&place, 2);
    snapshot_at(&place, "repo", "school", "2025-11-01T00:00:00Z");
    let rules = ["forget", "--keep-last", "1"];
    let ran = place.ok(&rules);
    assert!(
        ran.stdout.contains("mrs: 1 stay, 1 go") && ran.stdout.contains("school: 1 stay, 0 go")
    );
    place.ok(&[&rules[..], &["-i", "school", "--apply"]].concat());
    assert_eq!(ids(&place).len(), 3, "another instance");
    place.ok(&[&rules[..], &["-i", "mrs", "--apply"]].concat());
    assert!(!ids(&place).contains(&all[0]));
}

#[test]
fn the_policy_and_the_days_of_the_configuration_hold() {
    let place = Place::ready();
    let config = |retention: &str| {
        format!(
            "version = 1\n[instance.mrs]\nhome = \"{}\"\nrepository = \"{}\"\nkey = {{ file = \"{}\" }}\n\
             timezone = \"Europe/Paris\"\nretention = {retention}\n",
            place.text("src"),
            place.text("repo"),
            place.text("password")
        )
    };
    place.write("config.toml", config("{ daily = 1 }").as_bytes());
    // Of one day in Paris, of two in UTC.
    snapshot_at(&place, "repo", "mrs", "2025-11-20T23:30:00Z");
    snapshot_at(&place, "repo", "mrs", "2025-11-21T22:30:00Z");
    let run = |args: &[&str]| place.run_bare(&[&["-c", "config.toml"], args].concat());
    let ran = run(&["forget"]);
    assert!(ran.stdout.contains("daily 1 (file), days in Europe/Paris"), "{ran:?}");
    assert!(ran.stdout.contains("mrs: 1 stay, 1 go"), "{ran:?}");
    place.write("config.toml", config("{}").as_bytes());
    let ran = run(&["forget"]);
    ran.fails(2, "config.toml:7:13: this keeps nothing", "config schema");
}
