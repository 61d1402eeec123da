//! What to do next, by error.

use crate::clone::CloneError;
use crate::instance::config::{ConfigError, KeySource, Origin, Setting};
use crate::instance::migrate::MigrateError;
use crate::instance::{LockError, RunError};
use crate::ops::backup::BackupError;
use crate::ops::browse::BrowseError;
use crate::ops::copy::CopyError;
use crate::ops::dump::DumpError;
use crate::ops::dump_database::DumpDatabaseError;
use crate::ops::import::ImportError;
use crate::ops::restore::RestoreError;
use crate::repository::RepositoryError;
use crate::snapshot::SelectError;
use crate::source::foreign::ForeignError;
use crate::store::{ObjectName, StoreErrorKind};

use super::{CliError, database_error, deploy_error};

/// See [`of`].
const NO_ROOM: &str = "free some room there (mrs-backup forget, then mrs-backup prune), or lower `min_free` in the configuration";

/// See [`of`].
const NOT_MOUNTED: &str =
    "run it as root, or install fuse3; what is mounted already is unmounted by: umount DIR";

/// See [`of`].
const NOT_WHOLE: &str = "choose another snapshot; `mrs-backup snapshots` shows which are complete";

/// See [`of`].
const OLD_PROGRAM: &str = "name the directory of a pg_restore as new as the server with --bin-dir DIR, or use --format custom";

/// See [`of`].
const UNREADABLE: &str =
    "look whether it is there and who may read it, or name another with --config FILE";

/// See [`of`].
const NO_SPACE: &str = "restore less with --path or --include, or into a directory on another disk";

/// See [`of`].
const NO_DISK: &str =
    "mount the disk and run this again; nothing was written to the directory below it";

/// See [`of`].
const NO_SNAPSHOTS: &str = "look whether it is the right repository; the first snapshot is made by mrs-backup run, or mrs-backup backup PATH";

fn absent(instance: &str) -> String {
    format!("mrs-backup doctor {instance} --only paths")
}

/// The hint for `error`, if there is one that helps.
pub fn of(error: &CliError) -> Option<String> {
    let text = match error {
        CliError::Usage { hint, .. } => return hint.clone(),
        CliError::Objected { hint, .. } => return Some(hint.clone()),
        CliError::Repository(error) | CliError::Import(ImportError::Repository(error)) => {
            return repository(error);
        }
        CliError::WrongKey { error, given } => return Some(wrong_key(error, given)),
        CliError::Foreign(error) | CliError::Import(ImportError::Foreign(error)) => foreign(error),
        CliError::Backup(error) => return backup(error),
        CliError::Run(RunError::Backup(error)) => return backup(error),
        CliError::Run(RunError::NoRoom { .. }) => NO_ROOM,
        CliError::Run(RunError::NothingThere { instance, .. }) => {
            return Some(absent(instance));
        }
        CliError::Lock(error) | CliError::Run(RunError::Lock(error)) => return lock(error),
        CliError::Restore(RestoreError::Repository(error)) => return repository(error),
        CliError::Browse(error)
        | CliError::Dump(DumpError::Browse(error))
        | CliError::DumpDatabase(DumpDatabaseError::Browse(error)) => return browse(error),
        CliError::DumpDatabase(DumpDatabaseError::NotWhole { .. }) => NOT_WHOLE,
        CliError::DumpDatabase(DumpDatabaseError::Program { .. }) => OLD_PROGRAM,
        CliError::Config(ConfigError::Environment { .. } | ConfigError::UnknownInstance { .. }) => {
            return None;
        }
        CliError::Config(ConfigError::Unreadable { .. }) => UNREADABLE,
        // Whoever validates has just seen it, and everybody else sees the same.
        CliError::Config(_) => "correct the file; `mrs-backup config schema` describes every key",
        CliError::SchedulerRuns(_) => "systemctl status mrs-backup-schedule",
        CliError::Home(error) => return super::home_error::hint(error),
        CliError::RestoreDatabase(error) => return database_error::restore_hint(error),
        CliError::Database(error) => return database_error::database_hint(error),
        CliError::Scratch(error) => return database_error::scratch_hint(error),
        CliError::Location(error) => return Some(error.hint().to_owned()),
        CliError::Mount(_) => NO_DISK,
        CliError::Ledger(_)
        | CliError::History(_)
        | CliError::Known(_)
        | CliError::StateDir { .. } => "choose another with --state-dir DIR",
        CliError::Select(SelectError::Empty { .. }) => NO_SNAPSHOTS,
        CliError::Select(SelectError::None { .. }) => "mrs-backup snapshots",
        CliError::Select(SelectError::Ambiguous { .. }) => "give more digits of the id",
        CliError::Restore(RestoreError::NotFound(_) | RestoreError::NothingFits(_)) => {
            "mrs-backup ls SNAPSHOT, or mrs-backup find NAME"
        }
        CliError::Restore(RestoreError::NotADirectory(_)) => "choose another target",
        CliError::Restore(RestoreError::NoSpace { .. }) => NO_SPACE,
        CliError::Dump(DumpError::NotAFile { .. }) => {
            "mrs-backup restore SNAPSHOT TARGET --path PATH"
        }
        CliError::Copy(error) => return copy(error),
        CliError::Migrate(error) => migrate(error),
        CliError::MountFailure(_) => NOT_MOUNTED,
        CliError::Page(_) => "name another with --html FILE, or `page.file` in the configuration",
        CliError::Deploy(error) => return deploy_error::hint(error),
        CliError::Clone(error) => return clone(error),
        CliError::Io { .. }
        | CliError::ClosedPipe
        | CliError::Interrupted
        | CliError::Key(_)
        | CliError::Run(_)
        | CliError::Restore(_)
        | CliError::Dump(_)
        | CliError::DumpDatabase(_)
        | CliError::Source(_)
        | CliError::Exclude(_) => return None,
    };
    Some(text.to_owned())
}

