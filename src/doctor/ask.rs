//! Questions to programs of this machine, with a time limit.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::source::process::{CaptureError, Process, capture};

use super::Patient;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Longest answer.
const LONGEST: u64 = 16 << 20;

/// What a program says, or why it says nothing, in one line.
pub(super) fn ask(
    patient: &Patient<'_>,
    program: &Path,
    arguments: &[&str],
) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments);
    let name = program.display().to_string();
    let process = Process::start(command, name, "is it installed?", patient.stop.clone());
    let output = capture(process.map(|process| process.within(LIMIT)), LONGEST);
    let bytes = output.map_err(|error| match error {
        CaptureError::Start(error) => error.to_string(),
        CaptureError::Stream(error) => error.to_string(),
    })?;
    String::from_utf8(bytes).map_err(|_| "its answer is not UTF-8".to_owned())
}

/// The same for a program of the search path.
pub(super) fn ask_named(
    patient: &Patient<'_>,
    program: &str,
    arguments: &[&str],
) -> Result<String, String> {
    ask(patient, Path::new(program), arguments)
}
