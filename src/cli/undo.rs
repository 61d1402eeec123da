//! `undo`: the database that was there before the last restore, back in its place.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::clock::{Clock, SystemClock};
use crate::clone::Journal;
use crate::event::counted;
use crate::instance::config::EventKind;
use crate::instance::config::Instance;
use crate::ops::restore_database::{UndoPlan, drop_kept, plan_undo, undo};
use crate::report::{clean, human_bytes};
use crate::target::postgres::{Cluster, Marked, Marker, kept};

use super::after;
use super::clone::{drop_put_aside, exchange_back};
use super::context::{Context, zone};
use super::restore_database::{cluster, duration_text, lock_instance, restore_config, told};
use super::settings::Settings;
use super::{CliError, Done, ask, home};

/// What to do where nobody can be asked.
const LOOK_FIRST: &str = "look at it with --dry-run, then add --yes to do it";

/// Swap back to what was there before the last restore
///
/// After a restore into the home of an instance files and databases go back together; with --database, or where only
/// a database was replaced since (a restore of it, a clone), that alone: what was done last is taken back. What is live now is
/// kept in its turn: `undo` again brings it back. A restore that was killed at half its way is taken back.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup undo --list                  what is kept
  mrs-backup undo -i mrs-production       what was done last to an instance
  mrs-backup undo -i mrs-staging --home   the restore of its home, even if a clone came after it
  mrs-backup undo --database mrs          one database
  mrs-backup undo --drop --database mrs   give the room free: nothing can be taken back then")]
pub struct Args {
    /// The database, as it is called in use
    #[arg(long, value_name = "NAME")]
    database: Option<String>,

    /// Files and databases of the home, even if a database was replaced since
    #[arg(long, conflicts_with_all = ["database", "list", "drop"])]
    home: bool,

    /// Only list what is kept
    #[arg(long, conflicts_with_all = ["drop", "expired"])]
    list: bool,

    /// Drop what is kept instead of swapping back
    #[arg(long)]
    drop: bool,

    /// With --drop: only what was kept long enough
    #[arg(long, requires = "drop")]
    expired: bool,

    /// Only show what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// The name of a protected instance, where nobody can type it
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let settings = context.settings()?;
    let zone = zone(&settings);
    // With a database named nothing else is meant.
    let instance = settings.instance.as_ref().filter(|_| args.database.is_none());
    let homes = match instance {
        Some(instance) if args.list => list_homes(context, instance)?,
        Some(instance) if args.drop => drop_homes(context, &settings, instance, &args)?,
        Some(instance) if args.home || !is_database_newer(context, &settings, instance)? => {
            let how = home::UndoArgs { confirm: args.confirm.as_deref(), is_dry_run: args.dry_run };
            if let Some(done) = home::undo(context, &settings, instance, &how)? {
                return Ok(done);
            }
            0
        }
        _ => 0,
    };
    let has_databases = instance.is_none_or(|instance| instance.postgres.is_some());
    if !has_databases && (args.list || args.drop) {
        if homes == 0 {
            context.out.note("nothing is kept from before a restore")?;
        }
        return Ok(Done::ok(json!({ "homes": homes })));
    }
    if args.home || !has_databases {
        return Err(CliError::usage_hint(
            "nothing is kept of a home from before a restore",
            "mrs-backup undo --list shows what is kept",
        ));
    }
    let cluster = cluster(context, &settings, "undo")?;
    if args.list {
        return list(context, &cluster, &args, homes, &zone);
    }
    let databases = match (&args.database, instance) {
        (Some(name), _) => vec![name.clone()],
        // The server may have those of other instances, too.
        (None, Some(instance)) => names(instance),
        (None, None) => Vec::new(),
    };
    let _lock = if args.dry_run { None } else { lock_instance(context, &settings)? };
    let now = SystemClock.now();
    if args.drop {
        let which = Dropped { databases: &databases, expired: args.expired, dry: args.dry_run };
        return drop_some(context, &settings, &cluster, &which, now);
    }
    swap_back(context, &settings, &cluster, &databases, args.dry_run, now)
}

/// The databases of an instance.
fn names(instance: &Instance) -> Vec<String> {
    instance.postgres.as_ref().map_or_else(Vec::new, |postgres| postgres.databases.value.clone())
}

