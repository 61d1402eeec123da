//! What could not be read here and was read from a copy, is stored anew here.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::event::{Event, counted};
use crate::id::PackId;
use crate::instance::config::{CopyConfig, Instance, Origin};
use crate::instance::require_mount;
use crate::ops::repair::{known_damage, repair_packs};
use crate::repository::Repository;
use crate::store::{ObjectName, Watch};

use super::CliError;
use super::context::Context;
use super::copy::open_place;

/// From now on, what cannot be read here is read from the copies of the configuration. Nothing is opened
/// before that.
pub fn read_also_from_copies(repository: &Repository, instance: Option<&Instance>, watch: Watch) {
    let instance = instance.filter(|instance| is_of_config(instance));
    let copies = instance.into_iter().flat_map(|instance| instance.copies.values());
    let copies: Vec<CopyConfig> = copies.cloned().collect();
    if copies.is_empty() {
        return;
    }
    repository.read_also_from(Box::new(move || {
        let is_there = |copy: &&CopyConfig| {
            copy.require_mount.as_ref().is_none_or(|mount| require_mount(&mount.value).is_ok())
        };
        // One that cannot be opened is told when it is copied to.
        let open = |copy: &CopyConfig| open_place(&copy.location, watch.clone()).ok();
        copies.iter().filter(is_there).filter_map(open).collect()
    }));
}

/// Whether it is the instance's own repository. Another one, named by an option, may be a copy itself.
fn is_of_config(instance: &Instance) -> bool {
    matches!(instance.repository.origin, Origin::File | Origin::Default)
}

/// Stores anew what was read from a copy since the repository was opened.
pub fn wounds(context: &Context, repository: &Repository, instance: Option<&Instance>) -> Value {
    heal(context, repository, instance, repository.wounded_packs().into_iter().collect())
}

/// The same, and all that is known to be damaged or missing, as far as the copies have it.
pub fn damage(
    context: &Context,
    repository: &Repository,
    instance: &Instance,
) -> Result<Value, CliError> {
    if instance.copies.is_empty() || !is_of_config(instance) {
        return Ok(Value::Null);
    }
    let mut packs: BTreeSet<PackId> = repository.wounded_packs().into_iter().collect();
    packs.extend(known_damage(repository)?);
    Ok(heal(context, repository, Some(instance), packs))
}

/// That it does not work is told, and no more: what was asked for has been done.
fn heal(
    context: &Context,
    repository: &Repository,
    instance: Option<&Instance>,
    packs: BTreeSet<PackId>,
) -> Value {
    if packs.is_empty() {
        return Value::Null;
    }
    let warn = |item: String, message: String| {
        context.observer.event(&Event::Warning { item, message });
    };
    for pack in &packs {
        let message = "it is damaged or missing here; what a copy has of it is used";
        warn(ObjectName::Pack(*pack).to_string(), message.to_owned());
    }
    let packs: Vec<PackId> = packs.into_iter().collect();
    let options = instance.map(Instance::ingest).unwrap_or_default();
    let (stop, observer) = (&context.stop, context.observer.as_ref());
    // Reading falls back by itself.
    match repair_packs(repository, &packs, None, options, stop, observer) {
        Ok(report) => {
            let lost = match report.lost_chunks {
                0 => String::new(),
                count => format!(", {} lost", counted(count, "chunk")),
            };
            let stored = counted(report.salvaged_chunks, "chunk");
            let message = format!("{stored} of {} stored anew{lost}", counted(packs.len(), "pack"));
            warn("healed".to_owned(), message);
            json!({ "packs": packs, "report": report })
        }
        Err(error) => {
            let message = format!("{error}; later: mrs-backup check, mrs-backup repair packs");
            warn("not healed".to_owned(), message);
            json!({ "packs": packs, "message": error.to_string() })
        }
    }
}
