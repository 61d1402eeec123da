//! `restore --database`: a database into a server, beside the live one and then into its place.

use std::sync::Arc;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::clock::SystemClock;
use crate::event::Event;
use crate::instance::config::EventKind;
use crate::instance::config::RestoreConfig;
use crate::instance::{InstanceLock, database_server, lock};
use crate::ops::restore_database::{
    DatabaseOptions, DatabaseOutcome, DatabasePlan, RestoreDatabaseError, apply, plan,
};
use crate::report::{clean, human_bytes};
use crate::repository::Repository;
use crate::snapshot::Selected;
use crate::target::postgres::{Cluster, Marker, Reason};

use super::after;
use super::clone::drop_all_put_aside;
use super::context::{Context, zone};
use super::format::local_time;
use super::settings::Settings;
use super::{CliError, Done, ask};

/// What to do where nobody can be asked.
const LOOK_FIRST: &str = "look at it with --dry-run, then add --yes to do it";

/// Options of a database's restore.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Databases")]
pub struct Args {
    /// Restore this database (without NAME: the only one of the snapshot) into the server it came from,
    /// in place of the live one, which is kept for `undo`
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    pub database: Option<String>,

    /// Under this name, beside the live one
    #[arg(long = "as", value_name = "NAME", requires = "database")]
    pub rename: Option<String>,

    /// Only this table (SCHEMA.NAME), into a schema of its own beside the live one
    #[arg(long, value_name = "TABLE", requires = "database", conflicts_with = "rename")]
    pub table: Option<String>,

    /// The schema for --table
    #[arg(long, value_name = "SCHEMA", requires = "table", default_value = "mrs_restore")]
    pub schema: String,

    /// Replace a database of another cluster than the one the snapshot was taken from
    #[arg(long)]
    pub other_cluster: bool,

    /// Sessions at once
    #[arg(short = 'j', long, value_name = "COUNT", requires = "database")]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=64))]
    pub jobs: Option<u8>,

    /// How long the replaced database is kept (`7d`, `12h`)
    #[arg(long, value_name = "DURATION", requires = "database")]
    #[arg(value_parser = crate::instance::config::parse_kept)]
    pub keep_replaced: Option<SignedDuration>,
}

/// The configuration of the instance, or what holds without one.
pub fn restore_config(settings: &Settings) -> RestoreConfig {
    settings.instance.as_ref().map(|instance| instance.restore.clone()).unwrap_or_default()
}

/// The server of the instance's databases.
pub fn cluster(context: &Context, settings: &Settings, work: &str) -> Result<Cluster, CliError> {
    let config = settings.instance.as_ref().and_then(|instance| instance.postgres.as_ref());
    let server = database_server(config, work, &context.stop, &context.observer)?;
    Ok(Cluster::new(server, Arc::clone(&context.stop)))
}

/// The instance's lock, if there is an instance.
pub fn lock_instance(
    context: &Context,
    settings: &Settings,
) -> Result<Option<InstanceLock>, CliError> {
    let Some(instance) = &settings.instance else { return Ok(None) };
    let wait = std::time::Duration::ZERO;
    let lock = lock(&settings.state_dir, &instance.name, wait, &SystemClock, &context.stop)?;
    // A restore may be what helps a server that cannot be asked.
    if let Err(error) = super::clone::settle(context, &settings.state_dir, instance) {
        let item = "directories that changed places with a database".to_owned();
        context.observer.event(&Event::Warning { item, message: error.message() });
    }
    Ok(Some(lock))
}

/// A live database was replaced, or not: that is a mark in the history, and people are told.
fn tell_people(
    context: &Context,
    settings: &Settings,
    plan: &DatabasePlan,
    applied: &Result<DatabaseOutcome, RestoreDatabaseError>,
) {
    let replaced = settings.instance.as_ref().filter(|_| plan.replaces.is_some());
    let Some(instance) = replaced else { return };
    let (target, id) = (clean(&plan.target), plan.id.short());
    let text = match applied {
        Ok(_) => format!("database {target} is restored from snapshot {id}"),
        Err(error) => format!("database {target} could not be restored: {error}"),
    };
    after::happened(context, &instance.name, EventKind::Restore, applied.is_ok(), &text);
}

