//! PostgreSQL databases as streams, each database at one moment.
//!
//! Large tables are copied by several sessions at once, each table a stream of its own; *everything else*
//! is in one archive of `pg_dump`, so that what we do not know of is backed up all the same. All of them see
//! the same snapshot ([`attempt`]). Roles and tablespaces come from `pg_dumpall`. A database is whole when
//! every program exited well, every stream reached its end, every table is accounted for, and the
//! session that held the snapshot could still end its transaction.

mod attempt;
mod discover;
mod examine;
mod globals;
mod probe;
mod rest;
mod tables;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::event::StopFlag;
use crate::postgres::{
    Client, GLOBALS_PATH, Server, ServerError, ServerSettings, archive_path, database_path, literal,
};
use crate::snapshot::{DatabaseManifest, DatabaseProperties, SourceRecord, TableManifest};

use super::error::SourceError;
use super::process::Process;
use super::{StreamEnd, StreamSink, StreamSource};
pub use examine::{Examined, ExaminedDatabase};

use attempt::{Choices, Held, hold};
use rest::archived_tables;
use tables::Reading;

/// How long the small questions to programs may take.
const QUESTION_LIMIT: Duration = Duration::from_secs(120);

/// Which databases of which server, and how to read them.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// How the server is reached.
    pub server: ServerSettings,
    /// Databases.
    pub databases: Vec<String>,
    /// Also dump roles and tablespaces.
    pub globals: bool,
    /// Sessions that copy tables at once.
    pub workers: usize,
    /// Bytes on the server's disk from which a table is a stream of its own; smaller ones stay in the archive.
    pub stream_from: u64,
    /// How long to wait, all in all, for tables others have locked.
    pub lock_wait: Duration,
}

impl Default for PostgresSettings {
    fn default() -> Self {
        Self {
            server: ServerSettings::default(),
            databases: Vec::new(),
            globals: false,
            workers: 2,
            stream_from: 64 << 10,
            lock_wait: Duration::from_secs(600),
        }
    }
}

/// Reads databases one after the other.
#[derive(Debug)]
pub struct PostgresSource {
    settings: PostgresSettings,
    /// A server that was started for this, in place of the one that the settings lead to.
    server: Option<Server>,
    run: String,
    stop: Arc<StopFlag>,
    manifests: Vec<DatabaseManifest>,
    /// What was not read to its verified end yet.
    unfinished: Vec<String>,
    details: BTreeMap<String, String>,
}

impl PostgresSource {
    /// Reads as `settings` say. `run` is a name the server's administrator sees, and belongs to one run at
    /// a time: what an earlier run of that name left at the server is ended.
    pub fn new(
        mut settings: PostgresSettings,
        run: &str,
        stop: Arc<StopFlag>,
    ) -> Result<Self, SourceError> {
        let mut databases: Vec<String> = Vec::new();
        for name in std::mem::take(&mut settings.databases) {
            if name.is_empty() || name.contains('\0') {
                return Err(SourceError::Settings {
                    reason: format!("`{}` is no name of a database", name.escape_debug()),
                    way_out: "list the names `psql -l` shows",
                });
            }
            if !databases.contains(&name) {
                databases.push(name);
            }
        }
        if databases.is_empty() {
            return Err(SourceError::Settings {
                reason: "no database is listed".to_owned(),
                way_out: "list at least one in `databases`",
            });
        }
        let mut unfinished: Vec<String> =
            databases.iter().map(|name| database_path(name)).collect();
        unfinished.extend(settings.globals.then(|| GLOBALS_PATH.to_owned()));
        settings.databases = databases;
        let run: String = run.chars().filter(char::is_ascii_graphic).take(40).collect();
        Ok(Self {
            settings,
            server: None,
            run,
            stop,
            manifests: Vec::new(),
            unfinished,
            details: BTreeMap::new(),
        })
    }

