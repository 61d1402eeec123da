use super::*;
use crate::instance::Job;
use crate::snapshot::retention::{Count, Period};

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/x.toml"), &|_| None)
}

/// An instance `mrs` with this further line, its fourth.
fn with(line: &str) -> Result<Instance, ConfigError> {
    let text = format!("version = 1\n[instance.mrs]\nhome = \"/home/mrs\"\n{line}\n");
    parse(&text).map(|config| config.instances["mrs"].clone())
}

fn says(line: &str, wanted: &str) {
    let error = with(line).map(|_| ()).expect_err(line).to_string();
    assert!(error.starts_with("/etc/x.toml"), "{error}");
    assert!(error["/etc/x.toml".len()..].starts_with(wanted), "{line}\n{error}\n{wanted}");
}

#[test]
fn retention_is_read_and_inherited_as_a_whole() {
    let plain = with("").unwrap();
    assert_eq!(plain.retention, Setting::new(RetentionPolicy::production(), Origin::Default));
    let line = "retention = { last = \"unlimited\", quarterly = 8, within = \"14d\", within_weekly = \"2m\", tags = [\"a,b\", \"c\"] }";
    let policy = with(line).unwrap().retention.value;
    assert_eq!(policy.last, Some(Count::Unlimited));
    assert_eq!(policy.counts, [(Period::Quarter, Count::Times(8))].into());
    assert_eq!(policy.within.unwrap().to_string(), "14d");
    assert_eq!(policy.within_periods[&Period::Week].to_string(), "2m");
    assert_eq!(policy.tags, [vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]]);
    let shown = with(line).unwrap().show();
    let shown = shown.iter().find(|line| line.key.ends_with(".retention")).unwrap();
    assert_eq!(format!("retention = {}", shown.value), line, "what is shown can be pasted back");
    let text = "version = 1\n[defaults]\nretention = { daily = 3 }\n[instance.a]\nhome = \"/a\"\n\
                [instance.b]\nhome = \"/b\"\nretention = { weekly = 2 }\n";
    let config = parse(text).unwrap();
    assert_eq!(config.instances["a"].retention.value.to_string(), "daily 3");
    assert_eq!(config.instances["b"].retention.value.to_string(), "weekly 2");
}

#[test]
fn a_policy_that_keeps_nothing_is_refused() {
    for line in [
        "retention = {}",
        "retention = { daily = 0, last = 0 }",
        "retention = { tags = [\",\"], daily = 1 }",
    ] {
        says(line, ":4:13: this keeps nothing: every snapshot would go; write at least one rule");
    }
    says("retention = { dayly = 7 }", ":4:15: unknown key `dayly`; did you mean `daily`?");
    says("retention = { daily = -1 }", ":4:23: -1 is no number of snapshots; write a number");
    says("retention = { daily = \"all\" }", ":4:23: `all` is no number of snapshots");
    says("retention = { daily = 1.5 }", ":4:23: write a number, or \"unlimited\"");
    says(
        "retention = { within = \"5x\" }",
        ":4:24: `5x` is no span of the calendar: it has an unknown unit",
    );
    says("retention = 7", ":4:13: ");
}

#[test]
fn schedules_are_read() {
    let line =
        "schedule = { run = \"0 23 * * *\", test_restore = \"@weekly\", random_delay = \"10m\" }";
    let schedule = with(line).unwrap().schedule.value;
    let jobs: Vec<Job> = schedule.jobs.keys().copied().collect();
    assert_eq!(jobs, [Job::Run, Job::TestRestore]);
    assert_eq!(schedule.random_delay, Duration::from_secs(600));
    let shown = with(line).unwrap().show();
    let shown = shown.iter().find(|line| line.key.ends_with(".schedule")).unwrap();
    assert!(shown.value.contains("test_restore = \"@weekly\""), "{}", shown.value);
    assert_eq!(with("schedule = {}").unwrap().show().iter().filter(|l| l.value == "{}").count(), 1);
}

