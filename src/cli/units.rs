//! `units`: services and timers of systemd, and scripts in the home of an instance.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Subcommand;
use serde_json::json;

use crate::clock::{Clock, SystemClock};
use crate::event::counted;
use crate::instance::config::{Config, Instance, Origin, process_environment};
use crate::schedule::Ledger;
use crate::schedule::units::{
    EXPIRE, FAILED, Machine, NOTIFY, SCHEDULER, SCRIPTS, UnitFile, all_units, expire, is_ours,
    notify, of_instance, scheduler, scripts, shared, unit_name,
};

use super::context::Context;
use super::settings::Sources;
use super::{CliError, Done};

/// Where an administrator's units are.
const DIRECTORY: &str = "/etc/systemd/system";

/// Units of systemd: show, install, remove
///
/// For each job of the schedule a service and a timer, named INSTANCE-backup, INSTANCE-prune, INSTANCE-check and
/// INSTANCE-test-restore; a unit that is started when one of them fails; and the scripts backup.sh,
/// restore.sh and prune.sh in the home of the instance.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup units show                     what would be installed
  mrs-backup units install                  one timer a job, for every instance
  mrs-backup units remove mrs-production")]
pub struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what would be installed
    #[command(after_help = "\
Examples:
  mrs-backup units show
  mrs-backup units show mrs-production")]
    Show(Choice),
    /// Write the units and scripts, and switch the timers on; nothing runs before its hour
    #[command(after_help = "\
Files that are there and not ours are left alone, and named.

Examples:
  mrs-backup units install
  mrs-backup units install mrs-production
  mrs-backup units install --scheduler      one daemon in place of all timers")]
    Install(Choice),
    /// Switch the timers off, and remove what `install` wrote
    #[command(after_help = "\
Examples:
  mrs-backup units remove mrs-production")]
    Remove(Choice),
}

#[derive(Debug, clap::Args)]
struct Choice {
    /// Instance of the configuration [default: every one that has a schedule]
    instance: Option<String>,

    /// The scheduler's unit in place of timers
    #[arg(long, conflicts_with = "instance")]
    scheduler: bool,

    /// Write units here, and do not call systemctl
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,

    /// Write no scripts
    #[arg(long)]
    no_scripts: bool,

    /// Version of systemd the units are for [default: the one that is here]
    #[arg(long, value_name = "N")]
    systemd_version: Option<u32>,

    /// Program called in place of systemctl, for tests
    #[arg(long, hide = true)]
    systemctl: Option<PathBuf>,
}

/// All that is written for one choice.
struct Plan<'a> {
    /// Those that have a schedule.
    instances: Vec<&'a Instance>,
    units: Vec<UnitFile>,
    /// Files with the directory they belong into.
    scripts: Vec<(PathBuf, UnitFile)>,
    /// Units that are switched on.
    enabled: Vec<String>,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let sources = context.sources()?;
    let Some(config) = &sources.config else {
        return Err(CliError::usage_hint(
            "there is no configuration, and units are made of it",
            "name it with --config FILE",
        ));
    };
    match args.command {
        Verb::Show(choice) => {
            let plan = plan(context, &sources, config, &choice)?;
            show(context, &choice, &plan)
        }
        Verb::Install(choice) => {
            let plan = plan(context, &sources, config, &choice)?;
            install(context, &sources, &choice, &plan)
        }
        Verb::Remove(choice) => remove(context, config, &choice),
    }
}

/// The instances meant, with a schedule or without.
fn chosen<'a>(
    context: &Context,
    config: &'a Config,
    choice: &Choice,
) -> Result<Vec<&'a Instance>, CliError> {
    match choice.instance.as_deref().or(context.global.instance.as_deref()) {
        Some(name) => Ok(vec![config.instance(name)?]),
        None => Ok(config.instances.values().collect()),
    }
}

fn plan<'a>(
    context: &Context,
    sources: &Sources,
    config: &'a Config,
    choice: &Choice,
) -> Result<Plan<'a>, CliError> {
    let mut instances = chosen(context, config, choice)?;
    instances.retain(|one| !one.schedule.value.jobs.is_empty());
    let is_all = choice.instance.is_none() && context.global.instance.is_none();
    let has_reviews = is_all && config.review.is_configured;
    if instances.is_empty() && !has_reviews {
        return Err(CliError::usage_hint(
            format!("nothing is scheduled in {}", config.path.display()),
            "write into it, for an instance or in [defaults]: schedule = { run = \"0 23 * * *\" }",
        ));
    }
    let machine = machine(context, sources, config, choice)?;
    let mut units = shared(&machine);
    let mut enabled = Vec::new();
    let reviews = match has_reviews {
        true => Some(super::deploy::target::reviews(Some(config))?.base),
        false => None,
    };
    if choice.scheduler {
        let unit = scheduler(&instances, reviews, &machine);
        enabled.push(unit.name.clone());
        units.push(unit);
    } else {
        for instance in &instances {
            units.extend(of_instance(instance, &machine));
            let jobs = instance.schedule.value.jobs.keys();
            enabled.extend(jobs.map(|job| format!("{}.timer", unit_name(&instance.name, *job))));
        }
        if let Some(home) = reviews {
            units.extend(expire(&home, &machine));
            enabled.push(EXPIRE[1].to_owned());
        }
        // The scheduler looks by itself; timers notice nothing that does not run.
        if let Some(first) =
            instances.first().filter(|_| is_all && !config.telling.notify.is_empty())
        {
            units.extend(notify(first, &machine));
            enabled.push(NOTIFY[1].to_owned());
        }
    }
    let mut files = Vec::new();
    for instance in instances.iter().filter(|_| !choice.no_scripts) {
        let home = &instance.home.value;
        files.extend(scripts(instance, &machine).into_iter().map(|file| (home.clone(), file)));
    }
    Ok(Plan { instances, units, scripts: files, enabled })
}

