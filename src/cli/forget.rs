//! `forget`: drop snapshots by policy, or by name.

use std::collections::BTreeMap;

use clap::ValueEnum;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::calendar::CalendarSpan;
use crate::clock::{Clock, SystemClock};
use crate::event::counted;
use crate::id::{ObjectId, SnapshotId};
use crate::instance::config::{Config, Instance, parse_count, tag_list};
use crate::ops::forget::{ForgetNote, forget_snapshots};
use crate::ops::retention::{History, Objection, RetentionPlan};
use crate::ops::stats::needed_only_by;
use crate::report::{clean, human_bytes};
use crate::repository::Repository;
use crate::snapshot::retention::{Count, Period, RetentionPolicy};
use crate::snapshot::{ReceiptRecord, Selected, Snapshot};

use super::args::{Filter, SNAPSHOT_HELP};
use super::context::{Context, zone};
use super::format::{json_time, local_time, table};
use super::settings::Settings;
use super::{CliError, Done};

mod strip;

/// Drop snapshots by policy; without --apply only say which
///
/// Shows which snapshots stay and why, which go, and how much only those need. What they needed is
/// freed by `prune`. A snapshot stays if any rule wants it, if it is pinned, or if it is the newest complete
/// one. Rules given here replace those of the configuration.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("\
A rule counts only hours, days, weeks, months, quarters and years that have a snapshot, in the
instance's time zone. Incomplete snapshots use nothing up.

{SNAPSHOT_HELP}

Examples:
  mrs-backup forget                                 what would go
  mrs-backup forget --apply
  mrs-backup forget --keep-daily 14 --keep-monthly unlimited
  mrs-backup forget --keep-within 14d --keep-within-weekly 3m
  mrs-backup forget 3f2a9c01 --apply                this one"))]
pub struct Args {
    /// These snapshots, whatever the rules say
    #[arg(value_name = "SNAPSHOT", conflicts_with = "rules")]
    snapshots: Vec<String>,

    #[command(flatten)]
    rules: RuleArgs,

    /// Do it (as does --yes)
    #[arg(long, conflicts_with = "dry_run")]
    apply: bool,

    /// Only show, also with --yes
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Go on although a clock looks wrong, or the last run failed (may be repeated)
    #[arg(long, value_name = "WHAT", value_enum)]
    ignore: Vec<Ignored>,
}

/// What may be passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Ignored {
    /// Times of snapshots that look wrong.
    Clock,
    /// A last run without a complete snapshot.
    FailedRun,
}

/// Rules on the command line.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(id = "rules", multiple = true)]
#[command(
    next_help_heading = "Rules (N may be `unlimited`; SPAN is like `14d` or `2y5m7d3h`, m being months)"
)]
struct RuleArgs {
    /// Keep the newest N
    #[arg(long, value_name = "N", value_parser = parse_count)]
    keep_last: Option<Count>,
    /// Keep the newest of each of the last N hours that have one
    #[arg(long, value_name = "N", value_parser = parse_count)]
    keep_hourly: Option<Count>,
    /// The same for days
    #[arg(long, value_name = "N", value_parser = parse_count)]
    keep_daily: Option<Count>,
    /// The same for weeks, from Monday on
    #[arg(long, value_name = "N", value_parser = parse_count)]
    keep_weekly: Option<Count>,
    /// The same for months
    #[arg(long, value_name = "N", value_parser = parse_count)]
    keep_monthly: Option<Count>,
    /// The same for quarters
    #[arg(long, value_name = "N", value_parser = parse_count)]
    keep_quarterly: Option<Count>,
    /// The same for years
    #[arg(long, value_name = "N", value_parser = parse_count)]
    keep_yearly: Option<Count>,
    /// Keep all within SPAN before the newest
    #[arg(long, value_name = "SPAN")]
    keep_within: Option<CalendarSpan>,
    /// Keep the newest of each hour within SPAN before the newest
    #[arg(long, value_name = "SPAN")]
    keep_within_hourly: Option<CalendarSpan>,
    /// The same for days
    #[arg(long, value_name = "SPAN")]
    keep_within_daily: Option<CalendarSpan>,
    /// The same for weeks
    #[arg(long, value_name = "SPAN")]
    keep_within_weekly: Option<CalendarSpan>,
    /// The same for months
    #[arg(long, value_name = "SPAN")]
    keep_within_monthly: Option<CalendarSpan>,
    /// The same for quarters
    #[arg(long, value_name = "SPAN")]
    keep_within_quarterly: Option<CalendarSpan>,
    /// The same for years
    #[arg(long, value_name = "SPAN")]
    keep_within_yearly: Option<CalendarSpan>,
    /// Keep those with this tag, or with all of `a,b` (may be repeated)
    #[arg(long, value_name = "TAGS")]
    keep_tag: Vec<String>,
}

