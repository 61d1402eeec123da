//! `deployments`: what was deployed, and how it went.

use serde_json::json;

use crate::deploy::history::History;
use crate::deploy::{Kind, Record};
use crate::report::clean;

use super::context::{Context, zone};
use super::deploy::target::Target;
use super::format::local_time;
use super::{CliError, Done};

/// List the deployments of an instance
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup deployments mrs-production
  mrs-backup deployments home=/home/mrs-production --json")]
pub struct Args {
    /// Instance of the configuration, or home=DIR or project=NAME
    #[arg(value_name = "INSTANCE")]
    target: Option<String>,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let target = Target::named(context, args.target.as_deref())?;
    context.out.set_instance(Some(&target.name));
    let history = History::open(&target.project.directory)?;
    let zone = target.settings.as_ref().map_or_else(jiff::tz::TimeZone::system, zone);
    let live = history.good().map(|record| record.number);
    let mut rows = Vec::new();
    for record in history.records() {
        let is_live = Some(record.number) == live && history.open_ends().is_empty();
        let mut fields = super::deploy::describe(record);
        fields["is_live"] = is_live.into();
        context.out.record("deployment", &fields)?;
        rows.push(row(record, is_live, &zone));
    }
    for message in &history.damaged {
        context.out.complain(message, None);
    }
    match rows.is_empty() {
        true => context
            .out
            .note(&format!("{} was not deployed by this program yet", clean(&target.name)))?,
        false => {
            let heads = ["", "DEPLOY", "TIME", "WHAT", "COMMIT", "SNAPSHOT BEFORE", "RESULT"];
            context.out.line(&super::format::table(&heads, &[1], rows))?;
        }
    }
    let count = history.records().len();
    Ok(Done::ok(json!({ "deployments": count, "live": live })))
}

fn row(record: &Record, is_live: bool, zone: &jiff::tz::TimeZone) -> Vec<String> {
    let what = match record.kind {
        Kind::Deploy => "deploy".to_owned(),
        Kind::Rollback { to, with_data: false } => format!("back to {to}"),
        Kind::Rollback { to, with_data: true } => format!("back to {to} with data"),
    };
    let reason = record.reason.as_ref().map_or_else(String::new, |reason| {
        let short: String = reason.chars().take(60).collect();
        format!(": {}", clean(&short))
    });
    vec![
        if is_live { "*" } else { "" }.to_owned(),
        record.number.to_string(),
        local_time(i64::try_from(record.begun.as_nanosecond()).unwrap_or(i64::MAX), zone),
        what,
        clean(&record.commit.clone().unwrap_or_default()).chars().take(12).collect(),
        record.snapshot.clone().unwrap_or_default().chars().take(8).collect(),
        format!("{}{reason}", record.state.word()),
    ]
}
