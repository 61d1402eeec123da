//! What can go wrong with a source: before a stream (`SourceError`) and within it (`StreamError`).

use std::io;

use crate::postgres::ServerError;

/// Why a source gives no (further) stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The program cannot be started.
    #[error("cannot start `{program}`: {reason}; {way_out}")]
    Start {
        /// The program.
        program: String,
        /// In the system's words.
        reason: String,
        /// What to do.
        way_out: String,
    },
    /// The name cannot stand in a snapshot's tree.
    #[error(
        "`{name}` cannot be a path in a snapshot: {reason}; choose a name like `dump/data.sql`"
    )]
    Name {
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A database cannot be dumped.
    #[error("cannot {verb} database `{database}` ({server}): {reason}; {way_out}")]
    Database {
        /// What was tried.
        verb: &'static str,
        /// Name of the database.
        database: String,
        /// Where, without a password.
        server: String,
        /// In the program's words.
        reason: String,
        /// What to do.
        way_out: &'static str,
    },
    /// The programs are older than the server.
    #[error(
        "`{program}` is version {client}, but the server ({server}) is version {version}: an older pg_dump \
         cannot dump it; install postgresql-client-{major} and set `bin_dir` to its directory"
    )]
    OldProgram {
        /// Path of pg_dump.
        program: String,
        /// Its version.
        client: String,
        /// Where the server is.
        server: String,
        /// The server's version.
        version: String,
        /// The server's major version.
        major: u32,
    },
    /// The server cannot be reached, or a statement failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The settings contradict themselves.
    #[error("PostgreSQL settings: {reason}; {way_out}")]
    Settings {
        /// What is wrong.
        reason: String,
        /// What to do.
        way_out: &'static str,
    },
    /// Somebody asked to stop.
    #[error("`{program}` was not run to its end: stopped as asked")]
    Stopped {
        /// The program.
        program: String,
    },
}

/// Why a stream is not whole. Inside the [`io::Error`] of its reader.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Somebody asked to stop.
    #[error("`{program}` was stopped as asked: its output is not whole")]
    Stopped {
        /// The program.
        program: String,
    },
    /// It took longer than it may.
    #[error("`{program}` did not finish within {seconds} s and was ended")]
    TimedOut {
        /// The program.
        program: String,
        /// The limit.
        seconds: u64,
    },
    /// The program says that it failed.
    #[error("`{program}` failed ({status}): {message}")]
    Failed {
        /// The program.
        program: String,
        /// Exit code or signal.
        status: String,
        /// The end of what it wrote to standard error.
        message: String,
    },
    /// Its output or its state cannot be read.
    #[error("cannot read the output of `{program}`: {reason}")]
    Unreadable {
        /// The program.
        program: String,
        /// In the system's words.
        reason: String,
    },
    /// It ended well, but what it wrote is not a whole archive.
    #[error(
        "the dump is not a whole PostgreSQL archive: {0}; dump again, and keep this one only as a last resort"
    )]
    Archive(String),
}

impl StreamError {
    /// The stream error inside `error`, if there is one.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Whether `error` only says that somebody asked to stop.
    pub fn is_stop(error: &io::Error) -> bool {
        matches!(Self::of(error), Some(Self::Stopped { .. }))
    }
}

// Never `ErrorKind::Interrupted`: `read_to_end` and friends would try again for ever.
impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        Self::other(error)
    }
}
