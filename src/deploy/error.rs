//! Why a deployment did not take place, or a way back was not gone.

use std::io;
use std::path::PathBuf;

use crate::compose::ComposeError;
use crate::instance::RunError;
use crate::ops::restore_database::RestoreDatabaseError;

/// Why not. Nothing was replaced unless the message says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeployError {
    /// Docker or compose.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// It was asked wrongly.
    #[error("{message}")]
    Request {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: String,
    },
    /// Variables without which nothing is deployed.
    #[error("{} not set, and the configuration requires {}", names.join(", "), if names.len() == 1 { "it" } else { "them" })]
    Unset {
        /// Their names.
        names: Vec<String>,
    },
    /// Containers of another directory have the name.
    #[error("compose project `{project}` is already another stack's, of {directory}")]
    Taken {
        /// Name.
        project: String,
        /// Whose.
        directory: String,
    },
    /// An image that is to be fetched is in no registry, or its registry does not give it.
    #[error(
        "image {image} of service {service} cannot be pulled, and nothing was replaced: {reason}"
    )]
    Pull {
        /// Service.
        service: String,
        /// Name of the image.
        image: String,
        /// What compose says.
        reason: String,
    },
    /// What is there cannot be saved.
    #[error("no snapshot could be made, and nothing was replaced: {0}")]
    Save(Box<RunError>),
    /// The snapshot lacks something.
    #[error("the snapshot is incomplete ({0}), and nothing was replaced")]
    IncompleteSave(String),
    /// The database did not come back.
    #[error("the database was not taken back: {0}")]
    Database(Box<RestoreDatabaseError>),
    /// There is no such deployment.
    #[error("{message}")]
    NoDeployment {
        /// Which.
        message: String,
    },
    /// A record or compose file cannot be read or written.
    #[error("cannot {doing} {}: {reason}", path.display())]
    Files {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// What was done after the containers were replaced, and failed.
    #[error("{step}: {reason}")]
    Step {
        /// `health`, `log`, `postdeploy`, `check`.
        step: &'static str,
        /// Why.
        reason: String,
    },
    /// The password for a check cannot be had.
    #[error(transparent)]
    Key(#[from] crate::instance::config::KeyError),
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Interrupted,
}

impl DeployError {
    /// Reading or writing `path` failed.
    pub fn files(doing: &'static str, path: impl Into<PathBuf>, error: &io::Error) -> Self {
        Self::Files { doing, path: path.into(), reason: error.to_string() }
    }

    /// It was asked wrongly.
    pub fn request(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Request { message: message.into(), hint: hint.into() }
    }

    /// Whether somebody asked to stop.
    pub fn is_stop(&self) -> bool {
        matches!(self, Self::Interrupted | Self::Compose(ComposeError::Interrupted))
    }
}
