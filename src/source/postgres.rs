//! PostgreSQL databases as streams: one `pg_dump` archive each, then the cluster's roles.
//!
//! We run PostgreSQL's own programs. How they reach the server goes through their environment, not
//! their arguments, which every user of the host can see. The password too: the environment of a
//! process can be read by its owner and root only, who can read the configuration as well, and
//! unlike a password file nothing is left behind by a crash.

mod connection;
mod dump;
mod probe;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::crypto::Secret;
use crate::event::StopFlag;
use crate::postgres::{GLOBALS_PATH, archive_path, database_path};
use crate::snapshot::{DatabaseManifest, DatabaseProperties, SourceRecord};

use super::archive::ArchiveWalker;
use super::error::{SourceError, StreamError};
use super::process::{CaptureError, Process, capture};
use super::{OpenStream, StreamEnd, StreamSink, StreamSource};
use connection::{Connection, conninfo};
use dump::{DumpReader, GlobalsReader};
use probe::Versions;

/// How long `pg_dump` waits for a lock another session holds.
const LOCK_WAIT: Duration = Duration::from_secs(600);
/// How long the small questions may take.
const QUESTION_LIMIT: Duration = Duration::from_secs(120);
/// Largest list of roles; kept in memory, because only the exit tells whether it must be asked again.
const GLOBALS_LIMIT: u64 = 64 << 20;
/// What to do when a program is missing.
const INSTALL: &str = "install postgresql-client or set `bin_dir` to the directory it is in";

/// Which databases of which server, and how to reach it.
#[derive(Debug, Clone, Default)]
pub struct PostgresSettings {
    /// Directory of its socket, or host name. `None`: what the environment or libpq says.
    pub host: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// Role.
    pub user: Option<String>,
    /// Databases.
    pub databases: Vec<String>,
    /// Where `pg_dump`, `pg_dumpall` and `psql` are. `None`: the search path.
    pub bin_dir: Option<PathBuf>,
    /// Password of the role.
    pub password: Option<Secret>,
    /// Also dump roles and tablespaces.
    pub globals: bool,
}

/// Where the streams stand.
#[derive(Debug)]
struct Progress {
    /// Streams still to come or not read to their verified end.
    unfinished: Vec<String>,
    details: BTreeMap<String, String>,
}

/// Dumps databases one after the other.
#[derive(Debug)]
pub struct PostgresSource {
    connection: Connection,
    databases: Vec<String>,
    globals: bool,
    stop: Arc<StopFlag>,
    manifests: Vec<DatabaseManifest>,
    is_probed: bool,
    next: usize,
    progress: Progress,
}

impl PostgresSource {
    /// Dumps as `settings` say; `run` is a name the server's administrator sees.
    pub fn new(
        settings: PostgresSettings,
        run: &str,
        stop: Arc<StopFlag>,
    ) -> Result<Self, SourceError> {
        let mut databases: Vec<String> = Vec::new();
        for name in &settings.databases {
            if name.is_empty() || name.contains('\0') {
                return Err(SourceError::Settings {
                    reason: format!("`{}` is no name of a database", name.escape_debug()),
                    way_out: "list the names `psql -l` shows",
                });
            }
            if !databases.contains(name) {
                databases.push(name.clone());
            }
        }
        if databases.is_empty() {
            return Err(SourceError::Settings {
                reason: "no database is listed".to_owned(),
                way_out: "list at least one in `databases`",
            });
        }
        let mut unfinished: Vec<String> = databases.iter().map(|name| archive_path(name)).collect();
        if settings.globals {
            unfinished.push(GLOBALS_PATH.to_owned());
        }
        Ok(Self {
            globals: settings.globals,
            connection: Connection::new(settings, run)?,
            databases,
            stop,
            manifests: Vec::new(),
            is_probed: false,
            next: 0,
            progress: Progress { unfinished, details: BTreeMap::new() },
        })
    }

    fn start(&self, command: Command, program: &str) -> Result<Process, SourceError> {
        let program = self.connection.program(program).display().to_string();
        Process::start(command, program, INSTALL, Arc::clone(&self.stop))
    }

