//! `restore` into the home of an instance, and the way back.

use std::path::Path;
use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::clock::{LocalClock, SystemClock};
use crate::event::counted;
use crate::home::{
    self, HomeOptions, HomeOutcome, HomePlan, HomeUndo, Kind, Mode, Operation, Phase, Work, plan,
};
use crate::instance::config::{EventKind, Instance, parse_kept};
use crate::report::{clean, human_bytes};
use crate::repository::Repository;
use crate::snapshot::Selected;
use crate::target::postgres::Marked;

use super::clone::drop_all_put_aside;
use super::context::Context;
use super::format::local_time;
use super::restore_database::duration_text;
use super::settings::{Settings, Sources};
use super::{CliError, Done, after, ask};

/// What to do where nobody can be asked.
const LOOK_FIRST: &str = "look at it with --dry-run, then add --yes to do it";
/// How long containers may take to be well.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// Options of a restore into a home.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Into the home of an instance")]
pub struct Args {
    /// How long what is replaced is kept for `undo` [default: `keep_replaced` of the configuration]
    #[arg(long, value_name = "DURATION", value_parser = parse_kept)]
    keep_old: Option<SignedDuration>,

    /// Put the files of the database server aside and fill a new one, made by compose
    #[arg(long)]
    new_server: bool,

    /// Leave the compose file that is there
    #[arg(long)]
    keep_compose: bool,

    /// Put in the data of another instance, as it is
    #[arg(long)]
    other_instance: bool,

    /// The name of a protected instance, where nobody can type it
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,

    /// How long containers may take to be well [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = parse_kept)]
    timeout: Option<SignedDuration>,
}

/// The name of the instance whose home `target` is.
pub fn instance_at(sources: &Sources, target: &Path) -> Option<String> {
    let absolute = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
    let wanted = absolute(target)?;
    let mut instances = sources.config.as_ref()?.instances.values();
    let found = instances.find(|one| absolute(&one.home.value).as_ref() == Some(&wanted))?;
    Some(found.name.clone())
}

/// What every step works with.
pub fn work<'a>(
    context: &Context,
    instance: &'a Instance,
    patience: Option<SignedDuration>,
) -> Work<'a> {
    Work {
        instance,
        clock: Arc::new(LocalClock::new(instance.timezone.value.clone())),
        stop: Arc::clone(&context.stop),
        observer: Arc::clone(&context.observer),
        patience: patience.unwrap_or(PATIENCE),
    }
}

/// Puts the snapshot into the home of `instance`.
pub fn restore(
    context: &Context,
    settings: &Settings,
    repository: &Repository,
    selected: Selected,
    instance: &Instance,
    args: &Args,
    (other_cluster, is_dry_run): (bool, bool),
) -> Result<Done, CliError> {
    let work = work(context, instance, args.timeout);
    let _lock = match is_dry_run {
        true => None,
        false => Some(lock(context, settings, instance)?),
    };
    if let Some(operation) = work.journal()?.unfinished()? {
        if is_dry_run {
            context.out.note(&format!(
                "an earlier {} did not come to its end; it is gone on with first",
                word(&operation)
            ))?;
        } else {
            let done = go_on(context, repository, &work, operation)?;
            let wanted = selected.0.to_string();
            let is_it = |one: &Operation| one.kind == Kind::Restore && one.snapshot == wanted;
            if let Some(done) = done.filter(is_it) {
                return finished(context, instance, &done);
            }
        }
    }
    let options = HomeOptions {
        keep: args.keep_old.unwrap_or(instance.restore.keep_replaced.value),
        new_server: args.new_server,
        keep_compose: args.keep_compose,
        other_instance: args.other_instance,
        other_cluster,
    };
    let plan = plan(&work, repository, selected, options)?;
    show(context, instance, &plan)?;
    if is_dry_run {
        context.out.note("nothing was changed")?;
        return Ok(Done::ok(json!({ "dry_run": true, "plan": describe(&plan) })));
    }
    let home = clean(&instance.home.value.display().to_string());
    let needs = format!("{home} is to be replaced as shown");
    assent(context, instance, &needs, args.confirm.as_deref())?;
    let keep = plan.options.keep;
    let expired: Vec<Marked> = plan.databases.iter().flat_map(|one| one.expired.clone()).collect();
    let result = home::restore(&work, repository, plan);
    note(context, instance, "restore", result.as_ref().err().map(ToString::to_string));
    let outcome = result?;
    drop_all_put_aside(context, settings, &expired);
    restored(context, instance, &outcome, keep)
}

