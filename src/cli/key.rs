//! `key`: the ways into a repository.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;
use zeroize::Zeroizing;

use crate::crypto::SystemRandom;
use crate::crypto::random::random_bytes;
use crate::event::counted;
use crate::id::ObjectId;
use crate::report::clean;
use crate::repository::Repository;

use super::args::Cost;
use super::context::{Context, zone};
use super::format::{local_seconds, table};
use super::password::NewKey;
use super::sheet::{self, SheetOptions};
use super::{CliError, Done, ask};

/// Passwords and key files: list, add, remove, change
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup key list
  mrs-backup key add --label envelope
  mrs-backup key passwd
  mrs-backup key sheet /root/recovery.svg")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the key slots
    #[command(after_help = "Examples:\n  mrs-backup key list")]
    List,
    /// Add a password or key file
    #[command(after_help = "\
Examples:
  mrs-backup key add --label envelope
  mrs-backup key add --new-key-file /etc/mrs-backup/mrs.key --label server")]
    Add(NewSlot),
    /// Remove a key slot
    ///
    /// Whoever kept a copy of it and knows its password can still read everything: `key rotate`
    /// protects what is stored from then on.
    #[command(after_help = "Examples:\n  mrs-backup key remove 1a2b3c4d")]
    Remove {
        /// First digits of its id, as `key list` shows them
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Change the password in use
    #[command(after_help = "\
Examples:
  mrs-backup key passwd
  mrs-backup key passwd --new-password-file /etc/mrs-backup/new.password")]
    Passwd(NewSlot),
    /// Begin new keys, and remove every key slot but a new one
    ///
    /// What is stored from now on cannot be read with an old slot. What was stored before can.
    #[command(
        after_help = "Examples:\n  mrs-backup key rotate --new-key-file /etc/mrs-backup/2026.key"
    )]
    Rotate(NewSlot),
    /// Print the recovery sheet: what is needed on the day this machine is gone
    ///
    /// One page with the places, the repository's id, and the sealed keys. Make it anew when a copy is added or a
    /// password changed.
    #[command(after_help = "\
Examples:
  mrs-backup key sheet /root/recovery.svg            a page to print, with a code for a camera
  mrs-backup key sheet - --recovery-key | lp         with a password of its own")]
    Sheet {
        /// File to make: `.svg` for a drawing, otherwise text; `-` for standard output
        file: PathBuf,

        #[command(flatten)]
        options: SheetOptions,
    },
    /// Make a key file: 64 random bytes, for its owner alone
    #[command(after_help = "\
Examples:
  mrs-backup key generate /etc/mrs-backup/mrs.key")]
    Generate {
        /// File to make; one that is there is not overwritten
        file: PathBuf,
    },
}

/// A new key slot.
#[derive(Debug, clap::Args)]
struct NewSlot {
    #[command(flatten)]
    key: NewKey,

    /// What it is called in lists
    #[arg(long, default_value = "")]
    label: String,

