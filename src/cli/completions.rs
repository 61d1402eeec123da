//! `completions`: scripts for shells, which ask us for what only this machine knows.

use clap::ValueEnum;
use clap_complete::Shell;
use jiff::tz::TimeZone;
use serde_json::json;

use crate::report::clean;
use crate::status::{KnownSnapshot, Store};

use super::context::Context;
use super::format::local_time;
use super::{CliError, Done};

mod names;

/// Print the completion script for a shell
///
/// Besides commands and options it completes names of instances, as the configuration has them, and ids of snapshots, as the runs of this
/// machine noted them down: nothing is opened for it, and no password asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup completions bash > /etc/bash_completion.d/mrs-backup
  mrs-backup completions zsh > /usr/local/share/zsh/site-functions/_mrs-backup
  mrs-backup completions fish > ~/.config/fish/completions/mrs-backup.fish")]
pub struct Args {
    /// Shell
    #[arg(required_unless_present = "values")]
    shell: Option<Shell>,

    /// For the scripts: names with what they are, one a line, a tab between
    #[arg(long, value_name = "KIND", hide = true)]
    values: Option<Values>,
}

/// What a script asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Values {
    Instances,
    Snapshots,
}

pub fn run(context: &Context, args: &Args) -> Result<Done, CliError> {
    if let Some(kind) = args.values {
        for (name, what) in values(context, kind) {
            context.out.line(&format!("{name}\t{}", clean(&what)))?;
        }
        return Ok(Done::ok(json!({})));
    }
    let Some(shell) = args.shell else {
        return Err(CliError::usage_hint("no shell is named", "mrs-backup completions bash"));
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "mrs-backup", &mut script);
    let script = names::with_names(shell, &super::command(), &String::from_utf8_lossy(&script));
    if context.out.is_json() {
        context.out.record("completions", &json!({ "script": script }))?;
    } else {
        context.out.raw(script.as_bytes())?;
    }
    Ok(Done::ok(json!({})))
}

/// Names and what they are. Whatever cannot be read gives none: somebody is typing.
fn values(context: &Context, kind: Values) -> Vec<(String, String)> {
    let Ok(sources) = context.sources() else { return Vec::new() };
    let Some(config) = &sources.config else { return Vec::new() };
    let wanted = context.global.instance.as_deref();
    let instances = config.instances.values();
    if kind == Values::Instances {
        let name = |one: &crate::instance::config::Instance| {
            (one.name.clone(), one.home.value.display().to_string())
        };
        return instances.map(name).collect();
    }
    let Ok(state_dir) = sources.state_dir() else { return Vec::new() };
    let store = Store::new(&state_dir);
    let mut found = Vec::new();
    for instance in instances.filter(|one| wanted.is_none_or(|wanted| wanted == one.name)) {
        let Ok(catalogue) = store.catalogue(&instance.name) else { continue };
        let zone = &instance.timezone.value;
        found.extend(catalogue.snapshots.into_iter().map(|one| (one.time, describe(&one, zone))));
    }
    found.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    let latest = ("latest".to_owned(), "the newest complete one".to_owned());
    std::iter::once(latest).chain(found.into_iter().map(|(_, named)| named)).collect()
}

/// A snapshot's short id, and what people know it by.
fn describe(one: &KnownSnapshot, zone: &TimeZone) -> (String, String) {
    let nanos = i64::try_from(one.time.as_nanosecond()).unwrap_or(i64::MAX);
    let state = if one.is_complete { "" } else { " INCOMPLETE" };
    let (time, tags) = (local_time(nanos, zone), one.tags.join(","));
    let what = format!("{time} {} {tags}{state}", one.instance);
    (one.id.chars().take(8).collect(), what.trim_end().to_owned())
}
