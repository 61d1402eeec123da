//! What goes wrong with docker and compose.

use std::io;
use std::path::PathBuf;

/// Why docker or compose did not do what was asked. Holds compose's own words where it has some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ComposeError {
    /// No compose of any kind.
    #[error("there is no compose: tried {tried}")]
    NoCompose {
        /// What was tried, and what it said.
        tried: String,
    },
    /// A program cannot be started.
    #[error("cannot start `{program}`: {reason}")]
    Start {
        /// Program.
        program: String,
        /// What the system says.
        reason: String,
    },
    /// Docker's daemon does not answer.
    #[error("the docker engine does not answer: {said}")]
    NoEngine {
        /// What docker's client said.
        said: String,
    },
    /// A program ended with an error.
    #[error("`{program}` failed ({status}): {said}")]
    Failed {
        /// Program and first words.
        program: String,
        /// How it ended.
        status: String,
        /// What it said, on one line.
        said: String,
    },
    /// A program took too long, and was ended.
    #[error("`{program}` took longer than {seconds} s and was ended")]
    TimedOut {
        /// Program and first words.
        program: String,
        /// Limit.
        seconds: u64,
    },
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Interrupted,
    /// An answer cannot be read.
    #[error("{what} says nothing that can be read: {reason}")]
    Unreadable {
        /// Who said it.
        what: String,
        /// Why not.
        reason: String,
    },
    /// A compose file is not there.
    #[error("cannot read the compose file {}: {reason}", path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// An override does not fit the document.
    #[error("`{key}`: {reason}")]
    Override {
        /// As it was written, without its value.
        key: String,
        /// Why not, and the way out.
        reason: String,
    },
    /// A label asks for a directory it may not have.
    #[error("label io.yourlabs.compose.mkdir of service `{service}`: {reason}")]
    Mkdir {
        /// Service.
        service: String,
        /// Why not.
        reason: String,
    },
    /// A name for a project cannot be made of this.
    #[error(
        "`{text}` cannot be the name of a compose project; use a-z, 0-9, `_` and `-`, first a letter or a digit"
    )]
    ProjectName {
        /// What was given, cleaned.
        text: String,
    },
    /// Reading or writing failed.
    #[error("cannot {doing} {}: {reason}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
}

impl ComposeError {
    /// Reading or writing `path` failed.
    pub fn io(doing: &'static str, path: impl Into<PathBuf>, error: &io::Error) -> Self {
        Self::Io { doing, path: path.into(), reason: error.to_string() }
    }
}