    /// Reads the same databases of `server`, whatever the settings say where it is.
    #[must_use]
    pub fn at(mut self, server: Server) -> Self {
        self.server = Some(server);
        self
    }

    /// Finds the server and asks all that can be asked before anything starts, so that nothing starts if
    /// something cannot succeed.
    fn probe(&mut self) -> Result<Server, SourceError> {
        let run = format!("{}-{}", self.run, std::process::id());
        let server = match &self.server {
            Some(server) => server.clone(),
            None => Server::find(&self.settings.server, &run, &|name| std::env::var_os(name))?,
        };
        let client = probe::client_version(&server, &self.stop)?;
        self.manifests.clear();
        for database in &self.settings.databases {
            let mut session = server.connect(database, &self.stop)?;
            let version = discover::prepare(&mut session, discover::LOCK_TIMEOUT)?;
            let mut manifest = DatabaseManifest {
                name: database.clone(),
                path: database_path(database).into_bytes(),
                archive: Some(archive_path(database).into_bytes()),
                properties: DatabaseProperties {
                    pg_dump_version: client.text.clone(),
                    ..DatabaseProperties::default()
                },
                ..DatabaseManifest::default()
            };
            discover::describe(&mut session, version, &mut manifest)?;
            if client.major < version / 10_000 {
                return Err(SourceError::OldProgram {
                    program: server.program_name("pg_dump"),
                    client: client.text,
                    server: server.place(),
                    version: manifest.server_version,
                    major: version / 10_000,
                });
            }
            self.end_remains(&server, &mut session)?;
            self.details.insert("server".to_owned(), manifest.server_version.clone());
            self.manifests.push(manifest);
        }
        self.details.insert("pg_dump".to_owned(), client.text);
        self.details.insert("place".to_owned(), server.place());
        if let Some(image) = server.image() {
            self.details.insert("image".to_owned(), image.to_owned());
        }
        Ok(server)
    }

    /// Ends sessions that a run of the same name left, which was killed.
    fn end_remains(&self, server: &Server, session: &mut Client) -> Result<(), ServerError> {
        let prefix = format!("mrs-backup/{}-", self.run);
        let query = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE usename = current_user AND application_name <> {own} \
             AND left(application_name, {length}) = {prefix} \
             AND substr(application_name, {length} + 1) ~ '^[0-9]+$'",
            own = literal(server.application()),
            length = prefix.len(),
            prefix = literal(&prefix),
        );
        session.value("end what a killed run left", &query).map(|_| ())
    }

    /// Reads one database.
    fn read(
        &mut self,
        server: &Server,
        at: usize,
        sink: &dyn StreamSink,
    ) -> Result<StreamEnd, SourceError> {
        let choices = Choices {
            workers: self.settings.workers.max(1),
            stream_from: self.settings.stream_from,
            lock_wait: self.settings.lock_wait,
        };
        let (began, stop) = (SystemClock.elapsed(), Arc::clone(&self.stop));
        let mut patience = |pause: Duration| {
            let end = SystemClock.elapsed() + pause;
            while SystemClock.elapsed() < end && !stop.is_stopped() {
                std::thread::sleep(Duration::from_millis(50));
            }
            SystemClock.elapsed().saturating_sub(began)
        };
        let held = hold(server, &self.manifests[at], choices, &self.stop, &mut patience)?;
        let Held { mut holder, snapshot, workers, dump, streamed, archived, manifest } = held;
        let reading = Reading {
            server: server.clone(),
            database: manifest.name.clone(),
            encoding: manifest.encoding.clone(),
            snapshot,
            stop: Arc::clone(&self.stop),
        };
        let mut rest = dump.reader();
        let path = archive_path(&manifest.name);
        let (end, mut copied) = std::thread::scope(|scope| {
            let copying: Vec<_> = workers
                .into_iter()
                .map(|worker| scope.spawn(|| worker.copy_all(&reading, sink)))
                .collect();
            let end = sink.store(path.as_bytes(), &mut rest);
            let copied: Vec<TableManifest> =
                copying.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect();
            (end, copied)
        });
        self.manifests[at] = manifest;
        if end == StreamEnd::Refused {
            return Ok(end);
        }
        let is_copied = copied.len() == streamed.len();
        if end == StreamEnd::Whole {
            let report = rest.report();
            let note = report.note.clone().unwrap_or_else(|| {
                let version = report.version.clone().unwrap_or_default();
                format!(
                    "version {version}, {} entries, {} with data, all there",
                    report.entries, report.with_data
                )
            });
            self.details.insert(format!("archive {}", reading.database), note);
            copied.extend(archived_tables(&report, &archived, &streamed, sink));
        }
        copied.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        self.manifests[at].tables = copied;
        // Whoever lost the view of the database in between is found out here.
        if let Err(error) = holder.run("end the transaction that held the snapshot", "COMMIT") {
            sink.fail(&reading.database, &error.to_string());
        } else if is_copied && end == StreamEnd::Whole {
            let path = database_path(&reading.database);
            self.unfinished.retain(|unfinished| *unfinished != path);
        }
        Ok(end)
    }

    fn read_globals(&mut self, server: &Server, sink: &dyn StreamSink) {
        let database = self.settings.databases.first().map_or("", String::as_str);
        match globals::read(server, database, &self.stop) {
            Ok((text, note)) => {
                if let Some(note) = note {
                    self.details.insert("globals".to_owned(), note.to_owned());
                }
                if sink.store(GLOBALS_PATH.as_bytes(), &mut text.as_slice()) == StreamEnd::Whole {
                    self.unfinished.retain(|path| path != GLOBALS_PATH);
                }
            }
            Err(error) => sink.fail(GLOBALS_PATH, &error.to_string()),
        }
    }
}

