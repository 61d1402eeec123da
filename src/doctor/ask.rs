//! Questions to programs of this machine, with a time limit.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::source::process;

use super::Patient;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What a program says, or why it says nothing, in one line.
pub(super) fn ask(
    patient: &Patient<'_>,
    program: &Path,
    arguments: &[&str],
) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments);
    process::ask(command, LIMIT, &patient.stop)
}

/// The same for a program of the search path.
pub(super) fn ask_named(
    patient: &Patient<'_>,
    program: &str,
    arguments: &[&str],
) -> Result<String, String> {
    ask(patient, Path::new(program), arguments)
}
