//! Databases that a restore replaced and that were kept long enough: the night drops them.

use serde_json::json;

use crate::clock::{Clock, SystemClock};
use crate::event::Event;
use crate::instance::database_server;
use crate::ops::restore_database::{drop_kept, expired};
use crate::report::{clean, human_bytes};
use crate::target::postgres::Cluster;

use crate::cli::clone::drop_put_aside;
use crate::cli::restore_database::told;
use crate::cli::{CliError, Done, home};

use super::steps::Night;

/// Says which databases were kept long enough, and drops them. That it cannot is a warning: nothing depends on it.
pub fn drop_expired(night: &Night<'_>, done: &mut Done) -> Result<(), CliError> {
    let Night { context, instance, .. } = night;
    let Some(postgres) = &instance.postgres else { return Ok(()) };
    let warn = |message: String| {
        let item = "databases kept from before a restore".to_owned();
        context.observer.event(&Event::Warning { item, message });
    };
    let server = match database_server(Some(postgres), "run", &context.stop, &context.observer) {
        Ok(server) => server,
        Err(error) => {
            warn(error.to_string());
            return Ok(());
        }
    };
    let cluster = Cluster::new(server, std::sync::Arc::clone(&context.stop));
    let found = match expired(&cluster, &postgres.databases.value, SystemClock.now()) {
        Ok(found) => found,
        Err(error) => {
            warn(error.to_string());
            return Ok(());
        }
    };
    let mut dropped = Vec::new();
    for old in &found {
        let (name, bytes) = (clean(&old.name), human_bytes(old.bytes));
        let why = told(&old.marker, &instance.timezone.value);
        context.out.note(&format!("drop database {name} ({bytes}): {why}"))?;
        match drop_kept(&cluster, |kept| kept == old) {
            Ok(_) => {
                dropped.push(&old.name);
                drop_put_aside(context, &night.settings.state_dir, instance, &old.marker);
            }
            Err(error) => warn(format!("{name} cannot be dropped: {error}")),
        }
    }
    if !found.is_empty() {
        done.summary.insert("dropped_databases".to_owned(), json!(dropped));
    }
    Ok(())
}

/// The same for what is kept beside the home.
pub fn drop_homes(night: &Night<'_>, done: &mut Done) {
    match home::drop_expired(night.context, night.instance) {
        Ok(gone) if gone.is_empty() => {}
        Ok(gone) => {
            done.summary.insert("dropped_homes".to_owned(), json!(gone));
        }
        Err(error) => {
            let item = "what is kept of the home from before a restore".to_owned();
            night.context.observer.event(&Event::Warning { item, message: error.message() });
        }
    }
}
