//! The file: how it is opened, what is in it, and when it is put aside.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::id::RepositoryId;

use super::db::{Database, Failure};
use super::store::Opened;

/// Name of the file. Another layout gets another name, so that versions side by side do not fight.
const FILE: &str = "index-v1.sqlite";
const LOCK: &str = "index-v1.lock";
/// Lies beside a file in which damage was met.
const DAMAGED: &str = "index-v1.damaged";
/// `MRSB`.
const APPLICATION: i64 = 0x4d52_5342;
const VERSION: i64 = 2;
/// Another process may load a whole index in one transaction.
const PATIENCE: Duration = Duration::from_secs(30);
const PAGE: i64 = 4096;
const READERS: usize = 3;
const WRITER_CACHE_KIB: i64 = 16 * 1024;
const READER_CACHE_KIB: i64 = 8 * 1024;

/// Segments of one pack have consecutive numbers (`first_segment` and on), which saves an index.
///
/// `lookup` and `recent` find segments by the first six bytes of the id of the segment or of a chunk
/// in it; whoever asks compares the whole id in `segment`. New rows go to `recent`, which is small
/// enough to stay cached, and are merged into `lookup` in order once they are many: ids are random, so
/// a transaction that inserted into `lookup` itself would rewrite most of its pages.
///
/// A segment with `features` is found by each of its super-features, too: they are keys like the others.
/// `segment.chunks` is 36 bytes a chunk, id and u32 length; NULL where the segment is one chunk of its own id.
/// A row of `part` has the number `directory * 2^20 + part`.
const TABLES: &str = "
CREATE TABLE meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    repository BLOB NOT NULL,
    loss_generation INTEGER NOT NULL,
    lookup_rows INTEGER NOT NULL,
    recent_rows INTEGER NOT NULL
) STRICT;
CREATE TABLE object (no INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE) STRICT;
CREATE TABLE pack (
    no INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    class INTEGER NOT NULL,
    size INTEGER NOT NULL,
    key INTEGER NOT NULL,
    present INTEGER NOT NULL,
    condemned INTEGER NOT NULL,
    pending BLOB,
    first_segment INTEGER NOT NULL,
    segments INTEGER NOT NULL,
    chunks INTEGER NOT NULL,
    raw_bytes INTEGER NOT NULL
) STRICT;
CREATE TABLE object_pack (
    pack INTEGER NOT NULL, object INTEGER NOT NULL, PRIMARY KEY (pack, object)
) STRICT, WITHOUT ROWID;
CREATE INDEX object_pack_object ON object_pack (object);
CREATE TABLE segment (
    no INTEGER PRIMARY KEY,
    pack INTEGER NOT NULL,
    id BLOB NOT NULL,
    offset INTEGER NOT NULL,
    sealed_len INTEGER NOT NULL,
    raw_len INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    key INTEGER NOT NULL,
    base BLOB,
    features BLOB,
    chunks BLOB
) STRICT;
CREATE TABLE lookup (
    key INTEGER NOT NULL, segment INTEGER NOT NULL, PRIMARY KEY (key, segment)
) STRICT, WITHOUT ROWID;
CREATE TABLE recent (
    key INTEGER NOT NULL, segment INTEGER NOT NULL, PRIMARY KEY (key, segment)
) STRICT, WITHOUT ROWID;
CREATE TABLE seen (
    id BLOB NOT NULL PRIMARY KEY, instance TEXT NOT NULL, counter INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE root (no INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE directory (
    no INTEGER PRIMARY KEY,
    root INTEGER NOT NULL,
    stage INTEGER NOT NULL,
    path BLOB NOT NULL,
    generation INTEGER NOT NULL,
    parts INTEGER NOT NULL,
    UNIQUE (root, stage, path)
) STRICT;
CREATE TABLE part (no INTEGER PRIMARY KEY, files BLOB NOT NULL) STRICT;
";
const TABLE_COUNT: i64 = 11;

/// What a file turned out to be.
enum Found {
    Empty,
    Ours,
    Unusable,
}

/// Opens or makes the database in `directory`.
pub(super) fn open(
    directory: &Path,
    repository: RepositoryId,
) -> Result<(Database, Opened), Failure> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let path = directory.join(FILE);
    let lock = private_file(&directory.join(LOCK))?;
    // Alone: then a useless file may be moved away. Otherwise somebody has it open.
    let is_alone = lock.try_lock().is_ok();
    if !is_alone {
        share(&lock)?;
    }
    let mut opened = Opened::default();
    private_file(&path)?;
    let mut found = inspect(&path, repository)?;
    let mark = directory.join(DAMAGED);
    if is_alone && mark.exists() {
        found = Found::Unusable;
    }
    if matches!(found, Found::Unusable) {
        if !is_alone {
            return Err(Failure::Refused(
                "it is damaged, of another repository or of a newer version, and another process has it open"
                    .into(),
            ));
        }
        opened.set_aside = Some(set_aside(&path)?);
        private_file(&path)?;
        found = Found::Empty;
        match std::fs::remove_file(&mark) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    let mut writer = connect(&path, WRITER_CACHE_KIB)?;
    if matches!(found, Found::Empty) {
        opened.is_new = create(&mut writer, repository)?;
    }
    let mut readers = Vec::with_capacity(READERS);
    for _ in 0..READERS {
        let reader = connect(&path, READER_CACHE_KIB)?;
        reader.pragma_update(None, "query_only", true)?;
        readers.push(reader);
    }
    if is_alone {
        share(&lock)?;
    }
    Ok((Database::new(path, writer, readers, Some(lock)), opened))
}

/// A database in memory.
pub(super) fn in_memory(repository: RepositoryId) -> Result<Database, Failure> {
    let mut connection = Connection::open_in_memory()?;
    configure(&connection, WRITER_CACHE_KIB)?;
    create(&mut connection, repository)?;
    Ok(Database::new(PathBuf::from(":memory:"), connection, Vec::new(), None))
}

/// Holds the lock together with others. A file system without locks does without.
fn share(lock: &File) -> Result<(), Failure> {
    match lock.lock_shared() {
        Err(error) if error.kind() != std::io::ErrorKind::Unsupported => Err(error.into()),
        _ => Ok(()),
    }
}

/// Makes the file for its owner alone, before SQLite writes to it; `-wal` and `-shm` get the same mode.
pub(super) fn private_file(path: &Path) -> Result<File, Failure> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

fn connect(path: &Path, cache_kib: i64) -> Result<Connection, Failure> {
    let connection = plainly(path)?;
    connection.pragma_update(None, "page_size", PAGE)?;
    // On file systems without shared memory this stays another mode, which works as well.
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    configure(&connection, cache_kib)?;
    Ok(connection)
}

pub(super) fn plainly(path: &Path) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}

fn configure(connection: &Connection, cache_kib: i64) -> Result<(), Failure> {
    // The last transactions may be lost with the power, the file stays whole. That is enough for a
    // cache: what was lost is read again from the repository.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    // Otherwise SQLite writes journals of large statements, and with them names, to /var/tmp.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "wal_autocheckpoint", 4096)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // The file may be damaged or somebody else's.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // Otherwise SQLite prepares a statement again whenever a bound value might change its plan, which made
    // lookups thirty times slower. The plans here are the same for all values.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Makes the tables; false if another process was faster.
fn create(connection: &mut Connection, repository: RepositoryId) -> Result<bool, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match look(&transaction, repository)? {
        Found::Ours => return Ok(false),
        Found::Unusable => {
            return Err(Failure::Refused("another process made another file".into()));
        }
        Found::Empty => {}
    }
    transaction.execute_batch(TABLES)?;
    transaction.execute("INSERT INTO meta VALUES (1, ?1, 1, 0, 0)", [repository.as_bytes()])?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(true)
}

fn inspect(path: &Path, repository: RepositoryId) -> Result<Found, Failure> {
    let connection = plainly(path)?;
    match look(&connection, repository) {
        Err(failure) if failure.is_damage() => Ok(Found::Unusable),
        other => other,
    }
}

/// Cheap on purpose: reading through a file of gigabytes at each start would cost more than loading it
/// again. Damage further in is met when it is read.
fn look(connection: &Connection, repository: RepositoryId) -> Result<Found, Failure> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let application = number("PRAGMA application_id")?;
    let version = number("PRAGMA user_version")?;
    let tables = number(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    )?;
    if (application, version, tables) == (0, 0, 0) {
        return Ok(Found::Empty);
    }
    if (application, version, tables) != (APPLICATION, VERSION, TABLE_COUNT) {
        return Ok(Found::Unusable);
    }
    let stored: Vec<u8> =
        connection.query_row("SELECT repository FROM meta", [], |row| row.get(0))?;
    Ok(if stored == repository.as_bytes() { Found::Ours } else { Found::Unusable })
}

