//! `migrate scripts`: the old scripts of a home become a configuration.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::event::counted;
use crate::instance::config::{Config, ConfigError, DEFAULT_PATH, process_environment};
use crate::instance::migrate::{Choices, OldHome, Proposal, SecretFile, propose, read_home};
use crate::report::clean;
use crate::schedule::units::is_ours;

use crate::cli::context::Context;
use crate::cli::{CliError, Done};

/// What old files are called afterwards: systemd and people pass over such names.
const ASIDE: &str = "before-mrs-backup";

/// Make a configuration of an old home: backup.sh, prune.sh, restore.sh, its password file and its timers
///
/// The scripts are read as text and never run. Shows what would be written; --apply writes it: passwords into files of
/// their own, for root alone, which the configuration names, and the instance at the end of the configuration. Then the old timers are
/// switched off, and old units and scripts get the ending .before-mrs-backup. restic's repository stays as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup migrate scripts /home/mrs-production
  mrs-backup migrate scripts /home/mrs-production --apply --keep-timers  both run for some nights
  mrs-backup migrate scripts /home/mrs-production --apply                the old one stops

Afterwards:
  mrs-backup init mrs-production
  mrs-backup run mrs-production
  mrs-backup units install mrs-production")]
pub struct Args {
    /// Home of the instance, like /home/mrs-production
    home: PathBuf,

    /// Write it, and switch the old timers off
    #[arg(long)]
    apply: bool,

    /// Leave the old timers and scripts as they are
    #[arg(long)]
    keep_timers: bool,

    /// Database that is saved (may be repeated) [default: those that scripts and compose file name]
    #[arg(long = "database", value_name = "NAME")]
    databases: Vec<String>,

    /// Where units of systemd are
    #[arg(long, value_name = "DIR", default_value = "/etc/systemd/system")]
    units: PathBuf,

    /// Program called in place of systemctl, for tests
    #[arg(long, hide = true)]
    systemctl: Option<PathBuf>,
}

/// All that is to be done.
struct Plan {
    old: OldHome,
    proposal: Proposal,
    /// The configuration's file.
    path: PathBuf,
    /// What it holds now; `None`: it is not there.
    text: Option<String>,
    /// Whether the instance is in it already.
    is_there: bool,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let plan = plan(context, &args)?;
    context.out.set_instance(Some(&plan.proposal.name));
    show(context, &args, &plan)?;
    let mut summary = json!({
        "home": plan.old.home,
        "instance": plan.proposal.name,
        "config": plan.path,
        "applied": args.apply,
        "notes": plan.proposal.notes,
        "old_repository": plan.proposal.old_repository,
        "tables": plan.proposal.tables,
    });
    if !args.apply {
        context.out.note("\nnothing was changed; the same command with --apply does it")?;
        return Ok(Done::ok(summary));
    }
    if !plan.is_there {
        apply(&plan)?;
        context.out.note(&format!("{} is written", plan.path.display()))?;
    }
    if !args.keep_timers {
        summary["aside"] = json!(retire(context, &args, &plan.old)?);
    }
    let (name, config) = (&plan.proposal.name, option(context));
    context.out.note(&format!(
        "next: mrs-backup{config} init {name}, then run {name}, then units install {name}; what restic kept: mrs-backup{config} migrate restic --help"
    ))?;
    Ok(Done::ok(summary))
}

/// `--config FILE`, if the usual one is not meant.
fn option(context: &Context) -> String {
    let path = context.global.config.as_ref();
    path.map(|path| format!(" -c {}", path.display())).unwrap_or_default()
}

fn plan(context: &Context, args: &Args) -> Result<Plan, CliError> {
    let path = Config::find(context.global.config.as_deref(), &process_environment)
        .map_or_else(|| PathBuf::from(DEFAULT_PATH), |found| found.value);
    let path = std::path::absolute(&path)
        .map_err(|error| CliError::io(format!("find {}", path.display()), &error))?;
    let old = read_home(&args.home, &args.units, &is_ours)?;
    let choices = Choices {
        name: context.global.instance.clone(),
        repository: context.global.repo.clone(),
        databases: args.databases.clone(),
        secrets: path.parent().map_or_else(PathBuf::new, Path::to_path_buf),
    };
    let proposal = propose(&old, &choices)?;
    let text = match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let reason = error.to_string();
            return Err(ConfigError::Unreadable { path, reason }.into());
        }
    };
    let mut is_there = false;
    if let Some(text) = &text {
        let config = Config::parse(text, &path, &process_environment)?;
        is_there = match config.instances.get(&proposal.name) {
            Some(known) if known.home.value != old.home => {
                return Err(CliError::usage_hint(
                    format!(
                        "{} has an instance {} with another home",
                        path.display(),
                        proposal.name
                    ),
                    "choose another name with --instance NAME",
                ));
            }
            known => known.is_some(),
        };
    }
    let plan = Plan { old, proposal, path, text, is_there };
    // What will be written has to be right before anything is.
    if !plan.is_there {
        Config::parse(&plan.whole(), &plan.path, &process_environment)?;
    }
    Ok(plan)
}

impl Plan {
    /// The configuration with the instance in it.
    fn whole(&self) -> String {
        let before = self.text.as_deref().unwrap_or("version = 1\n");
        let gap = if before.ends_with('\n') { "" } else { "\n" };
        format!("{before}{gap}\n{}", self.proposal.tables)
    }
}

