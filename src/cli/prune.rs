//! `prune`: frees what no snapshot needs. The plan first, then assent.

use serde_json::json;

use crate::event::counted;
use crate::ops::prune::{
    MaxUnused, PruneOptions, PruneStats, PruneSummary, Pruned, Waiting, WaitsFor, prune, prune_now,
};
use crate::report::human_bytes;

use super::context::Context;
use super::{CliError, Done, Exit, ask};

/// What to do where nobody can be asked.
const LOOK_FIRST: &str = "look at it with --dry-run, then add --yes to do it";
/// Said before the grace time is waived.
const RISK: &str = "without the grace time, a restore or check that is running anywhere now may not find what it is reading, \
and a forgotten snapshot cannot be brought back from this store any more";

/// Free what no snapshot needs
///
/// Packs that nobody needs are condemned by one run and deleted by a later one, at least 72 hours
/// afterwards and when everybody at work knows of it. Backups may run meanwhile. Packs of which
/// too little is needed are rewritten. What will be done is shown first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
--max-unused counts the sealed bytes of segments in packs that somebody needs; a segment of
which a part is needed counts by the share of the rest. `5%`: five of a hundred bytes in
those packs; `500M`: so many bytes (K, M, G, T are powers of 1024); `unlimited`: rewrite
nothing.

In an append-only store nothing is done.

Examples:
  mrs-backup prune --dry-run
  mrs-backup prune --yes
  mrs-backup prune --max-unused 10% --max-repack-size 2G --yes
  mrs-backup prune --now --yes            the disk is full: free the space at once")]
pub struct Args {
    /// Only show what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Unused bytes that may stay: `N%`, a size, or `unlimited`
    #[arg(long, value_name = "LIMIT", default_value = "5%", value_parser = parse_unused)]
    max_unused: MaxUnused,

    /// Most bytes that are written again by this run
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_repack_size: Option<u64>,

    /// Delete at once, without the grace time, and rewrite nothing; fails if anybody is at work
    #[arg(long, conflicts_with_all = ["max_unused", "max_repack_size"])]
    now: bool,
}

/// A size like `500M`, in bytes.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || "write it like `500M` or `2G`".to_owned();
    let text = text.trim();
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return Err(wrong()),
    };
    let number: f64 = digits.trim().parse().map_err(|_| wrong())?;
    let bytes = number
        * f64::from(1_u32 << (shift % 30))
        * if shift >= 30 { f64::from(1 << 30) } else { 1.0 };
    if !(0.0..9e18).contains(&bytes) {
        return Err(wrong());
    }
    Ok(bytes as u64)
}

fn parse_unused(text: &str) -> Result<MaxUnused, String> {
    if text == "unlimited" {
        return Ok(MaxUnused::Unlimited);
    }
    let Some(percent) = text.strip_suffix('%') else {
        return parse_size(text)
            .map(MaxUnused::Bytes)
            .map_err(|_| "write it like `5%`, `500M` or `unlimited`".to_owned());
    };
    percent
        .trim()
        .parse()
        .ok()
        .filter(|percent| (0.0..100.0).contains(percent))
        .map(MaxUnused::Percent)
        .ok_or_else(|| "a percentage is from 0% to below 100%".to_owned())
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let settings = context.settings()?;
    let repository = context.open(&settings)?;
    let options = PruneOptions {
        max_unused: args.max_unused,
        max_repack_bytes: args.max_repack_size,
        ..PruneOptions::default()
    };
    let accept = |summary: &PruneSummary| -> Result<bool, CliError> {
        show(context, summary, args.now)?;
        if args.dry_run || summary.is_nothing() {
            return Ok(false);
        }
        let doing =
            if args.now { "packs are to be deleted at once" } else { "packs are to be pruned" };
        let what = format!("{} {doing}", summary.condemn_packs + summary.delete_packs);
        ask::assent(context, &what, LOOK_FIRST)?;
        Ok(true)
    };
    let (stop, observer) = (&context.stop, context.observer.as_ref());
    let pruned = match args.now {
        true => prune_now(&repository, &options, stop, observer, accept)?,
        false => prune(&repository, &options, stop, observer, accept)?,
    };
    match pruned {
        Pruned::AppendOnly => {
            context.out.note(&format!(
                "{} takes no deletions (append-only): nothing is pruned there",
                repository.store().location()
            ))?;
            Ok(Done::ok(json!({ "append_only": true })))
        }
        Pruned::Planned(summary) => {
            context.out.note(match summary.is_nothing() {
                true => "nothing is to be done",
                false => "nothing was changed",
            })?;
            Ok(Done::ok(json!({ "dry_run": args.dry_run, "plan": summary })))
        }
        Pruned::Done(summary, stats) => {
            tell(context, &stats)?;
            let exit = if stats.damaged_packs.is_empty() { Exit::Ok } else { Exit::Failed };
            Ok(Done::with(exit, json!({ "plan": summary, "stats": stats })))
        }
    }
}