/// Tells what was put in, and the way back.
fn restored(
    context: &Context,
    instance: &Instance,
    outcome: &HomeOutcome,
    keep: SignedDuration,
) -> Result<Done, CliError> {
    let (name, home) = (&instance.name, clean(&instance.home.value.display().to_string()));
    context.out.note(&format!(
        "{home} is restored: {} written, {} read back and equal, {} started",
        counted(outcome.files, "file"),
        human_bytes(outcome.verified_bytes),
        counted(outcome.started, "container"),
    ))?;
    context.out.note(&format!(
        "what was there before is kept for {}; back to it: mrs-backup undo -i {name}",
        duration_text(keep)
    ))?;
    Ok(Done::ok(json!({
        "snapshot": outcome.operation.snapshot,
        "home": instance.home.value,
        "files": outcome.files,
        "verified_bytes": outcome.verified_bytes,
        "databases": outcome.operation.databases,
        "kept_until": outcome.operation.until.map(|until| until.to_string()),
        "containers": outcome.started,
    })))
}

fn lock(
    context: &Context,
    settings: &Settings,
    instance: &Instance,
) -> Result<crate::instance::InstanceLock, CliError> {
    let wait = std::time::Duration::ZERO;
    let (state_dir, name) = (&settings.state_dir, &instance.name);
    Ok(crate::instance::lock(state_dir, name, wait, &SystemClock, &context.stop)?)
}

fn assent(
    context: &Context,
    instance: &Instance,
    needs: &str,
    confirm: Option<&str>,
) -> Result<(), CliError> {
    match instance.protected.value {
        true => ask::by_name(context, needs, &instance.name, confirm),
        false => ask::assent(context, needs, LOOK_FIRST),
    }
}

const fn word(operation: &Operation) -> &'static str {
    match operation.kind {
        Kind::Restore => "restore",
        Kind::Undo => "undo",
    }
}

/// Goes on with what did not come to its end.
fn go_on(
    context: &Context,
    repository: &Repository,
    work: &Work<'_>,
    operation: Operation,
) -> Result<Option<Operation>, CliError> {
    let short: String = operation.snapshot.chars().take(8).collect();
    let what = format!("an earlier {} of snapshot {short}", word(&operation));
    let told = match operation.phase {
        Phase::Loading => {
            format!("{what} had not replaced anything yet; what it loaded is removed")
        }
        Phase::TakingBack | Phase::Returning => {
            format!("{what} was being taken back; that is done first")
        }
        _ => format!("{what} was ended at half its way; it is gone on with first"),
    };
    context.out.note(&told)?;
    let (instance, word) = (work.instance, word(&operation));
    let result = home::finish(work, repository, operation);
    note(context, instance, word, result.as_ref().err().map(ToString::to_string));
    Ok(result?)
}

/// What was asked for is what was gone on with.
fn finished(context: &Context, instance: &Instance, done: &Operation) -> Result<Done, CliError> {
    let (name, home) = (&instance.name, clean(&instance.home.value.display().to_string()));
    context
        .out
        .note(&format!("{home} is restored; back to what was before: mrs-backup undo -i {name}"))?;
    Ok(Done::ok(json!({
        "snapshot": done.snapshot,
        "home": instance.home.value,
        "databases": done.databases,
        "kept_until": done.until.map(|until| until.to_string()),
        "gone_on": true,
    })))
}

/// A mark beside the snapshots, and word to whoever wants it.
fn note(context: &Context, instance: &Instance, kind: &str, failed: Option<String>) {
    let is_good = failed.is_none();
    let text = failed.unwrap_or_else(|| format!("{kind} into {}", instance.home.value.display()));
    after::happened(context, &instance.name, EventKind::Restore, is_good, &text);
}