/// Restores a database of `selected`.
pub fn run(
    context: &Context,
    settings: &Settings,
    repository: &Repository,
    selected: &Selected,
    args: &Args,
    is_dry_run: bool,
) -> Result<Done, CliError> {
    if let Some(table) = &args.table {
        return super::restore_table::run(
            context, settings, repository, selected, args, table, is_dry_run,
        );
    }
    let _lock = if is_dry_run { None } else { lock_instance(context, settings)? };
    let config = restore_config(settings);
    let cluster = cluster(context, settings, "restore")?;
    let name = args.database.clone().filter(|name| !name.is_empty());
    let assertions = |name: &str| config.assertions.value.get(name).cloned().unwrap_or_default();
    let (id, snapshot) = selected;
    let chosen = crate::ops::restore_database::choose(id, snapshot, name.as_deref())?;
    let options = DatabaseOptions {
        is_named: name.is_some() || args.rename.is_some(),
        assertions: assertions(&chosen.name),
        database: name,
        rename: args.rename.clone(),
        other_cluster: args.other_cluster,
        workers: usize::from(args.jobs.unwrap_or(config.jobs.value)),
        keep: args.keep_replaced.unwrap_or(config.keep_replaced.value),
    };
    let plan = plan(repository, *id, snapshot, &cluster, options, &context.stop)?;
    let zone = zone(settings);
    show(context, &plan, &local_time(snapshot.start, &zone), &snapshot.instance)?;
    if is_dry_run {
        context.out.note("nothing was changed")?;
        return Ok(Done::ok(json!({ "dry_run": true, "plan": describe(&plan) })));
    }
    if plan.replaces.is_some() {
        let (target, sessions) = (clean(&plan.target), plan.sessions);
        let needs =
            format!("database {target} is to be replaced, and {sessions} sessions in it ended");
        ask::assent(context, &needs, LOOK_FIRST)?;
    }
    let applied = apply(repository, snapshot, &plan, &cluster, &context.observer);
    let target = clean(&plan.target);
    tell_people(context, settings, &plan, &applied);
    let outcome = applied?;
    drop_all_put_aside(context, settings, &plan.expired);
    context.out.note(&format!(
        "database {target} is restored from snapshot {}: {} rows of {} tables, {} objects checked",
        id.short(),
        outcome.rows,
        plan.tables,
        outcome.objects
    ))?;
    if let Some(kept) = &outcome.kept {
        let until = duration_text(plan.options.keep);
        context.out.note(&format!(
            "what it was before is kept as {} for {until}; back to it: mrs-backup undo --database {target}",
            clean(kept)
        ))?;
    }
    Ok(Done::ok(json!({
        "snapshot": id,
        "database": plan.target,
        "tables": plan.tables,
        "rows": outcome.rows,
        "objects": outcome.objects,
        "kept": outcome.kept,
    })))
}

fn describe(plan: &DatabasePlan) -> Value {
    json!({
        "snapshot": plan.id,
        "database": plan.manifest.name,
        "target": plan.target,
        "server": plan.server,
        "server_version": plan.server_version,
        "source_version": plan.manifest.server_version,
        "replaces_bytes": plan.replaces,
        "sessions": plan.sessions,
        "tables": plan.tables,
        "rows": plan.rows,
        "bytes": plan.bytes,
        "missing_roles": plan.missing_roles,
        "missing_tablespaces": plan.missing_tablespaces,
        "needed_bytes": plan.needed_bytes,
        "free_bytes": plan.free_bytes,
        "leftovers": plan.leftovers,
        "expired": plan.expired.iter().map(|old| &old.name).collect::<Vec<_>>(),
    })
}

fn show(
    context: &Context,
    plan: &DatabasePlan,
    time: &str,
    instance: &str,
) -> Result<(), CliError> {
    let out = &context.out;
    out.record("plan", &describe(plan))?;
    out.note(&format!(
        "restore database {} of snapshot {} of {} from {time} as {} ({}, PostgreSQL {})",
        clean(&plan.manifest.name),
        plan.id.short(),
        clean(instance),
        clean(&plan.target),
        clean(&plan.server),
        clean(&plan.server_version),
    ))?;
    out.note(&format!(
        "  {} tables with {} rows, {} to be read",
        plan.tables,
        plan.rows,
        human_bytes(plan.bytes)
    ))?;
    match plan.replaces {
        None => out.note("  there is no database of this name yet")?,
        Some(bytes) => out.note(&format!(
            "  REPLACES the database that is there ({}, {} sessions), which is kept for {}",
            human_bytes(bytes),
            plan.sessions,
            duration_text(plan.options.keep)
        ))?,
    }
    let list = |names: &[String]| clean(&names.join(", "));
    if !plan.missing_roles.is_empty() {
        let roles = list(&plan.missing_roles);
        out.note(&format!("  roles made, without the right to log in: {roles}"))?;
    }
    if !plan.missing_tablespaces.is_empty() {
        let names = list(&plan.missing_tablespaces);
        out.note(&format!(
            "  tablespaces that are not there, everything into the default: {names}"
        ))?;
    }
    if !plan.leftovers.is_empty() {
        let names = list(&plan.leftovers);
        out.note(&format!("  dropped, left by a restore that was ended: {names}"))?;
    }
    for old in &plan.expired {
        let (name, bytes) = (clean(&old.name), human_bytes(old.bytes));
        out.note(&format!("  dropped, kept long enough: {name} ({bytes})"))?;
    }
    match plan.free_bytes {
        Some(free) => out.note(&format!(
            "  needs about {} there, {} are free",
            human_bytes(plan.needed_bytes),
            human_bytes(free)
        ))?,
        None => out.note(&format!(
            "  needs about {} there; how much is free is NOT KNOWN here: look before you go on",
            human_bytes(plan.needed_bytes)
        ))?,
    }
    out.flush()
}

/// `7d`, `36h`, ...: as the configuration has it.
pub fn duration_text(duration: SignedDuration) -> String {
    let hours = duration.as_hours();
    match hours % 24 == 0 && duration == SignedDuration::from_hours(hours) && hours > 0 {
        true => format!("{}d", hours / 24),
        false => format!("{duration:#}"),
    }
}

/// What became of a database that was put aside, for people.
pub fn told(marker: &Marker, zone: &TimeZone) -> String {
    let time =
        |at: jiff::Timestamp| at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string();
    let short: String = marker.snapshot.chars().take(8).collect();
    let why = match marker.reason {
        Reason::Restore => format!("replaced by snapshot {}", clean(&short)),
        Reason::Clone => format!("replaced by an anonymized copy of snapshot {}", clean(&short)),
        Reason::Undo => format!("restored from snapshot {}, taken back", clean(&short)),
    };
    let until =
        marker.until.map_or_else(String::new, |until| format!(", kept until {}", time(until)));
    format!("{} on {}{until}", why, time(marker.time))
}
