//! Exit codes and hints of what can go wrong with databases.

use crate::ops::restore_database::RestoreDatabaseError;
use crate::postgres::ServerError;
use crate::target::postgres::DatabaseError;
use crate::target::scratch::ScratchError;

use super::Exit;
use super::error::{browse_exit, repository_exit};
use super::hint;

/// How a restore of a database ends by `error`.
pub fn restore_exit(error: &RestoreDatabaseError) -> Exit {
    match error {
        RestoreDatabaseError::Repository(error) => repository_exit(error),
        RestoreDatabaseError::Browse(error) => browse_exit(error),
        RestoreDatabaseError::Choice(_) => Exit::Usage,
        RestoreDatabaseError::Incomplete { .. } => Exit::Failed,
        RestoreDatabaseError::Database(error)
        | RestoreDatabaseError::Untouched { error, .. }
        | RestoreDatabaseError::Left { error, .. } => database_exit(error),
    }
}

/// How anything with a database ends by `error`.
pub fn database_exit(error: &DatabaseError) -> Exit {
    match error {
        DatabaseError::Interrupted => Exit::Interrupted,
        DatabaseError::Server(error) => server_exit(error),
        DatabaseError::NotNamed { .. } | DatabaseError::OtherCluster { .. } => Exit::Usage,
        DatabaseError::Busy { .. } => Exit::Locked,
        DatabaseError::Program { .. }
        | DatabaseError::Read { .. }
        | DatabaseError::Differs { .. }
        | DatabaseError::Assertion { .. }
        | DatabaseError::InTheWay { .. }
        | DatabaseError::NoSpace { .. }
        | DatabaseError::OlderServer { .. }
        | DatabaseError::WrongProgram { .. }
        | DatabaseError::NotThere(_) => Exit::Failed,
    }
}

/// How it ends when a server cannot be reached or says no.
pub fn server_exit(error: &ServerError) -> Exit {
    match error {
        ServerError::Settings { .. } => Exit::Usage,
        ServerError::Stopped { .. } => Exit::Interrupted,
        ServerError::Container { .. }
        | ServerError::Connect { .. }
        | ServerError::Statement { .. } => Exit::Failed,
    }
}

/// How it ends without a throw-away server.
pub fn scratch_exit(error: &ScratchError) -> Exit {
    match error {
        ScratchError::Interrupted => Exit::Interrupted,
        ScratchError::Directory { .. } => Exit::Usage,
        ScratchError::Io { .. }
        | ScratchError::NoPrograms { .. }
        | ScratchError::NoUser
        | ScratchError::Program { .. } => Exit::Failed,
    }
}

/// What to do next.
pub fn restore_hint(error: &RestoreDatabaseError) -> Option<String> {
    match error {
        RestoreDatabaseError::Repository(error) => hint::repository(error),
        RestoreDatabaseError::Browse(error) => hint::browse(error),
        RestoreDatabaseError::Choice(_) => Some(
            "mrs-backup ls SNAPSHOT postgres shows what there is; databases are saved once [instance.NAME.postgres] names them"
                .to_owned(),
        ),
        RestoreDatabaseError::Incomplete { .. } => {
            Some("restore a complete snapshot: mrs-backup snapshots".to_owned())
        }
        RestoreDatabaseError::Database(error)
        | RestoreDatabaseError::Untouched { error, .. }
        | RestoreDatabaseError::Left { error, .. } => database_hint(error),
    }
}

/// What to do next.
pub fn database_hint(error: &DatabaseError) -> Option<String> {
    let text = match error {
        DatabaseError::Read { .. } => "mrs-backup check --read-data",
        DatabaseError::Assertion { .. } => {
            "look into a copy: mrs-backup restore SNAPSHOT --database NAME --as COPY, without the assertion"
        }
        DatabaseError::InTheWay { .. } => "rename or drop it, then run the same command again",
        DatabaseError::Busy { .. } => "wait for it, then run the same command again",
        DatabaseError::NoSpace { .. } => {
            "free some room there (mrs-backup undo --list shows what is kept), or restore into another server"
        }
        DatabaseError::OlderServer { .. } => "restore into a server of that version or a newer one",
        DatabaseError::WrongProgram { .. } => {
            "set `bin_dir` to the directory of the server's own programs"
        }
        DatabaseError::NotNamed { database, .. } => {
            return Some(format!(
                "name it: --database {database}; or restore beside it with --as NAME"
            ));
        }
        DatabaseError::OtherCluster { .. } => {
            "look whether this is the right server; to replace it all the same add --other-cluster, or restore \
             beside it with --as NAME"
        }
        DatabaseError::NotThere(_) => "mrs-backup undo --list",
        DatabaseError::Differs { .. } => {
            "mrs-backup test-restore, with this and with an older snapshot"
        }
        DatabaseError::Server(_) | DatabaseError::Program { .. } | DatabaseError::Interrupted => {
            return None;
        }
    };
    Some(text.to_owned())
}

/// What to do next.
pub fn scratch_hint(error: &ScratchError) -> Option<String> {
    let text = match error {
        ScratchError::Directory { .. } | ScratchError::Io { .. } => {
            "choose another with --scratch-directory DIR or `scratch_directory`"
        }
        ScratchError::NoPrograms { .. } => {
            "apt-get install postgresql-NN, or set `scratch_bin_dir` to the directory of its programs"
        }
        ScratchError::NoUser | ScratchError::Program { .. } | ScratchError::Interrupted => {
            return None;
        }
    };
    Some(text.to_owned())
}
