//! `check`: is everything there, and is it what it was?

use serde_json::json;

use crate::crypto::SystemRandom;
use crate::crypto::random::random_bytes;
use crate::event::counted;
use crate::instance::config::Instance;
use crate::ops::check::{CheckOptions, CheckReport, ReadData, Severity, check};
use crate::report::{clean, human_bytes};
use crate::repository::Repository;

use super::context::{Context, zone};
use super::format::local_time;
use super::{CliError, Done, Exit, heal};

/// How many paths of an affected snapshot are shown.
const SHOWN: usize = 20;

/// Check the repository; what is damaged is named, with the files it affects
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --read-data objects, directories and the sizes of packs are checked, but not the
content of files. It exits with 1 if anything is damaged.

Examples:
  mrs-backup check
  mrs-backup check --read-data-subset 5%
  mrs-backup check --read-data")]
pub struct Args {
    /// Read and verify everything
    #[arg(long, conflicts_with = "read_data_subset")]
    read_data: bool,

    /// Read and verify some packs, other ones each time
    #[arg(long, value_name = "N%", value_parser = parse_percent)]
    read_data_subset: Option<f64>,
}

fn parse_percent(text: &str) -> Result<f64, String> {
    text.strip_suffix('%')
        .and_then(|number| number.trim().parse::<f64>().ok())
        .filter(|percent| *percent > 0.0 && *percent <= 100.0)
        .ok_or_else(|| "write it like `5%`, above 0% and up to 100%".to_owned())
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let settings = context.settings()?;
    let repository = context.open(&settings)?;
    let read_data = match (args.read_data, args.read_data_subset) {
        (true, _) => ReadData::All,
        (false, Some(percent)) => random_subset(percent),
        (false, None) => ReadData::None,
    };
    perform(context, &repository, read_data, &zone(&settings), settings.instance.as_ref())
}

/// So many packs, other ones each time.
pub fn random_subset(percent: f64) -> ReadData {
    ReadData::Subset { percent, seed: u64::from_le_bytes(random_bytes(&SystemRandom)) }
}

/// Checks an open repository and tells what was found.
pub fn perform(
    context: &Context,
    repository: &Repository,
    read_data: ReadData,
    zone: &jiff::tz::TimeZone,
    instance: Option<&Instance>,
) -> Result<Done, CliError> {
    let options = CheckOptions { read_data, snapshots: None };
    let report = check(repository, &options, &context.stop, context.observer.as_ref())?;
    for problem in &report.problems {
        context.out.record("problem", &json!(problem))?;
    }
    for affected in &report.affected {
        context.out.record("affected", &json!(affected))?;
    }
    show(context, &report, zone)?;
    // A notice is no damage, and damage no snapshot needs is damage all the same.
    let exit = if report.is_clean() { Exit::Ok } else { Exit::Failed };
    let fields = json!({
        "errors": report.errors,
        "warnings": report.warnings,
        "affected": report.affected.len(),
        "counts": report.counts,
    });
    let mut done = Done::with(exit, fields);
    if exit != Exit::Ok
        && let Some(instance) = instance
    {
        // Told as damage all the same: the disk may have more of it.
        let healed = heal::damage(context, repository, instance)?;
        if !healed.is_null() {
            done.summary.insert("healed".to_owned(), healed);
        }
    }
    Ok(done)
}

fn show(
    context: &Context,
    report: &CheckReport,
    zone: &jiff::tz::TimeZone,
) -> Result<(), CliError> {
    let out = &context.out;
    // What was found was told while it was found; here is what to do about it.
    let mut hints: Vec<&str> = report
        .problems
        .iter()
        .filter(|problem| problem.severity > Severity::Notice)
        .map(|problem| problem.hint.as_str())
        .filter(|hint| !hint.is_empty())
        .collect();
    hints.sort_unstable();
    hints.dedup();
    for affected in &report.affected {
        let paths = affected.total;
        out.line(&format!(
            "snapshot {} of {}, {}: {} cannot be restored whole:",
            affected.id.short(),
            clean(&affected.instance),
            local_time(affected.time, zone),
            counted(paths, "path")
        ))?;
        for path in affected.paths.iter().take(SHOWN) {
            out.line(&format!("  {}", clean(path)))?;
        }
        if paths > SHOWN as u64 {
            out.line("  ... (all of them with --json)")?;
        }
    }
    for hint in hints {
        out.line(&format!("  hint: {hint}"))?;
    }
    let counts = &report.counts;
    let verdict = match report.is_clean() {
        true => "no damage found".to_owned(),
        false => format!(
            "DAMAGED: {}, {}",
            counted(report.errors, "error"),
            counted(report.warnings, "warning")
        ),
    };
    let told = format!(
        "{verdict}: {}, {}, {}, {} ({} of them, {}, read whole)",
        counted(counts.snapshots, "snapshot"),
        counted(counts.directories, "directory"),
        counted(counts.files, "file"),
        counted(counts.packs, "pack"),
        counts.packs_read,
        human_bytes(counts.bytes_read)
    );
    // A timer's log is for what needs attention.
    if report.is_clean() { out.note(&told) } else { out.line(&told) }
}
