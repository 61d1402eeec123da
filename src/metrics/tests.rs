use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::*;
use crate::instance::Job;
use crate::schedule::Entry;
use crate::status::{InstanceStatus, NextRun, Overview};

fn never(name: &str) -> InstanceStatus {
    InstanceStatus {
        name: name.to_owned(),
        zone: TimeZone::UTC,
        concerns: vec![crate::status::Concern::Never],
        last_good: None,
        limit: SignedDuration::from_hours(26),
        nights: Vec::new(),
        copies: Vec::new(),
        tests: None,
        proof: None,
        running: None,
        next: vec![NextRun { job: Job::Check, due: None, last: Entry::default() }],
        points: Vec::new(),
        sizes: Vec::new(),
        known: None,
        days_until_full: None,
        last_error: None,
        last_steps: Vec::new(),
        runs: Vec::new(),
        happened: Vec::new(),
    }
}

#[test]
fn who_was_never_backed_up_has_every_series() {
    let now = "2026-11-26T12:00:00Z".parse().expect("a time");
    let instances = vec![never("a"), never("b\"\\\n")];
    let overview = Overview { now, host: "h".to_owned(), instances };
    let text = render(&overview, "0.1.0");
    for line in [
        "mrs_backup_last_success_timestamp_seconds{instance=\"a\",job=\"run\"} 0.0",
        "mrs_backup_last_run_status{instance=\"a\",job=\"run\"} -1.0",
        "mrs_backup_last_run_status{instance=\"a\",job=\"check\"} -1.0",
        "mrs_backup_status{instance=\"a\"} 2.0",
        "mrs_backup_max_age_seconds{instance=\"a\"} 93600.0",
        "mrs_backup_status{instance=\"b\\\"\\\\\\n\"} 2.0",
        "mrs_backup_info{version=\"0.1.0\"} 1.0",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}\n{text}");
    }
    assert!(!text.contains("job=\"prune\""), "nobody asked for it");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn what_is_done_once_a_quarter_was_not_never() {
    let mut quarterly = never("a");
    quarterly.next[0].last = Entry {
        started: "2026-09-01T05:00:00Z".parse().ok(),
        finished: "2026-09-01T05:01:30Z".parse().ok(),
        exit_code: Some(0),
        ..Entry::default()
    };
    let now = "2026-11-26T12:00:00Z".parse().expect("a time");
    let mut overview = Overview { now, host: "h".to_owned(), instances: vec![quarterly] };
    let value = |overview: &Overview, name: &str| {
        let text = render(overview, "0.1.0");
        let series = format!("mrs_backup_{name}{{instance=\"a\",job=\"check\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(series.as_str()));
        line.unwrap_or_else(|| panic!("{series}: {text}")).to_owned()
    };
    assert_eq!(value(&overview, "last_success_timestamp_seconds"), "1788238890.0");
    assert_eq!(value(&overview, "last_run_timestamp_seconds"), "1788238800.0");
    assert_eq!(value(&overview, "last_run_status"), "0.0");
    assert_eq!(value(&overview, "duration_seconds"), "90.0");
    overview.instances[0].next[0].last.exit_code = Some(1);
    assert_eq!(value(&overview, "last_success_timestamp_seconds"), "0.0");
    assert_eq!(value(&overview, "last_run_status"), "1.0");
}

#[test]
fn the_file_is_for_everybody_and_replaced_whole() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("mrs-backup.prom");
    for text in ["a 1\n", "b 2\n"] {
        write_textfile(&path, text).expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), text);
    }
    let mode = std::fs::metadata(&path).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 1);
    let error = write_textfile(std::path::Path::new("/nowhere/x.prom"), "").expect_err("no place");
    assert!(error.to_string().contains("/nowhere/x.prom"));
}
