//! `notify`: who is told, and whether that works.

use serde_json::json;

use crate::clock::{Clock, SystemClock};
use crate::event::counted;
use crate::instance::config::{EventKind, NotifyConfig};
use crate::notify::{Delivery, compose, deliver, waiting};
use crate::report::clean;

use super::context::Context;
use super::format::table;
use super::status::read;
use super::{CliError, Done, Exit, after};

/// Show who is told of what; try whether it arrives
///
/// Channels are in the configuration, as [notify.NAME]. `run` tells by itself what is new, and so does `schedule` of what is
/// stale; with timers, `units install` makes one of `notify --due`, and without systemd cron does that. What could not be delivered waits three days.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup notify                    who is told of what, and what waits
  mrs-backup notify --test             a message to everybody
  mrs-backup notify --test slack
  mrs-backup notify --due              tell what is stale, and send what waits")]
pub struct Args {
    /// Only this channel of the configuration
    name: Option<String>,

    /// Send a message, to see whether it arrives
    #[arg(long)]
    test: bool,

    /// Look whether anything is stale, and send what waits
    #[arg(long, conflicts_with_all = ["test", "name"])]
    due: bool,
}

pub fn run(context: &Context, args: &Args) -> Result<Done, CliError> {
    let sources = context.sources()?;
    let Some(config) = &sources.config else {
        return Err(CliError::usage_hint(
            "there is no configuration, and it says who is told",
            "name it with --config FILE",
        ));
    };
    let all = &config.telling.notify;
    let chosen: Vec<&NotifyConfig> = match &args.name {
        None => all.values().collect(),
        Some(name) => vec![all.get(name).ok_or_else(|| {
            let names: Vec<&str> = all.keys().map(String::as_str).collect();
            CliError::usage_hint(
                format!("there is no channel `{}`", clean(name)),
                format!("there are: {}", names.join(", ")),
            )
        })?],
    };
    if chosen.is_empty() {
        return Err(CliError::usage_hint(
            format!("{} names nobody to tell", config.path.display()),
            "write [notify.NAME] into it (docs/monitoring.md has examples)",
        ));
    }
    if args.test {
        return test(context, &sources, &chosen);
    }
    if args.due {
        let told = after::look(&sources, context.observer.as_ref());
        return report(context, &told);
    }
    list(context, &sources, &chosen)
}

fn test(
    context: &Context,
    sources: &super::settings::Sources,
    chosen: &[&NotifyConfig],
) -> Result<Done, CliError> {
    let overview = read::of_sources(sources, None, None, read::BACK)?;
    let messages = chosen
        .iter()
        .map(|config| {
            let message = compose(EventKind::Test, None, &overview, None, config.language);
            ((*config).clone(), vec![message])
        })
        .collect();
    let told = deliver(&sources.state_dir()?, messages, &SystemClock);
    report(context, &told)
}

/// Tells how it went at each channel; the command fails if it did at one.
fn report(context: &Context, told: &[Delivery]) -> Result<Done, CliError> {
    let mut exit = Exit::Ok;
    for one in told {
        let (channel, result) = (&one.channel, &one.result);
        let error = result.as_ref().err().map(|error| &error.reason);
        context.out.record(
            "delivery",
            &json!({ "channel": channel, "delivered": result.as_ref().ok(), "message": error }),
        )?;
        match result {
            Ok(count) => {
                context
                    .out
                    .note(&format!("{channel}: {} delivered", counted(*count, "message")))?;
            }
            Err(error) => {
                context.out.complain(&format!("{channel}: {}", clean(&error.reason)), None);
                exit = Exit::Failed;
            }
        }
    }
    Ok(Done::with(exit, json!({ "channels": told.len() })))
}

fn list(
    context: &Context,
    sources: &super::settings::Sources,
    chosen: &[&NotifyConfig],
) -> Result<Done, CliError> {
    let state_dir = sources.state_dir()?;
    let mut rows = Vec::new();
    for config in chosen {
        let on: Vec<&str> = config.on.iter().map(|kind| kind.name()).collect();
        let count = waiting(&state_dir, &config.name, SystemClock.now());
        let place = config.channel.place();
        context.out.record(
            "channel",
            &json!({
                "channel": config.name,
                "kind": config.channel.kind(),
                "place": place,
                "on": on,
                "instances": config.instances,
                "waiting": count,
            }),
        )?;
        rows.push(vec![
            config.name.clone(),
            config.channel.kind().to_owned(),
            clean(&place),
            config.instances.as_ref().map_or_else(|| "all".to_owned(), |names| names.join(",")),
            count.to_string(),
            on.join(","),
        ]);
    }
    let header = ["NAME", "KIND", "WHERE", "INSTANCES", "WAITING", "ON"];
    context.out.line(&table(&header, &[4], rows))?;
    Ok(Done::ok(json!({ "channels": chosen.len() })))
}
