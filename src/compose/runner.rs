//! Starting docker and compose: with a cleaned environment, a limit, and an ear for the wish to stop.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::event::StopFlag;

use super::ComposeError;

/// How often the wish to stop is looked for.
const BEAT: Duration = Duration::from_millis(100);
/// How long a program may take to end when asked.
const GRACE: Duration = Duration::from_secs(10);
/// Most that is kept of what a program says, on each stream: its end.
const KEPT: usize = 16 << 20;
/// How much of it an error tells.
const TOLD: usize = 1500;

/// Environment variables.
pub type Variables = BTreeMap<String, OsString>;

/// One program to run.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The program, by its path or a name to be searched for.
    pub program: &'a str,
    /// Its arguments. Never a secret: everybody can read them.
    pub arguments: Vec<String>,
    /// All of its environment.
    pub environment: &'a Variables,
    /// Where it runs.
    pub directory: Option<&'a Path>,
    /// What it reads.
    pub input: Option<&'a [u8]>,
    /// How long it may take.
    pub limit: Duration,
}

impl Call<'_> {
    /// The program and what it does, for messages.
    pub fn told(&self) -> String {
        let is_option = |word: &&String| word.starts_with('-') || word.contains('/');
        let mut words = vec![self.program];
        let mut skip = false;
        for word in &self.arguments {
            match (skip, is_option(&word)) {
                (true, _) => skip = false,
                (false, true) => {
                    skip =
                        matches!(word.as_str(), "-p" | "-f" | "--project-directory" | "--env-file");
                }
                (false, false) => words.push(word),
            }
            if words.len() > 3 {
                break;
            }
        }
        words.join(" ")
    }
}

/// What a program said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: Vec<u8>,
    /// Standard error.
    pub err: Vec<u8>,
}

impl Said {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// Standard error as text.
    pub fn complaint(&self) -> String {
        String::from_utf8_lossy(&self.err).into_owned()
    }

    /// Both, cut to their end, on one line.
    pub fn told(&self) -> String {
        let text = if self.err.iter().all(u8::is_ascii_whitespace) { &self.out } else { &self.err };
        let text = String::from_utf8_lossy(text);
        let mut lines: Vec<String> = Vec::new();
        for line in text.lines() {
            let line: String = line.trim().chars().filter(|c| !c.is_control()).collect();
            let is_noise = line.is_empty() || line.contains("attribute `version` is obsolete");
            // 1.29 says some things twice, first with the service before it.
            if !is_noise && !lines.iter().any(|one| one.ends_with(&line)) {
                lines.push(line);
            }
        }
        let text = lines.join(" / ");
        let from = text.char_indices().rev().nth(TOLD).map_or(0, |(at, _)| at);
        match text.get(from..) {
            Some("") | None => "it gave no reason".to_owned(),
            Some(end) => end.to_owned(),
        }
    }

    /// Fails unless the program ended well.
    pub fn good(self, call: &Call<'_>) -> Result<Self, ComposeError> {
        if self.code == Some(0) {
            return Ok(self);
        }
        let said = self.told();
        if is_engine_away(&said) {
            return Err(ComposeError::NoEngine { said });
        }
        let status = match self.code {
            Some(code) => format!("exit status {code}"),
            None => "ended by a signal".to_owned(),
        };
        Err(ComposeError::Failed { program: call.told(), status, said })
    }
}

fn is_engine_away(said: &str) -> bool {
    [
        "Cannot connect to the Docker daemon",
        "Couldn't connect to Docker daemon",
        "Is the docker daemon running",
        "Error while fetching server API version",
        "failed to connect to the docker API",
    ]
    .iter()
    .any(|words| said.contains(words))
}

/// Starts programs. Tests put a list of answers in its place.
pub trait Runner: Send + Sync {
    /// Runs `call` to its end. An exit code of failure is no error here.
    fn run(&self, call: &Call<'_>) -> Result<Said, ComposeError>;
}

/// Real programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Ends them.
    pub stop: Arc<StopFlag>,
}

impl Runner for Programs {
    fn run(&self, call: &Call<'_>) -> Result<Said, ComposeError> {
        if self.stop.is_stopped() {
            return Err(ComposeError::Interrupted);
        }
        let failed =
            |reason: String| ComposeError::Start { program: call.program.to_owned(), reason };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(error.to_string()))?;
        runtime.block_on(async {
            let mut command = Command::new(call.program);
            command.args(&call.arguments).env_clear().envs(call.environment);
            if let Some(directory) = call.directory {
                command.current_dir(directory);
            }
            let input = if call.input.is_some() { Stdio::piped() } else { Stdio::null() };
            command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
            let child = command.process_group(0).kill_on_drop(true).spawn();
            self.attend(call, child.map_err(|error| failed(error.to_string()))?).await
        })
    }
}

impl Programs {
    /// Feeds and reads the program until it ends, is to end, or has had its time.
    async fn attend(&self, call: &Call<'_>, mut child: Child) -> Result<Said, ComposeError> {
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let (Some(mut stdin), Some(input)) = (stdin, call.input) {
                // A program that does not want to read says why on its own.
                let _ = stdin.write_all(input).await;
            }
        };
        let work = async {
            let (_, out, err) = tokio::join!(feed, read_end(stdout), read_end(stderr));
            (child.wait().await, out, err)
        };
        tokio::pin!(work);
        let (mut rest, mut ended) = (call.limit, None);
        loop {
            match tokio::time::timeout(BEAT.min(rest), &mut work).await {
                Ok((status, out, err)) => {
                    if let Some(error) = ended {
                        return Err(error);
                    }
                    let failed = |error: std::io::Error| ComposeError::Start {
                        program: call.told(),
                        reason: error.to_string(),
                    };
                    let code = status.map_err(failed)?;
                    return Ok(Said { code: ExitStatus::code(&code), out, err });
                }
                Err(_) => rest = rest.saturating_sub(BEAT),
            }
            let is_over = rest.is_zero();
            let signal = match (&ended, is_over) {
                (Some(_), true) => Signal::KILL,
                (None, _) if self.stop.is_stopped() => {
                    ended = Some(ComposeError::Interrupted);
                    Signal::TERM
                }
                (None, true) => {
                    let seconds = call.limit.as_secs();
                    ended = Some(ComposeError::TimedOut { program: call.told(), seconds });
                    Signal::TERM
                }
                _ => continue,
            };
            // The program is not reaped before `work` ends: the number is still its own.
            let _ = pid.map(|pid| kill_process_group(pid, signal));
            rest = GRACE;
        }
    }
}

/// The end of a stream.
async fn read_end(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> Vec<u8> {
    let Some(mut stream) = stream else { return Vec::new() };
    let (mut kept, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if kept.len() > 2 * KEPT {
            kept.drain(..kept.len() - KEPT);
        }
    }
    kept
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
