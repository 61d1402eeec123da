//! `copy`: brings other places up to date.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::event::counted;
use crate::instance::config::{
    CopyConfig, Instance, Origin, PRIMARY, Repository as Place, Setting,
};
use crate::instance::require_mount;
use crate::ops::copy::{
    Copied, CopyOptions, CopyPlan, CopyReport, Finding, Sample, copy, holdings,
};
use crate::report::{clean, human_bytes};
use crate::repository::{Environment, Repository};
use crate::snapshot::ReceiptRecord;
use crate::store::{Place as StorePlace, Store, Watch, Written};

use super::context::Context;
use super::settings::Settings;
use super::{CliError, Done, Exit, password, reencrypt};

/// Findings that are shown.
const SHOWN: usize = 20;

/// Bring the copies of a repository up to date
///
/// Copies what is missing, in an order that can be cut anywhere and goes on the next time, and reads a
/// random part back. Without --to, all copies that the configuration names. A place with nothing in it becomes a copy;
/// one with anything else is refused. What the repository has no more leaves a copy after 30 days.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A copy opens with the same password. It is a whole repository: `--repo LOCATION` reads it.

Examples:
  mrs-backup copy                                 every copy of the configuration
  mrs-backup copy mrs-production --to cellar
  mrs-backup copy --to /mnt/second/repo --dry-run
  mrs-backup copy --to cellar --audit             list every object there
  mrs-backup copy --to cellar --sample 100%       read all of it back
  mrs-backup copy --from cellar --to primary      bring back what is missing here
  mrs-backup copy --re-encrypt --to /mnt/other/repo --to-password-file /root/other.password")]
pub struct Args {
    /// Instance of the configuration
    #[arg(value_name = "INSTANCE")]
    name: Option<String>,

    /// A copy of the configuration, or a location (may be repeated)
    #[arg(long, value_name = "NAME|LOCATION")]
    to: Vec<String>,

    /// Copy from this copy or location, instead of from the repository itself
    #[arg(long, value_name = "NAME|LOCATION", requires = "to")]
    from: Option<String>,

    /// Only show what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// List every object of the copy, instead of relying on what is remembered of it
    #[arg(long)]
    audit: bool,

    /// How much of the copy is read back afterwards (`2%`, `100%`, `0`)
    #[arg(long, value_name = "SHARE", value_parser = parse_sample)]
    sample: Option<Sample>,

    /// Never delete anything there
    #[arg(long)]
    append_only: bool,

    /// Begin anew at a place that held a copy before and holds nothing now
    #[arg(long)]
    start_over: bool,

    #[command(flatten)]
    other: reencrypt::Options,
}

/// Whoever asks for a share means that share.
fn parse_sample(text: &str) -> Result<Sample, String> {
    let wrong = || "write it like `2%`, up to 100%, or 0".to_owned();
    if text == "0" {
        return Ok(Sample::NONE);
    }
    let percent: f64 =
        text.strip_suffix('%').and_then(|n| n.trim().parse().ok()).ok_or_else(wrong)?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(wrong());
    }
    Ok(Sample { share: (percent * 100.0).round() as u32, most: u64::MAX })
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let name = args.name.as_deref().or(context.global.instance.as_deref());
    let settings = context.settle(&context.sources()?, name)?;
    context.out.set_instance(settings.instance.as_ref().map(|instance| instance.name.as_str()));
    let targets = targets(&settings, &args.to)?;
    let source = match &args.from {
        None => context.open(&settings)?,
        Some(text) => open_elsewhere(context, &settings, &place(&settings, text)?.location)?,
    };
    if args.other.re_encrypt {
        let [target] = &targets[..] else {
            return Err(CliError::usage_hint(
                "--re-encrypt takes one --to",
                "mrs-backup copy --re-encrypt --to LOCATION --to-password-file FILE",
            ));
        };
        let location = &target.location;
        return reencrypt::run(context, &settings, &source, location, &args.other, args.dry_run);
    }
    let leaves_receipt = args.from.is_none() && !args.dry_run;
    let mut exit = Exit::Ok;
    let mut results = Vec::new();
    for target in &targets {
        if context.stop.is_stopped() {
            exit = exit.and(Exit::Interrupted);
            break;
        }
        let options = CopyOptions {
            audit: args.audit,
            dry_run: args.dry_run,
            start_over: args.start_over,
            append_only: args.append_only || target.append_only.value,
            sample: args.sample.unwrap_or(target.sample.value),
            ..target.options()
        };
        let job = Job { context, source: &source, settings: &settings, target };
        let one = job.tell(&options, leaves_receipt)?;
        exit = exit.and(one.exit);
        results.push(Value::Object(one.summary));
    }
    Ok(Done::with(exit, json!({ "copies": results })))
}