fn show(context: &Context, args: &Args, plan: &Plan) -> Result<(), CliError> {
    let out = &context.out;
    let Plan { old, proposal, .. } = plan;
    let names: Vec<String> = old.files.iter().map(|path| clean(&short(path, &old.home))).collect();
    out.note(&format!("{}: read {}", old.home.display(), names.join(", ")))?;
    let repository = clean(&proposal.old_repository);
    out.note(&format!(
        "restic's repository {repository} stays as it is; a new one is made for this program"
    ))?;
    let verb = if args.apply { "writing" } else { "would write" };
    if plan.is_there {
        out.note(&format!("{} has the instance {} already", plan.path.display(), proposal.name))?;
    } else {
        let place = if plan.text.is_some() { "at the end of" } else { "into" };
        out.note(&format!("{verb} {place} {}:\n", plan.path.display()))?;
        for line in proposal.tables.lines() {
            out.note(&format!("    {}", clean(line)))?;
        }
        out.note("")?;
        for file in &proposal.secrets {
            out.note(&format!("{verb} {} (0600): {}", file.path.display(), file.what))?;
        }
    }
    if !args.keep_timers {
        let verb = if args.apply { "switching off" } else { "would switch off" };
        for timer in &old.timers {
            out.note(&format!("{verb} {}.timer", clean(&timer.name)))?;
        }
        let verb = if args.apply { "renaming" } else { "would rename" };
        for path in old.timers.iter().flat_map(|timer| &timer.files).chain(&old.scripts) {
            out.note(&format!("{verb} {} to end in .{ASIDE}", path.display()))?;
        }
    }
    for note in &proposal.notes {
        out.line(&format!("note: {}", clean(note)))?;
    }
    Ok(())
}

fn short(path: &Path, home: &Path) -> String {
    path.strip_prefix(home).unwrap_or(path).display().to_string()
}

/// Writes secrets, then the configuration that names them.
fn apply(plan: &Plan) -> Result<(), CliError> {
    let directory = plan.path.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| CliError::io(format!("make {}", directory.display()), &error))?;
    for file in &plan.proposal.secrets {
        must_be_free(file)?;
    }
    for file in &plan.proposal.secrets {
        write_new(&file.path, file.content.expose())?;
    }
    write_new(&plan.path, plan.whole().as_bytes())
}

/// A secret of somebody else is not overwritten; one of an earlier try is the same.
fn must_be_free(file: &SecretFile) -> Result<(), CliError> {
    match fs::read(&file.path) {
        Ok(bytes) if bytes != file.content.expose() => Err(CliError::usage_hint(
            format!("{} is there already, with something else in it", file.path.display()),
            "move it away, or choose another name with --instance NAME; nothing was changed",
        )),
        _ => Ok(()),
    }
}

/// Replaces a file as a whole; it is for its owner alone.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = PathBuf::from(aside);
    let write = || -> io::Result<()> {
        let _ = fs::remove_file(&aside);
        let mut open = fs::OpenOptions::new();
        let mut file = open.write(true).create_new(true).mode(0o600).open(&aside)?;
        // Who could read the configuration still can; secrets are new.
        if let Ok(known) = fs::metadata(path) {
            file.set_permissions(fs::Permissions::from_mode(known.permissions().mode() & 0o7777))?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&aside);
        CliError::io(format!("write {}", path.display()), &error)
    })
}

/// Switches the old timers off and moves old files aside. Gives those that were moved.
fn retire(context: &Context, args: &Args, old: &OldHome) -> Result<Vec<PathBuf>, CliError> {
    for timer in &old.timers {
        // A backup at work may finish. The old services were switched on themselves, and ran at every start
        // of the machine.
        for (kind, words) in [("timer", &["disable", "--now"][..]), ("service", &["disable"])] {
            let unit = format!("{}.{kind}", timer.name);
            if timer.files.iter().any(|path| path.ends_with(&unit)) {
                systemctl(args, &[words, &[&unit]].concat())?;
            }
        }
    }
    let mut moved = Vec::new();
    for path in old.timers.iter().flat_map(|timer| &timer.files).chain(&old.scripts) {
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".{ASIDE}"));
        let aside = PathBuf::from(aside);
        let failed = |error: io::Error| CliError::io(format!("rename {}", path.display()), &error);
        if aside.symlink_metadata().is_ok() {
            return Err(failed(io::Error::other(format!("{} is there already", aside.display()))));
        }
        fs::rename(path, &aside).map_err(failed)?;
        // A script may hold passwords, and must not be started by habit.
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        moved.push(aside);
    }
    if !old.timers.is_empty() {
        systemctl(args, &["daemon-reload"])?;
    }
    if !moved.is_empty() {
        context.out.note(&format!("{} moved aside", counted(moved.len(), "old file")))?;
    }
    Ok(moved)
}

fn systemctl(args: &Args, words: &[&str]) -> Result<(), CliError> {
    let program = args.systemctl.clone().unwrap_or_else(|| PathBuf::from("systemctl"));
    let doing = format!("run {} {}", program.display(), words.join(" "));
    let output = Command::new(&program).args(words).output();
    let output = output.map_err(|error| CliError::io(&*doing, &error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(CliError::io(doing, &format!("{} ({})", said.trim(), output.status)))
}
