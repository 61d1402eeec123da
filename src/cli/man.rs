//! `man`: manual pages.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::json;

use super::context::Context;
use super::{CliError, Done};

/// Write the manual pages, or print the first one
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup man | man -l -
  mrs-backup man /usr/local/share/man/man1")]
pub struct Args {
    /// Directory for all pages; it is made if it is not there
    dir: Option<PathBuf>,
}

pub fn run(context: &Context, args: &Args) -> Result<Done, CliError> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(super::command())
            .render(&mut page)
            .map_err(|error| CliError::io("make the manual page", &error))?;
        if context.out.is_json() {
            context.out.record("man", &json!({ "page": String::from_utf8_lossy(&page) }))?;
        } else {
            context.out.raw(&page)?;
        }
        return Ok(Done::ok(json!({})));
    };
    let failed = |error| CliError::io(format!("write manual pages to {}", dir.display()), &error);
    fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(super::command(), dir).map_err(failed)?;
    // Everybody may read them, whatever else this program makes.
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("mrs-backup") && name.ends_with(".1") {
            fs::set_permissions(&path, Permissions::from_mode(0o644)).map_err(failed)?;
        }
    }
    context.out.note(&format!("manual pages are in {}", dir.display()))?;
    Ok(Done::ok(json!({ "directory": dir.display().to_string() })))
}