fn machine(
    context: &Context,
    sources: &Sources,
    config: &Config,
    choice: &Choice,
) -> Result<Machine, CliError> {
    let program =
        std::env::current_exe().map_err(|error| CliError::io("find this program", &error))?;
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|error| CliError::io("find the configuration", &error))
    };
    let usual = Config::find(None, &process_environment);
    let is_usual =
        usual.is_some_and(|usual| usual.origin == Origin::Default && usual.value == config.path);
    // A state directory of the file is known to the program; systemd has to know where it writes.
    let is_said = context.global.state_dir.is_some() || config.state_dir.origin == Origin::File;
    Ok(Machine {
        program,
        config: if is_usual { None } else { Some(absolute(&config.path)?) },
        state_dir: if is_said { Some(sources.state_dir()?) } else { None },
        systemd: choice.systemd_version.unwrap_or_else(systemd_version),
        written: config.telling.directories(),
        credentials: config.telling.credentials(),
        serving_credentials: config.telling.serving_credentials(),
    })
}

/// Version of systemd here; 0 if there is none, so that nothing of a newer one is expected.
fn systemd_version() -> u32 {
    let output = Command::new("systemctl").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let word = text.ok().and_then(|text| text.split_whitespace().nth(1).map(str::to_owned));
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn directory(choice: &Choice) -> PathBuf {
    choice.directory.clone().unwrap_or_else(|| PathBuf::from(DIRECTORY))
}

/// All files with their full paths.
fn paths<'p>(choice: &Choice, plan: &'p Plan<'_>) -> Vec<(PathBuf, &'p UnitFile, u32)> {
    let units = directory(choice);
    let units = plan.units.iter().map(move |file| (units.join(&file.name), file, 0o644));
    let scripts = plan.scripts.iter().map(|(home, file)| (home.join(&file.name), file, 0o755));
    units.chain(scripts).collect()
}

fn show(context: &Context, choice: &Choice, plan: &Plan<'_>) -> Result<Done, CliError> {
    for (path, file, _) in paths(choice, plan) {
        context.out.line(&format!("# {}\n{}", path.display(), file.text))?;
        context.out.record("unit", &json!({ "path": path, "text": file.text }))?;
    }
    Ok(Done::ok(json!({ "enabled": plan.enabled })))
}

fn install(
    context: &Context,
    sources: &Sources,
    choice: &Choice,
    plan: &Plan<'_>,
) -> Result<Done, CliError> {
    let (mut written, mut left) = (Vec::new(), Vec::new());
    for (path, file, mode) in paths(choice, plan) {
        let failed = |error: io::Error| CliError::io(format!("write {}", path.display()), &error);
        match fs::read_to_string(&path) {
            Ok(text) if !is_ours(&text) => {
                left.push(path);
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                left.push(path);
                continue;
            }
            // A home that is not there yet gets its scripts later.
            Err(_) if mode == 0o755 && path.parent().is_some_and(|home| !home.is_dir()) => continue,
            _ => {}
        }
        write(&path, file, mode).map_err(failed)?;
        context.out.note(&format!("{} is written", path.display()))?;
        written.push(path);
    }
    for path in &left {
        let message = format!("{} is not ours and stays as it is", path.display());
        context.out.complain(&message, Some("move it away and run this again"));
    }
    // From now on what is missed is caught up; and nothing is due that was not missed.
    let ledger = Ledger::new(&sources.state_dir()?);
    for instance in &plan.instances {
        for job in instance.schedule.value.jobs.keys() {
            ledger.first_seen(&instance.name, *job, SystemClock.now())?;
        }
    }
    // A job that is no longer scheduled, or that the scheduler does from now on; or the scheduler itself.
    let is_wanted = |name: &String| plan.units.iter().any(|unit| unit.name == *name);
    let mut stale: Vec<String> = plan.instances.iter().flat_map(|one| all_units(one)).collect();
    if choice.instance.is_none() && context.global.instance.is_none() {
        stale.extend(EXPIRE.into_iter().chain(NOTIFY).map(str::to_owned));
        stale.push(SCHEDULER.to_owned());
    }
    stale.retain(|name| !is_wanted(name));
    let (removed, _) = remove_units(context, choice, &stale)?;
    systemctl(choice, &["daemon-reload"])?;
    let enable: Vec<&str> =
        ["enable", "--now"].into_iter().chain(plan.enabled.iter().map(String::as_str)).collect();
    if systemctl(choice, &enable)? {
        context.out.note(&format!("{} switched on", counted(plan.enabled.len(), "unit")))?;
    }
    let fields =
        json!({ "written": written, "left": left, "removed": removed, "enabled": plan.enabled });
    let exit = if left.is_empty() { super::Exit::Ok } else { super::Exit::Failed };
    Ok(Done::with(exit, fields))
}

