//! An earlier deployment put back on purpose: its compose file and images, and its data if that is asked for.

use std::sync::Arc;

use crate::compose::Document;
use crate::id::SnapshotId;
use crate::instance::config::PostgresConfig;
use crate::instance::database_server;
use crate::ops::restore_database::{
    DatabaseOptions, DatabasePlan, Loaded, RestoreDatabaseError, load, plan as plan_database,
    plan_undo, undo,
};
use crate::snapshot::Snapshot;
use crate::target::postgres::{Cluster, Reason};

use super::failure::{Ending, Loss};
use super::history::History;
use super::sequence::{Deployment, Means, Vault, wake_database};
use super::settings::DeploySettings;
use super::{DeployError, Kind, Record, State, Tools};

/// What a way back will do.
#[derive(Debug)]
pub struct RollbackPlan {
    /// The deployment that is put back.
    pub to: Record,
    /// Its compose file.
    pub document: Document,
    /// The data that is put back, and what that loses.
    pub data: Option<Loss>,
}

/// Finds the way back: to deployment `wanted`, or to the one before.
pub fn plan(
    history: &History,
    wanted: Option<u32>,
    with_data: bool,
) -> Result<RollbackPlan, DeployError> {
    let no = |message: String| DeployError::NoDeployment { message };
    let to = match wanted {
        Some(number) => {
            let found = history
                .find(number)
                .ok_or_else(|| no(format!("there is no deployment {number}")))?;
            if found.state != State::Good {
                return Err(no(format!(
                    "deployment {number} was not good ({})",
                    found.state.word()
                )));
            }
            found
        }
        None => before(history)
            .ok_or_else(|| no("there is no earlier deployment to go back to".to_owned()))?,
    };
    let data = match with_data {
        true => Some(data_of(history, to).ok_or_else(|| {
            no(format!(
                "no snapshot was made when deployment {} was replaced: its data cannot be put back",
                to.number
            ))
        })?),
        false => None,
    };
    let text = history.compose_file(to.number)?;
    let document =
        Document::parse(&text, &format!("the compose file of deployment {}", to.number))?;
    Ok(RollbackPlan { to: to.clone(), document, data })
}

/// The good one, if something after it failed; otherwise what ran before the version that runs now came. So going
/// back twice leads further back, not to and fro.
fn before(history: &History) -> Option<&Record> {
    let good = history.good()?;
    if !history.open_ends().is_empty() {
        return Some(good);
    }
    let is_earlier =
        |record: &&Record| record.state == State::Good && record.number < good.version();
    history.records().iter().rev().find(is_earlier)
}

/// The snapshot that was made when `to` was replaced.
fn data_of(history: &History, to: &Record) -> Option<Loss> {
    let after = history.records().iter().filter(|record| record.number > to.number);
    let mut saved = after.filter_map(|record| {
        Some(Loss { snapshot: record.snapshot.clone()?, since: record.saved })
    });
    saved.next()
}

/// Does what the plan says.
pub fn rollback(
    tools: &Tools,
    settings: &DeploySettings,
    history: &mut History,
    plan: &RollbackPlan,
    means: &Means<'_>,
) -> Result<Ending, DeployError> {
    wake_database(tools, settings, means)?;
    let kind = Kind::Rollback { to: plan.to.version(), with_data: plan.data.is_some() };
    let begun = Deployment::begin(tools, settings, history, kind, means)?;
    let mut saved = begun.save(means)?;
    if let Some(data) = &plan.data
        && let Err(error) = put_data_back(tools, settings, data, means)
    {
        return Err(saved.dropped(error));
    }
    saved.earlier(&plan.to, plan.document.clone()).put_in_place()?.conclude(means)
}

/// Stops the application and puts its databases back; if one of them does not come back, all goes on as it was.
fn put_data_back(
    tools: &Tools,
    settings: &DeploySettings,
    data: &Loss,
    means: &Means<'_>,
) -> Result<(), DeployError> {
    let (Some(vault), Some(postgres)) = (&means.vault, means.postgres) else {
        return Err(DeployError::request(
            "there is no database to be put back, or no repository",
            "the instance needs `postgres` in the configuration, and a snapshot: without --no-snapshot",
        ));
    };
    let keeps = database_service(postgres);
    let containers = tools.engine.containers(&settings.project.name)?;
    let mut others: Vec<String> = containers.iter().map(|one| one.service.clone()).collect();
    others.sort();
    others.dedup();
    others.retain(|service| *service != keeps);
    let is_known = containers.iter().any(|one| one.service == keeps);
    tools.begin("stop");
    if is_known && !others.is_empty() {
        tools.compose.stop(&settings.project, &others)?;
    }
    tools.begin("database");
    let restored = restore(tools, vault, postgres, &data.snapshot);
    if restored.is_err() {
        // Nothing was swapped: the application goes on with what it had.
        if let Err(error) = tools.compose.up(&settings.project) {
            tools.warn("up", &error.to_string());
        }
    }
    restored
}