#[test]
fn wrong_schedules_name_line_and_field() {
    says(
        "schedule = { run = \"0 24 * * *\" }",
        ":4:20: `0 24 * * *`: hour (field 2): `24` is not within 0-23",
    );
    says("schedule = { run = \"0 23 * *\" }", ":4:20: `0 23 * *`: it has 4 fields; write five");
    says("schedule = { run = \"@reboot\" }", ":4:20: `@reboot`: a start of the machine is no time");
    says("schedule = { runn = \"@daily\" }", ":4:14: unknown key `runn`; did you mean `run`?");
    says("schedule = { random_delay = \"10\" }", ":4:29: `10` is no duration; write it like `90s`");
    says(
        "schedule = { random_delay = \"7h\" }",
        ": [instance.mrs]: `schedule.random_delay` is longer than 6h",
    );
    says("lock_wait = \"-5m\"", ":4:13: `-5m` is no duration");
}

#[test]
fn shares_and_sizes_are_read() {
    let instance =
        with("check = { read_data_subset = \"2.5%\" }\nmin_free = \"2GiB\"\nlock_wait = \"15m\"")
            .unwrap();
    assert_eq!(instance.check_subset.unwrap().value, 250);
    assert_eq!(instance.min_free.value, 2 << 30);
    assert_eq!(instance.lock_wait.value, Duration::from_secs(900));
    says("check = { read_data_subset = \"0%\" }", ":4:30: `0%` is no share");
    says("check = { read_data_subset = \"101%\" }", ":4:30: `101%` is no share");
    says("check = { read_data_subset = \"2\" }", ":4:30: `2` is no share; write it like `2%`");
    says("min_free = \"2GB\"", ":4:12: `2GB` is no size; write it like `500MiB`");
    says("min_free = \"99999999999TiB\"", ":4:12: `99999999999TiB` is no size");
}

#[test]
fn limits_of_prune_are_read() {
    let of = |line: &str| with(line).unwrap().prune_max_unused.value;
    assert_eq!(of(""), MaxUnused::Percent(5.0));
    assert_eq!(of("prune = { max_unused = \"7.5%\" }"), MaxUnused::Percent(7.5));
    assert_eq!(of("prune = { max_unused = \"2GiB\" }"), MaxUnused::Bytes(2 << 30));
    assert_eq!(of("prune = { max_unused = \"unlimited\" }"), MaxUnused::Unlimited);
    let most = with("prune = { max_repack_size = \"500MiB\" }").unwrap().prune_max_repack;
    assert_eq!(most.unwrap().value, 500 << 20);
    says("prune = { max_unused = \"100%\" }", ":4:24: `100%` is no limit; write it like `5%`");
    says("prune = { max_unused = \"all\" }", ":4:24: `all` is no limit");
    says("prune = { unused = \"5%\" }", ":4:11: unknown key `unused`; known keys: max_unused");
}

#[test]
fn the_scheduler_has_a_limit() {
    assert_eq!(parse("version = 1\n[scheduler]\nparallel = 5\n").unwrap().parallel.value, 5);
    assert_eq!(parse("version = 1\n").unwrap().parallel.value, 2);
    assert!(parse("version = 1\n[scheduler]\nparallel = 0\n").is_err());
}

#[test]
fn who_prunes_is_said_once() {
    use crate::instance::Step;
    let steps = |line: &str| Job::Run.steps(&with(line).unwrap());
    assert!(steps("").contains(&Step::Forget));
    let own = "schedule = { run = \"0 23 * * *\", prune = \"0 4 * * *\" }";
    assert!(!steps(own).contains(&Step::Forget), "the prune job does");
    assert!(Job::Prune.steps(&with(own).unwrap()).contains(&Step::Forget));
    assert!(!steps("").contains(&Step::Check));
    assert!(steps("check = { read_data_subset = \"1%\" }").contains(&Step::Check));
}
