//! Options that several commands share.

use std::path::PathBuf;

use clap::Args;
use clap::builder::NonEmptyStringValueParser as NonEmpty;

use crate::store::Rate;

/// Options of every command. No secret is ever an argument: every user of the machine can read
/// the arguments of every process.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Configuration file [env: MRS_BACKUP_CONFIG] [default: /etc/mrs-backup/config.toml, if it
    /// is there]
    #[arg(short = 'c', long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Instance: its settings are used, and only its snapshots are meant
    #[arg(short = 'i', long, global = true, value_name = "NAME", value_parser = NonEmpty::new())]
    pub instance: Option<String>,

    /// Where the repository is [env: MRS_BACKUP_REPOSITORY]
    #[arg(long, global = true, value_name = "LOCATION", value_parser = NonEmpty::new())]
    pub repo: Option<String>,

    /// File with the password [env: MRS_BACKUP_PASSWORD_FILE]
    #[arg(long, global = true, value_name = "FILE", group = "credential")]
    pub password_file: Option<PathBuf>,

    /// Command that prints the password [env: MRS_BACKUP_PASSWORD_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND", group = "credential")]
    pub password_command: Option<String>,

    /// Key file, made by `key generate` [env: MRS_BACKUP_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE", group = "credential")]
    pub key_file: Option<PathBuf>,

    /// Where local indexes and locks are kept [env: MRS_BACKUP_STATE_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Most bytes a second to send to places elsewhere, all together, like 500KiB or 2MiB; or by
    /// the time of day, like "08:00,512KiB 19:00,off"
    #[arg(long, global = true, value_name = "RATE")]
    pub limit_upload: Option<Rate>,

    /// Most bytes a second to receive from places elsewhere, all together
    #[arg(long, global = true, value_name = "RATE")]
    pub limit_download: Option<Rate>,

    /// JSON on standard output, one object a line, the last one a summary
    #[arg(long, global = true)]
    pub json: bool,

    /// Tell only failures, and what was asked for (a list, a file)
    #[arg(short = 'q', long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Tell more
    #[arg(short = 'v', long, global = true)]
    pub verbose: bool,

    /// No color (as does the environment variable NO_COLOR)
    #[arg(long, global = true)]
    pub no_color: bool,

    /// Assent to what would be asked
    #[arg(long, global = true)]
    pub yes: bool,

    /// With hosts named last: copy this program there first, into DIR
    #[arg(long, global = true, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "/usr/local/bin")]
    pub install: Option<String>,

    /// With hosts named last: configuration of ssh
    #[arg(long, global = true, value_name = "FILE")]
    pub ssh_config: Option<PathBuf>,
}

/// Which snapshots are meant.
#[derive(Debug, Clone, Default, Args)]
pub struct Filter {
    /// Only snapshots with this tag (may be repeated: with all of them)
    #[arg(long = "tag", value_name = "TAG", value_parser = tag)]
    pub tags: Vec<String>,

    /// Only snapshots made on this host
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
}

/// How hard guessing a new password is made.
#[derive(Debug, Clone, Copy, Args)]
pub struct Cost {
    /// Memory a guess of the password takes, in MiB
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(8..=2048))]
    pub kdf_memory: Option<u32>,
}

/// How snapshots are named, for the help of the commands that take one.
pub const SNAPSHOT_HELP: &str = "\
A snapshot is named by the first digits of its id (4 or more), by `latest`, by
`latest:INSTANCE`, or by a date: `2026-11-22` or `2026-11-22T23:00` is the newest
that was there at the end of that day or minute. `latest` prefers complete ones.";

/// A tag that can be told from none.
pub fn tag(text: &str) -> Result<String, String> {
    match text.trim().is_empty() {
        true => Err("a tag has at least one character".to_owned()),
        false => Ok(text.to_owned()),
    }
}
