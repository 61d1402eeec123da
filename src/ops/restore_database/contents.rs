//! A database as it lies in a snapshot's tree.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};

use crate::ops::browse::{display_path, resolve};
use crate::repository::{Fetcher, StreamBytes, read_directory};
use crate::snapshot::{DatabaseManifest, Node, NodeKind, Snapshot, StreamRef, TableManifest};
use crate::source::archive::{TableRows, Toc, TocError};
use crate::target::postgres::{DatabaseError, Found};

use super::RestoreDatabaseError;

/// The archive and the tables' streams of a database.
pub struct Contents<'f, 'r> {
    fetcher: &'f Fetcher<'r>,
    /// The database.
    pub manifest: &'f DatabaseManifest,
    archive: StreamRef,
    tables: HashMap<Vec<u8>, StreamRef>,
}

/// What comes into a new database.
pub trait Incoming: Sync {
    /// The encoding of its rows.
    fn encoding(&self) -> &str;

    /// How many tables can be read at once.
    fn at_once(&self) -> usize {
        usize::MAX
    }

    /// Tables that are streams of their own.
    fn streamed(&self) -> Vec<&TableManifest>;

    /// Tables whose rows are in the archive, as they will be there.
    fn archived(&self) -> Vec<TableManifest>;

    /// The rows of a table.
    fn open<'s>(&'s self, table: &TableManifest) -> Result<Box<dyn Read + 's>, String>;

    /// Whether what arrived of a streamed table is what should have; otherwise the difference.
    fn compare(&self, table: &TableManifest, found: &Found) -> Result<(), String>;

    /// Bytes of the archive.
    fn archive_bytes(&self) -> u64;

    /// The archive.
    fn archive<'s>(&'s self) -> Result<Box<dyn Read + Send + 's>, String>;
}

impl Incoming for Contents<'_, '_> {
    fn encoding(&self) -> &str {
        &self.manifest.encoding
    }

    fn streamed(&self) -> Vec<&TableManifest> {
        Contents::streamed(self)
    }

    fn archived(&self) -> Vec<TableManifest> {
        Contents::archived(self).into_iter().cloned().collect()
    }

    fn open<'s>(&'s self, table: &TableManifest) -> Result<Box<dyn Read + 's>, String> {
        Contents::open(self, table)
    }

    fn compare(&self, table: &TableManifest, found: &Found) -> Result<(), String> {
        found.compare(table)
    }

    fn archive_bytes(&self) -> u64 {
        Contents::archive_bytes(self)
    }

    fn archive<'s>(&'s self) -> Result<Box<dyn Read + Send + 's>, String> {
        Ok(Box::new(Contents::archive(self)))
    }
}

/// The directory a path is in, and its name there.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

fn content(node: &Node, path: &[u8]) -> Result<StreamRef, String> {
    match (node.kind, &node.content) {
        _ if node.is_torn => Err(format!("`{}` was not stored whole", display_path(path))),
        (NodeKind::File, Some(content)) if node.extents.is_none() => Ok(content.clone()),
        // An empty file.
        (NodeKind::File, None) => Ok(StreamRef::default()),
        _ => Err(format!("`{}` is no plain file", display_path(path))),
    }
}

impl<'f, 'r> Contents<'f, 'r> {
    /// Finds the archive of `manifest`, and the streams of its tables, in the tree of `snapshot`.
    pub fn find(
        fetcher: &'f Fetcher<'r>,
        snapshot: &Snapshot,
        manifest: &'f DatabaseManifest,
    ) -> Result<Self, RestoreDatabaseError> {
        let incomplete = |reason: String| RestoreDatabaseError::Incomplete {
            database: manifest.name.clone(),
            snapshot: String::new(),
            reason,
        };
        let path = manifest.archive_path();
        let archive = resolve(fetcher, snapshot, path)?;
        let archive = content(&archive, path).map_err(incomplete)?;
        let mut tables = HashMap::new();
        let mut wanted: Vec<&[u8]> =
            manifest.tables.iter().filter_map(|table| table.path.as_deref()).collect();
        wanted.sort_unstable();
        let mut directories: Vec<&[u8]> = wanted.iter().map(|path| split(path).0).collect();
        directories.dedup();
        for directory in directories {
            let node = resolve(fetcher, snapshot, directory)?;
            let Some(stream) = node.content.filter(|_| node.kind == NodeKind::Directory) else {
                return Err(incomplete(format!("`{}` is no directory", display_path(directory))));
            };
            read_directory(fetcher, &stream, |node| {
                let path = [directory, b"/", &node.name].concat();
                if wanted.binary_search(&path.as_slice()).is_ok() {
                    tables.insert(path.clone(), content(&node, &path).map_err(incomplete)?);
                }
                Ok::<(), RestoreDatabaseError>(())
            })?;
        }
        if let Some(path) = wanted.iter().find(|path| !tables.contains_key(**path)) {
            return Err(incomplete(format!("`{}` is not in the snapshot", display_path(path))));
        }
        Ok(Self { fetcher, manifest, archive, tables })
    }

    /// Bytes of the archive.
    pub const fn archive_bytes(&self) -> u64 {
        self.archive.len
    }

    /// The archive.
    pub fn archive(&self) -> impl Read + Send + use<'f, 'r> {
        StreamBytes::new(self.fetcher, &self.archive)
    }

    /// What is in the archive.
    pub fn toc(&self) -> Result<Toc, DatabaseError> {
        Toc::read(BufReader::new(self.archive())).map_err(|error| DatabaseError::Read {
            what: format!("archive of database {}", self.manifest.name),
            reason: match error {
                TocError::Read(error) => error.to_string(),
                TocError::Malformed(_) => error.to_string(),
            },
        })
    }

    /// Tables that are streams of their own.
    pub fn streamed(&self) -> Vec<&'f TableManifest> {
        self.manifest.tables.iter().filter(|table| table.path.is_some()).collect()
    }

    /// Tables whose rows are in the archive, all of them: of an extension's it may be a part.
    pub fn archived(&self) -> Vec<&'f TableManifest> {
        let whole = |table: &&TableManifest| table.path.is_none() && table.hash.is_some();
        self.manifest.tables.iter().filter(whole).collect()
    }

    /// The rows of a table.
    pub fn open<'s>(&'s self, table: &TableManifest) -> Result<Box<dyn Read + 's>, String> {
        if table.path.is_none() {
            let archive = BufReader::new(self.archive());
            let rows = TableRows::find(archive, &table.schema, &table.name);
            return Ok(Box::new(rows.map_err(|error| error.to_string())?));
        }
        let stream = table.path.as_ref().and_then(|path| self.tables.get(path));
        let stream = stream.ok_or("it is not in the snapshot")?;
        if stream.len != table.bytes {
            let (found, wanted) = (stream.len, table.bytes);
            return Err(format!("it has {found} bytes where the manifest says {wanted}"));
        }
        Ok(Box::new(StreamBytes::new(self.fetcher, stream)))
    }

    /// A whole file of the tree that may be missing, up to `limit` bytes.
    pub fn small_file(
        fetcher: &Fetcher<'_>,
        snapshot: &Snapshot,
        path: &[u8],
        limit: u64,
    ) -> Option<Vec<u8>> {
        let node = resolve(fetcher, snapshot, path).ok()?;
        let stream = content(&node, path).ok().filter(|stream| stream.len <= limit)?;
        let mut bytes = Vec::new();
        let read: io::Result<usize> = StreamBytes::new(fetcher, &stream).read_to_end(&mut bytes);
        read.ok().map(|_| bytes)
    }
}
