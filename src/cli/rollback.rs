//! `rollback`: an earlier deployment put back, with its data if that is asked for.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::clock::SystemClock;
use crate::deploy::history::History;
use crate::deploy::rollback::{RollbackPlan, plan, rollback};
use crate::deploy::settings::DeploySettings;
use crate::instance::lock;
use crate::report::clean;

use super::context::{Context, zone};
use super::deploy::target::{Saving, Target};
use super::deploy::tell_ending;
use super::format::local_time;
use super::{CliError, Done, ask, home};

/// Put an earlier deployment back: its compose file and its images, and its data on request
///
/// Without a number it is the one before; after a failed deployment the last good one. A snapshot of what is there
/// is made first. With --with-data the databases come back as they were when that deployment was replaced; those
/// that are live now are kept for `undo`. Files of the home stay as they are.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup deployments mrs-production
  mrs-backup rollback mrs-production --plan
  mrs-backup rollback mrs-production 12 --with-data")]
pub struct Args {
    /// Instance of the configuration, or home=DIR
    #[arg(value_name = "INSTANCE")]
    target: Option<String>,

    /// Number of the deployment
    #[arg(value_name = "DEPLOY")]
    number: Option<u32>,

    /// Put the databases back, too: what was written since is lost
    #[arg(long)]
    with_data: bool,

    /// Say what would be done; nothing is changed
    #[arg(long, short = 'n', visible_alias = "dry-run")]
    plan: bool,

    #[command(flatten)]
    saving: Saving,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let (target, number) = target(context, args.target.as_deref(), args.number)?;
    context.out.set_instance(Some(&target.name));
    if args.with_data && target.instance.as_ref().is_none_or(|one| one.postgres.is_none()) {
        return Err(CliError::usage_hint(
            format!("{} has no database that could be put back", clean(&target.name)),
            "leave --with-data out; databases are those of [instance.NAME.postgres]",
        ));
    }
    let settings = target.settled()?;
    let mut tools = target.tools(context, settings.redactor())?;
    let history = History::open(&settings.project.directory)?;
    show(context, &target, &settings, &plan(&history, number, args.with_data)?)?;
    if args.plan {
        context.out.note("nothing was changed")?;
        return Ok(Done::ok(json!({ "dry_run": true })));
    }
    if args.with_data {
        let needs = "what was written to the databases since then is to be replaced";
        ask::assent(context, needs, "look at it with --plan, then add --yes to do it")?;
    }
    let wait = target.lock_wait(args.saving.lock_wait);
    let _lock = lock(&target.state_dir, &target.name, wait, &SystemClock, &context.stop)?;
    // Somebody may have deployed meanwhile.
    if let Some(instance) = &target.instance {
        home::refuse_half(context, instance, "there is nothing to go back from")?;
    }
    let mut history = History::open(&settings.project.directory)?;
    let plan = plan(&history, number, args.with_data)?;
    tools.redactor.learn_document(&plan.document);
    let vault = target.open_vault(context, &args.saving, false)?;
    let means = target.means(context, vault.as_ref(), &settings)?;
    let ending = rollback(&tools, &settings, &mut history, &plan, &means)?;
    tell_ending(context, &target, vault.as_ref(), &ending)
}

/// `rollback 12` means deployment 12 of the only instance.
fn target(
    context: &Context,
    word: Option<&str>,
    number: Option<u32>,
) -> Result<(Target, Option<u32>), CliError> {
    let (word, number) = match (word.and_then(|word| word.parse().ok()), number) {
        (Some(first), None) => (None, Some(first)),
        _ => (word, number),
    };
    Ok((Target::named(context, word)?, number))
}

fn show(
    context: &Context,
    target: &Target,
    settings: &DeploySettings,
    plan: &RollbackPlan,
) -> Result<(), CliError> {
    let out = &context.out;
    let zone = target.settings.as_ref().map_or(jiff::tz::TimeZone::UTC, zone);
    let time = |time: jiff::Timestamp| {
        local_time(i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX), &zone)
    };
    out.record(
        "plan",
        &json!({ "to": plan.to.number, "project": settings.project.name, "data": plan.data }),
    )?;
    out.note(&format!(
        "put deployment {} of {} back, from {}",
        plan.to.number,
        target.name,
        time(plan.to.begun)
    ))?;
    for (service, image) in &plan.to.images {
        out.note(&format!(
            "  {}: {} ({})",
            clean(service),
            clean(&image.name),
            clean(&image.reference)
        ))?;
    }
    if let Some(data) = &plan.data {
        let short: String = data.snapshot.chars().take(8).collect();
        let since = data.since.map_or_else(|| "its time".to_owned(), time);
        out.note(&format!(
            "  with the databases of snapshot {short}: what was written since {since} is lost"
        ))?;
        if let Some(command) = files_command(target, &short) {
            out.note(&clean(&format!("  files stay as they are; those of then: {command}")))?;
        }
    }
    out.flush()
}

/// How files of the snapshot come back beside what was added since: data is more than rows, if some were lost.
fn files_command(target: &Target, snapshot: &str) -> Option<String> {
    let instance = target.instance.as_ref()?;
    let home = &instance.home.value;
    let is_data = |path: &&PathBuf| {
        let path = path.as_path();
        path.is_relative() && path != Path::new(".") && path != Path::new("docker-compose.yml")
    };
    let path = instance.paths.value.iter().find(is_data)?;
    // The content of a directory, but a file by itself.
    let place = home.join(path);
    let place = if place.is_file() { home.clone() } else { place };
    let (name, place, path) = (&instance.name, place.display(), path.display());
    Some(format!("mrs-backup restore {snapshot} {place} -i {name} --path {path}"))
}