/// Whether a database was replaced by itself (a restore of it, a clone) after the home was.
fn is_database_newer(
    context: &Context,
    settings: &Settings,
    instance: &Instance,
) -> Result<bool, CliError> {
    let journal = home::work(context, instance, None).journal()?;
    let homes = journal.kept()?;
    let names = names(instance);
    let Some(newest) = homes.first().filter(|_| !names.is_empty()) else { return Ok(false) };
    if journal.unfinished()?.is_some() {
        return Ok(false);
    }
    let found = match cluster(context, settings, "undo")
        .and_then(|cluster| Ok(kept(&mut cluster.maintenance("")?)?))
    {
        Ok(found) => found,
        Err(error) => {
            let message = error.message();
            context.out.note(&format!("what the database server keeps is not known: {message}"))?;
            return Ok(false);
        }
    };
    let of_home = |name: &String| {
        homes.iter().flat_map(|one| &one.databases).any(|one| one.aside.as_ref() == Some(name))
    };
    let is_newer = found.iter().any(|one| {
        names.contains(&one.marker.of) && one.marker.time > newest.time && !of_home(&one.name)
    });
    if is_newer {
        let line = home::line(instance, newest);
        context.out.note(&format!("older, and not taken back now (--home does): {line}"))?;
    }
    Ok(is_newer)
}

/// Tells which databases are kept.
fn list(
    context: &Context,
    cluster: &Cluster,
    args: &Args,
    homes: usize,
    zone: &jiff::tz::TimeZone,
) -> Result<Done, CliError> {
    let mut all = kept(&mut cluster.maintenance("")?)?;
    all.retain(|found| args.database.as_ref().is_none_or(|name| found.marker.of == *name));
    for found in &all {
        context.out.record("kept", &describe(found))?;
        context.out.line(&format!("{}  {}", line(found), told(&found.marker, zone)))?;
    }
    if all.is_empty() {
        context.out.note("no database is kept from before a restore")?;
    }
    Ok(Done::ok(json!({ "kept": all.len(), "homes": homes })))
}

/// One database, and what was put aside with it.
fn swap_back(
    context: &Context,
    settings: &Settings,
    cluster: &Cluster,
    databases: &[String],
    is_dry_run: bool,
    now: Timestamp,
) -> Result<Done, CliError> {
    let zone = zone(settings);
    let plan = plan_undo(cluster, databases)?;
    show(context, &plan, &zone)?;
    if is_dry_run {
        context.out.note("nothing was changed")?;
        return Ok(Done::ok(json!({ "dry_run": true, "incoming": describe(&plan.incoming) })));
    }
    let name = clean(&plan.database);
    let needs = format!(
        "database {name} is to be swapped back, and {} sessions in it ended",
        plan.sessions
    );
    ask::assent(context, &needs, LOOK_FIRST)?;
    let keep = restore_config(settings).keep_replaced.value;
    let undone = swap(settings, cluster, &plan, now);
    if let Some(instance) = &settings.instance {
        let text = match &undone {
            Ok(_) => format!("database {name} is what it was before the last restore"),
            Err(error) => format!("database {name} could not be swapped back: {}", error.message()),
        };
        after::happened(context, &instance.name, EventKind::Restore, undone.is_ok(), &text);
    }
    let (aside, directories) = undone?;
    context.out.note(&format!("database {name} is what it was before"))?;
    if let Some(aside) = &aside {
        context.out.note(&format!(
            "the restored one is kept as {} for {}",
            clean(aside),
            duration_text(keep)
        ))?;
    }
    for directory in &directories {
        context.out.note(&format!("{} is what it was before", clean(directory)))?;
    }
    let fields = json!({ "database": plan.database, "kept": aside, "directories": directories });
    Ok(Done::ok(fields))
}

/// Swaps the database back, and the directories that changed places with it; gives what is put aside now, and those.
fn swap(
    settings: &Settings,
    cluster: &Cluster,
    plan: &UndoPlan,
    now: Timestamp,
) -> Result<(Option<String>, Vec<String>), CliError> {
    let keep = restore_config(settings).keep_replaced.value;
    let Some(instance) = &settings.instance else {
        return Ok((undo(cluster, plan, now, keep)?, Vec::new()));
    };
    let exchange = exchange_back(&settings.state_dir, instance, plan, now)?;
    if exchange.directories.is_empty() {
        return Ok((undo(cluster, plan, now, keep)?, Vec::new()));
    }
    let journal = Journal::new(&settings.state_dir, &instance.name);
    journal.begin(&exchange)?;
    let undone = match exchange.forward() {
        Ok(()) => undo(cluster, plan, now, keep).map_err(CliError::from),
        Err(error) => Err(CliError::io("put back directories", &error)),
    };
    // The server knows whether the database is back; the directories follow it.
    let settled = journal.settle(cluster);
    let aside = undone?;
    settled?;
    let places = exchange.directories.iter().map(|directory| directory.live.display().to_string());
    Ok((aside, places.collect()))
}

