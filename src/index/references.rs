//! What tree chunks refer to, remembered between prunes: reading only the trees that are new is what makes
//! marking cheap. A cache in a file of its own; it may be deleted at any time.
//!
//! A row that lacks a reference would let a prune delete what is needed. So every row carries a checksum, and
//! one that is damaged counts as not there.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use crate::id::ChunkId;

use super::db::{Failure, bytes};
use super::store::{Index, IndexError, error};

const FILE: &str = "references-v1.sqlite";
const CACHE_KIB: i64 = 8 * 1024;
/// Rows written together.
const BATCH: usize = 512;
/// Numbers are never used twice: a row of another process must not pass for one that was met.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS tree (
    no INTEGER PRIMARY KEY AUTOINCREMENT,
    key BLOB NOT NULL UNIQUE,
    sum BLOB NOT NULL,
    children BLOB NOT NULL,
    chunks BLOB NOT NULL
) STRICT;";

/// How the bytes of a tree chunk are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TreeRole {
    /// Nodes of a directory.
    Nodes,
    /// A list of chunks; `depth` 1 lists the stream itself.
    List {
        /// Levels below it, 1 to 8.
        depth: u8,
        /// Whether the stream is a directory.
        of_directory: bool,
    },
}

/// A tree chunk and how it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TreeChunk {
    /// Which.
    pub id: ChunkId,
    /// Its length in bytes.
    pub len: u32,
    /// How it is read.
    pub role: TreeRole,
}

/// Twelve bytes of an id: two of a billion chunks share them with a probability of 10⁻¹¹.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortId([u8; ShortId::SIZE]);

impl ShortId {
    /// Length in bytes.
    pub const SIZE: usize = 12;

    /// Of an id.
    pub fn of(id: &[u8; 32]) -> Self {
        let mut short = [0; Self::SIZE];
        short.copy_from_slice(&id[..Self::SIZE]);
        Self(short)
    }

    /// The first four bytes, as a number that grows with the id.
    pub const fn prefix(&self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// The first eight digits of the id, for people.
    pub fn digits(&self) -> String {
        crate::id::to_hex(&self.0[..4])
    }
}

/// What one tree chunk refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Referenced {
    /// Further tree chunks.
    pub children: Vec<TreeChunk>,
    /// Chunks of files.
    pub chunks: Vec<ShortId>,
}

const KEY_LEN: usize = ChunkId::SIZE + 1;
const CHILD_LEN: usize = KEY_LEN + 4;
type Key = [u8; KEY_LEN];

impl TreeChunk {
    fn key(&self) -> Key {
        let mut key = [0; KEY_LEN];
        key[..ChunkId::SIZE].copy_from_slice(self.id.as_bytes());
        key[ChunkId::SIZE] = match self.role {
            TreeRole::Nodes => 0,
            TreeRole::List { depth, of_directory } => depth << 1 | u8::from(of_directory),
        };
        key
    }

    fn from_child(child: &[u8; CHILD_LEN]) -> Option<Self> {
        let (id, rest) = child.split_first_chunk::<{ ChunkId::SIZE }>()?;
        let (role, len) = rest.split_first()?;
        let role = match role {
            0 => TreeRole::Nodes,
            role => TreeRole::List { depth: role >> 1, of_directory: role & 1 == 1 },
        };
        Some(Self { id: ChunkId::new(*id), len: u32::from_le_bytes(len.try_into().ok()?), role })
    }
}

/// The cache, and which of its rows were met.
#[derive(Debug)]
pub struct References {
    connection: Connection,
    /// Rows met in this walk that are not written yet.
    pending: HashMap<Key, Referenced>,
    /// A bit for each row met.
    met: Vec<u64>,
    path: std::path::PathBuf,
}

/// What the cache knows of a tree chunk.
#[derive(Debug, PartialEq, Eq)]
pub enum Recalled {
    /// It was met before in this walk.
    Met,
    /// What it refers to.
    Known(Referenced),
    /// Nothing: it must be read.
    Unknown,
}

impl Index {
    /// Opens the cache beside the index. One that is damaged is made anew.
    pub fn references(&self) -> Result<References, IndexError> {
        let database = self.path();
        let path = match database.parent() {
            Some(directory) if database.exists() => directory.join(FILE),
            _ => ":memory:".into(),
        };
        let opened = open(&path).or_else(|failure| {
            if failure.is_damage() && path.exists() {
                remove(&path)?;
                return open(&path);
            }
            Err(failure)
        });
        let connection = opened.map_err(|failure| error(&path, "opening it", &failure))?;
        Ok(References { connection, pending: HashMap::new(), met: Vec::new(), path })
    }
}

