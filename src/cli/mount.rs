//! `mount`: snapshots as a directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::event::counted;
use crate::mount::{MountOptions, mount};

use super::args::{Filter, SNAPSHOT_HELP};
use super::context::{Context, zone};
use super::{CliError, Done};

/// How often we look whether somebody asked to stop, or unmounted it.
const PATIENCE: Duration = Duration::from_millis(200);

/// Look at snapshots as directories, without restoring anything
///
/// Mounts all snapshots, by instance and time, or one of them, read only, until it is stopped (Ctrl-C) or unmounted (umount).
/// Databases are in `.databases` of each snapshot, as files for pg_restore that are made while they are read: from their beginning to their end,
/// and without a size. Nothing is written to this machine. Needs root, or `fusermount3` of the package fuse3.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("\
{SNAPSHOT_HELP}

Examples:
  mrs-backup mount /mnt/snapshots                 /mnt/snapshots/INSTANCE/latest
  mrs-backup mount /mnt/snapshots --instance mrs-production
  mrs-backup mount /mnt/snapshots latest          the newest one alone
  pg_restore -d restored < /mnt/snapshots/mrs-production/latest/.databases/mrs.dump
  umount /mnt/snapshots"))]
pub struct Args {
    /// Directory to mount at
    #[arg(value_name = "DIR")]
    target: PathBuf,

    /// Only this snapshot
    snapshot: Option<String>,

    #[command(flatten)]
    filter: Filter,

    /// Other users may read, too, what the modes of files let them
    #[arg(long)]
    allow_other: bool,
}

pub fn run(context: &Context, args: &Args) -> Result<Done, CliError> {
    if !args.target.is_dir() {
        let hint = match args.target.symlink_metadata() {
            Ok(_) => "name an empty directory".to_owned(),
            Err(_) => match args.snapshot.as_ref().filter(|second| Path::new(second).is_dir()) {
                Some(directory) => {
                    let snapshot = args.target.display();
                    format!("the directory comes first: mrs-backup mount {directory} {snapshot}")
                }
                None => format!("mkdir {}", args.target.display()),
            },
        };
        return Err(CliError::usage_hint(
            format!("{} is no directory", args.target.display()),
            hint,
        ));
    }
    // A live home, or `/`, would be hidden from whoever looks for it.
    if std::fs::read_dir(&args.target).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(CliError::usage_hint(
            format!("{} is not empty, and what is in it would be hidden", args.target.display()),
            "mount at an empty directory: mkdir /mnt/snapshots",
        ));
    }
    let settings = context.settings()?;
    let repository = context.open_to_read(&settings)?;
    let snapshots = match &args.snapshot {
        Some(text) => vec![context.select(&repository, &settings, &args.filter, text)?],
        None => {
            let mut selector = context.selector(&settings, &args.filter);
            selector.instance.clone_from(&context.global.instance);
            selector.filter(context.snapshots(&repository)?)
        }
    };
    if snapshots.is_empty() {
        return Err(CliError::usage_hint(
            "there are no snapshots to mount",
            "mrs-backup snapshots",
        ));
    }
    let count = snapshots.len();
    let options = MountOptions {
        is_single: args.snapshot.is_some(),
        allow_other: args.allow_other,
        zone: zone(&settings),
    };
    let observer = Arc::clone(&context.observer);
    let mounted = mount(repository, snapshots, &args.target, &options, observer)?;
    let target = args.target.display();
    context.out.note(&format!(
        "{} mounted at {target}; stop this, or `umount {target}`, when it is not needed any more",
        counted(count, "snapshot")
    ))?;
    context.out.record("mounted", &json!({ "target": args.target, "snapshots": count }))?;
    context.out.flush()?;
    while !context.stop.is_stopped() && !mounted.is_over() {
        std::thread::sleep(PATIENCE);
    }
    mounted.unmount()?;
    Ok(Done::ok(json!({ "target": args.target, "snapshots": count })))
}