/// Brings all copies of an instance up to date, as a step of a night. One that fails does not stop the others.
pub fn step(
    context: &Context,
    source: &Repository,
    settings: &Settings,
    instance: &Instance,
) -> Result<Done, CliError> {
    let mut exit = Exit::Ok;
    let mut results = Vec::new();
    for target in instance.copies.values() {
        if context.stop.is_stopped() {
            exit = exit.and(Exit::Interrupted);
            break;
        }
        let job = Job { context, source, settings, target };
        let one = job.tell(&target.options(), true)?;
        exit = exit.and(one.exit);
        results.push(Value::Object(one.summary));
    }
    Ok(Done::with(exit, json!({ "copies": results })))
}

/// What is meant: all copies of the configuration, or those named.
fn targets(settings: &Settings, named: &[String]) -> Result<Vec<CopyConfig>, CliError> {
    if !named.is_empty() {
        return named.iter().map(|text| place(settings, text)).collect();
    }
    let configured = settings.instance.iter().flat_map(|instance| instance.copies.values());
    let all: Vec<CopyConfig> = configured.cloned().collect();
    if all.is_empty() {
        return Err(CliError::usage_hint(
            "no copy is named, and the configuration has none",
            "use --to LOCATION, or write [instance.NAME.copy.NAME] into the configuration",
        ));
    }
    Ok(all)
}

/// A copy by its name, or a location.
fn place(settings: &Settings, text: &str) -> Result<CopyConfig, CliError> {
    let copies = settings.instance.as_ref().map(|instance| &instance.copies);
    if let Some(copy) = copies.and_then(|copies| copies.get(text)) {
        return Ok(copy.clone());
    }
    if text == PRIMARY {
        let mut primary = CopyConfig::unnamed(&settings.location);
        if settings.written == Written::Privately {
            primary.location.origin = Origin::File;
        }
        primary.name = PRIMARY.to_owned();
        // It has a prune of its own.
        primary.delete_after.value = None;
        return Ok(primary);
    }
    if text.contains('/') || text.contains(':') {
        let location = absolute(text)?;
        // A place that the configuration names means what it says there.
        let known = copies.into_iter().flat_map(|copies| copies.values());
        let known = known.into_iter().find(|copy| copy.location.value.as_str() == location);
        return Ok(known.cloned().unwrap_or_else(|| CopyConfig::unnamed(&location)));
    }
    let names: Vec<&str> =
        copies.into_iter().flat_map(|copies| copies.keys()).map(String::as_str).collect();
    let known = match names.is_empty() {
        true => "the configuration has no copies".to_owned(),
        false => format!("copies of the configuration: {}", names.join(", ")),
    };
    Err(CliError::usage_hint(
        format!("there is no copy `{}`", clean(text)),
        format!("{known}; a location has a `/`: ./{}", clean(text)),
    ))
}

/// A location that does not depend on where we are.
pub fn absolute(location: &str) -> Result<String, CliError> {
    let Some(path) = Place::new(location).directory().map(Path::to_owned) else {
        return Ok(location.to_owned());
    };
    std::path::absolute(&path)
        .map(|path| path.display().to_string())
        .map_err(|error| CliError::io(format!("find {location}"), &error))
}

/// The store of a copy. Every user of the machine can read what stands in arguments: no password may.
pub fn open_place(location: &Setting<Place>, watch: Watch) -> Result<Arc<dyn Store>, CliError> {
    let written = match location.origin {
        Origin::Flag => Written::InArguments,
        _ => Written::Privately,
    };
    let place = StorePlace::parse(location.value.as_str(), written)?;
    Ok(place.open(&watch.into())?)
}

/// Opens a place of the same repository to read from, with an index in memory: on disk it would be taken
/// for that of the repository itself.
pub fn open_elsewhere(
    context: &Context,
    settings: &Settings,
    location: &Setting<Place>,
) -> Result<Repository, CliError> {
    let store = open_place(location, context.watch())?;
    let place = store.location().to_string();
    let credential = password::existing(context, settings.key.as_ref(), &place)?;
    let environment = Environment { state_dir: None, ..context.environment(settings)? };
    Repository::open(store, &credential, environment)
        .map_err(|error| CliError::opening(error, settings.key.as_ref()))
}

