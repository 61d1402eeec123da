//! Asking people, on a terminal.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use crate::crypto::Secret;
use crate::source::process::wait_readable;

use super::CliError;
use super::context::Context;

/// How often we look whether somebody asked to stop instead of answering.
const PATIENCE: Duration = Duration::from_millis(100);

/// Asks a question; only `y` and `yes` are a yes.
pub fn confirm(context: &Context, question: &str) -> Result<bool, CliError> {
    let answer = answer(context, &format!("{question} [y/N] "))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// The line somebody types.
pub fn answer(context: &Context, question: &str) -> Result<String, CliError> {
    context.out.flush()?;
    let mut err = io::stderr();
    write!(err, "{question}")
        .and_then(|()| err.flush())
        .map_err(|error| CliError::io("ask", &error))?;
    let failed = |error: io::Error| CliError::io("read the answer", &error);
    let stdin = io::stdin();
    while !wait_readable(Some(stdin.as_fd()), None, PATIENCE).map_err(failed)?.0 {
        if context.stop.is_stopped() {
            return Err(CliError::Interrupted);
        }
    }
    let mut answer = String::new();
    stdin.read_line(&mut answer).map_err(failed)?;
    Ok(answer)
}

/// Asks for what `needs` describes unless `--yes` was given; without a terminal that is a wrong use,
/// and `hint` says what to do.
pub fn assent(context: &Context, needs: &str, hint: &str) -> Result<(), CliError> {
    if context.global.yes {
        return Ok(());
    }
    if !context.out.can_ask() {
        return Err(CliError::usage_hint(format!("{needs}; nothing was changed"), hint));
    }
    if confirm(context, &format!("{needs}. Go on?"))? {
        return Ok(());
    }
    Err(CliError::usage("nothing was changed"))
}

/// Asks for the name of a protected instance, unless `told` is it. `--yes` is not enough.
pub fn by_name(
    context: &Context,
    needs: &str,
    name: &str,
    told: Option<&str>,
) -> Result<(), CliError> {
    match told {
        Some(told) if told == name => return Ok(()),
        Some(_) => {
            return Err(CliError::usage_hint(
                "--confirm names another instance; nothing was changed",
                format!("it is {name} whose data is replaced: --confirm {name}"),
            ));
        }
        None => {}
    }
    if !context.out.can_ask() {
        return Err(CliError::usage_hint(
            format!("{needs}, and `{name}` is protected; nothing was changed"),
            format!("look at it with --dry-run, then add --confirm {name}"),
        ));
    }
    if answer(context, &format!("{needs}. To go on type {name}: "))?.trim() == name {
        return Ok(());
    }
    Err(CliError::usage("nothing was changed"))
}

/// Asks for a password that exists already.
pub fn password(prompt: &str) -> Result<Secret, CliError> {
    match rpassword::prompt_password(prompt) {
        Ok(password) => Ok(Secret::new(password.into_bytes())),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(CliError::Interrupted),
        Err(error) => Err(CliError::io("read the password", &error)),
    }
}

/// Asks for a new password, twice.
pub fn new_password() -> Result<Secret, CliError> {
    let first = password("new password: ")?;
    if first.expose().is_empty() {
        return Err(CliError::usage("an empty password protects nothing"));
    }
    let second = password("the same again: ")?;
    if first.expose() != second.expose() {
        return Err(CliError::usage_hint(
            "the two passwords differ; nothing was changed",
            "run the same command again, or write it to a file first: --new-password-file FILE",
        ));
    }
    Ok(first)
}