    /// Asks for all versions, so that nothing starts if something cannot succeed.
    fn probe(&mut self) -> Result<(), SourceError> {
        let client = self.client_version()?;
        let mut identifier = None;
        for database in &self.databases {
            let versions = self.ask(database)?;
            if client.major < versions.major {
                return Err(SourceError::OldProgram {
                    program: self.connection.program("pg_dump").display().to_string(),
                    client: client.text,
                    server: self.connection.place(),
                    version: versions.server,
                    major: versions.major,
                });
            }
            let identifier =
                identifier.get_or_insert_with(|| self.system_identifier(database)).clone();
            self.progress.details.insert("server".to_owned(), versions.server.clone());
            self.manifests.push(DatabaseManifest {
                name: database.clone(),
                server_version: versions.server,
                encoding: versions.encoding,
                collation: versions.collation,
                system_identifier: identifier,
                path: database_path(database).into_bytes(),
                tables: Vec::new(),
                archive: Some(archive_path(database).into_bytes()),
                properties: DatabaseProperties {
                    pg_dump_version: client.text.clone(),
                    ..DatabaseProperties::default()
                },
            });
        }
        self.progress.details.insert("pg_dump".to_owned(), client.text);
        self.progress.details.insert("place".to_owned(), self.connection.place());
        Ok(())
    }

    fn client_version(&self) -> Result<probe::Client, SourceError> {
        let mut command = self.connection.command("pg_dump");
        command.arg("--version");
        let process = self.start(command, "pg_dump").map(|process| process.within(QUESTION_LIMIT));
        let program = self.connection.program("pg_dump").display().to_string();
        let output = match capture(process, 4096) {
            Ok(output) => output,
            Err(CaptureError::Start(error)) => return Err(error),
            Err(CaptureError::Stream(error)) => {
                return Err(start_error(program, &error));
            }
        };
        probe::parse_client(&output).ok_or_else(|| SourceError::Start {
            program,
            reason: format!(
                "`--version` says {:?}, which is no version",
                String::from_utf8_lossy(&output).trim()
            ),
            way_out: INSTALL.to_owned(),
        })
    }

    fn query(&self, database: &str, query: &str) -> Result<Vec<u8>, CaptureError> {
        let mut command = self.connection.command("psql");
        command.args(["-XAtq", "-F", "\x1f", "-v", "ON_ERROR_STOP=1", "--no-password"]);
        command.arg("--dbname").arg(conninfo(database)).arg("-c").arg(query);
        capture(self.start(command, "psql").map(|process| process.within(QUESTION_LIMIT)), 1 << 20)
    }

    fn ask(&self, database: &str) -> Result<Versions, SourceError> {
        let output = match self.query(database, probe::QUERY) {
            Ok(output) => output,
            Err(error) => return Err(self.database_error("reach", database, error)),
        };
        probe::parse_versions(&output).ok_or_else(|| SourceError::Database {
            verb: "ask the version of",
            database: database.to_owned(),
            server: self.connection.place(),
            reason: format!("the answer is {:?}", String::from_utf8_lossy(&output)),
            way_out: "check that `psql` in `bin_dir` is PostgreSQL's own",
        })
    }

    /// May be forbidden to the role; empty then.
    fn system_identifier(&self, database: &str) -> String {
        let output = self.query(database, probe::SYSTEM_IDENTIFIER).unwrap_or_default();
        String::from_utf8_lossy(&output).trim().to_owned()
    }

    fn database_error(
        &self,
        verb: &'static str,
        database: &str,
        error: CaptureError,
    ) -> SourceError {
        match error {
            CaptureError::Start(error) => error,
            CaptureError::Stream(StreamError::Stopped { program }) => {
                SourceError::Stopped { program }
            }
            CaptureError::Stream(error) => SourceError::Database {
                verb,
                database: database.to_owned(),
                server: self.connection.place(),
                reason: error.to_string(),
                way_out: "check `host`, `port`, `user`, `password` and `databases`, and that the server runs",
            },
        }
    }

