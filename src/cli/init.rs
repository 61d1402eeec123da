//! `init`: a new repository.

use serde_json::json;

use crate::crypto::slot::Credential;
use crate::repository::{InitOptions, Repository};
use crate::store::Survey;

use super::args::Cost;
use super::context::Context;
use super::{CliError, Done, password};

/// Make a new, empty repository
///
/// The place must be missing or empty. Nothing else ever makes a repository: a disk that is not
/// mounted is never mistaken for a new one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup init mrs-production
  mrs-backup init --repo /mnt/backup/mrs --password-file /etc/mrs-backup/mrs.password
  mrs-backup key generate /etc/mrs-backup/mrs.key
  mrs-backup init --repo /mnt/backup/mrs --key-file /etc/mrs-backup/mrs.key")]
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

    #[command(flatten)]
    cost: Cost,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let name = args.name.as_deref().or(context.global.instance.as_deref());
    let settings = context.sources()?.settle(name)?;
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
    let options =
        InitOptions { cost: args.cost.kdf(), label, pack_len: None, no_deltas: args.no_deltas };
    let environment = context.environment(&settings)?;
    let repository = Repository::init(store, &credential, &options, environment)?;
    let id = repository.config().id;
    let location = repository.store().location().to_string();
    let (what, keep) = match credential {
        Credential::Password(_) => ("password", "the password itself"),
        Credential::KeyFile(_) => ("key file", "a copy of the key file"),
    };
    let out = &context.out;
    out.line(&format!("repository {id} is ready at {location}"))?;
    out.note(&format!(
        "\nWrite down, and keep away from this machine:\n\
         \x20 repository  {id}\n\
         \x20 location    {location}\n\
         \x20 {what:<12}{keep}\n\
         Without the {what} nobody can read what is stored, not even you.\n\
         A second way in, for a sealed envelope: mrs-backup key add --label envelope"
    ))?;
    Ok(Done::ok(json!({ "repository": id, "location": location, "slot": repository.slot() })))
}
