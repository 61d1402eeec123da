//! Whatever rclone knows, by rclone itself: a child process serves the remote to this process alone, as
//! WebDAV on a port of this machine, with a password made for the occasion.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use super::place::PlaceError;
use crate::crypto::random::random_bytes;
use crate::crypto::{Secret, SystemRandom};
use crate::id::to_hex;

/// How long rclone may take to start: it may have to ask its provider for a token.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Lines that are kept of what it says.
const KEPT_LINES: usize = 5;

/// A running rclone; ended when dropped.
#[derive(Debug)]
pub(super) struct Rclone {
    child: Mutex<Child>,
    /// `http://127.0.0.1:port`
    pub origin: String,
    pub password: Secret,
}

/// Who logs in.
pub(super) const USER: &str = "mrs-backup";

fn wrong(reason: impl std::fmt::Display) -> PlaceError {
    PlaceError::new(
        format!("rclone cannot be used: {reason}"),
        "try it by hand: rclone lsd REMOTE:PATH (and install it: apt-get install rclone)",
    )
}

impl Rclone {
    pub fn start(remote: &str) -> Result<Self, PlaceError> {
        let password = to_hex(&random_bytes::<32>(&SystemRandom));
        let program = std::env::var_os("RCLONE").unwrap_or_else(|| "rclone".into());
        let mut child = Command::new(program)
            .args(["serve", "webdav", "--addr", "127.0.0.1:0"])
            // What others write has to be seen.
            .args(["--dir-cache-time", "0s", "--poll-interval", "0s", "--vfs-cache-mode", "off"])
            .arg("--")
            .arg(remote)
            .env("RCLONE_USER", USER)
            .env("RCLONE_PASS", &password)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| wrong(format!("it cannot be started: {error}")))?;
        let (sender, port) = mpsc::channel();
        let said = Arc::new(Mutex::new(Vec::new()));
        if let Some(stderr) = child.stderr.take() {
            let said = Arc::clone(&said);
            // Reads until its end, or rclone would stand still once the pipe is full.
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    if let Some((_, rest)) = line.split_once("http://127.0.0.1:") {
                        let digits: String =
                            rest.chars().take_while(char::is_ascii_digit).collect();
                        let _ = sender.send(digits);
                    }
                    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                    said.push(line);
                    let len = said.len();
                    said.drain(..len.saturating_sub(KEPT_LINES));
                }
            });
        }
        let found = port.recv_timeout(START_LIMIT);
        let running = Self {
            child: Mutex::new(child),
            origin: format!("http://127.0.0.1:{}", found.as_deref().unwrap_or_default()),
            password: Secret::new(password.into_bytes()),
        };
        match found {
            Ok(_) => Ok(running),
            Err(_) => {
                let said = said.lock().unwrap_or_else(PoisonError::into_inner).join("; ");
                Err(wrong(if said.is_empty() {
                    "it does not start to serve".to_owned()
                } else {
                    said
                }))
            }
        }
    }
}

impl Drop for Rclone {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        for _ in 0..50 {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}
