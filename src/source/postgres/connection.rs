//! How PostgreSQL's programs reach the server.

use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::Command;

use crate::source::SourceError;

use super::PostgresSettings;

/// Variables of libpq that say how to secure a connection, not where it goes: left as they are.
const KEPT: [&str; 6] = ["PGSSL", "PGGSS", "PGKRB", "PGREQUIRE", "PGCHANNELBINDING", "PGPASSFILE"];
/// Seconds a connection may take to come about.
const CONNECT_TIMEOUT: &str = "30";

#[derive(Debug)]
pub(super) struct Connection {
    settings: PostgresSettings,
    application: String,
}

impl Connection {
    pub(super) fn new(settings: PostgresSettings, run: &str) -> Result<Self, SourceError> {
        if settings.password.as_ref().is_some_and(|secret| secret.expose().contains(&0)) {
            return Err(SourceError::Settings {
                reason: "the password holds a NUL byte, which PostgreSQL cannot take".to_owned(),
                way_out: "set another one with ALTER ROLE",
            });
        }
        let texts = [settings.host.as_deref(), settings.user.as_deref()];
        if texts.into_iter().flatten().any(|text| text.contains('\0')) {
            return Err(SourceError::Settings {
                reason: "`host` or `user` holds a NUL byte".to_owned(),
                way_out: "remove it",
            });
        }
        let run: String = run.chars().filter(char::is_ascii_graphic).take(40).collect();
        Ok(Self { settings, application: format!("mrs-backup/{run}") })
    }

    /// Path of a program, or its name to be found in the search path.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.settings.bin_dir.as_ref().map_or_else(|| PathBuf::from(name), |dir| dir.join(name))
    }

    /// Where the server is, for people.
    pub(super) fn place(&self) -> String {
        let mut place = match self.settings.host.as_deref() {
            None => "the default server".to_owned(),
            Some(host) if host.starts_with('/') => format!("socket in {host}"),
            Some(host) => host.to_owned(),
        };
        // Writing to a string cannot fail.
        if let Some(port) = self.settings.port {
            let _ = write!(place, ", port {port}");
        }
        if let Some(user) = &self.settings.user {
            let _ = write!(place, ", user {user}");
        }
        place
    }

    /// A command whose environment leads to the server.
    pub(super) fn command(&self, name: &str) -> Command {
        let settings = &self.settings;
        let mut command = Command::new(self.program(name));
        for (name, _) in std::env::vars_os() {
            let Some(text) = name.to_str() else { continue };
            let is_place = match text {
                "PGHOST" | "PGHOSTADDR" => settings.host.is_none(),
                "PGPORT" => settings.port.is_none(),
                "PGUSER" => settings.user.is_none(),
                "PGPASSWORD" => settings.password.is_none(),
                _ => false,
            };
            // An inherited PGOPTIONS or PGCLIENTENCODING would change what is dumped.
            if text.starts_with("PG")
                && !is_place
                && !KEPT.iter().any(|kept| text.starts_with(kept))
            {
                command.env_remove(&name);
            }
        }
        // Messages we recognize must not be translated.
        command.env_remove("LC_ALL").env("LC_MESSAGES", "C").env_remove("LANGUAGE");
        command.env("PGAPPNAME", &self.application).env("PGCONNECT_TIMEOUT", CONNECT_TIMEOUT);
        if let Some(host) = &settings.host {
            command.env("PGHOST", host);
        }
        if let Some(port) = settings.port {
            command.env("PGPORT", port.to_string());
        }
        if let Some(user) = &settings.user {
            command.env("PGUSER", user);
        }
        if let Some(password) = &settings.password {
            command.env("PGPASSWORD", OsString::from_vec(password.expose().to_vec()));
        }
        command
    }
}

/// A connection string that names `database` and nothing else, whatever its name looks like.
pub(super) fn conninfo(database: &str) -> String {
    let quoted = database.replace('\\', r"\\").replace('\'', r"\'");
    format!("dbname='{quoted}'")
}