/// One copy to be made.
struct Job<'a> {
    context: &'a Context,
    source: &'a Repository,
    settings: &'a Settings,
    target: &'a CopyConfig,
}

impl Job<'_> {
    /// Makes it, and tells how that went; an error is one of telling.
    fn tell(&self, options: &CopyOptions, leaves_receipt: bool) -> Result<Done, CliError> {
        let (context, name) = (self.context, clean(&self.target.name));
        let done = match self.make(options) {
            Ok(done) => done,
            Err(error @ CliError::ClosedPipe) => return Err(error),
            Err(error) => {
                let (message, hint) = (error.message(), error.hint());
                context.out.complain(&format!("copy {name}: {message}"), hint.as_deref());
                let exit = match error.exit() {
                    exit @ (Exit::Interrupted | Exit::Usage) => exit,
                    _ => Exit::CopyFailed,
                };
                Done::with(exit, json!({ "message": message, "hint": hint }))
            }
        };
        let Done { exit, mut summary } = done;
        summary.insert("copy".to_owned(), self.target.name.clone().into());
        summary.insert("location".to_owned(), self.target.location.value.to_string().into());
        summary.insert("result".to_owned(), exit.word().into());
        summary.insert("exit_code".to_owned(), exit.code().into());
        context.out.record("copy", &Value::Object(summary.clone()))?;
        if leaves_receipt && let Err(error) = self.receipt(exit, &summary) {
            context.out.complain(&format!("copy {name}: no receipt: {}", error.message()), None);
            return Ok(Done { exit: exit.and(Exit::Failed), summary });
        }
        Ok(Done { exit, summary })
    }

    fn make(&self, options: &CopyOptions) -> Result<Done, CliError> {
        let Self { context, source, target, .. } = self;
        if let Some(mount) = &target.require_mount {
            require_mount(&mount.value)?;
        }
        let store = open_place(&target.location, context.watch())?;
        let location = &store.location().to_string();
        if store.location() == source.store().location() {
            return Err(CliError::usage_hint(
                format!("{location} cannot be copied to itself"),
                "name another place with --to, or another source with --from",
            ));
        }
        let holdings = holdings(source, location)?;
        let accept = |plan: &CopyPlan| -> Result<bool, CliError> {
            if options.dry_run {
                self.show(plan, options)?;
            }
            Ok(true)
        };
        let watchers = (&*context.stop, context.observer.as_ref());
        match copy(source, &store, &holdings, options, watchers, accept)? {
            Copied::Planned(plan) => {
                context.out.note("nothing was changed")?;
                Ok(Done::ok(json!({ "dry_run": true, "plan": plan })))
            }
            Copied::Done(plan, report) => {
                self.report(&report)?;
                let exit = if report.is_complete() { Exit::Ok } else { Exit::CopyFailed };
                Ok(Done::with(exit, json!({ "begun": plan.begins, "report": report })))
            }
        }
    }

    fn show(&self, plan: &CopyPlan, options: &CopyOptions) -> Result<(), CliError> {
        let out = &self.context.out;
        let new = if plan.begins { " (a new copy)" } else { "" };
        out.note(&format!("copy {} to {}{new}", plan.source, plan.target))?;
        out.note(&format!(
            "  put {} ({}), {}, {}",
            counted(plan.packs, "pack"),
            human_bytes(plan.pack_bytes),
            counted(plan.snapshots.len(), "snapshot"),
            counted(plan.small_objects, "small object")
        ))?;
        if plan.deletions > 0 {
            out.note(&format!(
                "  delete {} that are gone here",
                counted(plan.deletions, "object")
            ))?;
        }
        if plan.kept > 0 {
            let why = match options.delay.filter(|_| !options.append_only) {
                None => "for good".to_owned(),
                Some(delay) => {
                    format!("until they have been gone for {} h", delay.as_secs() / 3600)
                }
            };
            out.note(&format!(
                "  keep {} that are gone here, {why}",
                counted(plan.kept, "object")
            ))?;
        }
        self.show_findings(&plan.findings)
    }

    fn show_findings(&self, findings: &[Finding]) -> Result<(), CliError> {
        for finding in findings.iter().take(SHOWN) {
            let mended = if finding.mended { " (mended)" } else { "" };
            let message = clean(&finding.message);
            self.context.out.line(&format!("  {}: {message}{mended}", finding.object))?;
        }
        match findings.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => self.context.out.line(&format!("  ... and {more} more (all with --json)")),
        }
    }

    fn report(&self, report: &CopyReport) -> Result<(), CliError> {
        let out = &self.context.out;
        let name = clean(&self.target.name);
        if let Some(reason) = &report.undeleted {
            out.note(&format!("copy {name}: nothing was deleted yet: {}", clean(reason)))?;
        }
        let deleted = match report.deleted {
            0 => String::new(),
            count => format!(", {} deleted", counted(count, "old object")),
        };
        // What was found was told while it was found.
        let mended = match report.findings.iter().filter(|finding| finding.mended).count() {
            0 => String::new(),
            count => format!(", {} put right", counted(count, "object")),
        };
        let text = format!(
            "copy {name}: {} put ({}, {}){deleted}{mended}, {} read back ({})",
            counted(report.snapshots, "snapshot"),
            counted(report.packs, "pack"),
            human_bytes(report.bytes),
            counted(report.sampled, "object"),
            human_bytes(report.sampled_bytes)
        );
        if report.is_complete() {
            return out.note(&text);
        }
        out.line(&text)?;
        out.complain(&format!("copy {name}: not everything is there, or not whole"), hint(report));
        Ok(())
    }

    /// Leaves a receipt in the repository.
    fn receipt(&self, exit: Exit, summary: &Map<String, Value>) -> Result<(), CliError> {
        let environment = self.source.environment();
        let mut details = std::collections::BTreeMap::from([
            ("copy".to_owned(), self.target.name.clone()),
            ("location".to_owned(), self.target.location.value.to_string()),
        ]);
        let report = summary.get("report").and_then(Value::as_object);
        for (key, value) in report.into_iter().flatten().filter(|(_, value)| value.is_u64()) {
            details.insert(key.clone(), value.to_string());
        }
        let findings = report.and_then(|report| report["findings"].as_array());
        for finding in findings.into_iter().flatten().take(SHOWN) {
            let (object, message) = (&finding["object"], &finding["message"]);
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            details.insert(text(object), text(message));
        }
        if let Some(message) = summary.get("message").and_then(Value::as_str) {
            details.insert("reason".to_owned(), message.to_owned());
        }
        let instance = self.settings.instance.as_ref().map(|instance| instance.name.clone());
        self.source.put_receipt(&ReceiptRecord {
            kind: "copy".to_owned(),
            time: i64::try_from(environment.clock.now().as_nanosecond()).unwrap_or(i64::MAX),
            instance: instance.unwrap_or_default(),
            host: environment.host.clone(),
            result: if exit == Exit::Ok { "ok" } else { "failed" }.to_owned(),
            snapshot: None,
            details,
            forgotten: Vec::new(),
        })?;
        Ok(())
    }
}

