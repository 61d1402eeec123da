//! Where keys and passwords come from. The file never holds one itself.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::crypto::Secret;
use crate::crypto::slot::Credential;
use crate::event::StopFlag;
use crate::source::process::{CaptureError, Process, capture};
use crate::store::credential_path;

use super::Environment;

mod form;
pub(super) use form::PasswordSource;

/// Longest password or key file.
const LONGEST: u64 = 64 << 10;
/// Shortest key file: it is not stretched, so it must be beyond guessing.
const SHORTEST_KEY_FILE: usize = 32;
/// How long a command may take: somebody may have to touch a token.
const COMMAND_LIMIT: Duration = Duration::from_secs(300);

/// Where a password or a key is.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file with a password on its only line.
    File(PathBuf),
    /// A program that prints the password, and its arguments.
    Command(Vec<String>),
    /// An environment variable with the password.
    Env(String),
    /// A credential systemd hands to the service.
    Credential(String),
    /// A file with raw key material.
    KeyFile(PathBuf),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            // Arguments may be secret (`echo password`).
            Self::Command(argv) => {
                let program = argv.first().map_or("", String::as_str);
                write!(f, "command {program}")?;
                if argv.len() > 1 { f.write_str(" ***") } else { Ok(()) }
            }
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Credential(name) => write!(f, "credential {name}"),
            Self::KeyFile(path) => write!(f, "key file {}", path.display()),
        }
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySource({self})")
    }
}

/// Why a password or a key cannot be had. Never holds any of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot get the password or key from {source_text}: {reason}; {way_out}")]
pub struct KeyError {
    /// From where.
    pub source_text: String,
    /// Why not.
    pub reason: String,
    /// What to do.
    pub way_out: &'static str,
}

/// What was read, and what should be told about it.
#[derive(Debug, Clone)]
pub struct ReadKey {
    /// The password or key.
    pub secret: Secret,
    /// One line each.
    pub warnings: Vec<String>,
}

impl KeySource {
    /// With paths that do not depend on the current directory.
    pub(super) fn resolved(self, home: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(home.join(path)),
            Self::KeyFile(path) => Self::KeyFile(home.join(path)),
            other => other,
        }
    }

    fn error(&self, reason: impl Into<String>, way_out: &'static str) -> KeyError {
        KeyError { source_text: self.to_string(), reason: reason.into(), way_out }
    }
}

/// Reads passwords and keys.
pub struct KeyReader<'a> {
    /// Environment for variables and credentials.
    pub environment: Environment<'a>,
    /// Ends a command that takes long.
    pub stop: Arc<StopFlag>,
}

impl KeyReader<'_> {
    /// What opens a repository.
    pub fn credential(&self, source: &KeySource) -> Result<(Credential, Vec<String>), KeyError> {
        let ReadKey { secret, warnings } = self.read(source)?;
        let credential = match source {
            KeySource::KeyFile(_) => Credential::KeyFile(secret),
            _ => Credential::Password(secret),
        };
        Ok((credential, warnings))
    }

    /// The bytes: of a password without the end of its line, of a key file all of them.
    pub fn read(&self, source: &KeySource) -> Result<ReadKey, KeyError> {
        let mut warnings = Vec::new();
        let mut bytes = match source {
            KeySource::File(path) | KeySource::KeyFile(path) => {
                read_file(source, path, &mut warnings)?
            }
            KeySource::Command(argv) => self.run(source, argv)?,
            KeySource::Env(name) => {
                let value = (self.environment)(name);
                value
                    .map(OsString::into_vec)
                    .ok_or_else(|| source.error("it is not set", "set it"))?
            }
            KeySource::Credential(name) => {
                let path = credential_path(self.environment, name).ok_or_else(|| {
                    source.error(
                        "CREDENTIALS_DIRECTORY is not set",
                        "run it as a systemd service with LoadCredential=",
                    )
                })?;
                // systemd guards that directory itself; its permissions are not ours to judge.
                read_file(source, &path, &mut Vec::new())?
            }
        };
        if let KeySource::KeyFile(_) = source {
            if bytes.len() < SHORTEST_KEY_FILE {
                let reason = format!("it has {} bytes, less than 32", bytes.len());
                return Err(source.error(reason, "make one with 32 random bytes or more"));
            }
        } else {
            strip_line_end(&mut bytes);
        }
        if bytes.is_empty() {
            return Err(source.error("it is empty", "put a password there"));
        }
        Ok(ReadKey { secret: Secret::new(bytes), warnings })
    }

    fn run(&self, source: &KeySource, argv: &[String]) -> Result<Vec<u8>, KeyError> {
        const WAY_OUT: &str = "run it by hand to see what is wrong";
        let Some((program, arguments)) = argv.split_first() else {
            return Err(
                source.error("no program is given", "write it as [\"program\", \"argument\"]")
            );
        };
        let mut command = Command::new(program);
        command.args(arguments);
        let process = Process::start(command, program.clone(), WAY_OUT, Arc::clone(&self.stop));
        capture(process.map(|process| process.within(COMMAND_LIMIT)), LONGEST).map_err(|error| {
            let reason = match error {
                CaptureError::Start(error) => error.to_string(),
                CaptureError::Stream(error) => error.to_string(),
            };
            source.error(reason, WAY_OUT)
        })
    }
}

fn read_file(
    source: &KeySource,
    path: &Path,
    warnings: &mut Vec<String>,
) -> Result<Vec<u8>, KeyError> {
    let failed = |error: std::io::Error| {
        source.error(error.to_string(), "check the path and who may read it")
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o777;
    if metadata.is_file() && mode & 0o077 != 0 {
        warnings.push(format!(
            "{} can be read or changed by others (mode {mode:03o}); run: chmod 600 {}",
            path.display(),
            path.display()
        ));
    }
    // All room at once: growing would leave copies behind.
    let mut bytes = Vec::with_capacity(LONGEST as usize + 64);
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LONGEST {
        return Err(source.error(format!("it is longer than {LONGEST} bytes"), "check the path"));
    }
    Ok(bytes)
}

/// One end of line: what an editor or `echo` adds.
fn strip_line_end(bytes: &mut Vec<u8>) {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
}

#[cfg(test)]
#[path = "key/tests.rs"]
mod tests;
