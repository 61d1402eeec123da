//! `migrate`: from what was there before.

mod dumps;
mod restic;
mod scripts;

use clap::Subcommand;

use super::context::Context;
use super::{CliError, Done};

/// Come here from restic: scripts around it, and its snapshots
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup migrate scripts /home/mrs-production            what it would become
  mrs-backup migrate scripts /home/mrs-production --apply
  mrs-backup migrate restic /mnt/backup/mrs-production/restic --verify")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Scripts(scripts::Args),
    Restic(restic::Args),
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    match args.command {
        Command::Scripts(args) => scripts::run(context, args),
        Command::Restic(args) => restic::run(context, args),
    }
}
