//! Connections, transactions and what can go wrong with them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use rusqlite::{Connection, ErrorCode, Row, Transaction, TransactionBehavior};

/// Why something with the database did not work.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite says so.
    Sqlite(rusqlite::Error),
    /// The file system says so.
    Io(std::io::Error),
    /// A row holds what was never written there.
    Damaged(&'static str),
    /// It cannot be done.
    Refused(String),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl Failure {
    /// Whether the file's content is to blame, so that making it again helps.
    pub(super) fn is_damage(&self) -> bool {
        use rusqlite::Error as E;
        match self {
            Self::Damaged(_) => true,
            Self::Sqlite(error) => {
                matches!(
                    error.sqlite_error_code(),
                    Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
                ) || matches!(
                    error,
                    E::InvalidColumnType(..)
                        | E::IntegralValueOutOfRange(..)
                        | E::FromSqlConversionFailure(..)
                        | E::Utf8Error(..)
                        | E::QueryReturnedNoRows
                )
            }
            Self::Io(_) | Self::Refused(_) => false,
        }
    }

    /// For people.
    pub(super) fn reason(&self) -> String {
        let what = match self {
            Self::Sqlite(error) => error.to_string(),
            Self::Io(error) => error.to_string(),
            Self::Damaged(what) => format!("damaged: {what}"),
            Self::Refused(why) => why.clone(),
        };
        if self.is_damage() {
            format!(
                "{what}. It is only a cache: the next command makes it again from the repository, as does `mrs-backup index rebuild`"
            )
        } else {
            what
        }
    }
}

/// The connections to one database.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    writer: Mutex<Connection>,
    /// Empty where the database lives in memory: then the writer reads as well.
    readers: Vec<Mutex<Connection>>,
    turn: AtomicUsize,
    /// Held shared for as long as the file is open, so that nobody moves it away meanwhile.
    _lock: Option<File>,
}

/// A lock whatever became of the thread that held it last: a transaction it left was rolled back.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Database {
    pub(super) fn new(
        path: PathBuf,
        writer: Connection,
        readers: Vec<Connection>,
        lock: Option<File>,
    ) -> Self {
        Self {
            path,
            writer: Mutex::new(writer),
            readers: readers.into_iter().map(Mutex::new).collect(),
            turn: AtomicUsize::new(0),
            _lock: lock,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads. What was committed before is seen, whichever connection committed it.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        work(&self.free_reader())
    }

    /// Reads with all statements seeing one state. Cheaper than [`Self::read`] for many of them.
    pub(super) fn read_together<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut connection = self.free_reader();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
        work(&transaction)
    }

    /// Writes, all or nothing.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut connection = lock(&self.writer);
        // Immediate: a transaction that starts by reading and writes later cannot wait for another
        // writer, it can only fail.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = work(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    fn free_reader(&self) -> MutexGuard<'_, Connection> {
        for reader in &self.readers {
            match reader.try_lock() {
                Ok(guard) => return guard,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let chosen = turn.checked_rem(self.readers.len()).and_then(|n| self.readers.get(n));
        lock(chosen.unwrap_or(&self.writer))
    }
}

/// The bytes in a column.
pub(super) fn bytes<'row>(
    row: &'row Row<'_>,
    column: usize,
    what: &'static str,
) -> Result<&'row [u8], Failure> {
    row.get_ref(column)?.as_blob().map_err(|_| Failure::Damaged(what))
}

/// The bytes in a column, or nothing.
pub(super) fn bytes_or_none<'row>(
    row: &'row Row<'_>,
    column: usize,
    what: &'static str,
) -> Result<Option<&'row [u8]>, Failure> {
    row.get_ref(column)?.as_blob_or_null().map_err(|_| Failure::Damaged(what))
}

/// What was read, unless it cannot be.
pub(super) fn valid<T>(read: Option<T>, what: &'static str) -> Result<T, Failure> {
    read.ok_or(Failure::Damaged(what))
}

/// A number as SQLite has them.
pub(super) fn to_sql(number: u64) -> Result<i64, Failure> {
    i64::try_from(number)
        .map_err(|_| Failure::Refused(format!("{number} is more than the index can hold")))
}

/// A number that was never negative.
pub(super) fn from_sql(number: i64, what: &'static str) -> Result<u64, Failure> {
    u64::try_from(number).map_err(|_| Failure::Damaged(what))
}
