//! `repair`: what is damaged, stored anew as far as it can be read, or taken out by name.

use clap::Subcommand;
use serde_json::json;

use crate::event::counted;
use crate::id::PackId;
use crate::instance::config::{Origin, Repository as Place, Setting};
use crate::ops::repair::{
    PacksReport, Remedy, SnapshotRepair, apply_snapshots, known_damage, plan_snapshots,
    repair_packs,
};
use crate::report::{clean, human_bytes};
use crate::repository::{IngestOptions, Repository, RepositoryError};

use super::context::{Context, zone};
use super::copy::open_elsewhere;
use super::format::local_time;
use super::settings::Settings;
use super::{CliError, Done, Exit, ask, index};

/// What to do where nobody can be asked.
const LOOK_FIRST: &str = "look at it with --dry-run, then add --yes to do it";
/// Lost paths that are shown of a snapshot.
const SHOWN: usize = 20;

/// Mend what `check` found damaged
///
/// In this order: index, packs, snapshots. Nothing is deleted but index objects that nobody can
/// read; what a repair makes superfluous is freed by `prune`. With --from, what is lost here is
/// read from a copy of the same repository.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup check --read-data        what is damaged
  mrs-backup repair index
  mrs-backup repair packs --from /mnt/second/repo
  mrs-backup repair snapshots --dry-run")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make index objects anew from the packs, and remove those that are damaged
    #[command(after_help = "\
Examples:
  mrs-backup repair index")]
    Index,
    /// Store what can be read of damaged packs in new ones
    ///
    /// Without IDs, the packs that `check` found damaged and those that are missing.
    #[command(after_help = "\
Examples:
  mrs-backup check --read-data; mrs-backup repair packs
  mrs-backup repair packs --from /mnt/second/repo")]
    Packs {
        /// Packs, by their whole names
        #[arg(value_name = "ID")]
        ids: Vec<PackId>,

        /// A copy of this repository, opened with the same password
        #[arg(long, value_name = "LOCATION")]
        from: Option<String>,

        /// Only show which packs are meant
        #[arg(short = 'n', long)]
        dry_run: bool,
    },
    /// Replace snapshots that cannot be restored whole by ones without what is lost
    ///
    /// The new ones are incomplete and name what they lack; the old ones are forgotten. One of
    /// which nothing can be read is forgotten without a replacement.
    #[command(after_help = "\
Examples:
  mrs-backup repair snapshots --dry-run
  mrs-backup repair snapshots --from /mnt/second/repo --yes")]
    Snapshots {
        /// A copy of this repository, opened with the same password
        #[arg(long, value_name = "LOCATION")]
        from: Option<String>,

        /// Only show what would be done
        #[arg(short = 'n', long)]
        dry_run: bool,
    },
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    match args.command {
        Command::Index => index::rebuild(context, true, true),
        Command::Packs { ids, from, dry_run } => packs(context, ids, from.as_deref(), dry_run),
        Command::Snapshots { from, dry_run } => snapshots(context, from.as_deref(), dry_run),
    }
}

/// Opens a copy, and sees to it that it is one.
fn open_copy(
    context: &Context,
    settings: &Settings,
    repository: &Repository,
    location: &str,
) -> Result<Repository, CliError> {
    let place = Setting::new(Place::new(location), Origin::Flag);
    let copy = open_elsewhere(context, settings, &place)?;
    let (found, expected) = (copy.config().id, repository.config().id);
    if found != expected {
        let (found, expected) = (found.to_hex(), expected.to_hex());
        let location = copy.store().location().clone();
        return Err(RepositoryError::OtherRepository { location, found, expected }.into());
    }
    Ok(copy)
}

