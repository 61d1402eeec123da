//! Where a copy arrives: what is asked before, what is told after.

use std::path::Path;
use std::sync::Arc;

use crate::clock::{Clock as _, SystemClock};
use crate::clone::{
    CloneError, Commands, Grouping, Journal, Replaced, Replacement, StagedFiles, TableReport,
};
use crate::compose::{Programs, base_environment};
use crate::event::counted;
use crate::instance::config::{CloneConfig, EventKind, Instance};
use crate::ops::restore_database::{DatabaseOptions, DatabasePlan};
use crate::report::clean;
use crate::target::postgres::Cluster;

use super::super::context::Context;
use super::super::{CliError, Done, after, ask};
use super::shown::{Shown, write_report};
use super::{drop_put_aside, unconfirmed};

/// What to do where nobody can be asked.
pub(super) const LOOK_FIRST: &str = "look at it with --plan, then add --yes to do it";

/// The database of the target that is replaced, where the source's is called `database`.
pub(super) fn target_database(to: &Instance, database: &str) -> Result<String, CliError> {
    let names = to.postgres.as_ref().map(|postgres| postgres.databases.value.clone());
    match names.unwrap_or_default().as_slice() {
        [one] => Ok(one.clone()),
        several if several.iter().any(|name| name == database) => Ok(database.to_owned()),
        _ => {
            let what =
                format!("its configuration has no single database, and none called {database}");
            Err(CloneError::refused(format!("target {}", to.name), what).into())
        }
    }
}

/// How the new database is filled.
pub(super) fn options(
    to: &Instance,
    database: &str,
    rename: String,
    assertions: Vec<String>,
) -> DatabaseOptions {
    DatabaseOptions {
        database: Some(database.to_owned()),
        rename: Some(rename),
        is_named: true,
        // That it is another cluster is what was made sure of.
        other_cluster: true,
        workers: usize::from(to.restore.jobs.value),
        keep: to.restore.keep_replaced.value,
        assertions,
    }
}

/// The name of a protected target, typed.
pub(super) fn by_name(context: &Context, confirm: Option<&str>, to: &str) -> Result<(), CliError> {
    if confirm == Some(to) {
        return Ok(());
    }
    if !context.out.can_ask() {
        return Err(unconfirmed(to));
    }
    let question = format!("{to} is protected. Type its name to replace its data: ");
    if ask::answer(context, &question)?.trim() != to {
        return Err(CliError::usage("that is not its name; nothing was changed"));
    }
    Ok(())
}

/// Asks, and of a protected target asks for its name.
pub(super) fn assent(
    context: &Context,
    confirm: Option<&str>,
    to: &str,
    config: &CloneConfig,
    plan: &DatabasePlan,
) -> Result<(), CliError> {
    if config.is_protected {
        return by_name(context, confirm, to);
    }
    if plan.replaces.is_none() {
        return Ok(());
    }
    let needs = format!(
        "database {} of {to} is to be replaced, and {} ended",
        clean(&plan.target),
        counted(plan.sessions, "session")
    );
    ask::assent(context, &needs, LOOK_FIRST)
}

/// A copy that somebody said yes to.
pub(super) struct Landing<'a> {
    pub context: &'a Context,
    pub instance: &'a Instance,
    pub config: &'a CloneConfig,
    pub shown: &'a Shown<'a>,
    pub groupings: &'a [Grouping],
    pub cluster: &'a Cluster,
    pub state_dir: &'a Path,
}

impl Landing<'_> {
    /// Makes it by `copy`, tells of it, and runs what the target's owner wants to be run after it.
    pub fn land(
        &self,
        copy: impl FnOnce(&Replacement<'_>) -> Result<(Replaced, Vec<TableReport>), CloneError>,
    ) -> Result<Done, CliError> {
        let Self { context, shown, config, instance, .. } = self;
        let (from, to) = (&shown.header.from, &instance.name);
        let runner = Programs { stop: Arc::clone(&context.stop) };
        let environment = base_environment(std::env::vars_os());
        let before_swap = Commands {
            commands: &config.before_swap,
            directory: &instance.home.value,
            limit: config.command_limit,
            runner: &runner,
            environment: &environment,
            observer: context.observer.as_ref(),
        };
        let (staged, time) = (StagedFiles::begin(shown.files)?, SystemClock.now());
        let replacement = Replacement {
            plan: shown.plan,
            staged: &staged,
            cluster: self.cluster,
            before_swap: &before_swap,
            groupings: self.groupings,
            journal: &Journal::new(self.state_dir, to),
            time,
            observer: &context.observer,
        };
        let copied = copy(&replacement);
        let text = match &copied {
            Ok(_) => format!("an anonymized copy of {from} is in its place"),
            Err(error) => format!("no anonymized copy of {from}: {error}"),
        };
        after::happened(context, to, EventKind::Clone, copied.is_ok(), &text);
        let (replaced, tables) = copied?;
        for old in &shown.plan.expired {
            drop_put_aside(context, self.state_dir, instance, &old.marker);
        }
        let report = shown.report(tables, &replaced, time, staged.written());
        let place = write_report(&report, config, self.state_dir)?;
        let done = shown.tell(&report, &replaced, &place)?;
        let ran = Commands { commands: &config.after, ..before_swap }.run(&shown.plan.target);
        ran.map_err(|error| CloneError::After { to: to.clone(), error })?;
        Ok(done)
    }
}
