//! `extend`: a review stack stays longer.

use std::time::Duration;

use serde_json::json;

use crate::clock::{Clock, SystemClock};
use crate::instance::lock;

use super::context::Context;
use super::deploy::target::{lifetime, reviews};
use super::format::local_seconds;
use super::{CliError, Done};

/// Let a review stack stay longer: for so long from now on, if that is later than its time
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup extend test-feature-x
  mrs-backup extend test-feature/x 14d")]
pub struct Args {
    /// Its project, or the name it was deployed with
    #[arg(value_name = "PROJECT")]
    project: String,

    /// How long (`7d`, `604800s`) [default: `review.lifetime` of the configuration, or 7d]
    #[arg(value_name = "TIME", value_parser = crate::instance::config::parse_kept)]
    time: Option<jiff::SignedDuration>,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let sources = context.sources()?;
    let reviews = reviews(sources.config.as_ref())?;
    let project = reviews.project(&args.project);
    if !project.directory.is_dir() {
        return Err(CliError::usage_hint(
            format!("there is no review stack `{}` in {}", project.name, reviews.base.display()),
            "mrs-backup expire --list",
        ));
    }
    let asked: Option<Duration> = args.time.map(jiff::SignedDuration::unsigned_abs);
    let lifetime = lifetime(context, sources.config.as_ref(), asked);
    let _lock =
        lock(&sources.state_dir()?, &project.name, Duration::ZERO, &SystemClock, &context.stop)?;
    let state = reviews.extend(&args.project, lifetime, SystemClock.now(), false)?;
    let until = local_seconds(state.remove_at.as_second(), &SystemClock.zone());
    context.out.note(&format!("review stack {} stays until {until}", project.name))?;
    Ok(Done::ok(json!({ "project": project.name, "remove_at": state.remove_at.as_second() })))
}
