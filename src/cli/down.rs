//! `down`: the containers of an instance go; its data stays.

use serde_json::json;

use crate::clock::{Clock, SystemClock};
use crate::deploy::DeployError;
use crate::event::counted;
use crate::instance::lock;
use crate::report::clean;

use super::context::Context;
use super::deploy::target::Target;
use super::{CliError, Done, ask};

/// Take an instance down: containers and networks go, the home stays as it is
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Volumes that docker keeps stay, too, unless --volumes is given: then what is in them is lost.
Of a review stack (project=NAME) nothing stays.

Examples:
  mrs-backup down mrs-staging
  mrs-backup down home=/home/mrs-staging --yes
  mrs-backup down project=test-feature/x --yes")]
pub struct Args {
    /// Instance of the configuration, or home=DIR, or project=NAME of a review stack
    #[arg(value_name = "INSTANCE")]
    target: Option<String>,

    /// Remove volumes, and what is in them
    #[arg(long)]
    volumes: bool,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let target = Target::named(context, args.target.as_deref())?;
    context.out.set_instance(Some(&target.name));
    let tools = target.tools(context, crate::compose::Redactor::new())?;
    let project = &target.project;
    let containers = tools.engine.containers(&project.name).map_err(DeployError::from)?;
    let home = project.directory.display().to_string();
    if let Some(other) = containers.iter().find(|one| one.working_dir != home) {
        let (project, directory) = (project.name.clone(), other.working_dir.clone());
        return Err(DeployError::Taken { project, directory }.into());
    }
    let count = counted(containers.len(), "container");
    let also = if target.review.is_some() {
        ", and the stack's networks, volumes and directory"
    } else if args.volumes {
        ", and the volumes with what is in them"
    } else {
        ""
    };
    let needs = format!("{count} of {} to be removed{also}", clean(&target.name));
    ask::assent(context, &needs, "add --yes to do it")?;
    let wait = target.lock_wait(None);
    let _lock = lock(&target.state_dir, &target.name, wait, &SystemClock, &context.stop)?;
    if let Some(review) = &target.review {
        let found = review.reviews.read(&project.name, SystemClock.now());
        let removed = crate::deploy::expire::remove(&tools, &found)?;
        super::expire::tell(context, &found, &removed)?;
        return Ok(Done::ok(json!({ "removed": removed })));
    }
    if project.file().is_file() {
        tools.compose.down(project, args.volumes).map_err(DeployError::from)?;
    }
    let left = tools.engine.containers(&project.name).map_err(DeployError::from)?;
    if !left.is_empty() {
        // Without its compose file, or of services that are no longer in it.
        tools.engine.sweep(&project.name, args.volumes).map_err(DeployError::from)?;
    }
    context.out.note(&format!(
        "{} is down; {} stays as it is",
        clean(&target.name),
        clean(&home)
    ))?;
    Ok(Done::ok(json!({ "project": project.name, "removed": containers.len() })))
}
