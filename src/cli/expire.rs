//! `expire`: review stacks whose time is over go.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::{Clock, SystemClock};
use crate::deploy::expire::{Due, Removed, due, note_clock, remove, remove_leftovers};
use crate::deploy::review::{Review, Reviews, Standing};
use crate::deploy::{DeployError, Tools};
use crate::event::counted;
use crate::instance::{LockError, lock};
use crate::report::clean;
use crate::schedule::{EXPIRE_LINE, Ledger, REVIEWS, Task, due_at};

use super::context::Context;
use super::deploy::target::{reviews, tools};
use super::format::{local_seconds, table};
use super::{CliError, Done, Exit};

/// Take away review stacks whose time is over: containers, own networks and volumes, images nobody else uses
///
/// Meant for a timer or the scheduler, every quarter of an hour. What cannot be understood stays and is told; one failure does not
/// stop others. After the clock was set nothing goes before the next time.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup expire --list
  mrs-backup expire --dry-run
  mrs-backup expire --due         from cron, every quarter of an hour
  mrs-backup expire")]
pub struct Args {
    /// List review stacks and their times
    #[arg(long)]
    list: bool,

    /// Say what would go; nothing is changed
    #[arg(short = 'n', long, conflicts_with = "list")]
    dry_run: bool,

    /// Nothing if somebody did it in this quarter of an hour, by the ledger
    #[arg(long, conflicts_with_all = ["list", "dry_run"])]
    due: bool,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let sources = context.sources()?;
    let reviews = reviews(sources.config.as_ref())?;
    let found = due(&reviews, &SystemClock)?;
    if args.list {
        return list(context, &reviews, &found);
    }
    for one in &found.stay {
        if let Standing::Unknown(reason) = &one.standing {
            let message = format!("review stack {} stays: {reason}", one.project.name);
            context.out.complain(
                &clean(&message),
                Some("look at its directory; mrs-backup extend PROJECT gives it a time again"),
            );
        }
    }
    if args.dry_run {
        for one in &found.due {
            context.out.line(&format!("would remove {}", one.project.name))?;
        }
        let names: Vec<&str> = found.due.iter().map(|one| one.project.name.as_str()).collect();
        return Ok(Done::ok(json!({ "dry_run": true, "due": names })));
    }
    let state_dir = sources.state_dir()?;
    let lock = match lock(&state_dir, REVIEWS, Duration::ZERO, &SystemClock, &context.stop) {
        Err(LockError::Held { .. }) if args.due => {
            context.out.note("somebody else is at it")?;
            return Ok(Done::ok(json!({ "is_due": false, "removed": [] })));
        }
        lock => lock?,
    };
    let ledger = Ledger::new(&state_dir);
    if args.due && !is_due(&ledger)? {
        return Ok(Done::ok(json!({ "is_due": false, "removed": [] })));
    }
    ledger.begin(REVIEWS, Task::Expire, SystemClock.now())?;
    // What is due was looked at without the lock.
    let result = expire(context, &reviews, &state_dir);
    let exit = result.as_ref().map_or_else(CliError::exit, |done| done.exit);
    ledger.finish(REVIEWS, Task::Expire, SystemClock.now(), exit.code())?;
    drop(lock);
    result
}

/// Whether nobody did it since it was due last.
fn is_due(ledger: &Ledger) -> Result<bool, CliError> {
    let Ok(line) = EXPIRE_LINE.parse() else { return Ok(true) };
    let (now, entry) = (SystemClock.now(), ledger.read(REVIEWS, Task::Expire)?);
    let due = due_at(&line, &SystemClock.zone(), &entry, Duration::ZERO, now);
    Ok(due.is_none_or(|due| due <= now))
}

fn expire(context: &Context, reviews: &Reviews, state_dir: &Path) -> Result<Done, CliError> {
    let found = due(reviews, &SystemClock)?;
    remove_leftovers(reviews)?;
    if found.is_clock_odd && !found.due.is_empty() {
        note_clock(reviews, &SystemClock)?;
        let message = format!(
            "the clock was set since the last look: {} would be due, and stay until the next one",
            counted(found.due.len(), "review stack")
        );
        context
            .out
            .complain(&message, Some("look at the clock: date; if it is right, run it again"));
        return Ok(Done::with(Exit::Failed, json!({ "is_clock_odd": true, "removed": [] })));
    }
    note_clock(reviews, &SystemClock)?;
    if found.due.is_empty() {
        return Ok(Done::ok(json!({ "removed": [] })));
    }
    let tools = tools(context, Arc::new(SystemClock), crate::compose::Redactor::new())?;
    remove_all(context, &tools, reviews, state_dir, found.due)
}

