//! The line to another machine: ssh, what it says, and reading that can be stopped.

use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clone::{Forced, Place, start};
use crate::event::StopFlag;
use crate::report::clean;
use crate::source::process::wait_readable;

use super::super::CliError;
use super::super::context::Context;
use super::Args;

/// How often it is looked whether somebody asked to stop.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long nothing may come from somebody who sends.
const SILENCE: Duration = Duration::from_secs(900);
/// How long ssh may take to notice that nobody reads.
const NOTICING: Duration = Duration::from_secs(5);
/// ssh's own code for a connection that failed.
const NO_CONNECTION: i32 = 255;

/// Reads what comes, until somebody asks to stop.
pub(super) struct Patient<R> {
    inner: R,
    stop: Arc<StopFlag>,
    /// How long nothing may come.
    silence: Option<Duration>,
}

impl<R> Patient<R> {
    /// Of a sender who has everything ready.
    pub const fn within_limit(inner: R, stop: Arc<StopFlag>) -> Self {
        Self { inner, stop, silence: Some(SILENCE) }
    }
}

impl<R: Read + AsFd> Read for Patient<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let began = Instant::now();
        while !wait_readable(Some(self.inner.as_fd()), None, PATIENCE)?.0 {
            if self.stop.is_stopped() {
                return Err(io::Error::other("interrupted"));
            }
            if self.silence.is_some_and(|limit| began.elapsed() > limit) {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "nothing came for 15 minutes"));
            }
        }
        self.inner.read(buffer)
    }
}

/// ssh to a place.
pub(super) struct Line {
    child: Child,
    host: String,
    said: Option<JoinHandle<String>>,
}

/// Passes on what the other side says on standard error; gives its last line.
fn relay(host: String, lines: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut last = String::new();
        let lines = BufReader::new(lines).split(b'\n').map_while(Result::ok);
        for line in lines {
            let line = clean(String::from_utf8_lossy(&line).trim_end());
            // There is nobody to tell that nobody listens.
            let _ = io::stderr().write_all(format!("{host}: {line}\n").as_bytes());
            if !line.trim().is_empty() && !line.trim_start().starts_with("hint:") {
                last = line.chars().take(400).collect();
            }
        }
        last
    })
}

impl Line {
    /// Starts ssh.
    pub fn open(
        context: &Context,
        args: &Args,
        place: &Place,
        wanted: &Forced<'_>,
        input: Stdio,
    ) -> Result<Self, CliError> {
        let config = context.global.ssh_config.as_deref();
        let child = start(place, wanted, config, args.identity.as_deref(), input);
        let mut child = child.map_err(|error| {
            CliError::usage_hint(
                format!("cannot start ssh: {error}"),
                "apt-get install openssh-client",
            )
        })?;
        let said = child.stderr.take().map(|lines| relay(place.host.clone(), lines));
        Ok(Self { child, host: place.host.clone(), said })
    }

    /// What comes from there.
    pub fn output(&mut self, context: &Context) -> Result<Patient<ChildStdout>, CliError> {
        let inner = self.child.stdout.take();
        let inner =
            inner.ok_or_else(|| CliError::io("read what comes by ssh", &"there is no pipe"))?;
        // Rows are looked at there before the first byte comes: that takes its time, and ssh asks whether the other
        // side is still there.
        Ok(Patient { inner, stop: Arc::clone(&context.stop), silence: None })
    }

    /// What goes there.
    pub fn input(&mut self) -> Result<ChildStdin, CliError> {
        let inner = self.child.stdin.take();
        inner.ok_or_else(|| CliError::io("write to ssh", &"there is no pipe"))
    }

    /// Waits for its end; gives its exit code and the last it said.
    pub fn finish(mut self) -> (Option<i32>, String) {
        let status = self.child.wait();
        let said = self.said.take().and_then(|said| said.join().ok()).unwrap_or_default();
        (status.ok().and_then(|status| status.code()), said)
    }

    /// The same of a line nothing is read from any more: it gets some time to notice.
    pub fn hang_up(mut self) -> (Option<i32>, String) {
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if began.elapsed() > NOTICING {
                // It may have ended just now.
                let _ = self.child.kill();
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.finish()
    }

    /// ssh itself failed, if it did.
    pub fn unreachable(host: &str, code: Option<i32>, said: &str) -> Option<CliError> {
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        (code == Some(NO_CONNECTION)).then(|| CliError::Objected {
            message: format!("{host} cannot be reached by ssh, or the line broke{said}"),
            hint: format!("look whether its key is known and ours is allowed there: ssh -v {host}"),
        })
    }

    /// Where it goes.
    pub fn host(&self) -> &str {
        &self.host
    }
}
