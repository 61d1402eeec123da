//! `exec`: a command in a container of an instance.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::compose::{Container, Redactor, Status, base_environment};
use crate::report::clean;

use super::context::Context;
use super::deploy::target::Target;
use super::{CliError, Done};

/// The service that is meant if there are several and none is named.
const USUAL: &str = "django";

/// Run a command in a container of an instance; its exit code is ours
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --service it is the service `django`, or the only one there is. Standard input is
the command's.

Examples:
  mrs-backup exec mrs-production -- mrs sendtestemail you@example.org
  mrs-backup exec mrs-staging --service postgres -- psql -U django -l")]
pub struct Args {
    /// Instance of the configuration, or home=DIR, or project=NAME of a review stack
    #[arg(value_name = "INSTANCE")]
    target: Option<String>,

    /// The compose service
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,

    /// The command and its arguments; no shell is involved
    #[arg(last = true, value_name = "CMD", required = true)]
    argv: Vec<OsString>,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let target = Target::named(context, args.target.as_deref())?;
    let tools = target.tools(context, Redactor::new())?;
    let home = target.project.directory.display().to_string();
    let mut containers = tools.engine.containers(&target.project.name)?;
    containers.retain(|one| one.status == Status::Running && one.working_dir == home);
    let container = choose(&target.name, &containers, args.service.as_deref())?;
    context.out.flush()?;
    let mut command = Command::new("docker");
    command.env_clear().envs(base_environment(std::env::vars_os())).args(["exec", "-i"]);
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        command.arg("-t").env("TERM", std::env::var_os("TERM").unwrap_or_else(|| "dumb".into()));
    }
    // Comes back only if it cannot be started.
    let error = command.arg(&container.id).args(&args.argv).exec();
    Err(CliError::io("start docker", &error))
}

fn choose<'c>(
    name: &str,
    all: &'c [Container],
    wanted: Option<&str>,
) -> Result<&'c Container, CliError> {
    let mut services: Vec<&str> = all.iter().map(|one| one.service.as_str()).collect();
    services.dedup();
    let service = match (wanted, services.as_slice()) {
        (_, []) => {
            return Err(CliError::Io {
                doing: format!("run a command in {}", clean(name)),
                reason: "none of its containers runs".to_owned(),
            });
        }
        (Some(service), _) => service,
        (None, [only]) => only,
        (None, _) => USUAL,
    };
    all.iter().find(|one| one.service == service).ok_or_else(|| {
        CliError::usage_hint(
            format!("no container of service `{}` runs", clean(service)),
            format!("name one of these with --service: {}", clean(&services.join(", "))),
        )
    })
}