impl RuleArgs {
    /// The policy, if any rule was given.
    fn policy(&self) -> Result<Option<RetentionPolicy>, CliError> {
        let counts = [
            self.keep_hourly,
            self.keep_daily,
            self.keep_weekly,
            self.keep_monthly,
            self.keep_quarterly,
            self.keep_yearly,
        ];
        let spans = [
            self.keep_within_hourly,
            self.keep_within_daily,
            self.keep_within_weekly,
            self.keep_within_monthly,
            self.keep_within_quarterly,
            self.keep_within_yearly,
        ];
        let by_period = |(period, count): (Period, Option<Count>)| Some((period, count?));
        let span = |(period, span): (Period, Option<CalendarSpan>)| Some((period, span?));
        let policy = RetentionPolicy {
            last: self.keep_last,
            counts: Period::ALL.into_iter().zip(counts).filter_map(by_period).collect(),
            within: self.keep_within,
            within_periods: Period::ALL.into_iter().zip(spans).filter_map(span).collect(),
            tags: self.keep_tag.iter().map(|tags| tag_list(tags)).collect(),
        };
        if policy == RetentionPolicy::default() {
            return Ok(None);
        }
        if policy.keeps_nothing() || policy.tags.iter().any(Vec::is_empty) {
            return Err(CliError::usage_hint(
                "these rules keep nothing: every snapshot would go",
                "give at least one like --keep-daily 7; single snapshots go by their id: mrs-backup forget ID",
            ));
        }
        Ok(Some(policy))
    }
}

/// What a repository tells about its snapshots.
pub struct Known {
    snapshots: Vec<Selected>,
    receipts: Vec<(ObjectId, ReceiptRecord)>,
    now: jiff::Timestamp,
}

impl Known {
    /// Asks `repository`.
    pub fn of(context: &Context, repository: &Repository) -> Result<Self, CliError> {
        Ok(Self {
            snapshots: context.snapshots(repository)?,
            receipts: repository.receipts()?,
            now: SystemClock.now(),
        })
    }

    fn history(&self) -> History<'_> {
        History { snapshots: &self.snapshots, receipts: &self.receipts, now: self.now }
    }

    /// What the configured policy of `instance` does to it.
    pub fn plan_of(&self, instance: &Instance) -> RetentionPlan {
        self.history().plan(&instance.name, &instance.retention.value, &instance.timezone.value)
    }

    fn snapshot(&self, wanted: &SnapshotId) -> Option<&Snapshot> {
        self.snapshots.iter().find(|(id, _)| id == wanted).map(|(_, snapshot)| snapshot)
    }
}

/// One instance with its policy and its plan.
struct Group {
    plan: RetentionPlan,
    policy: RetentionPolicy,
    origin: String,
    zone: TimeZone,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let settings = context.settings()?;
    let of_options = args.rules.policy()?;
    let repository = context.open_to_read(&settings)?;
    let known = Known::of(context, &repository)?;
    let wants = (args.apply || context.global.yes) && !args.dry_run;
    // Asking means trying to delete something, which nobody who only looks may need to be allowed.
    let is_append_only = wants && repository.store().refuses_deletes()?;
    let acts = wants && !is_append_only;
    if is_append_only {
        let place = repository.store().location();
        context
            .out
            .note(&format!("{place} takes no deletions (append-only): nothing is dropped there"))?;
    }
    if !args.snapshots.is_empty() {
        return by_name(context, &settings, &repository, &known, &args.snapshots, acts);
    }
    let groups = groups(context, &settings, &known, of_options.as_ref())?;
    if groups.is_empty() {
        context.out.note("there are no snapshots")?;
        return Ok(Done::ok(json!({ "groups": [] })));
    }
    let mut summary = Vec::new();
    for group in &groups {
        summary.push(show(context, &repository, &known, group, acts)?);
    }
    for group in &groups {
        if let Some(objection) =
            group.plan.objections.iter().find(|one| !is_ignored(one, &args.ignore))
        {
            return Err(objected(&group.plan.instance, objection));
        }
    }
    let going: usize = groups.iter().map(|group| group.plan.going().len()).sum();
    if acts {
        for group in &groups {
            drop_by_policy(context, &repository, &group.plan, &group.policy)?;
        }
        if going > 0 {
            let gone = counted(going, "snapshot");
            context.out.note(&format!("{gone} forgotten; prune frees what nothing else needs"))?;
        }
    } else if going > 0 && !wants {
        context.out.note("nothing was removed; the same command with --apply does it")?;
    }
    let forgotten = if acts { going } else { 0 };
    Ok(Done::ok(json!({ "applied": acts, "forgotten": forgotten, "groups": summary })))
}

