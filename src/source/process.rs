//! A child process whose output is a stream: its exit status is part of the stream's end.
//!
//! No thread: one `poll` waits for standard output, standard error and (by a timeout) the stop flag.
//! The child leads its own process group, so that what it started ends with it. The group is only
//! ever signalled while the leader is not yet reaped: until then nobody else can get its number.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::event::StopFlag;

use super::error::{SourceError, StreamError};

/// How often the stop flag is looked at.
const BEAT: Duration = Duration::from_millis(100);
/// How long a child may take to end when asked.
const GRACE: Duration = Duration::from_secs(3);
/// How much of standard error is kept.
const STDERR_KEPT: usize = 64 << 10;
/// How much of it an error tells.
const STDERR_TOLD: usize = 2 << 10;

/// A running program, read through its standard output.
#[derive(Debug)]
pub(crate) struct Process {
    program: String,
    child: Child,
    /// Kept open for a program that ends with its standard input.
    lifeline: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    said: Vec<u8>,
    stop: Arc<StopFlag>,
    deadline: Option<(Instant, Duration)>,
    is_reaped: bool,
    end: Option<Result<(), StreamError>>,
}

/// Variables that hold the repository's password.
const REPOSITORY_SECRETS: [&str; 2] = ["MRS_BACKUP_PASSWORD", "RESTIC_PASSWORD"];

impl Process {
    /// Starts `command` (arguments and environment set) as `program` is to be called in errors.
    pub fn start(
        command: Command,
        program: String,
        way_out: &str,
        stop: Arc<StopFlag>,
    ) -> Result<Self, SourceError> {
        Self::start_fed(command, program, way_out, stop, Stdio::null())
    }