fn describe(plan: &HomePlan) -> Value {
    let containers: Vec<&str> = plan
        .stack
        .iter()
        .flat_map(|stack| stack.running(plan.mode == Mode::NewServer))
        .map(|one| one.name.as_str())
        .collect();
    json!({
        "snapshot": plan.selected.0,
        "mode": plan.mode,
        "items": plan.items,
        "stays": plan.stays.iter().map(|(path, why)| json!({ "path": path, "reason": why })).collect::<Vec<_>>(),
        "files": plan.files.files,
        "bytes": plan.files.bytes,
        "shares_blocks": plan.shares,
        "stops": containers,
        "compose_file_changes": plan.by_compose,
        "databases": plan.names,
        "free_bytes": plan.files.free_bytes,
    })
}

fn show(context: &Context, instance: &Instance, plan: &HomePlan) -> Result<(), CliError> {
    let out = &context.out;
    out.record("plan", &describe(plan))?;
    let (id, snapshot) = &plan.selected;
    out.note(&format!(
        "restore snapshot {} of {} from {} into the home of {}, {}",
        id.short(),
        clean(&snapshot.instance),
        local_time(snapshot.start, &instance.timezone.value),
        instance.name,
        clean(&instance.home.value.display().to_string()),
    ))?;
    if !snapshot.is_complete {
        out.note("  this snapshot is INCOMPLETE: something was missing when it was made")?;
    }
    let list = |comes: bool| {
        let items = plan.items.iter().filter(|item| item.comes == comes);
        let names: Vec<String> =
            items.map(|item| clean(&item.path.display().to_string())).collect();
        names.join(", ")
    };
    out.note(&format!(
        "  REPLACED: {} ({}, {})",
        list(true),
        counted(plan.files.files, "file"),
        human_bytes(plan.files.bytes)
    ))?;
    if plan.items.iter().any(|item| !item.comes) {
        out.note(&format!(
            "  put aside: {}, the files of the database server, which is made anew",
            list(false)
        ))?;
    }
    databases(context, plan)?;
    for (path, why) in &plan.stays {
        out.note(&format!("  stays: {} ({why})", clean(&path.display().to_string())))?;
    }
    let stopped: Vec<&str> = plan
        .stack
        .iter()
        .flat_map(|stack| stack.running(plan.mode == Mode::NewServer))
        .map(|one| one.name.as_str())
        .collect();
    if stopped.is_empty() {
        out.note("  no container runs; stop the application yourself if it runs otherwise")?;
    } else {
        out.note(&format!("  stopped meanwhile: {}", clean(&stopped.join(", "))))?;
    }
    if plan.by_compose {
        out.note("  the compose file is another one: containers are made anew from it")?;
    }
    out.note(&format!("  what is replaced is kept for {}", duration_text(plan.options.keep)))?;
    if let Some(free) = plan.files.free_bytes {
        out.note(&format!("  {} free there", human_bytes(free)))?;
    }
    out.flush()
}

fn databases(context: &Context, plan: &HomePlan) -> Result<(), CliError> {
    let out = &context.out;
    for one in &plan.databases {
        let what = match one.replaces {
            Some(bytes) => {
                format!(
                    "REPLACES the one that is there ({}, {} sessions)",
                    human_bytes(bytes),
                    one.sessions
                )
            }
            None => "there is none of this name yet".to_owned(),
        };
        out.note(&format!(
            "  database {}: {} tables with {} rows; {what}",
            clean(&one.target),
            one.tables,
            one.rows
        ))?;
    }
    if plan.mode == Mode::NewServer {
        out.note(&format!("  into the new server: {}", clean(&plan.names.join(", "))))?;
    }
    Ok(())
}

/// Options of an undo of a home.
pub struct UndoArgs<'a> {
    pub confirm: Option<&'a str>,
    pub is_dry_run: bool,
}

