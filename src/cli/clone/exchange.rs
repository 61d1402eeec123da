//! Directories that changed places with a database: an exchange that was killed, and the way back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::anonymize::Rules;
use crate::clone::{Exchange, Journal, back};
use crate::event::Event;
use crate::instance::config::Instance;
use crate::ops::restore_database::UndoPlan;
use crate::report::clean;
use crate::target::postgres::{Marked, Marker};

use super::super::CliError;
use super::super::context::Context;
use super::super::settings::Settings;
use super::server;

/// Brings an exchange of `instance` that was killed to one end or the other.
pub fn settle(context: &Context, state_dir: &Path, instance: &Instance) -> Result<(), CliError> {
    let journal = Journal::new(state_dir, &instance.name);
    if journal.pending()?.is_none() {
        return Ok(());
    }
    let cluster = server(context, instance, "clone")?;
    for place in journal.settle(&cluster)? {
        context.observer.event(&Event::Notice {
            item: clean(&place.display().to_string()),
            message: "put back: the copy it is from was ended before its database was in its place"
                .to_owned(),
        });
    }
    Ok(())
}

/// The directories that may have changed places with a database of `instance`.
fn places(state_dir: &Path, instance: &Instance) -> Result<Vec<PathBuf>, CliError> {
    let mut places: BTreeSet<PathBuf> = Journal::new(state_dir, &instance.name).places()?;
    places.extend(instance.absolute_paths());
    let rules = instance.clone.as_ref().and_then(|clone| clone.rules.as_ref());
    if let Some(Ok(rules)) = rules.map(|rules| Rules::load(rules)) {
        let roots = rules.placeholder_roots();
        places.extend(roots.iter().map(|root| instance.home.value.join(root)));
    }
    Ok(places.into_iter().collect())
}

/// How the directories come back together with the database, at `now`.
pub fn exchange_back(
    state_dir: &Path,
    instance: &Instance,
    plan: &UndoPlan,
    now: Timestamp,
) -> Result<Exchange, CliError> {
    Ok(Exchange {
        database: plan.database.clone(),
        replaces: plan.live.is_some(),
        time: now,
        is_made: false,
        directories: back(&places(state_dir, instance)?, plan.incoming.marker.time, now),
    })
}

/// The same for all that a restore dropped, as it had been kept long enough.
pub fn drop_all_put_aside(context: &Context, settings: &Settings, dropped: &[Marked]) {
    let Some(instance) = &settings.instance else { return };
    for old in dropped {
        drop_put_aside(context, &settings.state_dir, instance, &old.marker);
    }
}

/// Removes the directories that were put aside together with a database that is dropped. That it cannot is a warning.
pub fn drop_put_aside(context: &Context, state_dir: &Path, instance: &Instance, marker: &Marker) {
    let dropped = places(state_dir, instance).and_then(|places| {
        crate::clone::drop_put_aside(&places, marker.time)
            .map_err(|error| CliError::io("remove a directory that was put aside", &error))
    });
    if let Err(error) = dropped {
        let item = "directories kept from before a copy".to_owned();
        context.observer.event(&Event::Warning { item, message: error.message() });
    }
}
