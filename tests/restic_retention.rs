//! Retention beside restic itself: three years of snapshots made by it, and policies of all kinds; what its `forget` would keep, our
//! judge keeps. (The model in `src/snapshot/retention_model.rs` knows restic's rules from its manual only.) Where both differ on
//! purpose nothing is asked: incomplete snapshots, the hour that comes twice, quarters.
#![cfg(feature = "long-tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use jiff::civil::date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use mrs_backup::id::SnapshotId;
use mrs_backup::snapshot::retention::{Candidate, Count, Period, RetentionPolicy, judge};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

const SNAPSHOTS: usize = 48;
const POLICIES: usize = 40;
const ZONE: &str = "Europe/Paris";
/// What restic has; it knows no quarters.
const PERIODS: [Period; 5] = [Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year];

struct Site {
    root: tempfile::TempDir,
}

impl Site {
    fn restic(&self, words: &[&str]) -> String {
        let program =
            std::env::var("MRS_BACKUP_TEST_RESTIC").unwrap_or_else(|_| "restic".to_owned());
        let output = Command::new(program)
            .args(words)
            .arg("--no-cache")
            .current_dir(self.root.path())
            .env("RESTIC_REPOSITORY", self.root.path().join("restic"))
            .env("RESTIC_PASSWORD", "a password of a test")
            .env("TZ", ZONE)
            .output()
            .expect("restic; apt-get install restic");
        assert!(output.status.success(), "restic {words:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

/// Moments of three years, many of them close to each other, to midnight and to changes of the clock.
fn moments(random: &mut ChaCha8Rng, zone: &TimeZone) -> BTreeSet<Timestamp> {
    let first = date(2023, 11, 20).at(0, 0, 0, 0).to_zoned(zone.clone()).expect("a time");
    let changes = [date(2024, 3, 31), date(2024, 10, 27), date(2025, 3, 30), date(2026, 3, 29)];
    let mut found = BTreeSet::new();
    while found.len() < SNAPSHOTS {
        let day = match random.random_range(0..4) {
            0 => changes[random.random_range(0..changes.len())],
            // The last weeks have most.
            1 | 2 => date(2026, 11, 20).saturating_sub(random.random_range(0..40).days()),
            _ => first.date().saturating_add(random.random_range(0..1100).days()),
        };
        let hour = [0, 1, 4, 12, 13, 22, 23][random.random_range(0..7)];
        let wall = day.at(hour, random.random_range(0..60), random.random_range(0..60), 0);
        found.insert(wall.to_zoned(zone.clone()).expect("a time").timestamp());
    }
    found
}

/// A policy, and the same in restic's words.
fn policy(random: &mut ChaCha8Rng) -> (RetentionPolicy, Vec<String>) {
    let (mut policy, mut words) = (RetentionPolicy::default(), Vec::new());
    let span = |random: &mut ChaCha8Rng| {
        let (months, days, hours) =
            (random.random_range(0..20), random.random_range(0..30), random.random_range(1..30));
        format!("{months}m{days}d{hours}h")
    };
    if random.random_bool(0.3) {
        let last = random.random_range(1..9);
        policy.last = Some(Count::Times(last));
        words.push(format!("--keep-last={last}"));
    }
    for period in PERIODS {
        // Fewer than there are: whether the oldest stays beside the newest differs between versions of restic.
        let most = if period == Period::Year { 3 } else { 8 };
        if random.random_bool(0.35) {
            let count = random.random_range(1..most);
            policy.counts.insert(period, Count::Times(count));
            words.push(format!("--keep-{}={count}", period.word()));
        }
        if random.random_bool(0.25) {
            let span = span(random);
            words.push(format!("--keep-within-{}={span}", period.word()));
            policy.within_periods.insert(period, span.parse().expect("a span"));
        }
    }
    if random.random_bool(0.2) {
        let span = span(random);
        words.push(format!("--keep-within={span}"));
        policy.within = Some(span.parse().expect("a span"));
    }
    for tags in ["a", "a,b"].into_iter().filter(|_| random.random_bool(0.15)) {
        words.push(format!("--keep-tag={tags}"));
        policy.tags.push(tags.split(',').map(str::to_owned).collect());
    }
    if words.is_empty() {
        policy.last = Some(Count::Times(1));
        words.push("--keep-last=1".to_owned());
    }
    (policy, words)
}

fn id(text: &serde_json::Value) -> SnapshotId {
    text.as_str().expect("an id").parse().expect("64 digits")
}

#[test]
fn restic_keeps_the_same() {
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let zone = TimeZone::get(ZONE).expect("a zone");
    let site = Site { root: tempfile::tempdir().expect("a directory") };
    std::fs::write(site.root.path().join("file"), "x").expect("a file");
    site.restic(&["init"]);
    for time in moments(&mut random, &zone) {
        let wall = time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string();
        let tags = ["", "a", "b", "a,b"][random.random_range(0..4)];
        let mut words = vec!["backup", "file", "--host", "h", "--time", &wall];
        if !tags.is_empty() {
            words.extend(["--tag", tags]);
        }
        site.restic(&words);
    }
    let listed: serde_json::Value =
        serde_json::from_str(&site.restic(&["snapshots", "--json"])).expect("JSON");
    let candidates: Vec<Candidate> = listed
        .as_array()
        .expect("a list")
        .iter()
        .enumerate()
        .map(|(number, one)| Candidate {
            id: id(&one["id"]),
            time: one["time"].as_str().expect("a time").parse().expect("a time"),
            counter: number as u64,
            is_complete: true,
            tags: one["tags"].as_array().map_or_else(Vec::new, |tags| {
                tags.iter().map(|tag| tag.as_str().expect("a tag").to_owned()).collect()
            }),
        })
        .collect();
    assert_eq!(candidates.len(), SNAPSHOTS);
    let newest = candidates.iter().max_by_key(|one| one.time).expect("a newest").id;
    let now = Timestamp::now() + SignedDuration::from_hours(24 * 365);
    for _ in 0..POLICIES {
        let (policy, words) = policy(&mut random);
        let mut command = vec!["forget", "--dry-run", "--json", "--group-by", "host"];
        command.extend(words.iter().map(String::as_str));
        let told: serde_json::Value = serde_json::from_str(&site.restic(&command)).expect("JSON");
        let kept = told[0]["keep"].as_array().map_or(&[][..], Vec::as_slice);
        let mut theirs: BTreeSet<SnapshotId> = kept.iter().map(|one| id(&one["id"])).collect();
        // Ours always keeps the newest.
        theirs.insert(newest);
        let verdicts = judge(&candidates, &policy, &BTreeMap::new(), &zone, now);
        let ours: BTreeSet<SnapshotId> =
            verdicts.iter().filter(|one| one.stays()).map(|one| one.id).collect();
        let times = |ids: &BTreeSet<SnapshotId>, not: &BTreeSet<SnapshotId>| -> Vec<String> {
            let only =
                candidates.iter().filter(|one| ids.contains(&one.id) && !not.contains(&one.id));
            only.map(|one| one.time.to_zoned(zone.clone()).to_string()).collect()
        };
        let (more, less) = (times(&ours, &theirs), times(&theirs, &ours));
        assert!(
            more.is_empty() && less.is_empty(),
            "{words:?}: only ours {more:?}, only restic's {less:?}"
        );
    }
}
