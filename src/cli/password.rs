//! Where passwords and keys come from, for the repository and for new slots.

use std::path::PathBuf;
use std::sync::Arc;

use crate::crypto::slot::{Credential, KdfCost};
use crate::event::{Event, Observer, StopFlag};
use crate::instance::config::{KeyReader, KeySource, Setting, process_environment};

use super::args::Cost;
use super::context::Context;
use super::{CliError, ask};

const NO_PASSWORD: &str = "no password is given";
const HOW: &str = "use --password-file FILE, --key-file FILE or MRS_BACKUP_PASSWORD_FILE, or `key` in the configuration";

/// Reads `source`; what should be known about it is told.
fn read(context: &Context, source: &KeySource) -> Result<Credential, CliError> {
    read_with(source, &context.stop, context.observer.as_ref())
}

fn read_with(
    source: &KeySource,
    stop: &Arc<StopFlag>,
    observer: &dyn Observer,
) -> Result<Credential, CliError> {
    let reader = KeyReader { environment: &process_environment, stop: Arc::clone(stop) };
    let (credential, warnings) = reader.credential(source)?;
    for message in warnings {
        observer.event(&Event::Warning { item: "key".to_owned(), message });
    }
    Ok(credential)
}

/// What opens an existing repository where nobody can be asked.
pub fn configured(
    key: Option<&Setting<KeySource>>,
    stop: &Arc<StopFlag>,
    observer: &dyn Observer,
) -> Result<Credential, CliError> {
    match key {
        Some(setting) => read_with(&setting.value, stop, observer),
        None => Err(CliError::usage_hint(NO_PASSWORD, HOW)),
    }
}

/// What opens an existing repository.
pub fn existing(
    context: &Context,
    key: Option<&Setting<KeySource>>,
    location: &str,
) -> Result<Credential, CliError> {
    match key {
        Some(setting) => read(context, &setting.value),
        None if context.out.can_ask() => {
            ask::password(&format!("password for {location}: ")).map(Credential::Password)
        }
        None => Err(CliError::usage_hint(NO_PASSWORD, HOW)),
    }
}

/// What shall open a repository that is being made.
pub fn initial(
    context: &Context,
    key: Option<&Setting<KeySource>>,
) -> Result<Credential, CliError> {
    match key {
        Some(setting) => read(context, &setting.value),
        None if context.out.can_ask() => ask::new_password().map(Credential::Password),
        None => Err(CliError::usage_hint(NO_PASSWORD, HOW)),
    }
}

/// Where the password or key of a new slot is.
#[derive(Debug, Clone, clap::Args)]
pub struct NewKey {
    /// File with the new password
    #[arg(long, value_name = "FILE", group = "new_credential")]
    new_password_file: Option<PathBuf>,

    /// New key file, made by `key generate`
    #[arg(long, value_name = "FILE", group = "new_credential")]
    new_key_file: Option<PathBuf>,
}

impl NewKey {
    /// What shall open the new slot.
    pub fn credential(self, context: &Context) -> Result<Credential, CliError> {
        match (self.new_password_file, self.new_key_file) {
            (Some(file), _) => read(context, &KeySource::File(file)),
            (None, Some(file)) => read(context, &KeySource::KeyFile(file)),
            (None, None) if context.out.can_ask() => ask::new_password().map(Credential::Password),
            (None, None) => Err(CliError::usage_hint(
                "no new password is given",
                "use --new-password-file FILE or --new-key-file FILE",
            )),
        }
    }
}

impl Cost {
    /// The cost for a new slot.
    pub fn kdf(self) -> KdfCost {
        let default = KdfCost::default();
        let memory_kib = self.kdf_memory.map_or(default.memory_kib, |mib| mib.saturating_mul(1024));
        KdfCost { memory_kib, ..default }
    }
}