fn packs(
    context: &Context,
    ids: Vec<PackId>,
    from: Option<&str>,
    dry_run: bool,
) -> Result<Done, CliError> {
    let settings = context.settings()?;
    let repository = context.open(&settings)?;
    let copy =
        from.map(|location| open_copy(context, &settings, &repository, location)).transpose()?;
    let damaged = known_damage(&repository)?;
    let packs = if ids.is_empty() { damaged } else { ids };
    let known = repository.index().packs()?;
    if let Some(unknown) = packs.iter().find(|id| known.iter().all(|row| row.id != **id)) {
        let message = format!("pack {unknown} is in no index object");
        return Err(CliError::usage_hint(message, "mrs-backup repair index"));
    }
    if packs.is_empty() {
        context.out.note("no pack is known to be damaged; `mrs-backup check --read-data` looks")?;
        return Ok(Done::ok(json!({ "packs": [] })));
    }
    for pack in &packs {
        context.out.note(&format!("pack {pack}"))?;
    }
    if dry_run {
        context.out.note("nothing was changed")?;
        return Ok(Done::ok(json!({ "dry_run": true, "packs": packs })));
    }
    let report = repair_packs(
        &repository,
        &packs,
        copy.as_ref(),
        IngestOptions::default(),
        &context.stop,
        context.observer.as_ref(),
    )?;
    tell(context, &report, from)?;
    let exit = if report.lost_chunks == 0 { Exit::Ok } else { Exit::Failed };
    Ok(Done::with(exit, json!({ "packs": packs, "report": report })))
}

fn tell(context: &Context, report: &PacksReport, from: Option<&str>) -> Result<(), CliError> {
    context.out.note(&format!(
        "{}: {} salvaged, {} from the copy, {} elsewhere already ({} stored)",
        counted(report.packs, "pack"),
        counted(report.salvaged_chunks, "chunk"),
        report.healed_chunks,
        report.known_chunks,
        human_bytes(report.stored_bytes)
    ))?;
    if report.lost_chunks == 0 {
        return Ok(());
    }
    let are = if report.lost_chunks == 1 { "is" } else { "are" };
    context.out.line(&format!("{} {are} lost", counted(report.lost_chunks, "chunk")))?;
    context.out.line(match from {
        None => "  hint: a copy may have them: --from LOCATION; so may the data itself: run a backup; at last, mrs-backup repair snapshots",
        Some(_) => "  hint: the data itself may still have them: run a backup; at last, mrs-backup repair snapshots",
    })
}

fn snapshots(context: &Context, from: Option<&str>, dry_run: bool) -> Result<Done, CliError> {
    let settings = context.settings()?;
    let repository = context.open(&settings)?;
    let copy =
        from.map(|location| open_copy(context, &settings, &repository, location)).transpose()?;
    let (stop, observer) = (&context.stop, context.observer.as_ref());
    let plan = plan_snapshots(&repository, copy.as_ref(), stop, observer)?;
    for repair in &plan.repairs {
        show(context, repair, &settings)?;
        context.out.record("repair", &json!(repair))?;
    }
    let bad = plan.repairs.len();
    let all = counted(plan.snapshots, "snapshot");
    context.out.note(&format!("{bad} of {all} cannot be restored whole"))?;
    if dry_run || bad == 0 {
        if bad > 0 {
            context.out.note("nothing was changed")?;
        }
        return Ok(Done::ok(json!({ "dry_run": dry_run, "snapshots": bad })));
    }
    let what = format!("to be replaced or dropped: {}", counted(bad, "snapshot"));
    ask::assent(context, &what, LOOK_FIRST)?;
    let options = IngestOptions::default();
    let report = apply_snapshots(&repository, &plan, copy.as_ref(), options, stop, observer)?;
    context.out.note(&format!(
        "{} copied back, {} replaced, {} dropped",
        report.copied_back,
        report.replaced.len(),
        report.dropped.len()
    ))?;
    Ok(Done::ok(json!({ "snapshots": bad, "report": report })))
}

fn show(context: &Context, repair: &SnapshotRepair, settings: &Settings) -> Result<(), CliError> {
    let out = &context.out;
    let time = repair
        .time
        .map_or_else(String::new, |time| format!(", {}", local_time(time, &zone(settings))));
    let instance = repair.instance.as_deref().unwrap_or("(unknown)");
    let head = format!("snapshot {} of {}{time}", repair.id.short(), clean(instance));
    match &repair.remedy {
        Remedy::CopyBack => out.note(&format!("{head}: copied back")),
        Remedy::Drop { reason } => out.note(&format!("{head}: DROPPED: {}", clean(reason))),
        Remedy::Replace { lost, paths } => {
            out.note(&format!("{head}: replaced by one without {lost} lost entries:"))?;
            for path in paths.iter().take(SHOWN) {
                out.note(&format!("  {}", clean(path)))?;
            }
            if *lost > SHOWN as u64 {
                out.note("  ...")?;
            }
            Ok(())
        }
    }
}