    fn open_dump(&mut self, database: String) -> Result<OpenStream<'_>, SourceError> {
        let mut command = self.connection.command("pg_dump");
        command.args(["-Fc", "-Z0", "-C", "--no-password"]);
        command.arg(format!("--lock-wait-timeout={}", LOCK_WAIT.as_millis()));
        command.arg("--dbname").arg(conninfo(&database));
        let process = self.start(command, "pg_dump")?;
        let path = archive_path(&database);
        let reader = DumpReader {
            walker: ArchiveWalker::new(process),
            path: path.clone(),
            database,
            progress: &mut self.progress,
        };
        Ok(OpenStream { path: path.into_bytes(), reader: Box::new(reader) })
    }

    fn globals_text(&self, with_passwords: bool) -> Result<Vec<u8>, CaptureError> {
        let mut command = self.connection.command("pg_dumpall");
        command.args(["--globals-only", "--no-password"]);
        if !with_passwords {
            command.arg("--no-role-passwords");
        }
        // The default is to try `postgres`, which the role may not be allowed to enter.
        if let Some(database) = self.databases.first() {
            command.arg("--database").arg(conninfo(database));
        }
        capture(self.start(command, "pg_dumpall"), GLOBALS_LIMIT)
    }

    fn open_globals(&mut self) -> Result<OpenStream<'_>, SourceError> {
        let text = match self.globals_text(true) {
            Err(CaptureError::Stream(StreamError::Failed { message, .. }))
                if is_passwords_forbidden(&message) =>
            {
                let note = "roles are without their passwords: only a superuser may read them";
                self.progress.details.insert("globals".to_owned(), note.to_owned());
                self.globals_text(false)
            }
            other => other,
        };
        let database = self.databases.first().map_or("", String::as_str);
        let text =
            text.map_err(|error| self.database_error("dump the roles by", database, error))?;
        let reader = GlobalsReader {
            text: std::io::Cursor::new(text),
            path: GLOBALS_PATH,
            progress: &mut self.progress,
        };
        Ok(OpenStream { path: GLOBALS_PATH.as_bytes().to_vec(), reader: Box::new(reader) })
    }

    /// The next stream, or `None` at the end.
    pub fn next_stream(&mut self) -> Result<Option<OpenStream<'_>>, SourceError> {
        if !self.is_probed {
            self.manifests.clear();
            self.probe()?;
            self.is_probed = true;
        }
        let position = self.next;
        self.next += 1;
        match self.databases.get(position).cloned() {
            Some(database) => self.open_dump(database).map(Some),
            None if position == self.databases.len() && self.globals => {
                self.open_globals().map(Some)
            }
            None => Ok(None),
        }
    }
}

impl StreamSource for PostgresSource {
    fn paths(&self) -> Vec<Vec<u8>> {
        let dumps = self.databases.iter().map(|database| archive_path(database));
        dumps.chain(self.globals.then(|| GLOBALS_PATH.to_owned())).map(String::into_bytes).collect()
    }

    fn read_all(&mut self, sink: &dyn StreamSink) -> Result<(), SourceError> {
        while let Some(mut stream) = self.next_stream()? {
            if sink.store(&stream.path, stream.reader.as_mut()) == StreamEnd::Refused {
                break;
            }
        }
        Ok(())
    }

    fn record(&self) -> SourceRecord {
        let lacks = |path: &String| format!("{path}: its end was not reached or is not verified");
        SourceRecord {
            kind: "postgresql".to_owned(),
            name: "postgres".to_owned(),
            path: b"postgres".to_vec(),
            incomplete: self.progress.unfinished.iter().map(lacks).collect(),
            details: self.progress.details.clone(),
        }
    }

    fn databases(&self) -> Vec<DatabaseManifest> {
        self.manifests.clone()
    }
}

fn is_passwords_forbidden(message: &str) -> bool {
    message.contains("permission denied") && message.contains("pg_authid")
}

fn start_error(program: String, error: &StreamError) -> SourceError {
    match error {
        StreamError::Stopped { .. } => SourceError::Stopped { program },
        error => {
            SourceError::Start { program, reason: error.to_string(), way_out: INSTALL.to_owned() }
        }
    }
}

#[cfg(test)]
#[path = "postgres/tests.rs"]
mod tests;
