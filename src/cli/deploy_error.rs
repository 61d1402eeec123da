//! How the program ends by a deployment that did not take place, and what to do then.

use crate::compose::ComposeError;
use crate::deploy::DeployError;
use crate::instance::RunError;

use super::exit::Exit;
use super::{CliError, database_error, error, hint};

/// How the program ends by it.
pub fn exit(error: &DeployError) -> Exit {
    match error {
        DeployError::Request { .. } | DeployError::Unset { .. } | DeployError::Key(_) => {
            Exit::Usage
        }
        DeployError::Compose(error) => compose_exit(error),
        DeployError::Save(error) => error::run_exit(error),
        DeployError::IncompleteSave(_) => Exit::Incomplete,
        DeployError::Database(error) => database_error::restore_exit(error),
        DeployError::Interrupted => Exit::Interrupted,
        _ => Exit::Failed,
    }
}

fn compose_exit(error: &ComposeError) -> Exit {
    match error {
        ComposeError::Override { .. }
        | ComposeError::Mkdir { .. }
        | ComposeError::ProjectName { .. }
        | ComposeError::NoFile { .. } => Exit::Usage,
        ComposeError::Interrupted => Exit::Interrupted,
        _ => Exit::Failed,
    }
}

/// What to do.
pub fn hint(error: &DeployError) -> Option<String> {
    let text = match error {
        DeployError::Request { hint, .. } => return Some(hint.clone()),
        DeployError::Compose(error) => return compose_hint(error),
        DeployError::Unset { names } => {
            return Some(format!(
                "set {} in the environment of this command",
                if names.len() == 1 { "it" } else { "them" }
            ));
        }
        DeployError::Taken { project, .. } => {
            return Some(format!(
                "choose another name with project=NAME, or look what that is: docker ps -a --filter label=com.docker.compose.project={project}"
            ));
        }
        DeployError::Pull { service, .. } => {
            return Some(format!(
                "look whether the name is right, and who may have it: docker login; one that is on this machine only: compose_{service}_pull_policy=never"
            ));
        }
        DeployError::Save(error) => return save_hint(error),
        DeployError::IncompleteSave(_) => {
            "mend what it lacks, or correct `paths`; with --accept-incomplete it goes on all the same"
        }
        DeployError::Database(error) => return database_error::restore_hint(error),
        DeployError::NoDeployment { .. } => "mrs-backup deployments",
        DeployError::Interrupted => "run the same command again, or go back: mrs-backup rollback",
        _ => return None,
    };
    Some(text.to_owned())
}

fn save_hint(error: &RunError) -> Option<String> {
    let told = match error {
        RunError::Backup(crate::ops::backup::BackupError::Repository(error)) => {
            hint::repository(error)
        }
        _ => None,
    };
    told.or_else(|| {
        Some(
            "mend it and deploy again; --no-snapshot deploys without a way back for data"
                .to_owned(),
        )
    })
}

fn compose_hint(error: &ComposeError) -> Option<String> {
    let text = match error {
        ComposeError::NoCompose { .. } => "install it: apt-get install docker-compose",
        ComposeError::NoEngine { .. } => "start it: systemctl start docker; or look who may use it",
        ComposeError::NoFile { .. } => {
            "run this where the compose files are, or name them: compose=FILE,FILE"
        }
        ComposeError::ProjectName { .. } => "give another one with project=NAME",
        ComposeError::Start { .. } => "look whether it is installed and in the search path",
        ComposeError::TimedOut { .. } => {
            "look what docker is busy with, then run the same command again: journalctl -u docker"
        }
        ComposeError::Mkdir { .. } => "correct the label; nothing was changed",
        ComposeError::Interrupted => return CliError::Interrupted.hint(),
        _ => return None,
    };
    Some(text.to_owned())
}
