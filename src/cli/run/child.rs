//! The program itself as a child: for what runs in a process of its own.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::cli::context::Context;
use crate::cli::{CliError, Done, Exit};

/// How often we look whether a child has ended.
pub const PATIENCE: Duration = Duration::from_millis(200);

/// Ourselves with `words`, and the options of every command that we were given.
pub fn command(context: &Context, words: &[&str]) -> io::Result<Command> {
    let global = &context.global;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(words);
    for (option, value) in [("--config", &global.config), ("--state-dir", &global.state_dir)] {
        if let Some(value) = value {
            command.arg(option).arg(std::path::absolute(value)?);
        }
    }
    let flags = [
        ("--json", global.json),
        ("--quiet", global.quiet),
        ("--verbose", global.verbose),
        ("--no-color", global.no_color),
    ];
    command.args(flags.into_iter().filter(|(_, is_given)| *is_given).map(|(option, _)| option));
    command.stdin(std::process::Stdio::null());
    Ok(command)
}

/// Asks a child that was not waited for yet to stop.
pub fn ask_to_stop(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    // One that has ended meanwhile is not there to be asked; it is still ours until it is waited for.
    let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
}

/// How a child ended, as we would have.
pub fn exit_of(status: ExitStatus) -> Exit {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.and_then(Exit::of).unwrap_or(Exit::Failed)
}

/// Runs ourselves with `words` and waits for it.
pub fn in_foreground(context: &Context, words: &[&str]) -> Result<Done, CliError> {
    context.out.flush()?;
    let doing = || format!("run mrs-backup {}", words.join(" "));
    let failed = |error: io::Error| CliError::io(doing(), &error);
    let mut child =
        command(context, words).and_then(|mut command| command.spawn()).map_err(failed)?;
    let mut is_asked = false;
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            let exit = exit_of(status);
            return Ok(Done::with(exit, json!({ "command": words })));
        }
        if context.stop.is_stopped() && !is_asked {
            ask_to_stop(&child);
            is_asked = true;
        }
        std::thread::sleep(PATIENCE);
    }
}
