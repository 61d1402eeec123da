//! Commands of the target's owner, such as `migrate`: in the new database before it takes its place, and after.

use std::path::Path;
use std::time::Duration;

use crate::compose::{Call, Runner, Variables};
use crate::event::{Event, Observer};

/// What stands for the name of the database.
const DATABASE: &str = "{database}";

/// Commands, and how they are run.
pub struct Commands<'a> {
    /// Each a program and its arguments.
    pub commands: &'a [Vec<String>],
    /// Where: the home of the target.
    pub directory: &'a Path,
    /// How long each of them may take.
    pub limit: Duration,
    /// Runs them.
    pub runner: &'a dyn Runner,
    /// All of their environment but the name of the database.
    pub environment: &'a Variables,
    /// Who listens.
    pub observer: &'a dyn Observer,
}

impl Commands<'_> {
    /// Runs them one after the other for `database`; the first that fails ends it. The error names the command, and
    /// the end of what it said.
    pub fn run(&self, database: &str) -> Result<(), CommandFailed> {
        let mut environment = self.environment.clone();
        for name in ["PGDATABASE", "CLONE_DATABASE"] {
            environment.insert(name.to_owned(), database.into());
        }
        for command in self.commands {
            let words: Vec<String> =
                command.iter().map(|word| word.replace(DATABASE, database)).collect();
            let Some((program, arguments)) = words.split_first() else { continue };
            let told = words.join(" ");
            self.observer.event(&Event::Working { item: told.clone() });
            let call = Call {
                program,
                arguments: arguments.to_vec(),
                environment: &environment,
                directory: Some(self.directory),
                input: None,
                limit: self.limit,
            };
            let said = self.runner.run(&call).and_then(|said| said.good(&call));
            said.map_err(|error| CommandFailed { command: told, reason: error.to_string() })?;
        }
        Ok(())
    }
}

/// A command that did not end well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("command `{command}`: {reason}")]
pub struct CommandFailed {
    /// Which.
    pub command: String,
    /// Why.
    pub reason: String,
}
