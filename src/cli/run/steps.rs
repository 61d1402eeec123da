//! What each step of a night does.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::event::counted;
use crate::instance::config::Instance;
use crate::instance::{PlanOptions, Step, run as run_instance};
use crate::ops;
use crate::ops::check::ReadData;
use crate::ops::prune::{PruneOptions, PruneSummary, Pruned};
use crate::repository::Repository;
use crate::snapshot::ReceiptRecord;

use crate::cli::context::Context;
use crate::cli::forget::{Known, drop_by_policy, objected};
use crate::cli::prune::tell as tell_pruned;
use crate::cli::settings::Settings;
use crate::cli::{CliError, Done, Exit, backup, check, clone, copy, home};

use super::{child, replaced};

/// What all steps work with.
pub struct Night<'a> {
    pub context: &'a Context,
    pub settings: &'a Settings,
    pub instance: &'a Instance,
    pub repository: &'a Repository,
    /// Tags of the snapshot, besides the configured ones.
    pub tags: &'a [String],
    /// Whether a snapshot is among the steps.
    pub is_night: bool,
}

/// Does one step.
pub fn perform(night: &Night<'_>, step: Step) -> Result<Done, CliError> {
    match step {
        Step::Snapshot => snapshot(night),
        Step::Copy => copy::step(night.context, night.repository, night.settings, night.instance),
        Step::Forget => {
            let mut done = forget(night)?;
            replaced::drop_expired(night, &mut done)?;
            replaced::drop_homes(night, &mut done);
            Ok(done)
        }
        Step::Prune => prune(night),
        Step::Check => check(night),
        Step::TestRestore => child::in_foreground(
            night.context,
            &["test-restore", "--instance", &night.instance.name],
        ),
    }
}

fn snapshot(night: &Night<'_>) -> Result<Done, CliError> {
    let Night { context, instance, repository, .. } = night;
    home::refuse_half(context, instance, "there is nothing to back up")?;
    clone::settle(context, &night.settings.state_dir, instance)?;
    let options = PlanOptions { tags: night.tags.to_vec(), ..PlanOptions::default() };
    let outcome = run_instance(repository, instance, &options, &context.stop, &context.observer)?;
    let mut fields = backup::report(context, &outcome.backup)?;
    let is_whole = outcome.backup.snapshot.is_complete;
    let mut exit = if is_whole { Exit::Ok } else { Exit::Incomplete };
    if !outcome.failed.is_empty() {
        exit = exit.and(Exit::Failed);
        fields["failed"] = json!(outcome.failed);
    }
    Ok(Done::with(exit, fields))
}

fn forget(night: &Night<'_>) -> Result<Done, CliError> {
    let Night { context, instance, repository, .. } = night;
    // An append-only copy keeps everything, and that is no failure.
    if repository.store().refuses_deletes()? {
        return Ok(Done::ok(json!({ "append_only": true })));
    }
    let known = Known::of(context, repository)?;
    let plan = known.plan_of(instance);
    if let Some(objection) = plan.objections.first() {
        return Err(objected(&instance.name, objection));
    }
    let count = drop_by_policy(context, repository, &plan, &instance.retention.value)?;
    // One line a night is enough; whoever asks for this step wants an answer.
    if count > 0 || !night.is_night {
        let (name, stay) = (&instance.name, plan.verdicts.len() - count);
        let gone = counted(count, "snapshot");
        context.out.note(&format!("{gone} of {name} forgotten, {stay} stay"))?;
    }
    Ok(Done::ok(json!({ "forgotten": count, "stay": plan.verdicts.len() - count })))
}

/// The second half of earlier prunes, the first half of this one.
fn prune(night: &Night<'_>) -> Result<Done, CliError> {
    let Night { context, instance, repository, .. } = night;
    let options = PruneOptions {
        max_unused: instance.prune_max_unused.value,
        max_repack_bytes: instance.prune_max_repack.as_ref().map(|size| size.value),
        ..PruneOptions::default()
    };
    let accept = |plan: &PruneSummary| Ok::<_, CliError>(!plan.is_nothing());
    let (stop, observer) = (&context.stop, context.observer.as_ref());
    match ops::prune::prune(repository, &options, stop, observer, accept)? {
        Pruned::AppendOnly => Ok(Done::ok(json!({ "append_only": true }))),
        Pruned::Planned(plan) => {
            if !night.is_night {
                context.out.note(&format!("nothing of {} is to be pruned", instance.name))?;
            }
            Ok(Done::ok(json!({ "plan": plan })))
        }
        Pruned::Done(plan, stats) => {
            tell_pruned(context, &stats)?;
            let exit = if stats.damaged_packs.is_empty() { Exit::Ok } else { Exit::Failed };
            Ok(Done::with(exit, json!({ "plan": plan, "stats": stats })))
        }
    }
}

fn check(night: &Night<'_>) -> Result<Done, CliError> {
    let Night { context, instance, repository, .. } = night;
    let share = match night.is_night {
        true => instance.check_subset.as_ref().map_or(0, |share| share.value),
        false => instance.check_scheduled_subset.value,
    };
    let read_data = match share {
        0 => ReadData::None,
        10_000.. => ReadData::All,
        share => check::random_subset(f64::from(share) / 100.0),
    };
    let done = {
        let zone = &instance.timezone.value;
        check::perform(context, repository, read_data, zone, Some(instance))?
    };
    let result = if done.exit == Exit::Ok { "ok" } else { "failed" };
    let details: BTreeMap<String, String> = ["errors", "warnings"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), done.summary.get(name).map(Value::to_string)?)))
        .collect();
    let environment = repository.environment();
    repository.put_receipt(&ReceiptRecord {
        kind: "check".to_owned(),
        time: i64::try_from(environment.clock.now().as_nanosecond()).unwrap_or(i64::MAX),
        instance: instance.name.clone(),
        host: environment.host.clone(),
        result: result.to_owned(),
        snapshot: None,
        details,
        forgotten: Vec::new(),
    })?;
    Ok(done)
}
