//! `init`: a new repository.

use std::path::PathBuf;

use serde_json::json;

use crate::crypto::slot::Credential;
use crate::repository::{CHUNK_LEN_BOUNDS, InitOptions, PACK_LEN_BOUNDS, Repository};
use crate::store::Survey;

use super::adopt::{self, Adoption};
use super::context::Context;
use super::prune::parse_size;
use super::sheet::{self, SheetOptions};
use super::{CliError, Done, password};

/// Make a new, empty repository
///
/// The place must be missing or empty. Nothing else ever makes a repository: a disk that is not
/// mounted is never mistaken for a new one. With --adopt no new one is made: after the loss of a repository, a copy
/// becomes the repository again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup init mrs-production
  mrs-backup init --repo /mnt/backup/mrs --password-file /etc/mrs-backup/mrs.password
  mrs-backup key generate /etc/mrs-backup/mrs.key
  mrs-backup init --repo /mnt/backup/mrs --key-file /etc/mrs-backup/mrs.key
  mrs-backup init mrs-production --recovery-sheet /root/recovery.svg

After the loss of the server, on another one:
  mrs-backup init --adopt /mnt/cellar/mrs --repo /mnt/backup/mrs \\
      --write-config /etc/mrs-backup/config.toml
  mrs-backup init --adopt /mnt/cellar/mrs --in-place")]
pub struct Args {
    /// Instance of the configuration
    #[arg(value_name = "INSTANCE")]
    name: Option<String>,

    /// What people call the repository, and its first key slot
    #[arg(long, default_value = "")]
    label: String,

    /// Never compress a changed piece against the earlier one. Costs space each night; a damaged pack then
    /// harms nothing but what is in it
    #[arg(long)]
    no_deltas: bool,

    /// Largest pack, 1MiB to 128MiB. Smaller ones suit places that count few bytes, larger ones those that count objects
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = parse_pack_size)]
    pack_size: u64,

    /// Average length at which what compresses is cut: 16KiB to 1MiB, a power of two. Smaller pieces store less of
    /// a change, and cost more memory and index
    #[arg(long, value_name = "SIZE", default_value = "256KiB", value_parser = parse_chunk_size)]
    chunk_size: u32,

    /// Make the repository of this copy, which is copied there
    #[arg(long, value_name = "LOCATION", conflicts_with_all = ["label", "no_deltas", "pack_size", "chunk_size", "recovery_sheet"])]
    adopt: Option<String>,

    /// Use the adopted copy where it is, as the repository
    #[arg(long, requires = "adopt")]
    in_place: bool,

    /// Write a configuration made of what the adopted snapshots say
    #[arg(long, value_name = "FILE", requires = "adopt")]
    write_config: Option<PathBuf>,

    /// Also print the recovery sheet: `.svg` for a drawing, otherwise text, `-` for standard output
    #[arg(long, value_name = "FILE")]
    recovery_sheet: Option<PathBuf>,

    #[command(flatten)]
    sheet: SheetOptions,
}

fn parse_pack_size(text: &str) -> Result<u64, String> {
    let (least, most) = PACK_LEN_BOUNDS;
    let size = parse_size(text)?;
    let is_possible = (least..=most).contains(&size);
    is_possible.then_some(size).ok_or_else(|| "a pack has 1MiB to 128MiB".to_owned())
}

fn parse_chunk_size(text: &str) -> Result<u32, String> {
    let size = u32::try_from(parse_size(text)?).unwrap_or(u32::MAX);
    let (least, most) = CHUNK_LEN_BOUNDS;
    let is_possible = (least..=most).contains(&size) && size.is_power_of_two();
    is_possible.then_some(size).ok_or_else(|| "write 16KiB, 32KiB, 64KiB, ..., 1MiB".to_owned())
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let name = args.name.as_deref().or(context.global.instance.as_deref());
    if let Some(location) = &args.adopt {
        let config = args.write_config.as_deref();
        let adoption = Adoption { location, in_place: args.in_place, config };
        return adopt::run(context, name, &adoption);
    }
    args.recovery_sheet.as_deref().map_or(Ok(()), sheet::check_place)?;
    if args.sheet.recovery_key && args.recovery_sheet.is_none() {
        return Err(CliError::usage_hint(
            "--recovery-key has no page",
            "use --recovery-sheet FILE",
        ));
    }
    let settings = context.settle(&context.sources()?, name)?;
    let store = context.store(&settings)?;
    let credential = match store.survey()? {
        Survey::Missing | Survey::Empty | Survey::Headless => {
            password::initial(context, settings.key.as_ref())?
        }
        // It will be refused: nobody needs to think of a password for that.
        _ => Credential::Password(crate::crypto::Secret::new(Vec::new())),
    };
    let label = match (args.label.is_empty(), &settings.instance) {
        (true, Some(instance)) => instance.name.clone(),
        _ => args.label,
    };
    let options = InitOptions {
        cost: args.sheet.cost.kdf(),
        label,
        pack_len: Some(args.pack_size),
        chunk_len: Some(args.chunk_size),
        no_deltas: args.no_deltas,
    };
    let environment = context.environment(&settings)?;
    let repository = Repository::init(store, &credential, &options, environment)?;
    let id = repository.config().id;
    let location = repository.store().location().to_string();
    let (what, keep) = match credential {
        Credential::Password(_) => ("password", "the password itself"),
        Credential::KeyFile(_) => ("key file", "a copy of the key file"),
    };
    let out = &context.out;
    out.note(&format!("repository {id} is ready at {location}"))?;
    out.note(&format!(
        "\nWrite down, and keep away from this machine:\n\
         \x20 repository  {id}\n\
         \x20 location    {location}\n\
         \x20 {what:<12}{keep}\n\
         Without the {what} nobody can read what is stored, not even you.\n\
         A second way in, for a sealed envelope: mrs-backup key add --label envelope"
    ))?;
    if let Some(path) = &args.recovery_sheet {
        let cost = args.sheet.recovery_key.then(|| args.sheet.cost.kdf());
        sheet::write(context, &settings, &repository, path, cost)?;
    }
    Ok(Done::ok(json!({ "repository": id, "location": location, "slot": repository.slot() })))
}
