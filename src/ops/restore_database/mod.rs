//! A database out of a snapshot into a server: beside the live one, looked at, then into its place.

mod apply;
mod contents;
mod plan;
mod table;
mod undo;

use jiff::SignedDuration;

use crate::id::SnapshotId;
use crate::ops::browse::BrowseError;
use crate::repository::RepositoryError;
use crate::snapshot::DatabaseManifest;
use crate::source::archive::Toc;
use crate::target::postgres::{DatabaseError, Marked};

pub use apply::{DatabaseOutcome, Filling, Loaded, Replacing, apply, fill, load};
pub use contents::{Contents, Incoming};
pub use plan::{Offered, choose, plan, plan_of};
pub use table::{TablePlan, apply_table, plan_table};
pub use undo::{UndoPlan, drop_kept, expired, plan_undo, undo};

/// Choices of a database's restore.
#[derive(Debug, Clone, Default)]
pub struct DatabaseOptions {
    /// The database of the snapshot; `None`: the only one there is.
    pub database: Option<String>,
    /// Its name on the server; `None`: the same.
    pub rename: Option<String>,
    /// Somebody wrote the name of the database that is to be replaced.
    pub is_named: bool,
    /// Replace a database of a cluster that the snapshot was not taken from.
    pub other_cluster: bool,
    /// Sessions at once.
    pub workers: usize,
    /// How long the replaced database is kept.
    pub keep: SignedDuration,
    /// SQL that has to be true in the restored database.
    pub assertions: Vec<String>,
}

/// What a restore of a database will do.
#[derive(Debug)]
pub struct DatabasePlan {
    /// Which snapshot.
    pub id: SnapshotId,
    /// The database in it.
    pub manifest: DatabaseManifest,
    /// What is in its archive.
    pub toc: Toc,
    /// How.
    pub options: DatabaseOptions,
    /// Where the server is.
    pub server: String,
    /// Its version.
    pub server_version: String,
    /// The name the database gets.
    pub target: String,
    /// Bytes of the database that has it now.
    pub replaces: Option<u64>,
    /// Sessions that will be ended.
    pub sessions: u64,
    /// Tables that are streams of their own, their rows and bytes.
    pub tables: usize,
    /// Rows of those.
    pub rows: u64,
    /// Bytes to be read: tables and archive.
    pub bytes: u64,
    /// Roles to be made, which cannot log in.
    pub missing_roles: Vec<String>,
    /// Tablespaces the server does not have: what was in them goes into the default one.
    pub missing_tablespaces: Vec<String>,
    /// Bytes free on the server's disk, if known.
    pub free_bytes: Option<u64>,
    /// Bytes needed there.
    pub needed_bytes: u64,
    /// Left by restores that were killed; to be dropped.
    pub leftovers: Vec<String>,
    /// Databases put aside by earlier restores whose time is over; to be dropped.
    pub expired: Vec<Marked>,
}

/// Why a database was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreDatabaseError {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The path of the database.
    #[error(transparent)]
    Browse(#[from] BrowseError),
    /// The server, or what was saved.
    #[error(transparent)]
    Database(Box<DatabaseError>),
    /// No single database is meant.
    #[error("{0}")]
    Choice(String),
    /// The snapshot has the database, but not whole.
    #[error("database `{database}` is not whole in snapshot {snapshot}: {reason}")]
    Incomplete {
        /// Database.
        database: String,
        /// Snapshot, short.
        snapshot: String,
        /// Why.
        reason: String,
    },
    /// It failed, and what was half made is gone; the database that was there was not touched.
    #[error("{error}; database `{database}` is as it was")]
    Untouched {
        /// Database.
        database: String,
        /// Why.
        error: Box<DatabaseError>,
    },
    /// It failed, and what is half made is still there.
    #[error(
        "{error}; database `{database}` is as it was, but the half-made `{left}` could not be dropped ({reason}): the next restore drops it"
    )]
    Left {
        /// Database.
        database: String,
        /// Why.
        error: Box<DatabaseError>,
        /// What is left.
        left: String,
        /// Why it could not be dropped.
        reason: String,
    },
}

impl From<DatabaseError> for RestoreDatabaseError {
    fn from(error: DatabaseError) -> Self {
        Self::Database(Box::new(error))
    }
}
