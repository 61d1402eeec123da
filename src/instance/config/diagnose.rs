//! Errors of the configuration: file, line, column, and the key that was probably meant.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why there is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// In the system's words.
        reason: String,
    },
    /// Something in the file is wrong.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Character in the line, from 1.
        column: usize,
        /// What is wrong, and the way out.
        message: String,
    },
    /// An instance's settings do not fit together.
    #[error("{}: [instance.{instance}]: {message}", path.display())]
    Instance {
        /// The file.
        path: PathBuf,
        /// The instance.
        instance: String,
        /// What is wrong, and the way out.
        message: String,
    },
    /// Settings of the whole program do not fit together.
    #[error("{}: {message}", path.display())]
    Whole {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the way out.
        message: String,
    },
    /// There is no such instance.
    #[error("{}: there is no instance `{name}`; {hint}", path.display())]
    UnknownInstance {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// Which there are.
        hint: String,
    },
    /// Flags or environment variables are wrong.
    #[error("{names}: {message}")]
    Environment {
        /// Which.
        names: String,
        /// What is wrong, and the way out.
        message: String,
    },
}

/// Longest file that is read.
const LONGEST: u64 = 16 << 20;

/// The file's text.
pub(super) fn read_text(path: &Path) -> Result<String, ConfigError> {
    let failed = |reason| ConfigError::Unreadable { path: path.to_owned(), reason };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
        .map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > LONGEST {
        return Err(failed(format!("it is longer than {LONGEST} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(error.as_bytes().get(..good).unwrap_or_default());
        let message = "this is no text (UTF-8); is it the right file?";
        positioned(&before, path, Some(good..good), message)
    })
}

/// An error at `span` of `text`, with a reader's `message` made fit for people.
pub(super) fn positioned(
    text: &str,
    path: &Path,
    span: Option<Range<usize>>,
    message: &str,
) -> ConfigError {
    let before = text.get(..span.map_or(0, |span| span.start)).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    ConfigError::Invalid {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        message: readable(message),
    }
}

fn readable(message: &str) -> String {
    if let Some(rest) = message.strip_prefix("unknown field `") {
        // Serde lists the known names in backticks after the unknown one.
        let mut parts = rest.split('`').step_by(2);
        let unknown = parts.next().unwrap_or_default();
        let known: Vec<&str> = rest.split('`').skip(2).step_by(2).collect();
        return format!("unknown key `{unknown}`; {}", nearest(unknown, known.into_iter(), "keys"));
    }
    if let Some(key) =
        message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'))
    {
        return format!("the key `{key}` is missing; add it");
    }
    message.to_owned()
}

/// "did you mean ...?", or all there are.
pub(super) fn nearest<'a>(
    unknown: &str,
    known: impl Iterator<Item = &'a str>,
    what: &str,
) -> String {
    let known: Vec<&str> = known.collect();
    let close = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(unknown, name), *name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4);
    match close {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None if known.is_empty() => format!("there are no {what}"),
        None => format!("known {what}: {}", known.join(", ")),
    }
}