const fn foreign(error: &ForeignError) -> &'static str {
    match error {
        ForeignError::WrongPassword { .. } => {
            "name the file with its password: --from-password-file FILE"
        }
        ForeignError::Unreadable { .. } => {
            "look whether the directory is right, and what restic says of it: restic -r DIRECTORY check"
        }
    }
}

const fn migrate(error: &MigrateError) -> &'static str {
    match error {
        MigrateError::NoHome { .. } => "name the directory with backup.sh in it",
        MigrateError::NoScripts { .. } => {
            "write a configuration by hand: mrs-backup config validate --help shows one"
        }
        MigrateError::Unreadable { .. } => "look at that file; nothing was changed",
        MigrateError::NoDatabase { .. } => "name them: --database NAME, once for each",
        MigrateError::Unfit { .. } => {
            "choose a name with --instance NAME, or write a configuration by hand: mrs-backup config validate --help"
        }
    }
}

fn clone(error: &CloneError) -> Option<String> {
    let text = match error {
        CloneError::Rules(_) => "mrs-backup clone rules init INSTANCE drafts rules",
        CloneError::Refused(_) => {
            "settle what is listed, then look again: mrs-backup clone FROM TO --plan"
        }
        CloneError::Leak(_) => {
            "give the column a rule that removes it; if it is there by chance: keep = \"REASON\", scan = false"
        }
        CloneError::Trouble(_) => "give the column another rule, or mend the row at its source",
        CloneError::Repository(error) => return repository(error),
        CloneError::Browse(error) => return browse(error),
        CloneError::Restore(error) => return database_error::restore_hint(error),
        CloneError::Database(error) => return database_error::database_hint(error),
        CloneError::After { to, .. } => {
            return Some(format!(
                "mend it and run the command again, or go back: mrs-backup undo -i {to}"
            ));
        }
        CloneError::Remote { .. } => {
            "mend it there; what is wrong was told above, and is there on its standard error"
        }
        CloneError::Line(_) => "run it again; nothing was replaced",
        CloneError::Interrupted | CloneError::Io { .. } => return None,
    };
    Some(text.to_owned())
}

fn copy(error: &CopyError) -> Option<String> {
    let text = match error {
        CopyError::Repository(RepositoryError::OtherRepository { .. }) => {
            "a copy is of one repository: choose a missing or empty place, or store the snapshots there anew: mrs-backup copy --re-encrypt"
        }
        CopyError::Repository(error) => return repository(error),
        CopyError::NotEmpty { .. } => "choose a missing or empty place",
        CopyError::Vanished { .. } => {
            "mount it and run this again; if the copy is lost for good: mrs-backup copy --start-over"
        }
        CopyError::Emptied { .. } => {
            "look what happened here; to bring everything back: mrs-backup copy --from COPY --to primary"
        }
        CopyError::Restless { .. } => "run the same command again",
        _ => return None,
    };
    Some(text.to_owned())
}

