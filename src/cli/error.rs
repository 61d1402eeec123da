//! Errors of all layers, each with its exit code and the command to run next.
//!
//! The matches are exhaustive on purpose: a new error of a layer below does not compile until
//! somebody decided here how the program ends by it.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

use crate::clone::CloneError;
use crate::crypto::slot::SlotError;
use crate::deploy::DeployError;
use crate::history::HistoryError;
use crate::home::HomeError;
use crate::index::IndexError;
use crate::instance::config::{ConfigError, KeyError, KeySource, Setting};
use crate::instance::migrate::MigrateError;
use crate::instance::{LockError, MountError, RunError};
use crate::mount::MountFailure;
use crate::ops::backup::BackupError;
use crate::ops::browse::BrowseError;
use crate::ops::copy::CopyError;
use crate::ops::dump::DumpError;
use crate::ops::dump_database::DumpDatabaseError;
use crate::ops::import::ImportError;
use crate::ops::restore::RestoreError;
use crate::ops::restore_database::RestoreDatabaseError;
use crate::page::PageError;
use crate::report::clean;
use crate::repository::RepositoryError;
use crate::schedule::LedgerError;
use crate::snapshot::SelectError;
use crate::source::SourceError;
use crate::source::files::ExcludeError;
use crate::source::foreign::ForeignError;
use crate::status::KnownError;
use crate::store::{PlaceError, StoreError, StoreErrorKind};
use crate::target::postgres::DatabaseError;
use crate::target::scratch::ScratchError;