fn open(path: &Path) -> Result<Connection, Failure> {
    let connection = if path.as_os_str() == ":memory:" {
        Connection::open_in_memory()?
    } else {
        super::schema::private_file(path)?;
        super::schema::plainly(path)?
    };
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.execute_batch(TABLES)?;
    // Fails here if the table is somebody else's.
    connection.prepare("SELECT no, key, sum, children, chunks FROM tree LIMIT 1")?;
    Ok(connection)
}

pub(super) fn remove(path: &Path) -> Result<(), Failure> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

impl References {
    /// What is known of `tree`; from now on it counts as met.
    pub fn recall(&mut self, tree: &TreeChunk) -> Result<Recalled, IndexError> {
        let key = tree.key();
        if self.pending.contains_key(&key) {
            return Ok(Recalled::Met);
        }
        let found = read_row(&self.connection, &key);
        let found = match found {
            // Whatever is wrong with a cache, the tree itself can be read.
            Err(failure) if failure.is_damage() => None,
            other => other.map_err(|failure| self.error("recalling a tree", &failure))?,
        };
        let Some((number, row)) = found else { return Ok(Recalled::Unknown) };
        if !self.meet(number) {
            return Ok(Recalled::Met);
        }
        match row {
            Some(row) => Ok(Recalled::Known(row)),
            None => {
                self.connection
                    .execute("DELETE FROM tree WHERE no = ?1", [number])
                    .map_err(|failure| self.error("dropping a damaged row", &failure.into()))?;
                Ok(Recalled::Unknown)
            }
        }
    }