/// The service that has to stay while the others are stopped.
fn database_service(postgres: &PostgresConfig) -> String {
    postgres
        .container
        .as_ref()
        .map_or_else(|| "postgres".to_owned(), |container| container.value.service.clone())
}

/// All of them are loaded beside before the first changes places; should one not do so, those before it go back.
fn restore(
    tools: &Tools,
    vault: &Vault<'_>,
    postgres: &PostgresConfig,
    snapshot: &str,
) -> Result<(), DeployError> {
    let failed = |error| DeployError::Database(Box::new(error));
    let id: SnapshotId = snapshot.parse().map_err(|_| DeployError::NoDeployment {
        message: format!("`{snapshot}` in the record is no snapshot"),
    })?;
    vault.repository.refresh().map_err(|error| failed(error.into()))?;
    let found = vault.repository.snapshot(&id).map_err(|error| failed(error.into()))?;
    let server = database_server(Some(postgres), "rollback", &tools.stop, &tools.observer)
        .map_err(|error| DeployError::Save(Box::new(error)))?;
    let cluster = Cluster::new(server, Arc::clone(&tools.stop));
    let databases = Databases { tools, vault, snapshot: (id, &found), cluster: &cluster };
    let mut ready = Vec::new();
    for name in &postgres.databases.value {
        match databases.load(name) {
            Ok(one) => ready.push(one),
            Err(error) => {
                databases.discard(ready);
                return Err(failed(error));
            }
        }
    }
    databases.swap(ready).map_err(failed)
}

type Ready = (DatabasePlan, Loaded);

/// Databases of a snapshot on their way back.
struct Databases<'a> {
    tools: &'a Tools,
    vault: &'a Vault<'a>,
    snapshot: (SnapshotId, &'a Snapshot),
    cluster: &'a Cluster,
}

impl Databases<'_> {
    /// One, beside the live one.
    fn load(&self, name: &str) -> Result<Ready, RestoreDatabaseError> {
        let (tools, repository, (id, snapshot)) =
            (self.tools, self.vault.repository, self.snapshot);
        let config = &self.vault.instance.restore;
        let options = DatabaseOptions {
            database: Some(name.to_owned()),
            rename: None,
            is_named: true,
            other_cluster: false,
            workers: usize::from(config.jobs.value),
            keep: config.keep_replaced.value,
            // They are about the newest code's data.
            assertions: Vec::new(),
        };
        let mut plan = plan_database(repository, id, snapshot, self.cluster, options, &tools.stop)?;
        // What a copy put aside goes with its directories: the night knows those.
        plan.expired.retain(|old| old.marker.reason == Reason::Restore);
        let loaded = load(repository, snapshot, &plan, self.cluster, &tools.observer)?;
        Ok((plan, loaded))
    }

    /// Each into the place of the live one.
    fn swap(&self, ready: Vec<Ready>) -> Result<(), RestoreDatabaseError> {
        let mut swapped = Vec::new();
        let mut ready = ready.into_iter();
        while let Some((plan, loaded)) = ready.next() {
            let (repository, name) = (self.vault.repository, &plan.target);
            match loaded.swap(repository, &plan, self.cluster, &self.tools.observer) {
                Ok(outcome) => {
                    let Some(kept) = outcome.kept else { continue };
                    let message = format!("{name} as it was before is kept as {kept}");
                    self.tools.notice("database", &message);
                    swapped.push(name.clone());
                }
                Err(error) => {
                    self.discard(ready.collect());
                    self.swap_back(&swapped);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn swap_back(&self, swapped: &[String]) {
        let cluster = self.cluster.unstoppable();
        let keep = self.vault.instance.restore.keep_replaced.value;
        for name in swapped {
            let back = plan_undo(&cluster, std::slice::from_ref(name))
                .and_then(|plan| undo(&cluster, &plan, self.tools.clock.now(), keep));
            if let Err(error) = back {
                let message =
                    format!("{name} is the old one now, and could not be swapped back: {error}");
                self.tools.warn("database", &message);
            }
        }
    }

    fn discard(&self, ready: Vec<Ready>) {
        for (plan, loaded) in ready {
            if let Err(error) = loaded.discard(&plan, self.cluster) {
                self.tools.warn("database", &error.to_string());
            }
        }
    }
}

#[cfg(test)]
#[path = "rollback_tests.rs"]
mod tests;
