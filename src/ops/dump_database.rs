//! One database of a snapshot as a file for PostgreSQL's own programs, streamed.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::event::StopFlag;
use crate::postgres::{identifier, qualified};
use crate::repository::{Fetcher, RepositoryError, StreamBytes, read_directory};
use crate::snapshot::{DatabaseManifest, NodeKind, Snapshot, StreamRef, TableManifest};
use crate::source::archive::{MergeError, TableEntry, Toc, merge};

use super::browse::{BrowseError, display_path, resolve};

/// Bytes handed on at once.
const PIECE: usize = 256 << 10;

/// Which program takes the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpFormat {
    /// `psql`.
    Plain,
    /// `pg_restore`.
    Custom,
}

/// Why a database was not dumped.
#[derive(Debug, thiserror::Error)]
pub enum DumpDatabaseError {
    /// The path or the repository.
    #[error(transparent)]
    Browse(#[from] BrowseError),
    /// The snapshot has no such database.
    #[error("the snapshot has no database `{name}`; it has {known}")]
    NotThere {
        /// As asked for.
        name: String,
        /// Those it has.
        known: String,
    },
    /// Something of it is missing or not what it should be.
    #[error("database `{database}` is not whole in the snapshot: {reason}")]
    NotWhole {
        /// The database.
        database: String,
        /// What is wrong.
        reason: String,
    },
    /// Its archive cannot be completed.
    #[error("database `{database}`: {error}")]
    Archive {
        /// The database.
        database: String,
        /// Why.
        error: MergeError,
    },
    /// Whoever takes the bytes failed.
    #[error("cannot write the dump: {0}")]
    Output(io::Error),
    /// `pg_restore`, which makes SQL out of an archive, failed.
    #[error("`{program}` failed: {reason}")]
    Program {
        /// The program.
        program: String,
        /// In its words.
        reason: String,
    },
}

impl From<RepositoryError> for DumpDatabaseError {
    fn from(error: RepositoryError) -> Self {
        Self::Browse(error.into())
    }
}

/// A database in a snapshot, found whole.
pub struct DatabaseDump<'f, 'r> {
    fetcher: &'f Fetcher<'r>,
    manifest: &'f DatabaseManifest,
    archive: StreamRef,
    tables: HashMap<Vec<u8>, StreamRef>,
    stop: &'f StopFlag,
}

/// What passes on the way out, kept apart from what fails on the way in.
struct Outlet<'o> {
    out: &'o mut dyn Write,
    stop: &'o StopFlag,
    written: u64,
    failure: Option<io::Error>,
}

