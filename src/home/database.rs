//! The databases of a home: those that are restored beside, exchanged and exchanged back.

use crate::ops::restore_database::{DatabaseOptions, DatabasePlan};
use crate::repository::Repository;
use crate::snapshot::Selected;
use crate::target::postgres::{
    Cluster, DatabaseError, Marked, Marker, Reason, Swap, drop_database, drop_half_made, exists,
    half_made, kept, new_name, old_name,
};

use super::journal::{Database, Journal, Kind, Operation};
use super::plan::HomeOptions;
use super::{HomeError, Work};

/// Databases of the configuration that the snapshot has.
pub(super) fn wanted(work: &Work<'_>, selected: &Selected) -> Vec<String> {
    let Some(config) = &work.instance.postgres else { return Vec::new() };
    let has = |name: &&String| selected.1.databases.iter().any(|found| found.name == **name);
    config.databases.value.iter().filter(has).cloned().collect()
}

/// Plans the restore of one.
pub(super) fn plan(
    work: &Work<'_>,
    repository: &Repository,
    selected: &Selected,
    cluster: &Cluster,
    name: &str,
    options: &HomeOptions,
) -> Result<DatabasePlan, HomeError> {
    let restore = &work.instance.restore;
    let options = DatabaseOptions {
        database: Some(name.to_owned()),
        rename: None,
        is_named: true,
        other_cluster: options.other_cluster,
        workers: usize::from(restore.jobs.value),
        keep: options.keep,
        assertions: restore.assertions.value.get(name).cloned().unwrap_or_default(),
    };
    let (id, snapshot) = selected;
    Ok(crate::ops::restore_database::plan(repository, *id, snapshot, cluster, options, &work.stop)?)
}

/// As it is written down before it is loaded.
pub(super) fn noted(plan: &DatabasePlan) -> Database {
    Database {
        name: plan.target.clone(),
        incoming: new_name(&plan.target),
        replaces: plan.replaces.is_some(),
        aside: None,
        is_done: false,
    }
}

/// Whether what is to come in still waits beside.
fn is_waiting(
    session: &mut crate::postgres::Client,
    kind: Kind,
    database: &Database,
) -> Result<bool, DatabaseError> {
    let is_it =
        |found: &Marked| found.name == database.incoming && found.marker.of == database.name;
    let all = match kind {
        Kind::Restore => half_made(session)?,
        Kind::Undo => kept(session)?,
    };
    Ok(all.iter().any(is_it))
}

/// What was put aside in the place of `database`, if it was exchanged and nobody wrote down more.
fn found_aside(
    session: &mut crate::postgres::Client,
    operation: &Operation,
    database: &Database,
) -> Result<Option<String>, DatabaseError> {
    let is_it = |found: &Marked| {
        found.marker.of == database.name
            && found.marker.snapshot == operation.snapshot
            && found.marker.time >= operation.time
    };
    Ok(kept(session)?.into_iter().find(is_it).map(|found| found.name))
}

fn marker(work: &Work<'_>, operation: &Operation, database: &Database) -> Marker {
    Marker {
        of: database.name.clone(),
        snapshot: operation.snapshot.clone(),
        time: work.clock.now(),
        until: operation.until,
        reason: match operation.kind {
            Kind::Restore => Reason::Restore,
            Kind::Undo => Reason::Undo,
        },
    }
}

/// Brings all databases in that are not in yet. Each is written down as soon as it is.
pub(super) fn forward(
    work: &Work<'_>,
    journal: &Journal,
    operation: &mut Operation,
    cluster: &Cluster,
) -> Result<(), HomeError> {
    for at in 0..operation.databases.len() {
        let Some(database) = operation.databases.get(at).filter(|one| !one.is_done).cloned() else {
            continue;
        };
        let mut session = cluster.maintenance(&database.name)?;
        let aside = if is_waiting(&mut session, operation.kind, &database)? {
            let live = exists(&mut session, &database.name)?;
            let aside = match live {
                true => Some(old_name(&mut session, &database.name, work.clock.now())?),
                false => None,
            };
            let swap = Swap {
                live: database.name.clone(),
                incoming: database.incoming.clone(),
                aside: aside.clone(),
                marker: marker(work, operation, &database),
            };
            swap.run(cluster)?;
            aside
        } else {
            let aside = found_aside(&mut session, operation, &database)?;
            let is_done = match database.replaces {
                true => aside.is_some(),
                false => exists(&mut session, &database.name)?,
            };
            if !is_done {
                let what = format!("database {}, or what was loaded beside it", database.name);
                return Err(DatabaseError::NotThere(format!("{what} ({})", cluster.place())).into());
            }
            aside
        };
        if let Some(noted) = operation.databases.get_mut(at) {
            noted.aside = aside;
            noted.is_done = true;
        }
        journal.write(operation)?;
    }
    Ok(())
}

/// Puts all databases back, and drops what was loaded for a restore.
pub(super) fn backward(
    work: &Work<'_>,
    operation: &Operation,
    cluster: &Cluster,
) -> Result<(), HomeError> {
    for database in operation.databases.iter().rev() {
        let mut session = cluster.maintenance(&database.name)?;
        if is_waiting(&mut session, operation.kind, database)? {
            if operation.kind == Kind::Restore {
                drop_half_made(cluster, &mut session, &database.incoming)?;
            }
            continue;
        }
        let aside = match &database.aside {
            Some(aside) => Some(aside.clone()),
            None => found_aside(&mut session, operation, database)?,
        };
        let Some(aside) = aside else {
            // There was none before.
            if database.is_done && operation.kind == Kind::Restore {
                drop_database(&mut session, &database.name)?;
            }
            continue;
        };
        // Back already: whoever took it back was killed later.
        if !exists(&mut session, &aside)? {
            continue;
        }
        let was = match operation.kind {
            Kind::Restore => old_name(&mut session, &database.name, work.clock.now())?,
            Kind::Undo => database.incoming.clone(),
        };
        let swap = Swap {
            live: database.name.clone(),
            incoming: aside,
            aside: Some(was.clone()),
            marker: Marker { reason: Reason::Restore, ..marker(work, operation, database) },
        };
        swap.run(cluster)?;
        if operation.kind == Kind::Restore {
            drop_database(&mut session, &was)?;
        }
    }
    Ok(())
}

/// Names of those an undo needs that are there no more.
pub(super) fn missing(cluster: &Cluster, wanted: &[Database]) -> Result<Vec<String>, HomeError> {
    let found = kept(&mut cluster.maintenance("")?)?;
    let is_there = |one: &Database| {
        found.iter().any(|kept| kept.name == one.incoming && kept.marker.of == one.name)
    };
    Ok(wanted.iter().filter(|one| !is_there(one)).map(|one| one.name.clone()).collect())
}