fn show(context: &Context, summary: &PruneSummary, now: bool) -> Result<(), CliError> {
    let out = &context.out;
    let bytes = human_bytes;
    out.note(&format!(
        "{}, {} ({}); {} needed, {} unused in packs that are needed",
        counted(summary.snapshots, "snapshot"),
        counted(summary.packs, "pack"),
        bytes(summary.pack_bytes),
        bytes(summary.used_bytes),
        bytes(summary.unused_bytes)
    ))?;
    for session in &summary.expired_sessions {
        out.note(&format!("  taken for dead and removed: {session}"))?;
    }
    if summary.delete_packs > 0 {
        let packs = counted(summary.delete_packs, "pack");
        let size = bytes(summary.delete_bytes);
        out.note(&format!("  delete {packs} condemned before: frees {size}"))?;
    }
    if summary.spared_packs > 0 {
        let packs = counted(summary.spared_packs, "condemned pack");
        out.note(&format!("  spare {packs} still needed"))?;
    }
    if summary.repack_packs > 0 {
        out.note(&format!(
            "  store {} of {} elsewhere; {} unused stay",
            bytes(summary.repack_bytes),
            counted(summary.repack_packs, "pack"),
            bytes(summary.unused_bytes_after)
        ))?;
    }
    if summary.condemn_packs > 0 {
        let packs = counted(summary.condemn_packs, "pack");
        let size = bytes(summary.condemn_bytes);
        let when = if now { "now" } else { "by a prune 72 hours from now or later" };
        out.note(&format!("  condemn {packs}: frees {size}, {when}"))?;
    }
    if summary.merge_index_objects > 0 {
        out.note(&format!("  merge {}", counted(summary.merge_index_objects, "index object")))?;
    }
    if summary.unreadable_condemned > 0 {
        let lists = counted(summary.unreadable_condemned, "damaged condemned object");
        out.note(&format!("  drop {lists}"))?;
    }
    for waiting in &summary.waiting {
        out.note(&format!("  {}", describe(waiting)))?;
    }
    if summary.young_packs > 0 {
        let packs = counted(summary.young_packs, "pack");
        let size = bytes(summary.young_bytes);
        out.note(&format!(
            "  {packs} ({size}) that no snapshot needs yet may be of somebody at work"
        ))?;
    }
    if now && !summary.is_nothing() {
        out.note(&format!("  warning: {RISK}"))?;
    }
    Ok(())
}

fn describe(waiting: &Waiting) -> String {
    let why = match &waiting.waits_for {
        WaitsFor::Grace(seconds) => {
            format!("for the rest of 72 hours, {} h {} min", seconds / 3600, seconds / 60 % 60)
        }
        WaitsFor::Sessions(sessions) => {
            format!("for who may use them: {}", crate::report::clean(&sessions.join(", ")))
        }
        WaitsFor::Age => "for ever: the store does not tell how old they are".to_owned(),
    };
    let wait = if waiting.packs == 1 { "waits" } else { "wait" };
    let packs = counted(waiting.packs, "condemned pack");
    format!("{packs} ({}) {wait} {why}", human_bytes(waiting.bytes))
}

/// Tells what was done.
pub fn tell(context: &Context, stats: &PruneStats) -> Result<(), CliError> {
    context.out.note(&format!(
        "{} deleted ({} freed), {} condemned ({}), {} rewritten ({} stored)",
        counted(stats.deleted_packs, "pack"),
        human_bytes(stats.deleted_bytes),
        stats.condemned_packs,
        human_bytes(stats.condemned_bytes),
        stats.repacked_packs,
        human_bytes(stats.stored_bytes)
    ))?;
    if !stats.damaged_packs.is_empty() {
        context.out.line("  hint: mrs-backup check --read-data, then mrs-backup repair packs")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_limits_are_read() {
        assert_eq!(parse_size("0"), Ok(0));
        assert_eq!(parse_size("1500"), Ok(1500));
        assert_eq!(parse_size("1.5K"), Ok(1536));
        assert_eq!(parse_size("500M"), Ok(500 << 20));
        assert_eq!(parse_size("2GiB"), Ok(2 << 30));
        assert_eq!(parse_size("3t"), Ok(3 << 40));
        for wrong in ["", "M", "-1", "1X", "1e30", "nan", "%", "ü"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_unused("5%"), Ok(MaxUnused::Percent(5.0)));
        assert_eq!(parse_unused("0%"), Ok(MaxUnused::Percent(0.0)));
        assert_eq!(parse_unused("10M"), Ok(MaxUnused::Bytes(10 << 20)));
        assert_eq!(parse_unused("unlimited"), Ok(MaxUnused::Unlimited));
        for wrong in ["100%", "-1%", "%", "much"] {
            assert!(parse_unused(wrong).is_err(), "{wrong}");
        }
    }
}