    #[command(flatten)]
    cost: Cost,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    if let Command::Generate { file } = &args.command {
        return generate(context, file);
    }
    let settings = context.settings()?;
    let mut repository = context.open(&settings)?;
    match args.command {
        Command::List => list(context, &repository, &zone(&settings)),
        Command::Add(new) => {
            let credential = new.key.credential(context)?;
            let id = repository.add_key(&credential, new.cost.kdf(), &new.label)?;
            context.out.note(&format!("key {} is added", id.short()))?;
            Ok(Done::ok(json!({ "slot": id })))
        }
        Command::Remove { id } => {
            let id = find(&repository, &id)?;
            if id == repository.slot() {
                return Err(CliError::usage_hint(
                    format!("key {} opened the repository just now, so it stays", id.short()),
                    "open it with another password or key file, then remove this one",
                ));
            }
            repository.remove_key(id)?;
            context.out.note(&format!("key {} is removed", id.short()))?;
            Ok(Done::ok(json!({ "slot": id })))
        }
        Command::Passwd(new) => {
            let credential = new.key.credential(context)?;
            let id = repository.change_password(&credential, new.cost.kdf(), &new.label)?;
            context.out.note(&format!("key {} takes the place of the one in use", id.short()))?;
            Ok(Done::ok(json!({ "slot": id })))
        }
        Command::Rotate(new) => {
            let others = repository.key_slots()?.len();
            let what = format!("to be removed, as all there are: {}", counted(others, "key slot"));
            ask::assent(context, &what, "add --yes to do it")?;
            let credential = new.key.credential(context)?;
            let epoch = repository.rotate_keys(&credential, new.cost.kdf(), &new.label)?;
            context.out.note(&format!("key epoch {} begins; one key slot opens it", epoch.0))?;
            Ok(Done::ok(json!({ "slot": repository.slot() })))
        }
        Command::Sheet { file, options } => {
            let cost = options.recovery_key.then(|| options.cost.kdf());
            sheet::write(context, &settings, &repository, &file, cost)?;
            Ok(Done::ok(json!({ "file": file.display().to_string() })))
        }
        // Done above, without a repository.
        Command::Generate { file } => generate(context, &file),
    }
}

fn list(
    context: &Context,
    repository: &Repository,
    zone: &jiff::tz::TimeZone,
) -> Result<Done, CliError> {
    let slots = repository.key_slots()?;
    let mut rows = Vec::new();
    for slot in &slots {
        let (kind, label, created, error) = match &slot.info {
            Ok(info) => {
                let kind = match info.key_file {
                    true => "key file".to_owned(),
                    false => format!("password, {} MiB", info.cost.memory_kib / 1024),
                };
                (kind, clean(&info.label), local_seconds(info.created, zone), None)
            }
            Err(error) => ("UNREADABLE".to_owned(), error.to_string(), String::new(), Some(error)),
        };
        let fields = json!({
            "id": slot.id,
            "kind": slot.info.as_ref().ok().map(|info| if info.key_file { "key_file" } else { "password" }),
            "label": slot.info.as_ref().ok().map(|info| info.label.as_str()),
            "created": slot.info.as_ref().ok().map(|info| info.created),
            "is_current": slot.is_current,
            "error": error.map(ToString::to_string),
        });
        context.out.record("key", &fields)?;
        let current = if slot.is_current { "*" } else { "" };
        rows.push(vec![slot.id.short(), current.to_owned(), created, kind, label]);
    }
    context.out.line(&table(&["ID", "IN USE", "CREATED", "OPENED BY", "LABEL"], &[], rows))?;
    Ok(Done::ok(json!({ "keys": slots.len() })))
}

/// The only slot whose id begins with `text`.
fn find(repository: &Repository, text: &str) -> Result<ObjectId, CliError> {
    let digits = text.to_ascii_lowercase();
    let mut fitting = repository
        .key_slots()?
        .into_iter()
        .map(|slot| slot.id)
        .filter(|id| digits.len() >= 4 && id.to_hex().starts_with(&digits));
    match (fitting.next(), fitting.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(CliError::usage_hint(
            format!("no key begins with `{text}` (4 digits or more)"),
            "mrs-backup key list",
        )),
        (Some(_), Some(_)) => Err(CliError::usage_hint(
            format!("several keys begin with `{text}`"),
            "give more digits: mrs-backup key list shows them",
        )),
    }
}

fn generate(context: &Context, path: &Path) -> Result<Done, CliError> {
    let failed = |error| CliError::io(format!("make {}", path.display()), &error);
    let key = Zeroizing::new(random_bytes::<64>(&SystemRandom));
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(key.as_slice()).and_then(|()| file.sync_all()).map_err(failed)?;
    context.out.note(&format!("{} is made; keep a copy away from this machine", path.display()))?;
    Ok(Done::ok(json!({ "file": path.display().to_string() })))
}
