//! Compose projects: what docker and compose are asked, and the one document that is deployed.
//!
//! Compose itself merges files (`config`), of whichever version is there: 2.x as docker's plugin or the
//! older 1.29. What it says is read into a [`Document`] that loses nothing, changed by `compose_SERVICE_KEY`
//! values, given back to compose to be validated, and shown as a difference without secrets.
//!
//! Every program is started by a [`Runner`], with an environment that is cleaned: nothing of the caller's
//! shell reaches a container unless it was asked for.

mod difference;
mod document;
mod engine;
mod environment;
mod error;
mod frontend;
mod mkdir;
mod overrides;
mod project;
mod redact;
mod runner;
mod sources;

pub use difference::{Change, difference};
pub use document::{Document, Node};
pub use engine::{Container, Engine, Health, Image, Status, external_networks};
pub use environment::{Patterns, base_environment};
pub use error::ComposeError;
pub use frontend::{Compose, Form, Rendered, Source};
pub use mkdir::{Directory, directories, make_directories};
pub use overrides::{Override, Way, apply_overrides};
pub use project::{Project, project_name};
pub use redact::{Redactor, is_public};
pub use runner::{Call, Programs, Runner, Said, Variables};
pub use sources::asked_for;