impl StreamSource for PostgresSource {
    fn paths(&self) -> Vec<Vec<u8>> {
        let databases = self.settings.databases.iter().map(|database| database_path(database));
        let globals = self.settings.globals.then(|| GLOBALS_PATH.to_owned());
        databases.chain(globals).map(String::into_bytes).collect()
    }

    fn read_all(&mut self, sink: &dyn StreamSink) -> Result<(), SourceError> {
        let server = self.probe()?;
        for at in 0..self.manifests.len() {
            match self.read(&server, at, sink) {
                Ok(StreamEnd::Refused) => return Ok(()),
                Ok(_) => {}
                // The other databases are worth having all the same.
                Err(error) => sink.fail(&self.manifests[at].name, &error.to_string()),
            }
        }
        if self.settings.globals {
            self.read_globals(&server, sink);
        }
        Ok(())
    }

    fn record(&self) -> SourceRecord {
        let lacks = |path: &String| format!("{path}: its end was not reached or is not verified");
        SourceRecord {
            kind: "postgresql".to_owned(),
            name: "postgres".to_owned(),
            path: b"postgres".to_vec(),
            incomplete: self.unfinished.iter().map(lacks).collect(),
            details: self.details.clone(),
        }
    }

    fn databases(&self) -> Vec<DatabaseManifest> {
        // One of which nothing was read is not in the snapshot.
        let is_read = |manifest: &&DatabaseManifest| {
            !manifest.tables.is_empty() || !self.unfinished.contains(&database_path(&manifest.name))
        };
        self.manifests.iter().filter(is_read).cloned().collect()
    }
}

/// Starts one of PostgreSQL's programs.
fn start(
    server: &Server,
    command: Command,
    program: &str,
    stop: &Arc<StopFlag>,
) -> Result<Process, SourceError> {
    let (name, hint) = (server.program_name(program), server.install_hint());
    // A program in the container ends with its standard input.
    let input = if server.runs_programs_here() { Stdio::null() } else { Stdio::piped() };
    Process::start_fed(command, name, hint, Arc::clone(stop), input)
}

#[cfg(test)]
#[path = "postgres/tests.rs"]
mod tests;