/// Notes that the database at `path` is damaged inside: whoever opens it next, alone, makes it anew.
pub(super) fn mark_damaged(path: &Path) {
    let Some(directory) = path.parent().filter(|_| path.exists()) else { return };
    // If that cannot be written either, `index rebuild` is left.
    let _ = private_file(&directory.join(DAMAGED));
}

/// Moves the file in `directory` away, if nobody has it open.
pub(super) fn set_aside_alone(directory: &Path) -> Result<PathBuf, Failure> {
    let lock = private_file(&directory.join(LOCK))?;
    if lock.try_lock().is_err() {
        return Err(Failure::Refused("another process has it open".into()));
    }
    set_aside(&directory.join(FILE))
}

/// Moves the file away under a name nothing has yet.
fn set_aside(path: &Path) -> Result<PathBuf, Failure> {
    let sibling = |suffix: String| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let mut free = (1_u32..).map(|n| (n, sibling(format!(".set-aside-{n}"))));
    let Some((n, target)) = free.find(|(_, name)| name.symlink_metadata().is_err()) else {
        return Err(Failure::Refused("no name is left to set it aside under".into()));
    };
    std::fs::rename(path, &target)?;
    for suffix in ["-wal", "-shm"] {
        let companion = sibling(suffix.into());
        if companion.symlink_metadata().is_ok() {
            std::fs::rename(companion, sibling(format!(".set-aside-{n}{suffix}")))?;
        }
    }
    Ok(target)
}
