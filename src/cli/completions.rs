//! `completions`: scripts for shells.

use clap_complete::Shell;
use serde_json::json;

use super::context::Context;
use super::{CliError, Done};

/// Print the completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup completions bash > /etc/bash_completion.d/mrs-backup
  mrs-backup completions zsh > /usr/local/share/zsh/site-functions/_mrs-backup
  mrs-backup completions fish > ~/.config/fish/completions/mrs-backup.fish")]
pub struct Args {
    /// Shell
    shell: Shell,
}

pub fn run(context: &Context, args: &Args) -> Result<Done, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "mrs-backup", &mut script);
    if context.out.is_json() {
        context
            .out
            .record("completions", &json!({ "script": String::from_utf8_lossy(&script) }))?;
    } else {
        context.out.raw(&script)?;
    }
    Ok(Done::ok(json!({})))
}