/// Replaces a file as a whole.
fn write(path: &Path, file: &UnitFile, mode: u32) -> io::Result<()> {
    let aside = path.with_extension("mrs-backup-new");
    let mut open = fs::OpenOptions::new();
    let mut new = open.write(true).create(true).truncate(true).mode(mode).open(&aside)?;
    new.write_all(file.text.as_bytes())?;
    // The process's umask is for secrets; these are for everybody.
    new.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    new.sync_all()?;
    fs::rename(&aside, path)
}

fn remove(context: &Context, config: &Config, choice: &Choice) -> Result<Done, CliError> {
    let instances = chosen(context, config, choice)?;
    let mut units: Vec<String> = Vec::new();
    if !choice.scheduler {
        units.extend(instances.iter().flat_map(|instance| all_units(instance)));
    }
    let is_all = choice.instance.is_none() && context.global.instance.is_none();
    if is_all {
        units.push(SCHEDULER.to_owned());
    }
    // Timers need it as well as the scheduler.
    if is_all && !choice.scheduler {
        units.push(FAILED.to_owned());
        units.extend(EXPIRE.into_iter().chain(NOTIFY).map(str::to_owned));
    }
    let (mut removed, disabled) = remove_units(context, choice, &units)?;
    let homes = instances.iter().filter(|_| !choice.scheduler && !choice.no_scripts);
    for path in homes.flat_map(|one| SCRIPTS.map(|name| one.home.value.join(name))) {
        removed.extend(remove_ours(context, path)?);
    }
    systemctl(choice, &["daemon-reload"])?;
    if removed.is_empty() {
        context.out.note("nothing of ours is there")?;
    }
    Ok(Done::ok(json!({ "removed": removed, "disabled": disabled })))
}

/// Switches units off and removes their files, as far as they are ours. Gives what was removed, and switched off.
fn remove_units(
    context: &Context,
    choice: &Choice,
    names: &[String],
) -> Result<(Vec<PathBuf>, Vec<String>), CliError> {
    let directory = directory(choice);
    let is_started = |name: &&String| name.ends_with(".timer") || *name == SCHEDULER;
    let is_there =
        |name: &&String| fs::read_to_string(directory.join(name)).is_ok_and(|text| is_ours(&text));
    let disabled: Vec<String> = names.iter().filter(is_started).filter(is_there).cloned().collect();
    if !disabled.is_empty() {
        let names = disabled.iter().map(String::as_str);
        let disable: Vec<&str> = ["disable", "--now"].into_iter().chain(names.clone()).collect();
        systemctl(choice, &disable)?;
        // The memory of a timer: installed again some day, it has missed nothing. Old systemd cannot. Never that of a
        // service, which would be our whole state directory; and one by one, for a timer that never ran has none.
        for timer in names.filter(|name| name.ends_with(".timer")) {
            let _ = systemctl(choice, &["clean", "--what=state", timer]);
        }
    }
    let mut removed = Vec::new();
    for name in names {
        removed.extend(remove_ours(context, directory.join(name))?);
    }
    Ok((removed, disabled))
}

/// Removes a file if it is ours.
fn remove_ours(context: &Context, path: PathBuf) -> Result<Option<PathBuf>, CliError> {
    if !fs::read_to_string(&path).is_ok_and(|text| is_ours(&text)) {
        return Ok(None);
    }
    fs::remove_file(&path)
        .map_err(|error| CliError::io(format!("remove {}", path.display()), &error))?;
    context.out.note(&format!("{} is removed", path.display()))?;
    Ok(Some(path))
}

/// Calls systemctl; false if it is not to be called.
fn systemctl(choice: &Choice, words: &[&str]) -> Result<bool, CliError> {
    let program = match (&choice.systemctl, &choice.directory) {
        (Some(program), _) => program.clone(),
        (None, Some(_)) => return Ok(false),
        (None, None) => PathBuf::from("systemctl"),
    };
    let doing = format!("run {} {}", program.display(), words.join(" "));
    let output = Command::new(&program).args(words).output();
    let output = output.map_err(|error| CliError::io(&*doing, &error))?;
    if output.status.success() {
        return Ok(true);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(CliError::io(doing, &format!("{} ({})", said.trim(), output.status)))
}
