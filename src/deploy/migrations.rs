//! Which migrations of the application were applied: how it is known that one ran.

use std::sync::Arc;

use crate::compose::{Project, Status};
use crate::instance::config::{Migrations, PostgresConfig};
use crate::instance::database_server;
use crate::target::postgres::Cluster;

use super::Tools;

/// Most that are remembered.
const MOST: usize = 20_000;

/// What is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// The application has none.
    None,
    /// These, by name.
    Known(Vec<String>),
    /// It is not known, for this reason.
    Unknown(String),
}

impl Applied {
    /// For the record.
    pub fn names(&self) -> Option<Vec<String>> {
        match self {
            Self::None => Some(Vec::new()),
            Self::Known(names) => Some(names.clone()),
            Self::Unknown(_) => None,
        }
    }
}

/// Asks which migrations were applied by now.
pub fn applied(
    tools: &Tools,
    project: &Project,
    migrations: &Migrations,
    postgres: Option<&PostgresConfig>,
) -> Applied {
    let result = match (migrations, postgres) {
        (Migrations::None, _) => return Applied::None,
        (Migrations::Command { service, command }, _) => {
            of_command(tools, project, service, command)
        }
        (Migrations::Table, Some(postgres)) => of_table(tools, postgres),
        (Migrations::Table, None) => Err("the configuration names no database of it".to_owned()),
    };
    match result {
        Ok(mut names) => {
            names.truncate(MOST);
            Applied::Known(names)
        }
        Err(reason) => Applied::Unknown(tools.redactor.hide(&reason)),
    }
}

fn of_command(
    tools: &Tools,
    project: &Project,
    service: &str,
    command: &[String],
) -> Result<Vec<String>, String> {
    let containers = tools.engine.containers(&project.name).map_err(|error| error.to_string())?;
    let running =
        containers.iter().find(|one| one.service == service && one.status == Status::Running);
    let Some(running) = running else { return Err(format!("service {service} does not run")) };
    let said = tools.engine.exec(&running.id, command).map_err(|error| error.to_string())?;
    if said.code != Some(0) {
        return Err(format!("the command of `migrations` failed: {}", said.told()));
    }
    let text = said.text();
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// Out of every database of the instance that has the table.
fn of_table(tools: &Tools, postgres: &PostgresConfig) -> Result<Vec<String>, String> {
    let server = database_server(Some(postgres), "deploy", &tools.stop, &tools.observer);
    let cluster = Cluster::new(server.map_err(|error| error.to_string())?, Arc::clone(&tools.stop));
    let mut names = Vec::new();
    for database in &postgres.databases.value {
        let mut session = cluster.session(database).map_err(|error| error.to_string())?;
        let mut ask =
            |sql: &str| session.value("ask for migrations", sql).map_err(|error| error.to_string());
        if ask(
            "SELECT count(*) FROM pg_catalog.pg_class WHERE oid = to_regclass('django_migrations')",
        )? == "0"
        {
            continue;
        }
        let text = ask(
            "SELECT coalesce(string_agg(app || '.' || name, E'\\n' ORDER BY id), '') FROM django_migrations",
        )?;
        names.extend(text.lines().map(|name| format!("{database}.{name}")));
    }
    Ok(names)
}