pub(super) fn repository(error: &RepositoryError) -> Option<String> {
    use RepositoryError as E;
    let text = match error {
        E::NoRepository { .. } => {
            "look whether the location is right and its disk mounted; nothing was written. `mrs-backup init` makes a new repository in a missing or empty directory"
        }
        E::Restic { .. } => {
            "nothing was written there; name another directory with --repo, and bring its snapshots there: mrs-backup migrate restic --help"
        }
        E::WrongPassword { .. } => "check which --password-file or --key-file belongs to it",
        E::OtherCredential { credential: "password", .. } => "open it with --key-file FILE",
        E::OtherCredential { .. } => "open it with --password-file FILE",
        E::NotEmpty { .. } => "choose a missing or empty directory with --repo",
        E::UnknownVersion { .. } => "install a newer mrs-backup",
        E::Index(error) if error.is_damage => {
            "run it again: the index is then made anew; or mrs-backup index rebuild"
        }
        E::Index(_) => {
            "look at the disk of the state directory, or choose another: --state-dir DIR"
        }
        E::MissingChunk { .. } => "mrs-backup index rebuild --from-packs, then mrs-backup check",
        // Nothing can be looked at without them. Both are written once: any copy is as good.
        E::Damaged { object: ObjectName::Config, .. } => {
            "put `config` back from any copy of this repository, however old: it never changes"
        }
        E::NoKeySlot { .. } => {
            "put the objects of `keys/` back from any copy of this repository: they never change"
        }
        E::NewerKeys { .. } => {
            "open it with the newest one: mrs-backup key list shows when each was made"
        }
        E::Damaged { .. }
        | E::UnreadableChunk { .. }
        | E::UnreadableSegment { .. }
        | E::DamagedTree { .. } => "mrs-backup check --read-data",
        E::Unprunable { .. } => "mrs-backup check, then mrs-backup repair --help",
        E::SessionExpired | E::ChunksLost { .. } => "run the same command again",
        E::Store(error) => match error.kind {
            StoreErrorKind::NoSpace => "free some room there and run the same command again",
            StoreErrorKind::Denied => "check who may read and write there",
            StoreErrorKind::Temporary | StoreErrorKind::Interrupted => "run the same command again",
            StoreErrorKind::NoAddress => {
                "look whether the name is right, and what `getent hosts NAME` says"
            }
            _ => return None,
        },
        E::Interrupted => "run the same command again; what is already stored is not stored again",
        E::OtherRepository { .. } | E::Seal(_) | E::Envelope(_) | E::Slot(_) | E::Internal(_) => {
            return None;
        }
    };
    Some(text.to_owned())
}

/// Says what was tried: it may be another one than the reader thinks.
fn wrong_key(error: &RepositoryError, given: &Setting<KeySource>) -> String {
    let source = &given.value;
    let said = match given.origin {
        Origin::Environment(name) | Origin::Legacy(name) => match source {
            KeySource::Env(_) => "; unset it".to_owned(),
            _ => format!(", as {name} says; unset that"),
        },
        Origin::File | Origin::Default => ", as the configuration says; correct that".to_owned(),
        Origin::Flag => String::new(),
    };
    let other = match error {
        RepositoryError::OtherCredential { credential: "password", .. } => "--key-file FILE",
        RepositoryError::OtherCredential { .. } => "--password-file FILE",
        _ => "--password-file FILE or --key-file FILE",
    };
    let or = if said.is_empty() { "; " } else { ", or " };
    format!("tried was {source}{said}{or}name another with {other}")
}

fn backup(error: &BackupError) -> Option<String> {
    match error {
        BackupError::Repository(error) => repository(error),
        BackupError::PlaceTaken(_) => {
            Some("name only one of them, or back them up one by one".to_owned())
        }
        BackupError::Nothing => Some("mrs-backup backup --help".to_owned()),
        BackupError::Source(_) => None,
    }
}

fn lock(error: &LockError) -> Option<String> {
    match error {
        LockError::Held { .. } => Some("wait for it: --lock-wait 15m".to_owned()),
        LockError::Io { .. } => Some("choose another directory with --state-dir DIR".to_owned()),
        LockError::Interrupted => None,
    }
}

pub(super) fn browse(error: &BrowseError) -> Option<String> {
    match error {
        BrowseError::Repository(error) => repository(error),
        BrowseError::NotFound { .. } | BrowseError::NotADirectory { .. } => {
            Some("mrs-backup ls SNAPSHOT, or mrs-backup find NAME".to_owned())
        }
        BrowseError::Pattern { .. } => None,
    }
}
