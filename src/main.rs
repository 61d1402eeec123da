//! The program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(mrs_backup::cli::main())
}
