//! Keys about what happens by itself: retention, schedule, check, and what it waits for.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::calendar::{CalendarSpan, CronLine};
use crate::instance::job::Job;
use crate::ops::prune::MaxUnused;
use crate::snapshot::retention::{Count, Period, RetentionPolicy};

use super::value::{CronText, DurationText, Line, Percent, Size, SpanText};

/// Longest delay that makes sense: a job is meant for an hour, not for a day.
const LONGEST_DELAY: Duration = Duration::from_secs(6 * 3600);

/// How many snapshots a rule keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub(super) enum Times {
    /// So many.
    Count(u32),
    /// All.
    #[schemars(with = "String")]
    Unlimited,
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(i64),
            Text(String),
        }
        const WAY_OUT: &str = "write a number, or \"unlimited\"";
        match Written::deserialize(deserializer).map_err(|_| D::Error::custom(WAY_OUT))? {
            Written::Number(number) => u32::try_from(number).map(Self::Count).map_err(|_| {
                D::Error::custom(format!("{number} is no number of snapshots; {WAY_OUT}"))
            }),
            Written::Text(text) if text == "unlimited" => Ok(Self::Unlimited),
            Written::Text(text) => Err(D::Error::custom(format!(
                "`{}` is no number of snapshots; {WAY_OUT}",
                text.escape_debug()
            ))),
        }
    }
}

impl From<Times> for Count {
    fn from(times: Times) -> Self {
        match times {
            Times::Count(count) => Self::Times(count),
            Times::Unlimited => Self::Unlimited,
        }
    }
}

/// Which snapshots stay. A snapshot stays if any of these wants it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetentionKeys {
    /// The newest so many (or "unlimited").
    last: Option<Times>,
    /// The newest of each of the last so many hours that have one.
    hourly: Option<Times>,
    /// The same for days.
    daily: Option<Times>,
    /// The same for weeks, from Monday on.
    weekly: Option<Times>,
    /// The same for months.
    monthly: Option<Times>,
    /// The same for quarters of a year.
    quarterly: Option<Times>,
    /// The same for years.
    yearly: Option<Times>,
    /// All within so long before the newest (`14d`, `2y5m7d3h`; `m` are months).
    within: Option<SpanText>,
    /// The newest of each hour within so long before the newest.
    within_hourly: Option<SpanText>,
    /// The same for days.
    within_daily: Option<SpanText>,
    /// The same for weeks.
    within_weekly: Option<SpanText>,
    /// The same for months.
    within_monthly: Option<SpanText>,
    /// The same for quarters.
    within_quarterly: Option<SpanText>,
    /// The same for years.
    within_yearly: Option<SpanText>,
    /// Snapshots with this tag; `a,b` means with both.
    tags: Option<Vec<Line>>,
}

impl RetentionKeys {
    fn policy(self) -> RetentionPolicy {
        let counts =
            [self.hourly, self.daily, self.weekly, self.monthly, self.quarterly, self.yearly];
        let spans = [
            self.within_hourly,
            self.within_daily,
            self.within_weekly,
            self.within_monthly,
            self.within_quarterly,
            self.within_yearly,
        ];
        let by_period = |(period, count): (Period, Option<Times>)| Some((period, count?.into()));
        let span = |(period, span): (Period, Option<SpanText>)| Some((period, span?.0));
        RetentionPolicy {
            last: self.last.map(Count::from),
            counts: Period::ALL.into_iter().zip(counts).filter_map(by_period).collect(),
            within: self.within.map(|span| span.0),
            within_periods: Period::ALL.into_iter().zip(spans).filter_map(span).collect(),
            tags: self.tags.unwrap_or_default().iter().map(|line| tag_list(&line.0)).collect(),
        }
    }
}

/// `a,b`: both.
pub fn tag_list(text: &str) -> Vec<String> {
    text.split(',').map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect()
}

/// A policy that keeps something.
#[derive(Debug, Clone)]
pub(super) struct RetentionFile(pub RetentionPolicy);

impl<'de> Deserialize<'de> for RetentionFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let policy = RetentionKeys::deserialize(deserializer)?.policy();
        if policy.keeps_nothing() || policy.tags.iter().any(Vec::is_empty) {
            return Err(D::Error::custom(
                "this keeps nothing: every snapshot would go; write at least one rule like `daily = 7`, or `last = \"unlimited\"` to keep all",
            ));
        }
        Ok(Self(policy))
    }
}

/// When jobs run: crontab lines of five fields, or `@daily` and the like.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ScheduleFile {
    /// The whole night: snapshot, and what follows from it.
    run: Option<CronText>,
    /// Copies at an hour of their own; `run` then leaves them out.
    copy: Option<CronText>,
    /// Forget and prune at an hour of their own; `run` then leaves them out.
    prune: Option<CronText>,
    /// A check of everything.
    check: Option<CronText>,
    /// A restore of the newest snapshot, to see that it works.
    test_restore: Option<CronText>,
    /// Delay jobs by up to so long (`10m`), always the same for the same job.
    random_delay: Option<DurationText>,
}