impl Write for Outlet<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stop.is_stopped() {
            return Err(io::Error::other("stopped as asked"));
        }
        match self.out.write(bytes) {
            Ok(len) => {
                self.written += len as u64;
                Ok(len)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let told = io::Error::from(error.kind());
                self.failure = Some(error);
                Err(told)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Inside the writing of an archive.
enum Trouble {
    Merge(MergeError),
    Dump(DumpDatabaseError),
}

impl From<MergeError> for Trouble {
    fn from(error: MergeError) -> Self {
        Self::Merge(error)
    }
}

impl<'f, 'r> DatabaseDump<'f, 'r> {
    /// Finds the database and all its streams.
    pub fn find(
        fetcher: &'f Fetcher<'r>,
        snapshot: &'f Snapshot,
        name: &str,
        stop: &'f StopFlag,
    ) -> Result<Self, DumpDatabaseError> {
        let found = snapshot.databases.iter().find(|database| database.name == name);
        let Some(manifest) = found else {
            let known: Vec<String> =
                snapshot.databases.iter().map(|database| format!("`{}`", database.name)).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(DumpDatabaseError::NotThere { name: name.to_owned(), known });
        };
        let not_whole =
            |reason: String| DumpDatabaseError::NotWhole { database: name.to_owned(), reason };
        let node = resolve(fetcher, snapshot, manifest.archive_path())?;
        if node.is_torn || node.kind != NodeKind::File {
            return Err(not_whole(format!("{} is cut off", display_path(manifest.archive_path()))));
        }
        let archive = node.content.unwrap_or_default();
        let mut tables = HashMap::new();
        if manifest.tables.iter().any(|table| table.path.is_some()) {
            let directory = [&manifest.path[..], b"/tables"].concat();
            let node = resolve(fetcher, snapshot, &directory)?;
            read_directory(fetcher, &node.content.unwrap_or_default(), |node| {
                let path = [&directory[..], b"/", &node.name].concat();
                if node.is_torn {
                    return Err(not_whole(format!("{} is cut off", display_path(&path))));
                }
                tables.insert(path, node.content.unwrap_or_default());
                Ok(())
            })?;
        }
        Ok(Self { fetcher, manifest, archive, tables, stop })
    }

    /// Its tables that are streams.
    fn streamed(&self) -> impl Iterator<Item = &'f TableManifest> {
        self.manifest.tables.iter().filter(|table| table.path.is_some())
    }

    /// Writes the database; gives the bytes written. `bin_dir` is where `pg_restore` is, which is needed
    /// for plain SQL.
    pub fn write(
        &self,
        format: DumpFormat,
        bin_dir: Option<&Path>,
        out: &mut dyn Write,
    ) -> Result<u64, DumpDatabaseError> {
        let mut outlet = Outlet { out, stop: self.stop, written: 0, failure: None };
        let result = match format {
            DumpFormat::Custom => self.archive(&mut outlet),
            DumpFormat::Plain => self.plain(bin_dir, &mut outlet),
        };
        let result = result.and_then(|()| outlet.flush().map_err(DumpDatabaseError::Output));
        if self.stop.is_stopped() {
            return Err(RepositoryError::Interrupted.into());
        }
        match (result, outlet.failure) {
            (Err(_), Some(failure)) => Err(DumpDatabaseError::Output(failure)),
            (result, _) => result.map(|()| outlet.written),
        }
    }

    /// The whole archive: `pg_dump`'s, with the rows of all tables.
    fn archive(&self, out: &mut dyn Write) -> Result<(), DumpDatabaseError> {
        let mut archive = StreamBytes::new(self.fetcher, &self.archive);
        let result = self.merge(&mut archive, out);
        // Behind an `io::Error` of the archive's reader there may be a better one.
        match (archive.take_error(), result) {
            (Some(error), Err(_)) => Err(error.into()),
            (_, Ok(())) => Ok(()),
            (None, Err(Trouble::Dump(error))) => Err(error),
            (None, Err(Trouble::Merge(error))) => {
                Err(DumpDatabaseError::Archive { database: self.manifest.name.clone(), error })
            }
        }
    }

    fn merge(&self, archive: &mut dyn Read, out: &mut dyn Write) -> Result<(), Trouble> {
        let tables: Vec<&TableManifest> = self.streamed().collect();
        if tables.is_empty() {
            // An archive without streams beside it is whole as it is, whatever its version.
            io::copy(archive, out).map_err(MergeError::from)?;
            return Ok(());
        }
        let toc = Toc::read(&mut *archive).map_err(MergeError::from)?;
        let entries: Vec<TableEntry> = tables.iter().map(|table| entry(table)).collect();
        let mut next = tables.iter();
        let mut rows = |_: &TableEntry, out: &mut dyn Write| match next.next() {
            Some(table) => self.rows(table, out).map_err(Trouble::Dump),
            None => Ok(()),
        };
        merge(&toc, &entries, &mut rows, archive, out)
    }

    /// The rows of one table, compared with what the snapshot says of them.
    fn rows(&self, table: &TableManifest, out: &mut dyn Write) -> Result<(), DumpDatabaseError> {
        let not_whole = |what: &str| DumpDatabaseError::NotWhole {
            database: self.manifest.name.clone(),
            reason: format!("table {}.{}: {what}", table.schema, table.name),
        };
        let path = table.path.as_deref().unwrap_or_default();
        let content = self.tables.get(path).ok_or_else(|| not_whole("its rows are missing"))?;
        let mut pieces = StreamBytes::new(self.fetcher, content);
        let mut hasher = blake3::Hasher::new();
        while let Some(piece) = pieces.next_piece()? {
            hasher.update(&piece);
            for part in piece.chunks(PIECE) {
                out.write_all(part).map_err(DumpDatabaseError::Output)?;
            }
        }
        match table.hash {
            Some(hash) if hash != *hasher.finalize().as_bytes() => {
                Err(not_whole("its rows are not those that were read from the server"))
            }
            _ => Ok(()),
        }
    }

    /// SQL, which `pg_restore` makes out of the archive while it passes.
    fn plain(&self, bin_dir: Option<&Path>, out: &mut dyn Write) -> Result<(), DumpDatabaseError> {
        let path = bin_dir.map_or_else(|| "pg_restore".into(), |dir| dir.join("pg_restore"));
        let program = path.display().to_string();
        let failed =
            |reason: String| DumpDatabaseError::Program { program: program.clone(), reason };
        let mut command = Command::new(&path);
        command.arg("--file=-").env_remove("PGOPTIONS").env("LC_MESSAGES", "C");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) = (stdin, stdout, stderr) else {
            return Err(failed("it has no standard input and output".to_owned()));
        };
        let (fed, taken, said) = std::thread::scope(|scope| {
            let feeding = scope.spawn(move || {
                let mut buffered = io::BufWriter::with_capacity(PIECE, &mut stdin);
                self.archive(&mut buffered)
                    .and_then(|()| buffered.flush().map_err(DumpDatabaseError::Output))
            });
            let listening = scope.spawn(move || {
                let mut said = Vec::new();
                let _ = (&mut stderr).take(8 << 10).read_to_end(&mut said);
                let _ = io::copy(&mut stderr, &mut io::sink());
                said
            });
            let taken = io::copy(&mut stdout, out);
            if taken.is_err() {
                // Nobody reads on: it would wait for ever.
                let _ = child.kill();
            }
            drop(stdout);
            (feeding.join(), taken, listening.join().unwrap_or_default())
        });
        let status = child.wait().map_err(|error| failed(error.to_string()))?;
        taken.map_err(DumpDatabaseError::Output)?;
        let said: String = String::from_utf8_lossy(&said)
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .collect();
        match fed {
            // When it ends early, being fed fails too: what it says is the reason.
            Ok(Err(DumpDatabaseError::Output(_)) | Ok(())) if !status.success() => {
                Err(failed(format!("{status}: {}", said.trim())))
            }
            Ok(result) => result,
            Err(_) => Err(failed("feeding it failed".to_owned())),
        }
    }
}

/// What an archive says of a table's rows.
fn entry(table: &TableManifest) -> TableEntry {
    let columns: Vec<String> =
        table.columns.iter().map(|column| identifier(&column.name)).collect();
    let columns =
        if columns.is_empty() { String::new() } else { format!("({})", columns.join(", ")) };
    let name = qualified(&table.schema, &table.name);
    TableEntry {
        schema: table.schema.clone(),
        name: table.name.clone(),
        copy: format!("COPY {name} {columns} FROM stdin"),
    }
}