use super::exit::Exit;
use super::{database_error, deploy_error};

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Options that make no sense (together), or something that has to be given and is not.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Something looks so odd that nothing was removed.
    #[error("{message}")]
    Objected {
        /// What.
        message: String,
        /// What to do.
        hint: String,
    },
    /// Another scheduler is at work.
    #[error("another scheduler runs already{0}")]
    SchedulerRuns(String),
    /// The ledger of jobs cannot be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The history of runs cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Snapshots cannot be mounted.
    #[error(transparent)]
    MountFailure(#[from] MountFailure),
    /// There is no page.
    #[error(transparent)]
    Page(#[from] PageError),
    /// What was noted down of a repository cannot be read.
    #[error(transparent)]
    Known(#[from] KnownError),
    /// Reading or writing failed.
    #[error("cannot {doing}: {reason}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system says.
        reason: String,
    },
    /// Whoever reads our standard output has gone.
    #[error("standard output is closed")]
    ClosedPipe,
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Interrupted,
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A password or key cannot be had.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// What was given opens nothing.
    #[error("{error}")]
    WrongKey {
        /// What the repository says.
        error: RepositoryError,
        /// What was given, and who said so.
        given: Box<Setting<KeySource>>,
    },
    /// A location is none.
    #[error(transparent)]
    Location(#[from] PlaceError),
    /// The disk of the repository is not there.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// Somebody works on the instance.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// No home put back.
    #[error(transparent)]
    Home(Box<HomeError>),
    /// No snapshot.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// No configuration out of old scripts.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// Another program's repository.
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    /// Snapshots of another program's repository.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// No snapshot of an instance.
    #[error(transparent)]
    Run(#[from] RunError),
    /// No restore.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// No restore of a database.
    #[error(transparent)]
    RestoreDatabase(Box<RestoreDatabaseError>),
    /// A database.
    #[error(transparent)]
    Database(Box<DatabaseError>),
    /// No throw-away server.
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    /// No single snapshot is meant.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// A path in a snapshot.
    #[error(transparent)]
    Browse(#[from] BrowseError),
    /// A file in a snapshot.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// A database for PostgreSQL's programs.
    #[error(transparent)]
    DumpDatabase(#[from] DumpDatabaseError),
    /// A copy was not brought up to date.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A deployment that did not take place.
    #[error(transparent)]
    Deploy(Box<DeployError>),
    /// No anonymized copy.
    #[error(transparent)]
    Clone(#[from] CloneError),
    /// A source cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A pattern is none.
    #[error(transparent)]
    Exclude(#[from] ExcludeError),
    /// The disk has no room for an index, a lock or the like.
    #[error("cannot make the state directory {}: {reason}", path.display())]
    StateDir {
        /// Which.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
}

impl From<RestoreDatabaseError> for CliError {
    fn from(error: RestoreDatabaseError) -> Self {
        Self::RestoreDatabase(Box::new(error))
    }
}

impl From<DeployError> for CliError {
    fn from(error: DeployError) -> Self {
        Self::Deploy(Box::new(error))
    }
}

impl From<DatabaseError> for CliError {
    fn from(error: DatabaseError) -> Self {
        Self::Database(Box::new(error))
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        Self::Repository(error.into())
    }
}

impl From<IndexError> for CliError {
    fn from(error: IndexError) -> Self {
        Self::Repository(error.into())
    }
}

impl CliError {
    /// A repository was not opened with what `given` leads to. Without it somebody typed a password.
    pub fn opening(error: RepositoryError, given: Option<&Setting<KeySource>>) -> Self {
        match given {
            Some(given) if repository_exit(&error) == Exit::WrongPassword => {
                Self::WrongKey { error, given: Box::new(given.clone()) }
            }
            _ => Self::Repository(error),
        }
    }

    /// It was asked wrongly.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
    }

    /// It was asked wrongly, and `hint` is what to do.
    pub fn usage_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: Some(hint.into()) }
    }

    /// Reading or writing failed.
    pub fn io(doing: impl Into<String>, error: &dyn Display) -> Self {
        Self::Io { doing: doing.into(), reason: error.to_string() }
    }

    /// Writing to standard output failed.
    pub fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::io("write to standard output", &error),
        }
    }

    /// The message, on one line, with the causes that are not in it yet.
    pub fn message(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let message = error.to_string();
            if !text.contains(&message) {
                text = format!("{text}: {message}");
            }
            cause = error.source();
        }
        clean(&text.replace('\n', "; "))
    }

    /// How the program ends by it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. }
            | Self::Config(_)
            | Self::Key(_)
            | Self::Location(_)
            | Self::Migrate(_)
            | Self::Exclude(_) => Exit::Usage,
            Self::Objected { .. }
            | Self::Ledger(_)
            | Self::History(_)
            | Self::Known(_)
            | Self::Page(_)
            | Self::MountFailure(_)
            | Self::Io { .. }
            | Self::Mount(_)
            | Self::StateDir { .. } => Exit::Failed,
            Self::ClosedPipe => Exit::Ok,
            Self::Interrupted => Exit::Interrupted,
            Self::Foreign(error) | Self::Import(ImportError::Foreign(error)) => foreign_exit(error),
            Self::Repository(error)
            | Self::WrongKey { error, .. }
            | Self::Import(ImportError::Repository(error)) => repository_exit(error),
            Self::SchedulerRuns(_) => Exit::Locked,
            Self::Lock(error) => lock_exit(error),
            Self::Backup(error) => backup_exit(error),
            Self::Run(error) => run_exit(error),
            Self::Restore(error) => restore_exit(error),
            Self::Home(error) => super::home_error::exit(error),
            Self::Select(SelectError::None { .. } | SelectError::Empty { .. }) => Exit::Failed,
            Self::Select(SelectError::Ambiguous { .. }) => Exit::Usage,
            Self::Browse(error) => browse_exit(error),
            Self::Dump(DumpError::Browse(error)) => browse_exit(error),
            Self::Dump(DumpError::Output { error, .. }) => match error.kind() {
                io::ErrorKind::BrokenPipe => Exit::Ok,
                _ => Exit::Failed,
            },
            Self::Dump(DumpError::NotAFile { .. }) => Exit::Usage,
            Self::DumpDatabase(DumpDatabaseError::Browse(error)) => browse_exit(error),
            Self::DumpDatabase(DumpDatabaseError::NotWhole { .. }) => Exit::Incomplete,
            Self::DumpDatabase(_) => Exit::Failed,
            Self::Copy(CopyError::Repository(error))
                if repository_exit(error) == Exit::Interrupted =>
            {
                Exit::Interrupted
            }
            Self::Copy(_) => Exit::CopyFailed,
            Self::Deploy(error) => deploy_error::exit(error),
            Self::Source(error) => source_exit(error),
            Self::RestoreDatabase(error) => database_error::restore_exit(error),
            Self::Database(error) => database_error::database_exit(error),
            Self::Scratch(error) => database_error::scratch_exit(error),
            Self::Clone(error) => clone_exit(error),
        }
    }

    /// Whether the local index was found damaged: the next to open it makes it anew.
    pub fn is_damaged_index(&self) -> bool {
        let error = match self {
            Self::Repository(error)
            | Self::Backup(BackupError::Repository(error))
            | Self::Run(RunError::Backup(BackupError::Repository(error)))
            | Self::Copy(CopyError::Repository(error)) => error,
            _ => return false,
        };
        matches!(error, RepositoryError::Index(error) if error.is_damage)
    }

    /// The command to run next, or what else to do.
    pub fn hint(&self) -> Option<String> {
        super::hint::of(self)
    }
}

