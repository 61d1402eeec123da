//! What can go wrong with a database that is restored.

use crate::postgres::ServerError;
use crate::source::{SourceError, StreamError};

/// Why a database was not restored, proven or swapped.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The server cannot be reached, says no, or is not there any more.
    #[error(transparent)]
    Server(ServerError),
    /// One of PostgreSQL's programs failed.
    #[error("cannot {doing} ({server}): {reason}")]
    Program {
        /// What it was to do.
        doing: String,
        /// Where the server is.
        server: String,
        /// In the program's words.
        reason: String,
    },
    /// What was saved cannot be read.
    #[error("the {what} cannot be read from the repository: {reason}")]
    Read {
        /// `rows of table public.bill`, `archive of database mrs`.
        what: String,
        /// Why: names chunk and pack.
        reason: String,
    },
    /// Something arrived otherwise than the snapshot says.
    #[error("{what}: {reason}")]
    Differs {
        /// `table public.bill`.
        what: String,
        /// The difference.
        reason: String,
    },
    /// An assertion of the configuration does not hold.
    #[error("the assertion `{sql}` does not hold in database `{database}`: {reason}")]
    Assertion {
        /// Database.
        database: String,
        /// As configured.
        sql: String,
        /// What it gave.
        reason: String,
    },
    /// A name that is needed belongs to somebody else.
    #[error("{what} is in the way ({server}), and it was not made by a restore")]
    InTheWay {
        /// `database mrs__new`.
        what: String,
        /// Where.
        server: String,
    },
    /// Another restore of the same database is at work.
    #[error("another restore of database `{database}` is at work on {server}")]
    Busy {
        /// Database.
        database: String,
        /// Where.
        server: String,
    },
    /// The server has not enough room.
    #[error(
        "the disk of the server ({server}) has {free} bytes free, but database `{database}` needs {needed} beside the one that is there"
    )]
    NoSpace {
        /// Database.
        database: String,
        /// Where.
        server: String,
        /// Free bytes.
        free: u64,
        /// Needed bytes.
        needed: u64,
    },
    /// The server is older than the one the snapshot was taken from.
    #[error(
        "the server ({server}) is PostgreSQL {target}, the snapshot was taken from {source_version}: what a newer \
         server dumped does not load into an older one"
    )]
    OlderServer {
        /// Where.
        server: String,
        /// Its version.
        target: String,
        /// The snapshot's.
        source_version: String,
    },
    /// The programs do not fit the server or the archive.
    #[error("`{program}` is version {version}, {reason}")]
    WrongProgram {
        /// Path of `pg_restore`.
        program: String,
        /// Its version.
        version: String,
        /// Why not.
        reason: String,
    },
    /// A database of the cluster it was saved from would be replaced, and nobody named it.
    #[error(
        "database `{database}` of the cluster the snapshot was taken from ({server}) would be replaced, and it was not named"
    )]
    NotNamed {
        /// Database.
        database: String,
        /// Where.
        server: String,
    },
    /// It is another cluster than the snapshot's.
    #[error(
        "this is not the cluster the snapshot was taken from (system identifier {here}, not {source_id}; {server}), and \
         its database `{database}` would be replaced"
    )]
    OtherCluster {
        /// Database.
        database: String,
        /// Where.
        server: String,
        /// Identifier of this one.
        here: String,
        /// Identifier of the snapshot's.
        source_id: String,
    },
    /// Nothing to swap back, or no such database.
    #[error("{0}")]
    NotThere(String),
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Interrupted,
}

impl From<ServerError> for DatabaseError {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Stopped { .. } => Self::Interrupted,
            error => Self::Server(error),
        }
    }
}

impl DatabaseError {
    /// `error` of a program that was to do something.
    pub fn of_program(doing: &str, server: &str, error: SourceError) -> Self {
        match error {
            SourceError::Stopped { .. } => Self::Interrupted,
            error => Self::Program {
                doing: doing.to_owned(),
                server: server.to_owned(),
                reason: error.to_string(),
            },
        }
    }

    /// `error` of a running program.
    pub fn of_stream(doing: &str, server: &str, error: &StreamError) -> Self {
        match error {
            StreamError::Stopped { .. } => Self::Interrupted,
            error => Self::Program {
                doing: doing.to_owned(),
                server: server.to_owned(),
                reason: without_rows(&error.to_string()),
            },
        }
    }
}

/// What a program said, without the lines in which PostgreSQL quotes rows: data is not for logs.
fn without_rows(text: &str) -> String {
    let is_told = |line: &&str| !line.starts_with("DETAIL:") && !line.starts_with("CONTEXT:");
    text.split(" / ").filter(is_told).collect::<Vec<_>>().join(" / ")
}