/// What to do about the worst that was found.
fn hint(report: &CopyReport) -> Option<&'static str> {
    use crate::ops::copy::Problem as P;
    let has = |problem| {
        report.findings.iter().any(|finding| finding.problem == problem && !finding.mended)
    };
    if has(P::LostAtSource) {
        Some(
            "the repository was put back to an older state, or snapshots were deleted by hand: bring them back with `mrs-backup copy --from COPY --to primary`, or forget them at the copy: mrs-backup forget --repo LOCATION ID",
        )
    } else if has(P::DamagedAtSource) || has(P::HeldBack) {
        Some("mrs-backup check, then mrs-backup repair packs --from LOCATION")
    } else if has(P::OtherBytes) || has(P::WrongSize) || has(P::Dropped) {
        Some(
            "do not rely on this store alone; read all of it: mrs-backup copy --audit --sample 100%",
        )
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_meant_as_it_is_written() {
        assert_eq!(parse_sample("0"), Ok(Sample::NONE));
        assert_eq!(parse_sample("2.5%"), Ok(Sample { share: 250, most: u64::MAX }));
        assert_eq!(parse_sample("100%"), Ok(Sample::ALL));
        for wrong in ["", "2", "101%", "-1%", "all"] {
            assert!(parse_sample(wrong).is_err(), "{wrong}");
        }
    }
}
