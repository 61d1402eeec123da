//! The server of an instance's databases.

use std::sync::Arc;

use crate::event::{Event, Observer, StopFlag};
use crate::postgres::{Server, ServerSettings};

use super::RunError;
use super::config::{KeyReader, PostgresConfig, process_environment};

/// Finds the server; without a configuration as libpq would. `run` is a name its administrator sees.
pub fn database_server(
    config: Option<&PostgresConfig>,
    run: &str,
    stop: &Arc<StopFlag>,
    observer: &Arc<dyn Observer>,
) -> Result<Server, RunError> {
    let mut settings = ServerSettings::default();
    if let Some(config) = config {
        settings.host = config.host.as_ref().map(|host| host.value.clone());
        settings.port = config.port.as_ref().map(|port| port.value);
        settings.user = config.user.as_ref().map(|user| user.value.clone());
        settings.bin_dir = config.bin_dir.as_ref().map(|dir| dir.value.clone());
        if let Some(source) = &config.password {
            let reader = KeyReader { environment: &process_environment, stop: Arc::clone(stop) };
            let read = reader.read(&source.value)?;
            for message in read.warnings {
                observer.event(&Event::Warning { item: "postgres.password".to_owned(), message });
            }
            settings.password = Some(read.secret);
        }
    }
    Ok(Server::find(&settings, run, &process_environment)?)
}
