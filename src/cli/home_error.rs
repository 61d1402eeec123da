//! Exit codes and hints of what can go wrong with a home.

use crate::home::HomeError;

use super::error::CliError;
use super::{Exit, database_error};

/// How a command ends by `error`.
pub fn exit(error: &HomeError) -> Exit {
    match error {
        HomeError::Interrupted => Exit::Interrupted,
        HomeError::Files(error) => super::error::restore_exit(error),
        HomeError::NotWhole { .. } => Exit::Incomplete,
        HomeError::Restore(error) => database_error::restore_exit(error),
        HomeError::Database(error) => database_error::database_exit(error),
        HomeError::Server(error) => super::error::run_exit(error),
        HomeError::Io { .. }
        | HomeError::Docker { .. }
        | HomeError::Refused { .. }
        | HomeError::Stuck { .. }
        | HomeError::Unwell { .. } => Exit::Failed,
        HomeError::TakenBack { error } => exit(error),
    }
}

/// The command to run next.
pub fn hint(error: &HomeError) -> Option<String> {
    let text = match error {
        HomeError::Refused { hint, .. } => hint.clone(),
        HomeError::Files(crate::ops::restore::RestoreError::NoSpace { .. }) => {
            "everything is loaded beside what is there, so it needs the room twice: free some, or restore a part with --path"
                .to_owned()
        }
        HomeError::Restore(error) => return database_error::restore_hint(error),
        HomeError::Database(error) => return database_error::database_hint(error),
        HomeError::NotWhole { .. } => {
            "mrs-backup check --read-data, or choose another snapshot: mrs-backup snapshots".to_owned()
        }
        HomeError::Docker { .. } => {
            "look whether docker runs and that this user may use it: docker ps".to_owned()
        }
        HomeError::TakenBack { error } => return hint(error),
        HomeError::Stuck { instance, .. } => {
            format!("mend the cause, then go on: mrs-backup undo -i {instance} puts everything back")
        }
        HomeError::Unwell { instance, .. } => {
            format!("look at its log (docker logs); back to what was before: mrs-backup undo -i {instance}")
        }
        HomeError::Io { .. }
        | HomeError::Files(_)
        | HomeError::Server(_)
        | HomeError::Interrupted => return None,
    };
    Some(text)
}

impl From<HomeError> for CliError {
    fn from(error: HomeError) -> Self {
        Self::Home(Box::new(error))
    }
}
