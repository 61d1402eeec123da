//! The server of an instance's databases.

use std::sync::Arc;

use crate::crypto::Secret;
use crate::event::{Event, Observer, StopFlag};
use crate::postgres::{Server, ServerSettings};

use super::RunError;
use super::config::{KeyError, KeyReader, PostgresConfig, process_environment};

/// The role's password, if the configuration says where it is.
pub(super) fn password(
    config: &PostgresConfig,
    stop: &Arc<StopFlag>,
    observer: &Arc<dyn Observer>,
) -> Result<Option<Secret>, KeyError> {
    let Some(source) = &config.password else { return Ok(None) };
    let reader = KeyReader { environment: &process_environment, stop: Arc::clone(stop) };
    let read = reader.read(&source.value)?;
    for message in read.warnings {
        observer.event(&Event::Warning { item: "postgres.password".to_owned(), message });
    }
    Ok(Some(read.secret))
}

/// Finds the server; without a configuration as libpq would. `run` is a name its administrator sees.
pub fn database_server(
    config: Option<&PostgresConfig>,
    run: &str,
    stop: &Arc<StopFlag>,
    observer: &Arc<dyn Observer>,
) -> Result<Server, RunError> {
    let settings = match config {
        Some(config) => config.server(password(config, stop, observer)?),
        None => ServerSettings::default(),
    };
    Ok(Server::find(&settings, run, &process_environment)?)
}