fn remove_all(
    context: &Context,
    tools: &Tools,
    reviews: &Reviews,
    state_dir: &Path,
    due: Vec<Review>,
) -> Result<Done, CliError> {
    let (mut exit, mut removed) = (Exit::Ok, Vec::new());
    for one in due {
        let name = one.project.name.clone();
        if context.stop.is_stopped() {
            exit = exit.and(Exit::Interrupted);
            break;
        }
        match remove_one(context, tools, reviews, state_dir, &name) {
            Ok(Some(done)) => {
                tell(context, &one, &done)?;
                removed.push(json!(done));
            }
            Ok(None) => {}
            Err(error) => {
                let message = format!("review stack {name}: {}", error.message());
                context.out.complain(&message, error.hint().as_deref());
                exit = exit.and(error.exit());
            }
        }
    }
    Ok(Done::with(exit, json!({ "removed": Value::Array(removed) })))
}

/// Under its lock, and only if it is still due: somebody may just have deployed it again.
fn remove_one(
    context: &Context,
    tools: &Tools,
    reviews: &Reviews,
    state_dir: &Path,
    name: &str,
) -> Result<Option<Removed>, CliError> {
    let _lock = lock(state_dir, name, Duration::ZERO, &SystemClock, &context.stop)?;
    let now = SystemClock.now();
    let review = reviews.read(name, now);
    match review.standing {
        Standing::Until(time) if time <= now => Ok(Some(remove(tools, &review)?)),
        _ => Ok(None),
    }
}

/// Says what was taken away.
pub fn tell(context: &Context, review: &Review, done: &Removed) -> Result<(), CliError> {
    let is_there = review.project.directory.symlink_metadata().is_ok();
    if !done.directory && !is_there && done.containers == 0 && done.images.is_empty() {
        return context.out.note(&clean(&format!(
            "there is no review stack {} (any more): mrs-backup expire --list",
            done.project
        )));
    }
    let rest = match done.directory || !is_there {
        true => String::new(),
        false => format!(
            "; its directory has no mark of ours and stays: {}",
            review.project.directory.display()
        ),
    };
    context.out.record("removed", &json!(done))?;
    context.out.note(&clean(&format!(
        "review stack {} is gone: {}, {}{rest}",
        done.project,
        counted(done.containers, "container"),
        counted(done.images.len(), "image"),
    )))
}

fn list(context: &Context, reviews: &Reviews, found: &Due) -> Result<Done, CliError> {
    let zone = SystemClock.zone();
    let mut all: Vec<&Review> = found.due.iter().chain(&found.stay).collect();
    all.sort_by(|a, b| a.project.name.cmp(&b.project.name));
    let mut rows = Vec::new();
    for one in &all {
        let asked = one.state.as_ref().map(|state| state.asked.clone()).unwrap_or_default();
        let (until, note) = match &one.standing {
            Standing::Until(time) => (Some(time.as_second()), String::new()),
            Standing::Unknown(reason) => (None, reason.clone()),
        };
        context.out.record(
            "review",
            &json!({ "project": one.project.name, "asked": asked, "remove_at": until, "note": note, "is_marked": one.state.is_some() }),
        )?;
        let until = until.map_or_else(|| "?".to_owned(), |until| local_seconds(until, &zone));
        rows.push(vec![one.project.name.clone(), until, clean(&asked), clean(&note)]);
    }
    match rows.is_empty() {
        true => context.out.note(&format!("no review stacks in {}", reviews.base.display()))?,
        false => {
            context.out.line(&table(&["PROJECT", "UNTIL", "ASKED FOR AS", "NOTE"], &[], rows))?
        }
    }
    Ok(Done::ok(json!({ "reviews": all.len() })))
}

/// An error of the lower layer.
impl From<crate::compose::ComposeError> for CliError {
    fn from(error: crate::compose::ComposeError) -> Self {
        DeployError::from(error).into()
    }
}
