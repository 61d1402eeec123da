//! Lines for `authorized_keys`: what a key may do, and nothing else.

use std::ffi::OsString;
use std::path::{Path, absolute};

use serde_json::json;

use crate::clone::{Forced, authorized_line, forced};
use crate::instance::config::{Config, process_environment};

use super::super::context::Context;
use super::super::{CliError, Done};

fn text(path: &Path) -> Result<String, CliError> {
    let path = absolute(path).map_err(|error| CliError::io("find a file", &error))?;
    path.into_os_string().into_string().map_err(|path: OsString| {
        CliError::usage(format!(
            "{} cannot stand in authorized_keys: it is not UTF-8",
            path.display()
        ))
    })
}

/// The options that make the command mean the same whoever runs it.
fn program(context: &Context) -> Result<Vec<String>, CliError> {
    let program =
        std::env::current_exe().map_err(|error| CliError::io("find this program", &error))?;
    let mut words = vec![text(&program)?];
    let config = Config::find(context.global.config.as_deref(), &process_environment);
    if let Some(config) = config {
        words.extend(["--config".to_owned(), text(&config.value)?]);
    }
    if let Some(state) = &context.global.state_dir {
        words.extend(["--state-dir".to_owned(), text(state)?]);
    }
    Ok(words)
}

/// A word of the options: as it is, or a path that has to be made absolute.
pub(super) enum Word<'a> {
    Plain(&'a str),
    File(&'a Path),
}

/// Tells the line that lets the key in `public` do what is `allowed`, with these options.
pub(super) fn tell(
    context: &Context,
    allowed: &Forced<'_>,
    options: &[Word<'_>],
    public: &Path,
) -> Result<Done, CliError> {
    let mut all = program(context)?;
    all.extend(allowed.command().map(str::to_owned));
    for word in options {
        all.push(match word {
            Word::Plain(word) => (*word).to_owned(),
            Word::File(path) => text(path)?,
        });
    }
    let line = authorized_line(&all, public).map_err(CliError::usage)?;
    context.out.line(&line)?;
    context.out.record("authorized_key", &json!({ "line": line }))?;
    Ok(Done::ok(json!({})))
}

/// Refuses what was not allowed to this key.
pub(super) fn check(allowed: &Forced<'_>) -> Result<(), String> {
    let of = |name| std::env::var_os(name);
    forced(allowed, of("SSH_CONNECTION").as_deref(), of("SSH_ORIGINAL_COMMAND").as_deref())
}
