//! `pin` and `unpin`: snapshots that stay whatever the policy says.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde_json::json;

use crate::calendar::CalendarSpan;
use crate::clock::{Clock, SystemClock};
use crate::id::SnapshotId;
use crate::report::clean;
use crate::repository::Repository;
use crate::snapshot::{Pin, ReceiptRecord, Selected, pins};

use super::args::{Filter, SNAPSHOT_HELP};
use super::context::{Context, zone};
use super::format::{local_time, table};
use super::{CliError, Done};

/// Longest reason; it is one line of a list.
const LONGEST_REASON: usize = 200;

/// Pin a snapshot: no policy drops it; without a snapshot, list the pins
///
/// A pin is kept in the repository, sealed: every host and every copy sees it.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("\
{SNAPSHOT_HELP}

Examples:
  mrs-backup pin latest --reason 'before version 2' --for 6m
  mrs-backup pin 3f2a9c01 --reason 'audit of 2026' --until 2037-01-01
  mrs-backup pin                                    the pins there are"))]
pub struct PinArgs {
    /// Which
    #[arg(requires = "reason")]
    snapshot: Option<String>,

    /// Why, for whoever wonders in some years
    #[arg(long, value_name = "TEXT", requires = "snapshot", value_parser = parse_reason)]
    reason: Option<String>,

    /// Last day of the pin (`2037-01-31`) [default: until `unpin`]
    #[arg(long, value_name = "DATE", requires = "snapshot", conflicts_with = "span")]
    until: Option<Date>,

    /// How long it is pinned (`6m`, `10y`)
    #[arg(long = "for", id = "span", value_name = "SPAN", requires = "snapshot")]
    span: Option<CalendarSpan>,
}

/// Take all pins of a snapshot away
#[derive(Debug, clap::Args)]
#[command(after_help = format!("\
{SNAPSHOT_HELP}

Examples:
  mrs-backup unpin 3f2a9c01"))]
pub struct UnpinArgs {
    /// Which
    snapshot: String,
}

fn parse_reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text {
        "" => Err("say why".to_owned()),
        _ if text.chars().any(char::is_control) => Err("it is more than one line".to_owned()),
        _ if text.len() > LONGEST_REASON => {
            Err(format!("it is longer than {LONGEST_REASON} bytes"))
        }
        _ => Ok(text.to_owned()),
    }
}

pub fn pin(context: &Context, args: PinArgs) -> Result<Done, CliError> {
    let settings = context.settings()?;
    let repository = context.open(&settings)?;
    let (zone, now) = (zone(&settings), SystemClock.now());
    let (Some(text), Some(reason)) = (&args.snapshot, &args.reason) else {
        return list(context, &repository, &zone, now);
    };
    let (id, snapshot) = context.select(&repository, &settings, &Filter::default(), text)?;
    let until = match (args.until, args.span) {
        (Some(date), _) => Some(end_of(date, &zone)?),
        (None, Some(span)) => Some(span.after(now, &zone)),
        (None, None) => None,
    };
    if until.is_some_and(|until| until <= now) {
        return Err(CliError::usage("the pin would have ended already; give a later day"));
    }
    let details = pins::pin_details(reason, until);
    leave(&repository, pins::PIN, &(id, snapshot), details)?;
    context.out.note(&format!("snapshot {} is pinned{}", id.short(), end_text(until, &zone)))?;
    let until = until.map(|until| until.to_string());
    Ok(Done::ok(json!({ "snapshot": id, "reason": reason, "until": until })))
}

pub fn unpin(context: &Context, args: UnpinArgs) -> Result<Done, CliError> {
    let settings = context.settings()?;
    let repository = context.open(&settings)?;
    let selected = context.select(&repository, &settings, &Filter::default(), &args.snapshot)?;
    let found = pins::pins(&repository.receipts()?);
    let ids: Vec<_> = found.get(&selected.0).into_iter().flatten().map(|pin| pin.id).collect();
    let short = selected.0.short();
    if ids.is_empty() {
        return Err(CliError::usage_hint(
            format!("snapshot {short} is not pinned"),
            "mrs-backup pin lists the pins",
        ));
    }
    leave(&repository, pins::UNPIN, &selected, pins::unpin_details(&ids))?;
    context.out.note(&format!("snapshot {short} is pinned no more"))?;
    Ok(Done::ok(json!({ "snapshot": selected.0, "pins": ids.len() })))
}

fn end_of(date: Date, zone: &TimeZone) -> Result<Timestamp, CliError> {
    let end = date.tomorrow().and_then(|date| date.to_zoned(zone.clone()));
    end.map(|end: Zoned| end.timestamp())
        .map_err(|_| CliError::usage(format!("{date} is too late")))
}

fn end_text(until: Option<Timestamp>, zone: &TimeZone) -> String {
    until.map_or_else(
        || " until `mrs-backup unpin`".to_owned(),
        |until| format!(" until {}", until.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M")),
    )
}

fn leave(
    repository: &Repository,
    kind: &str,
    (id, snapshot): &Selected,
    details: std::collections::BTreeMap<String, String>,
) -> Result<(), CliError> {
    let environment = repository.environment();
    repository.put_receipt(&ReceiptRecord {
        kind: kind.to_owned(),
        time: i64::try_from(environment.clock.now().as_nanosecond()).unwrap_or(i64::MAX),
        instance: snapshot.instance.clone(),
        host: environment.host.clone(),
        result: "ok".to_owned(),
        snapshot: Some(*id),
        details,
        forgotten: Vec::new(),
    })?;
    Ok(())
}

fn list(
    context: &Context,
    repository: &Repository,
    zone: &TimeZone,
    now: Timestamp,
) -> Result<Done, CliError> {
    let found = pins::pins(&repository.receipts()?);
    let snapshots = context.snapshots(repository)?;
    let mut rows = Vec::new();
    let pinned: Vec<(&SnapshotId, &Pin)> =
        found.iter().flat_map(|(id, pins)| pins.iter().map(move |pin| (id, pin))).collect();
    for (id, pin) in pinned {
        // Whoever forgot it by another program's hand left the pin behind.
        let Some((_, snapshot)) = snapshots.iter().find(|(listed, _)| listed == id) else {
            continue;
        };
        let until = pin.until.map(|until| until.to_string());
        context.out.record(
            "pin",
            &json!({ "snapshot": id, "reason": pin.reason, "until": until, "holds": pin.holds(now) }),
        )?;
        let end = match pin.until {
            None => "unpin".to_owned(),
            Some(until) if pin.holds(now) => {
                until.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string()
            }
            Some(_) => "ended".to_owned(),
        };
        rows.push(vec![
            id.short(),
            local_time(snapshot.start, zone),
            clean(&snapshot.instance),
            end,
            clean(&pin.reason),
        ]);
    }
    let count = rows.len();
    if rows.is_empty() {
        context.out.note("nothing is pinned")?;
    } else {
        context.out.line(&table(&["ID", "TIME", "INSTANCE", "UNTIL", "REASON"], &[], rows))?;
    }
    Ok(Done::ok(json!({ "pins": count })))
}
