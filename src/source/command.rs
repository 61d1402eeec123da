//! Streams of other programs: a command's standard output, or our own standard input.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::event::StopFlag;
use crate::snapshot::SourceRecord;

use super::error::{SourceError, StreamError};
use super::process::{Process, wait_readable};
use super::{OpenStream, StreamSink, StreamSource};

/// How far a stream came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Waiting,
    Open,
    Whole,
}

/// Marks the stream as whole when the end was reached and verified.
struct Marking<'a, R> {
    inner: R,
    progress: &'a mut Progress,
}

impl<R: Read> Read for Marking<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        if n == 0 && !buf.is_empty() {
            *self.progress = Progress::Whole;
        }
        Ok(n)
    }
}

/// The output of a program that is run without a shell.
#[derive(Debug)]
pub struct CommandSource {
    name: String,
    argv: Vec<OsString>,
    stop: Arc<StopFlag>,
    progress: Progress,
}

impl CommandSource {
    /// The output of `argv` (program and arguments) as the file `name` of the snapshot's tree.
    pub fn new(name: &str, argv: Vec<OsString>, stop: Arc<StopFlag>) -> Result<Self, SourceError> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), argv, stop, progress: Progress::Waiting })
    }

    /// Its stream, once.
    pub fn next_stream(&mut self) -> Result<Option<OpenStream<'_>>, SourceError> {
        if self.progress != Progress::Waiting {
            return Ok(None);
        }
        let Some((program, arguments)) = self.argv.split_first() else {
            return Err(SourceError::Start {
                program: self.name.clone(),
                reason: "no program is given".to_owned(),
                way_out: "give the program and its arguments".to_owned(),
            });
        };
        let mut command = Command::new(program);
        command.args(arguments);
        let process = Process::start(
            command,
            // Only the program: arguments may hold what should not be in a log.
            program.to_string_lossy().into_owned(),
            "install it or give its full path",
            Arc::clone(&self.stop),
        )?;
        self.progress = Progress::Open;
        let reader = Marking { inner: process, progress: &mut self.progress };
        Ok(Some(OpenStream { path: self.name.clone().into_bytes(), reader: Box::new(reader) }))
    }
}

impl StreamSource for CommandSource {
    fn paths(&self) -> Vec<Vec<u8>> {
        vec![self.name.clone().into_bytes()]
    }

    fn read_all(&mut self, sink: &dyn StreamSink) -> Result<(), SourceError> {
        if let Some(mut stream) = self.next_stream()? {
            sink.store(&stream.path, stream.reader.as_mut());
        }
        Ok(())
    }

    fn record(&self) -> SourceRecord {
        let mut details = BTreeMap::new();
        if let Some(program) = self.argv.first() {
            details.insert("program".to_owned(), program.to_string_lossy().into_owned());
        }
        record("command", &self.name, self.progress, details)
    }
}

/// Our own standard input.
#[derive(Debug)]
pub struct StdinSource {
    name: String,
    stop: Arc<StopFlag>,
    progress: Progress,
}

impl StdinSource {
    /// Standard input as the file `name` of the snapshot's tree. Whether what feeds it succeeded
    /// cannot be known here: [`CommandSource`] can.
    pub fn new(name: &str, stop: Arc<StopFlag>) -> Result<Self, SourceError> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), stop, progress: Progress::Waiting })
    }

    /// Its stream, once.
    pub fn next_stream(&mut self) -> Result<Option<OpenStream<'_>>, SourceError> {
        if self.progress != Progress::Waiting {
            return Ok(None);
        }
        self.progress = Progress::Open;
        let inner = StoppableStdin { stop: Arc::clone(&self.stop) };
        let reader = Marking { inner, progress: &mut self.progress };
        Ok(Some(OpenStream { path: self.name.clone().into_bytes(), reader: Box::new(reader) }))
    }
}

impl StreamSource for StdinSource {
    fn paths(&self) -> Vec<Vec<u8>> {
        vec![self.name.clone().into_bytes()]
    }

    fn read_all(&mut self, sink: &dyn StreamSink) -> Result<(), SourceError> {
        if let Some(mut stream) = self.next_stream()? {
            sink.store(&stream.path, stream.reader.as_mut());
        }
        Ok(())
    }

    fn record(&self) -> SourceRecord {
        record("stdin", &self.name, self.progress, BTreeMap::new())
    }
}

struct StoppableStdin {
    stop: Arc<StopFlag>,
}

impl Read for StoppableStdin {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let stdin = io::stdin();
        loop {
            if self.stop.is_stopped() {
                return Err(StreamError::Stopped { program: "standard input".to_owned() }.into());
            }
            // Past the library's buffer, which `poll` does not see.
            if wait_readable(Some(stdin.as_fd()), None, Duration::from_millis(100))?.0 {
                return Ok(rustix::io::read(stdin.as_fd(), buf)?);
            }
        }
    }
}

fn record(
    kind: &str,
    name: &str,
    progress: Progress,
    details: BTreeMap<String, String>,
) -> SourceRecord {
    let incomplete = match progress {
        Progress::Whole => Vec::new(),
        Progress::Waiting => vec![format!("{name}: never opened")],
        Progress::Open => vec![format!("{name}: its end was not reached or is not verified")],
    };
    SourceRecord {
        kind: kind.to_owned(),
        name: name.to_owned(),
        path: name.as_bytes().to_vec(),
        incomplete,
        details,
    }
}

fn check_name(name: &str) -> Result<(), SourceError> {
    let refuse = |reason| Err(SourceError::Name { name: name.escape_debug().to_string(), reason });
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name.starts_with('/') {
        return refuse("it is absolute");
    }
    if name.chars().any(char::is_control) {
        return refuse("it holds a control character");
    }
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return refuse("a part of it is empty, `.` or `..`");
    }
    Ok(())
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
