//! Next times of ten thousand instances, and what to start of them.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use mrs_backup::calendar::{CronLine, spread};
use mrs_backup::instance::Job;
use mrs_backup::schedule::{Entry, Slot, decide, due_at};

const INSTANCES: usize = 10_000;

fn line(number: usize) -> CronLine {
    let lines = ["0 23 * * *", "30 2 * * *", "*/15 * * * *", "0 4 1,15 * mon", "59 3 29 2 *"];
    let text = lines[number % lines.len()];
    text.parse().expect("a crontab line")
}

fn scheduling(criterion: &mut Criterion) {
    let zone = TimeZone::get("Europe/Paris").expect("a zone");
    let now: Timestamp = "2027-03-27T12:00:00Z".parse().expect("a time");
    let yesterday = now - SignedDuration::from_hours(24);
    let entry = Entry { started: Some(yesterday), exit_code: Some(0), ..Entry::default() };
    let lines: Vec<(String, CronLine)> =
        (0..INSTANCES).map(|number| (format!("instance-{number}"), line(number))).collect();
    let mut group = criterion.benchmark_group("schedule");
    group.throughput(Throughput::Elements(INSTANCES as u64));
    group.sample_size(10);
    group.bench_function("next runs of 10,000 instances", |bencher| {
        bencher.iter(|| {
            let slot = |(instance, line): &(String, CronLine)| {
                let delay = spread(instance, Duration::from_secs(600));
                let due = due_at(line, &zone, &entry, delay, now);
                Slot { instance: instance.clone(), task: Job::Run.into(), due }
            };
            let slots: Vec<Slot> = lines.iter().map(slot).collect();
            black_box(decide(&slots, &BTreeSet::new(), 4, now))
        });
    });
    group.bench_function("10,000 crontab lines read", |bencher| {
        bencher.iter(|| (0..INSTANCES).map(line).filter(|line| line.to_string() != "x").count());
    });
    group.finish();
}

criterion_group!(benches, scheduling);
criterion_main!(benches);