/// Whether somebody said to pass over it.
fn is_ignored(objection: &Objection, ignored: &[Ignored]) -> bool {
    match objection {
        Objection::Clock(_) => ignored.contains(&Ignored::Clock),
        Objection::LastRun { .. } | Objection::NewestIncomplete(_) => {
            ignored.contains(&Ignored::FailedRun)
        }
    }
}

/// The error for what stops a policy.
pub fn objected(instance: &str, objection: &Objection) -> CliError {
    let hint = match objection {
        Objection::Clock(_) => {
            "look at the clock (timedatectl) and at the snapshot; if it is the snapshot that is wrong, drop it by its id: mrs-backup forget ID --apply; if all is well: mrs-backup forget --ignore clock --apply"
        }
        Objection::LastRun { .. } | Objection::NewestIncomplete(_) => {
            "older snapshots are worth most now. See to it that `mrs-backup run` ends with 0; or, if room is needed: mrs-backup forget --ignore failed-run --apply"
        }
    };
    CliError::Objected {
        message: format!("no snapshot of `{}` is dropped: {objection}", clean(instance)),
        hint: hint.to_owned(),
    }
}

/// The instances meant, each with the policy that holds for it.
fn groups(
    context: &Context,
    settings: &Settings,
    known: &Known,
    of_options: Option<&RetentionPolicy>,
) -> Result<Vec<Group>, CliError> {
    let sources = context.sources()?;
    let history = known.history();
    let chosen = context.selector(settings, &Filter::default()).instance;
    let names = history.instances().into_iter();
    let mut groups = Vec::new();
    for name in names.filter(|name| chosen.as_ref().is_none_or(|chosen| chosen == name)) {
        let configured = settings
            .instance
            .as_ref()
            .filter(|instance| instance.name == name)
            .or_else(|| sources.config.as_ref().and_then(|config| of_config(config, &name)));
        let (policy, origin) = match (of_options, configured) {
            (Some(policy), _) => (policy.clone(), "command line".to_owned()),
            (None, Some(instance)) => {
                (instance.retention.value.clone(), instance.retention.origin.to_string())
            }
            (None, None) => {
                return Err(CliError::usage_hint(
                    format!("instance `{}` is in no configuration here", clean(&name)),
                    "say what to keep (--keep-daily 7 ...), or which instance is meant (--instance NAME)",
                ));
            }
        };
        let zone =
            configured.map_or_else(|| zone(settings), |instance| instance.timezone.value.clone());
        let plan = history.plan(&name, &policy, &zone);
        groups.push(Group { plan, policy, origin, zone });
    }
    Ok(groups)
}

fn of_config<'c>(config: &'c Config, name: &str) -> Option<&'c Instance> {
    config.instances.get(name)
}