impl ScheduleFile {
    pub(super) fn resolve(self) -> Result<Schedule, String> {
        let lines = [self.run, self.copy, self.prune, self.check, self.test_restore];
        let jobs = Job::ALL.into_iter().zip(lines);
        let random_delay = self.random_delay.map_or(Duration::ZERO, |delay| delay.0);
        if random_delay > LONGEST_DELAY {
            return Err("`schedule.random_delay` is longer than 6h; write less".to_owned());
        }
        Ok(Schedule {
            jobs: jobs.filter_map(|(job, line)| Some((job, line?.0))).collect(),
            random_delay,
        })
    }
}

/// When an instance's jobs run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schedule {
    /// The line of each job that has one.
    pub jobs: BTreeMap<Job, CronLine>,
    /// Longest delay.
    pub random_delay: Duration,
}

/// What is looked at every night.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckFile {
    /// How much of the packs the nightly check reads, another part each time (`2%`).
    pub read_data_subset: Option<Percent>,
    /// The same for the check that is a job of its own. Default: `100%`.
    pub scheduled_read_data_subset: Option<Percent>,
}

/// How what nobody needs is freed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PruneFile {
    /// How much that nobody needs may stay in packs that somebody needs: a share (`5%`), a size
    /// (`500MiB`) or `unlimited`. Default: `5%`.
    #[schemars(with = "Option<String>")]
    pub max_unused: Option<UnusedText>,
    /// Most bytes one night writes again (`2GiB`).
    pub max_repack_size: Option<Size>,
}

/// Limit of what is not needed.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnusedText(pub MaxUnused);

impl<'de> Deserialize<'de> for UnusedText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let share = || -> Option<f64> { text.strip_suffix('%')?.trim().parse().ok() };
        let limit = match (text.as_str(), share()) {
            ("unlimited", _) => Some(MaxUnused::Unlimited),
            (_, Some(share)) => {
                Some(MaxUnused::Percent(share)).filter(|_| (0.0..100.0).contains(&share))
            }
            _ => Size::parse(&text).ok().map(|size| MaxUnused::Bytes(size.0)),
        };
        limit.map(Self).ok_or_else(|| {
            D::Error::custom(format!(
                "`{}` is no limit; write it like `5%`, `500MiB` or `unlimited`",
                text.escape_debug()
            ))
        })
    }
}

/// Shown as written in the file.
pub(super) fn show_unused(limit: MaxUnused) -> String {
    match limit {
        MaxUnused::Percent(share) => format!("\"{share}%\""),
        MaxUnused::Bytes(bytes) => format!("\"{}\"", Size::show(bytes)),
        MaxUnused::Unlimited => "\"unlimited\"".to_owned(),
    }
}

/// The scheduler, not an instance.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SchedulerFile {
    /// How many instances are worked on at once. Default: 2.
    pub parallel: Option<std::num::NonZeroU8>,
}

/// `"7"` or `"unlimited"`, as options have it.
pub fn parse_count(text: &str) -> Result<Count, String> {
    match text {
        "unlimited" => Ok(Count::Unlimited),
        _ => {
            text.parse().map(Count::Times).map_err(|_| "write a number, or `unlimited`".to_owned())
        }
    }
}

/// Shown as written in the file.
pub(super) fn show_schedule(schedule: &Schedule) -> String {
    let line = |(job, line): (&Job, &CronLine)| {
        format!("{} = {:?}", job.name().replace('-', "_"), line.to_string())
    };
    let mut parts: Vec<String> = schedule.jobs.iter().map(line).collect();
    if !schedule.random_delay.is_zero() {
        parts.push(format!("random_delay = \"{}s\"", schedule.random_delay.as_secs()));
    }
    in_braces(&parts)
}

fn in_braces(parts: &[String]) -> String {
    if parts.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", parts.join(", ")) }
}

/// Shown as written in the file.
pub(super) fn show_retention(policy: &RetentionPolicy) -> String {
    let count = |count: &Count| match count {
        Count::Times(count) => count.to_string(),
        Count::Unlimited => "\"unlimited\"".to_owned(),
    };
    let quoted = |span: &CalendarSpan| format!("\"{span}\"");
    let mut parts = Vec::new();
    parts.extend(policy.last.as_ref().map(|last| format!("last = {}", count(last))));
    parts.extend(
        policy.counts.iter().map(|(period, n)| format!("{} = {}", period.word(), count(n))),
    );
    parts.extend(policy.within.as_ref().map(|span| format!("within = {}", quoted(span))));
    let spans = policy.within_periods.iter();
    parts
        .extend(spans.map(|(period, span)| format!("within_{} = {}", period.word(), quoted(span))));
    if !policy.tags.is_empty() {
        let tags: Vec<String> = policy.tags.iter().map(|tags| tags.join(",")).collect();
        parts.push(format!("tags = {tags:?}"));
    }
    in_braces(&parts)
}

/// Sizes as people write them.
pub(super) fn show_size(size: u64) -> String {
    Size::show(size)
}