    /// Remembers what `tree` refers to.
    pub fn remember(&mut self, tree: &TreeChunk, row: Referenced) -> Result<(), IndexError> {
        self.pending.insert(tree.key(), row);
        if self.pending.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    /// Writes what was remembered. Rows not met since the opening go: nothing refers to them any more.
    pub fn finish(mut self) -> Result<(), IndexError> {
        self.flush()?;
        self.drop_unmet().map_err(|failure| self.error("dropping old trees", &failure))
    }

    /// Writes what was remembered.
    pub fn flush(&mut self) -> Result<(), IndexError> {
        let pending = std::mem::take(&mut self.pending);
        let written = write_rows(&mut self.connection, &pending)
            .map_err(|failure| self.error("remembering trees", &failure))?;
        for number in written {
            self.meet(number);
        }
        Ok(())
    }

    /// Whether the row was not met before.
    fn meet(&mut self, number: i64) -> bool {
        let number = usize::try_from(number).unwrap_or(0);
        let (word, bit) = (number / 64, 1_u64 << (number % 64));
        if self.met.len() <= word {
            self.met.resize(word + 1, 0);
        }
        let is_new = self.met[word] & bit == 0;
        self.met[word] |= bit;
        is_new
    }

    fn drop_unmet(&mut self) -> Result<(), Failure> {
        let met = &self.met;
        let is_met = |number: i64| {
            let number = usize::try_from(number).unwrap_or(0);
            met.get(number / 64).is_some_and(|word| word & 1 << (number % 64) != 0)
        };
        let transaction = self.connection.transaction()?;
        {
            let mut select = transaction.prepare("SELECT no FROM tree")?;
            let mut rows = select.query([])?;
            let mut unmet = Vec::new();
            while let Some(row) = rows.next()? {
                let number = row.get(0)?;
                if !is_met(number) {
                    unmet.push(number);
                }
            }
            let mut delete = transaction.prepare("DELETE FROM tree WHERE no = ?1")?;
            for number in unmet {
                delete.execute([number])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn error(&self, doing: &'static str, failure: &Failure) -> IndexError {
        error(&self.path, doing, failure)
    }
}

/// Number and content of a row; no content if it is damaged.
fn read_row(
    connection: &Connection,
    key: &Key,
) -> Result<Option<(i64, Option<Referenced>)>, Failure> {
    let mut statement =
        connection.prepare_cached("SELECT no, sum, children, chunks FROM tree WHERE key = ?1")?;
    let mut rows = statement.query([key.as_slice()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (children, chunks) =
        (bytes(row, 2, "children of a tree")?, bytes(row, 3, "chunks of a tree")?);
    let is_whole = bytes(row, 1, "checksum of a tree")? == checksum(key, children, chunks);
    let content = is_whole.then(|| decode(children, chunks)).flatten();
    Ok(Some((row.get(0)?, content)))
}

fn decode(children: &[u8], chunks: &[u8]) -> Option<Referenced> {
    let (children, rest) = children.as_chunks::<CHILD_LEN>();
    let (chunks, more) = chunks.as_chunks::<{ ShortId::SIZE }>();
    if !rest.is_empty() || !more.is_empty() {
        return None;
    }
    let children = children.iter().map(TreeChunk::from_child).collect::<Option<_>>()?;
    Some(Referenced { children, chunks: chunks.iter().map(|chunk| ShortId(*chunk)).collect() })
}

fn checksum(key: &Key, children: &[u8], chunks: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(key).update(&(children.len() as u64).to_le_bytes());
    hasher.update(children).update(chunks);
    let mut sum = [0; 16];
    hasher.finalize_xof().fill(&mut sum);
    sum
}

/// Gives the numbers of the rows.
fn write_rows(
    connection: &mut Connection,
    pending: &HashMap<Key, Referenced>,
) -> Result<Vec<i64>, Failure> {
    let transaction = connection.transaction()?;
    let mut numbers = Vec::with_capacity(pending.len());
    {
        // Another prune of this machine may have written the same row.
        let mut find = transaction.prepare_cached("SELECT no FROM tree WHERE key = ?1")?;
        let mut insert = transaction.prepare_cached(
            "INSERT INTO tree (key, sum, children, chunks) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for (key, row) in pending {
            let known: Option<i64> =
                find.query_row([key.as_slice()], |row| row.get(0)).optional()?;
            if let Some(number) = known {
                numbers.push(number);
                continue;
            }
            let mut children = Vec::with_capacity(row.children.len() * CHILD_LEN);
            for child in &row.children {
                children.extend_from_slice(&child.key());
                children.extend_from_slice(&child.len.to_le_bytes());
            }
            let chunks: Vec<u8> = row.chunks.iter().flat_map(|chunk| chunk.0).collect();
            let sum = checksum(key, &children, &chunks);
            insert.execute(params![key.as_slice(), sum.as_slice(), children, chunks])?;
            numbers.push(transaction.last_insert_rowid());
        }
    }
    transaction.commit()?;
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RepositoryId;

    fn tree(n: u8, role: TreeRole) -> TreeChunk {
        TreeChunk { id: ChunkId::new([n; 32]), len: 100 + u32::from(n), role }
    }

    fn row(n: u8) -> Referenced {
        Referenced {
            children: vec![
                tree(n + 1, TreeRole::Nodes),
                tree(n + 2, TreeRole::List { depth: 3, of_directory: n > 1 }),
            ],
            chunks: vec![ShortId::of(&[n; 32]), ShortId::of(&[n + 9; 32])],
        }
    }

    #[test]
    fn what_was_remembered_is_recalled_once_a_walk() {
        let directory = tempfile::tempdir().unwrap();
        let repository = RepositoryId::new([1; 32]);
        let (index, _) = Index::open(directory.path(), repository).unwrap();
        let mut cache = index.references().unwrap();
        let first = tree(1, TreeRole::Nodes);
        let as_list = tree(1, TreeRole::List { depth: 1, of_directory: true });
        assert_eq!(cache.recall(&first).unwrap(), Recalled::Unknown);
        cache.remember(&first, row(1)).unwrap();
        assert_eq!(cache.recall(&first).unwrap(), Recalled::Met);
        assert_eq!(cache.recall(&as_list).unwrap(), Recalled::Unknown);
        cache.remember(&as_list, row(2)).unwrap();
        cache.flush().unwrap();
        assert_eq!(cache.recall(&as_list).unwrap(), Recalled::Met);
        cache.finish().unwrap();
        let mut again = index.references().unwrap();
        assert_eq!(again.recall(&first).unwrap(), Recalled::Known(row(1)));
        assert_eq!(again.recall(&first).unwrap(), Recalled::Met);
        // What a walk did not meet is dropped at its end.
        again.finish().unwrap();
        let mut third = index.references().unwrap();
        assert_eq!(third.recall(&as_list).unwrap(), Recalled::Unknown);
        assert_eq!(third.recall(&first).unwrap(), Recalled::Known(row(1)));
    }

    #[test]
    fn a_damaged_row_or_file_counts_as_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let (index, _) = Index::open(directory.path(), RepositoryId::new([1; 32])).unwrap();
        let mut cache = index.references().unwrap();
        let one = tree(1, TreeRole::Nodes);
        cache.recall(&one).unwrap();
        cache.remember(&one, row(1)).unwrap();
        cache.finish().unwrap();
        let path = directory.path().join(FILE);
        let connection = Connection::open(&path).unwrap();
        // One reference is lost from the row.
        connection.execute("UPDATE tree SET chunks = substr(chunks, 1, 12)", []).unwrap();
        drop(connection);
        let mut cache = index.references().unwrap();
        assert_eq!(cache.recall(&one).unwrap(), Recalled::Unknown);
        drop(cache);
        std::fs::write(&path, vec![7; 10_000]).unwrap();
        let mut cache = index.references().unwrap();
        assert_eq!(cache.recall(&one).unwrap(), Recalled::Unknown);
        cache.remember(&one, row(1)).unwrap();
        cache.finish().unwrap();
    }
}