/// Tells what is kept beside the home.
fn list_homes(context: &Context, instance: &Instance) -> Result<usize, CliError> {
    let kept = home::work(context, instance, None).journal()?.all()?;
    for operation in &kept {
        context.out.record("home", &json!(operation))?;
        context.out.line(&home::line(instance, operation))?;
    }
    Ok(kept.len())
}

/// Removes what is kept beside the home.
fn drop_homes(
    context: &Context,
    settings: &Settings,
    instance: &Instance,
    args: &Args,
) -> Result<usize, CliError> {
    let work = home::work(context, instance, None);
    let journal = work.journal()?;
    let now = SystemClock.now();
    let mut kept = journal.kept()?;
    kept.retain(|one| !args.expired || one.until.is_some_and(|until| until <= now));
    for operation in &kept {
        context.out.note(&format!("drop {}", home::line(instance, operation)))?;
    }
    if kept.is_empty() || args.dry_run {
        return Ok(0);
    }
    let _lock = lock_instance(context, settings)?;
    let needs = "what is kept of the home is to be dropped, and cannot be had back";
    ask::assent(context, needs, LOOK_FIRST)?;
    for operation in &kept {
        journal.remove(operation)?;
    }
    Ok(kept.len())
}

/// What is to be dropped.
struct Dropped<'a> {
    /// Of these; none named: of all.
    databases: &'a [String],
    /// Only what was kept long enough.
    expired: bool,
    /// Only shown.
    dry: bool,
}

fn drop_some(
    context: &Context,
    settings: &Settings,
    cluster: &Cluster,
    which: &Dropped<'_>,
    now: Timestamp,
) -> Result<Done, CliError> {
    let zone = &zone(settings);
    let is_meant = |marker: &Marker| {
        (which.databases.is_empty() || which.databases.contains(&marker.of))
            && (!which.expired || marker.until.is_some_and(|until| until <= now))
    };
    let mut all = kept(&mut cluster.maintenance("")?)?;
    let there = all.len();
    all.retain(|found| is_meant(&found.marker));
    if !which.expired && all.len() < there {
        let others = counted(there - all.len(), "database");
        context.out.note(&format!("{others} kept of other names stay; --database drops them"))?;
    }
    for found in &all {
        context.out.note(&format!("drop {}  {}", line(found), told(&found.marker, zone)))?;
    }
    if all.is_empty() || which.dry {
        context.out.note("nothing was changed")?;
        return Ok(Done::ok(json!({ "dropped": Vec::<Value>::new() })));
    }
    let needs = format!("{} databases are to be dropped, and cannot be had back", all.len());
    ask::assent(context, &needs, LOOK_FIRST)?;
    let names: Vec<&String> = all.iter().map(|found| &found.name).collect();
    // Only what was shown.
    let dropped = drop_kept(cluster, |found| names.contains(&&found.name))?;
    if let Some(instance) = &settings.instance {
        for found in &dropped {
            drop_put_aside(context, &settings.state_dir, instance, &found.marker);
        }
    }
    context.out.note(&format!("{} databases dropped", dropped.len()))?;
    Ok(Done::ok(json!({ "dropped": dropped.iter().map(|d| &d.name).collect::<Vec<_>>() })))
}

fn line(found: &Marked) -> String {
    let (of, name) = (clean(&found.marker.of), clean(&found.name));
    format!("{of}: {name} ({})", human_bytes(found.bytes))
}

fn describe(found: &Marked) -> Value {
    json!({
        "name": found.name,
        "database": found.marker.of,
        "snapshot": found.marker.snapshot,
        "time": found.marker.time.to_string(),
        "until": found.marker.until.map(|until| until.to_string()),
        "bytes": found.bytes,
    })
}

fn show(context: &Context, plan: &UndoPlan, zone: &jiff::tz::TimeZone) -> Result<(), CliError> {
    let out = &context.out;
    let incoming = &plan.incoming;
    out.record("plan", &json!({ "database": plan.database, "incoming": describe(incoming) }))?;
    out.note(&format!(
        "put {} ({}) back as database {} ({})",
        clean(&incoming.name),
        human_bytes(incoming.bytes),
        clean(&plan.database),
        clean(&plan.server)
    ))?;
    out.note(&format!("  it was {}", told(&incoming.marker, zone)))?;
    match plan.live {
        Some(bytes) => out.note(&format!(
            "  what is live now ({}, {} sessions) is kept in its turn; what was written to it since is in it alone",
            human_bytes(bytes),
            plan.sessions
        ))?,
        None => out.note("  there is no database of this name now")?,
    }
    out.flush()
}