/// Takes the last restore of a home back. `None` if nothing is kept of one.
pub fn undo(
    context: &Context,
    settings: &Settings,
    instance: &Instance,
    args: &UndoArgs<'_>,
) -> Result<Option<Done>, CliError> {
    // Before anything is looked at: two at once would take back the same.
    let _lock = match args.is_dry_run {
        true => None,
        false => Some(lock(context, settings, instance)?),
    };
    let work = work(context, instance, None);
    let journal = work.journal()?;
    if let Some(mut operation) = journal.unfinished()? {
        let needs =
            format!("a {} that did not come to its end is to be taken back", word(&operation));
        context.out.note(&needs)?;
        if args.is_dry_run {
            return Ok(Some(Done::ok(json!({ "dry_run": true, "unfinished": operation }))));
        }
        assent(context, instance, &needs, args.confirm)?;
        home::take_back(&work, &journal, &mut operation)?;
        note(context, instance, "undo", None);
        context.out.note("everything is as it was before")?;
        return Ok(Some(Done::ok(json!({ "taken_back": true }))));
    }
    let Some(plan) = home::plan_undo(&work)? else { return Ok(None) };
    show_undo(context, instance, &plan)?;
    if args.is_dry_run {
        context.out.note("nothing was changed")?;
        return Ok(Some(Done::ok(json!({ "dry_run": true, "operation": plan.operation }))));
    }
    let home = clean(&instance.home.value.display().to_string());
    assent(context, instance, &format!("{home} is to be put back as shown"), args.confirm)?;
    let keep = instance.restore.keep_replaced.value;
    let result = home::undo(&work, plan, keep);
    note(context, instance, "undo", result.as_ref().err().map(ToString::to_string));
    let operation = result?;
    context.out.note(&format!(
        "{home} is what it was before; what was taken back is kept for {}, undo again brings it back",
        duration_text(keep)
    ))?;
    Ok(Some(Done::ok(json!({ "home": instance.home.value, "databases": operation.databases }))))
}

/// One line about what is kept.
pub fn line(instance: &Instance, operation: &Operation) -> String {
    let zone = &instance.timezone.value;
    let time =
        |at: jiff::Timestamp| at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string();
    let short: String = operation.snapshot.chars().take(8).collect();
    let what = match operation.kind {
        Kind::Restore => format!("replaced by snapshot {}", clean(&short)),
        Kind::Undo => format!("restored from snapshot {}, taken back", clean(&short)),
    };
    let until =
        operation.until.map_or_else(String::new, |until| format!(", kept until {}", time(until)));
    format!("home of {}: {what} on {}{until}", instance.name, time(operation.time))
}

fn show_undo(context: &Context, instance: &Instance, plan: &HomeUndo) -> Result<(), CliError> {
    let out = &context.out;
    out.record("plan", &json!({ "operation": plan.operation, "items": plan.items }))?;
    out.note(&line(instance, &plan.operation))?;
    let names = |comes: bool| {
        let items = plan.items.iter().filter(|item| item.comes == comes);
        items.map(|item| clean(&item.path.display().to_string())).collect::<Vec<_>>().join(", ")
    };
    out.note(&format!("  comes back: {}", names(true)))?;
    if plan.items.iter().any(|item| !item.comes) {
        out.note(&format!("  goes, since it was not there before: {}", names(false)))?;
    }
    for one in &plan.databases {
        out.note(&format!(
            "  database {}: {} comes back; what was written since is in what goes",
            clean(&one.name),
            clean(&one.incoming)
        ))?;
    }
    out.flush()
}

/// Removes what was kept long enough beside the home, as a part of a night.
pub fn drop_expired(context: &Context, instance: &Instance) -> Result<Vec<u32>, CliError> {
    let gone = home::drop_expired(&work(context, instance, None))?;
    for operation in &gone {
        context.out.note(&format!("dropped, kept long enough: {}", line(instance, operation)))?;
    }
    Ok(gone.iter().map(|operation| operation.number).collect())
}

/// A home at half its way is nothing to back up, nor to deploy into: `so` says what it is not.
pub fn refuse_half(context: &Context, instance: &Instance, so: &str) -> Result<(), CliError> {
    let unfinished = work(context, instance, None).journal()?.unfinished()?;
    match unfinished.filter(|one| !matches!(one.phase, Phase::Loading | Phase::Turning)) {
        None => Ok(()),
        Some(operation) => Err(CliError::Objected {
            message: format!(
                "a {} into {} was ended at half its way, so {so}",
                word(&operation),
                instance.home.value.display()
            ),
            hint: format!(
                "run the restore again to go on, or mrs-backup undo -i {} to take it back",
                instance.name
            ),
        }),
    }
}