pub(super) fn repository_exit(error: &RepositoryError) -> Exit {
    use RepositoryError as E;
    match error {
        E::NoRepository { .. } | E::Restic { .. } => Exit::NoRepository,
        E::WrongPassword { .. } | E::OtherCredential { .. } => Exit::WrongPassword,
        E::Interrupted => Exit::Interrupted,
        E::Store(error) if error.kind == StoreErrorKind::Interrupted => Exit::Interrupted,
        E::Slot(SlotError::ShortKeyFile { .. } | SlotError::OutOfBounds { .. }) => Exit::Usage,
        E::Slot(
            SlotError::Malformed(_)
            | SlotError::NoMemory { .. }
            | SlotError::OtherRepository
            | SlotError::Damaged,
        ) => Exit::Failed,
        E::Slot(SlotError::WrongPassword | SlotError::OtherCredential) => Exit::WrongPassword,
        E::Store(_)
        | E::Index(_)
        | E::NotEmpty { .. }
        | E::UnknownVersion { .. }
        | E::NoKeySlot { .. }
        | E::NewerKeys { .. }
        | E::OtherRepository { .. }
        | E::Damaged { .. }
        | E::MissingChunk { .. }
        | E::UnreadableChunk { .. }
        | E::UnreadableSegment { .. }
        | E::DamagedTree { .. }
        | E::Seal(_)
        | E::Envelope(_)
        | E::SessionExpired
        | E::ChunksLost { .. }
        | E::Unprunable { .. }
        | E::Internal(_) => Exit::Failed,
    }
}

const fn foreign_exit(error: &ForeignError) -> Exit {
    match error {
        ForeignError::WrongPassword { .. } => Exit::WrongPassword,
        ForeignError::Unreadable { .. } => Exit::Failed,
    }
}

fn clone_exit(error: &CloneError) -> Exit {
    match error {
        CloneError::Rules(_) => Exit::Usage,
        CloneError::Refused(_) | CloneError::Leak(_) | CloneError::Trouble(_) => Exit::CloneRefused,
        CloneError::Repository(error) => repository_exit(error),
        CloneError::Browse(error) => browse_exit(error),
        CloneError::Restore(error) => database_error::restore_exit(error),
        CloneError::Database(error) => database_error::database_exit(error),
        CloneError::Remote { is_refused: true, .. } => Exit::CloneRefused,
        CloneError::Interrupted => Exit::Interrupted,
        CloneError::After { .. }
        | CloneError::Io { .. }
        | CloneError::Line(_)
        | CloneError::Remote { .. } => Exit::Failed,
    }
}

fn lock_exit(error: &LockError) -> Exit {
    match error {
        LockError::Held { .. } => Exit::Locked,
        LockError::Io { .. } => Exit::Failed,
        LockError::Interrupted => Exit::Interrupted,
    }
}

fn backup_exit(error: &BackupError) -> Exit {
    match error {
        BackupError::Repository(error) => repository_exit(error),
        BackupError::Source(_) => Exit::Failed,
        BackupError::PlaceTaken(_) | BackupError::Nothing => Exit::Usage,
    }
}

pub(super) fn run_exit(error: &RunError) -> Exit {
    match error {
        RunError::Lock(error) => lock_exit(error),
        RunError::Backup(error) => backup_exit(error),
        RunError::Exclude(_) | RunError::Key(_) => Exit::Usage,
        RunError::Source(error) => source_exit(error),
        RunError::Server(error) => database_error::server_exit(error),
        RunError::NoRoom { .. } | RunError::NothingThere { .. } => Exit::Failed,
    }
}

pub(super) fn restore_exit(error: &RestoreError) -> Exit {
    match error {
        RestoreError::Repository(error) => repository_exit(error),
        RestoreError::Pattern(_) => Exit::Usage,
        RestoreError::Target(_)
        | RestoreError::NotFound(_)
        | RestoreError::NothingFits(_)
        | RestoreError::NotADirectory(_)
        | RestoreError::NoSpace { .. } => Exit::Failed,
    }
}

pub(super) fn browse_exit(error: &BrowseError) -> Exit {
    match error {
        BrowseError::Repository(error) => repository_exit(error),
        BrowseError::Pattern { .. } => Exit::Usage,
        BrowseError::NotFound { .. } | BrowseError::NotADirectory { .. } => Exit::Failed,
    }
}

fn source_exit(error: &SourceError) -> Exit {
    match error {
        SourceError::Name { .. } | SourceError::Settings { .. } => Exit::Usage,
        SourceError::Start { .. }
        | SourceError::Database { .. }
        | SourceError::OldProgram { .. } => Exit::Failed,
        SourceError::Stopped { .. } => Exit::Interrupted,
        SourceError::Server(error) => database_error::server_exit(error),
    }
}
