//! A server as restoring needs it: sessions, and PostgreSQL's programs fed with what they read.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::process::{ChildStdin, Stdio};
use std::sync::Arc;

use crate::event::StopFlag;
use crate::postgres::{Client, Feed, Server, ServerError};
use crate::source::process::{CaptureError, Process, capture};

use super::error::DatabaseError;

/// Databases that are nobody's, to be in while others are made, renamed and dropped.
const MAINTENANCE: [&str; 2] = ["postgres", "template1"];
/// Most that a program may say on standard output.
const OUTPUT_LIMIT: u64 = 256 << 20;
/// What holds in every session of ours: as `pg_restore` has it, and no limits of the server's or the
/// database's own settings.
const SETTINGS: &str = "SET statement_timeout = 0; SET lock_timeout = 0; \
     SET idle_in_transaction_session_timeout = 0; SET row_security = off; \
     SET default_transaction_read_only = off; SET client_min_messages = warning; \
     SET standard_conforming_strings = on; \
     SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings \
     WHERE name = 'idle_session_timeout'";

/// A server to restore into.
#[derive(Debug, Clone)]
pub struct Cluster {
    server: Server,
    stop: Arc<StopFlag>,
}

impl Cluster {
    /// Restores into `server`.
    pub const fn new(server: Server, stop: Arc<StopFlag>) -> Self {
        Self { server, stop }
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        self.server.place()
    }

    /// The way to it.
    pub const fn server(&self) -> &Server {
        &self.server
    }

    /// The same server for work that somebody who asks to stop does not stop: cleaning up.
    #[must_use]
    pub fn unstoppable(&self) -> Self {
        Self { server: self.server.clone(), stop: Arc::new(StopFlag::new()) }
    }

    /// An error if somebody asked to stop.
    pub fn check_stop(&self) -> Result<(), DatabaseError> {
        if self.stop.is_stopped() { Err(DatabaseError::Interrupted) } else { Ok(()) }
    }

    /// A session in `database`.
    pub fn session(&self, database: &str) -> Result<Client, DatabaseError> {
        let mut session = self.plain_session(database)?;
        session.run("prepare a session", SETTINGS)?;
        Ok(session)
    }

    /// A session with the settings users of `database` get.
    pub fn plain_session(&self, database: &str) -> Result<Client, DatabaseError> {
        Ok(self.server.connect(database, &self.stop)?)
    }

    /// A session in a database that is nobody's, and is not `database`, which may be renamed.
    pub fn maintenance(&self, database: &str) -> Result<Client, DatabaseError> {
        let [first, second] = MAINTENANCE;
        if first == database {
            return self.session(second);
        }
        match self.session(first) {
            Err(DatabaseError::Server(ServerError::Connect { .. })) => self.session(second),
            other => other,
        }
    }

    /// Runs one of PostgreSQL's programs to its end; gives what it wrote.
    pub fn run(
        &self,
        doing: &str,
        program: &str,
        database: &str,
        arguments: &[&str],
        input: Input<'_>,
    ) -> Result<Vec<u8>, DatabaseError> {
        let is_here = self.server.runs_programs_here();
        let feed = match &input {
            Input::Nothing => Feed::Nothing,
            Input::Bytes(bytes) => Feed::File(bytes.len()),
            Input::Stream { .. } => Feed::Stream,
        };
        let mut command = self.server.command_fed(program, database, feed);
        command.args(arguments);
        let start = |stdin: Stdio| {
            let name = self.server.program_name(program);
            let hint = self.server.install_hint();
            Process::start_fed(command, name, hint, Arc::clone(&self.stop), stdin)
                .map_err(|error| DatabaseError::of_program(doing, &self.place(), error))
        };
        let finish = |process| match capture(Ok(process), OUTPUT_LIMIT) {
            Ok(output) => Ok(output),
            Err(CaptureError::Start(error)) => {
                Err(DatabaseError::of_program(doing, &self.place(), error))
            }
            Err(CaptureError::Stream(error)) => {
                Err(DatabaseError::of_stream(doing, &self.place(), &error))
            }
        };
        // In a container its standard input is also what ends it when we are killed.
        match input {
            Input::Nothing if is_here => finish(start(Stdio::null())?),
            Input::Nothing => finish(start(Stdio::piped())?),
            Input::Bytes(bytes) if is_here => {
                let file = in_memory(bytes).map_err(|error| DatabaseError::Program {
                    doing: doing.to_owned(),
                    server: self.place(),
                    reason: format!("there is no memory for its input: {error}"),
                })?;
                finish(start(Stdio::from(file))?)
            }
            Input::Bytes(mut bytes) => fed("", &mut bytes, true, start(Stdio::piped())?, finish),
            Input::Stream { what, reader } => {
                fed(what, reader, false, start(Stdio::piped())?, finish)
            }
        }
    }
}

/// Lets `process` come to its end while it is fed; its standard input stays open until then if it `is_kept`.
fn fed(
    what: &str,
    reader: &mut (dyn Read + Send),
    is_kept: bool,
    mut process: Process,
    finish: impl FnOnce(Process) -> Result<Vec<u8>, DatabaseError>,
) -> Result<Vec<u8>, DatabaseError> {
    let pipe = process.take_stdin();
    std::thread::scope(|scope| {
        let feeder = scope.spawn(move || feed(reader, pipe).map(|pipe| pipe.filter(|_| is_kept)));
        let output = finish(process);
        // What could not be read is the cause of whatever the program says.
        match feeder.join() {
            Ok(Err(reason)) => Err(DatabaseError::Read { what: what.to_owned(), reason }),
            Ok(Ok(_)) | Err(_) => output,
        }
    })
}

/// What a program reads.
pub enum Input<'a> {
    /// Nothing.
    Nothing,
    /// These bytes, as a file it may jump about in (`/dev/stdin`).
    Bytes(&'a [u8]),
    /// A stream; `what` it is for errors.
    Stream {
        /// `archive of database mrs`.
        what: &'a str,
        /// The bytes.
        reader: &'a mut (dyn Read + Send),
    },
}

/// A file that is nowhere but in memory.
fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let file = rustix::fs::memfd_create("mrs-backup", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// Writes what `reader` gives to the program. That the program does not want it all is its business:
/// its exit status tells. An error is one of reading.
fn feed(reader: &mut dyn Read, pipe: Option<ChildStdin>) -> Result<Option<ChildStdin>, String> {
    let Some(mut pipe) = pipe else { return Err("there is no way to the program".to_owned()) };
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => return Ok(Some(pipe)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.to_string()),
        };
        if pipe.write_all(&buffer[..count]).is_err() {
            return Ok(None);
        }
    }
}