    /// The same for a program that reads. With [`Stdio::piped`] its standard input stays open, and
    /// empty, until it is to end.
    pub fn start_fed(
        mut command: Command,
        program: String,
        way_out: &str,
        stop: Arc<StopFlag>,
        input: Stdio,
    ) -> Result<Self, SourceError> {
        if stop.is_stopped() {
            return Err(SourceError::Stopped { program });
        }
        // What opens the repository is none of its business.
        for name in REPOSITORY_SECRETS {
            command.env_remove(name);
        }
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).spawn().map_err(|error| SourceError::Start {
            program: program.clone(),
            reason: error.to_string(),
            way_out: way_out.to_owned(),
        })?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        Ok(Self {
            program,
            lifeline: child.stdin.take(),
            child,
            stdout,
            stderr,
            said: Vec::new(),
            stop,
            deadline: None,
            is_reaped: false,
            end: None,
        })
    }

    /// What the program reads, if that is a pipe. It ends when it is dropped.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.lifeline.take()
    }

    /// Ends the program if it takes longer.
    pub fn within(mut self, limit: Duration) -> Self {
        self.deadline = Some((Instant::now() + limit, limit));
        self
    }

    fn interruption(&self) -> Option<StreamError> {
        if self.stop.is_stopped() {
            return Some(StreamError::Stopped { program: self.program.clone() });
        }
        let (deadline, limit) = self.deadline?;
        (Instant::now() >= deadline).then(|| StreamError::TimedOut {
            program: self.program.clone(),
            seconds: limit.as_secs(),
        })
    }

    fn unreadable(&self, error: impl std::fmt::Display) -> StreamError {
        StreamError::Unreadable { program: self.program.clone(), reason: error.to_string() }
    }

    /// Waits until there is something to read or the time is over; takes what is on standard error.
    /// Tells whether standard output and standard error had something (the end counts).
    fn wait(&mut self, time: Duration) -> io::Result<(bool, bool)> {
        let (out, err) = wait_readable(
            self.stdout.as_ref().map(AsFd::as_fd),
            self.stderr.as_ref().map(AsFd::as_fd),
            time,
        )?;
        if err {
            self.take_stderr();
        }
        Ok((out, err))
    }

    fn take_stderr(&mut self) {
        let mut buffer = [0; 8192];
        match self.stderr.as_mut().map(|stderr| stderr.read(&mut buffer)) {
            Some(Ok(n)) if n > 0 => {
                self.said.extend_from_slice(&buffer[..n]);
                if self.said.len() > STDERR_KEPT {
                    self.said.drain(..self.said.len() - STDERR_KEPT);
                }
            }
            Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => self.stderr = None,
        }
    }

    /// Reads or finds the end; the outcome of the end is remembered by the caller.
    fn advance(&mut self, buf: &mut [u8]) -> Result<usize, StreamError> {
        loop {
            if let Some(interruption) = self.interruption() {
                return Err(interruption);
            }
            let (out, _) = self.wait(BEAT).map_err(|error| self.unreadable(error))?;
            let Some(stdout) = self.stdout.as_mut().filter(|_| out) else { continue };
            match stdout.read(buf) {
                Ok(0) => break,
                Ok(n) => return Ok(n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unreadable(error)),
            }
        }
        self.stdout = None;
        self.conclude().map(|()| 0)
    }

    /// Output ended: waits for the exit and takes the rest of standard error.
    fn conclude(&mut self) -> Result<(), StreamError> {
        while !self.has_exited() {
            if let Some(interruption) = self.interruption() {
                return Err(interruption);
            }
            self.wait(Duration::from_millis(10)).map_err(|error| self.unreadable(error))?;
        }
        // Bounded, because something the program left behind may go on writing.
        for _ in 0..STDERR_KEPT / 1024 {
            if self.stderr.is_none() || !matches!(self.wait(Duration::ZERO), Ok((_, true))) {
                break;
            }
        }
        let status = self.child.wait().map_err(|error| self.unreadable(error))?;
        self.is_reaped = true;
        if status.success() {
            return Ok(());
        }
        Err(StreamError::Failed {
            program: self.program.clone(),
            status: describe(status),
            message: told(&self.said),
        })
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Whether the child ended; it stays unreaped.
    fn has_exited(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match self.pid().map(|pid| waitid(WaitId::Pid(pid), options)) {
            Some(Ok(None)) => false,
            Some(Err(rustix::io::Errno::INTR)) => false,
            // An error means there is nothing left to wait for; `Child::wait` will name it.
            _ => true,
        }
    }

    /// Ends the process group and reaps the child.
    fn terminate(&mut self) {
        if self.is_reaped {
            return;
        }
        self.lifeline = None;
        // A child blocked on a full pipe must see it close.
        self.stdout = None;
        if let Some(pid) = self.pid() {
            let _ = kill_process_group(pid, Signal::TERM);
            let deadline = Instant::now() + GRACE;
            while !self.has_exited() && Instant::now() < deadline {
                if self.wait(Duration::from_millis(10)).is_err() {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.child.wait();
        self.is_reaped = true;
    }
}

impl Read for Process {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        if let Some(end) = &self.end {
            return end.clone().map(|()| 0).map_err(io::Error::from);
        }
        let outcome = self.advance(buf);
        match &outcome {
            Ok(0) => self.end = Some(Ok(())),
            Ok(_) => {}
            Err(error) => {
                self.end = Some(Err(error.clone()));
                self.terminate();
            }
        }
        outcome.map_err(io::Error::from)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.terminate();
    }
}

/// Waits until one of the files has something to read (its end counts) or the time is over.
pub(crate) fn wait_readable(
    first: Option<BorrowedFd<'_>>,
    second: Option<BorrowedFd<'_>>,
    time: Duration,
) -> io::Result<(bool, bool)> {
    let mut fds = Vec::with_capacity(2);
    fds.extend(
        [first, second].into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)),
    );
    let timeout = Timespec::try_from(time).map_err(io::Error::other)?;
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok((false, false)),
        Err(error) => return Err(error.into()),
    }
    let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
    let out = first.is_some() && ready.next().unwrap_or(false);
    let err = second.is_some() && ready.next().unwrap_or(false);
    Ok((out, err))
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// The end of `said` on one line, without anything a terminal would obey.
fn told(said: &[u8]) -> String {
    let end = &said[said.len().saturating_sub(STDERR_TOLD)..];
    let text = String::from_utf8_lossy(end);
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.trim().chars().filter(|c| !c.is_control()).collect::<String>())
        .filter(|line| !line.is_empty())
        .collect();
    if lines.is_empty() { "it gave no reason".to_owned() } else { lines.join(" / ") }
}

/// Why `capture` failed.
#[derive(Debug)]
pub(crate) enum CaptureError {
    /// It did not start.
    Start(SourceError),
    /// It failed or wrote too much.
    Stream(StreamError),
}

/// Runs a program with little output to its end.
pub(crate) fn capture(
    process: Result<Process, SourceError>,
    limit: u64,
) -> Result<Vec<u8>, CaptureError> {
    let mut process = process.map_err(CaptureError::Start)?;
    let mut output = Vec::new();
    let result = process.by_ref().take(limit + 1).read_to_end(&mut output);
    if let Err(error) = result {
        let known = StreamError::of(&error).cloned();
        return Err(CaptureError::Stream(known.unwrap_or_else(|| process.unreadable(error))));
    }
    if output.len() as u64 > limit {
        return Err(CaptureError::Stream(process.unreadable(format!("more than {limit} bytes"))));
    }
    Ok(output)
}

/// Longest answer of [`ask`].
const ANSWER_LIMIT: u64 = 16 << 20;

/// What a program says within `limit`, or why it says nothing, in one line.
pub(crate) fn ask(
    command: Command,
    limit: Duration,
    stop: &Arc<StopFlag>,
) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let process = Process::start(command, name, "is it installed?", Arc::clone(stop));
    let bytes = capture(process.map(|process| process.within(limit)), ANSWER_LIMIT);
    let bytes = bytes.map_err(|error| match error {
        CaptureError::Start(error) => error.to_string(),
        CaptureError::Stream(error) => error.to_string(),
    })?;
    String::from_utf8(bytes).map_err(|_| "its answer is not UTF-8".to_owned())
}