/// Shows what becomes of one instance's snapshots. Where it is done at once, whoever wants quiet did not ask.
fn show(
    context: &Context,
    repository: &Repository,
    known: &Known,
    group: &Group,
    acts: bool,
) -> Result<Value, CliError> {
    let (plan, out) = (&group.plan, &context.out);
    let tell = |text: &str| if acts { out.note(text) } else { out.line(text) };
    let instance = clean(&plan.instance);
    let zone_name = group.zone.iana_name().unwrap_or("UTC");
    tell(&format!("{instance}: keeps {} ({}), days in {zone_name}", group.policy, group.origin))?;
    let mut rows = Vec::new();
    let mut days = Vec::new();
    for verdict in plan.verdicts.iter().rev() {
        let Some(snapshot) = known.snapshot(&verdict.id) else { continue };
        let reasons: Vec<String> =
            verdict.reasons.iter().map(|one| clean(&one.to_string())).collect();
        out.record(
            "verdict",
            &json!({
                "snapshot": verdict.id,
                "snapshot_instance": plan.instance,
                "time": json_time(snapshot.start),
                "is_complete": snapshot.is_complete,
                "stays": verdict.stays(),
                "reasons": reasons,
            }),
        )?;
        days.push((snapshot.start, verdict.stays()));
        rows.push(vec![
            verdict.id.short(),
            local_time(snapshot.start, &group.zone),
            human_bytes(snapshot.statistics.get("bytes").copied().unwrap_or(0)),
            if snapshot.is_complete { "complete" } else { "INCOMPLETE" }.to_owned(),
            if verdict.stays() { reasons.join(", ") } else { "GOES".to_owned() },
        ]);
    }
    tell(&table(&["ID", "TIME", "SIZE", "STATE", "STAYS AS"], &[2], rows))?;
    for line in strip::calendar(&days, &group.zone) {
        tell(&line)?;
    }
    let of = |stays: bool| {
        let wanted = plan.verdicts.iter().filter(move |verdict| verdict.stays() == stays);
        wanted.filter_map(|verdict| known.snapshot(&verdict.id))
    };
    // What other instances keep of it counts as well.
    let others = known.snapshots.iter().map(|(_, snapshot)| snapshot);
    let others = others.filter(|snapshot| snapshot.instance != plan.instance);
    let (stay, go) = (of(true).count(), of(false).count());
    let bytes = match go {
        0 => 0,
        _ => needed_only_by(repository, of(false), of(true).chain(others), &context.stop)?,
    };
    let frees = match go {
        0 => String::new(),
        _ => format!("; only these need {}, about what prune frees", human_bytes(bytes)),
    };
    tell(&format!("{instance}: {stay} stay, {go} go{frees}"))?;
    let objections: Vec<String> = plan.objections.iter().map(ToString::to_string).collect();
    Ok(json!({
        "instance": plan.instance,
        "policy": group.policy.to_string(),
        "stay": stay,
        "go": plan.going(),
        "bytes_only_these_need": bytes,
        "objections": objections,
    }))
}

/// Drops what `plan` says goes. Gives how many went.
pub fn drop_by_policy(
    context: &Context,
    repository: &Repository,
    plan: &RetentionPlan,
    policy: &RetentionPolicy,
) -> Result<usize, CliError> {
    let going = plan.going();
    let details = BTreeMap::from([("policy".to_owned(), policy.to_string())]);
    let note = ForgetNote { instance: plan.instance.clone(), details };
    let done = forget_snapshots(repository, &going, &note, context.observer.as_ref())?;
    Ok(done.snapshots.len())
}

/// Drops single snapshots.
fn by_name(
    context: &Context,
    settings: &Settings,
    repository: &Repository,
    known: &Known,
    names: &[String],
    acts: bool,
) -> Result<Done, CliError> {
    let zone = zone(settings);
    let selector = context.selector(settings, &Filter::default());
    let mut chosen: Vec<SnapshotId> = Vec::new();
    for name in names {
        let (id, _) = selector.find(name, &known.snapshots, &zone)?;
        if !chosen.contains(id) {
            chosen.push(*id);
        }
    }
    if let Some(reason) = known.history().refusal(&chosen) {
        return Err(CliError::Objected {
            message: format!("nothing is dropped: {reason}"),
            hint: "a pin is taken away by mrs-backup unpin; the last complete snapshot of an instance always stays".to_owned(),
        });
    }
    let is_chosen = |one: &&Selected| chosen.contains(&one.0);
    let snapshots = |wanted: bool| {
        let fits = move |one: &&Selected| is_chosen(one) == wanted;
        known.snapshots.iter().filter(fits).map(|(_, snapshot)| snapshot)
    };
    let bytes = needed_only_by(repository, snapshots(true), snapshots(false), &context.stop)?;
    let tell = |text: &str| if acts { context.out.note(text) } else { context.out.line(text) };
    for (id, snapshot) in known.snapshots.iter().filter(is_chosen) {
        let (time, instance) = (local_time(snapshot.start, &zone), clean(&snapshot.instance));
        tell(&format!("snapshot {} of {instance}, {time}: GOES", id.short()))?;
    }
    tell(&format!("only these need {}, about what prune frees", human_bytes(bytes)))?;
    if acts {
        let note = ForgetNote {
            details: BTreeMap::from([("reason".to_owned(), "by name".to_owned())]),
            ..ForgetNote::default()
        };
        forget_snapshots(repository, &chosen, &note, context.observer.as_ref())?;
        context.out.note(&format!("{} forgotten", counted(chosen.len(), "snapshot")))?;
    } else {
        context.out.note("nothing was removed; the same command with --apply does it")?;
    }
    Ok(Done::ok(json!({ "applied": acts, "snapshots": chosen, "bytes_only_these_need": bytes })))
}
