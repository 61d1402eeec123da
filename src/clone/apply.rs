//! The copy itself: into a new database and new directories, which then take the place of the target's.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::anonymize::{Charset, Counts, Kept, Program, RewriteError};
use crate::event::{Event, Observer};
use crate::ops::restore_database::{Contents, DatabaseOutcome, DatabasePlan, Incoming, Replacing};
use crate::postgres::{identifier, qualified};
use crate::target::postgres::{Cluster, DatabaseError, Reason, new_name};

use super::commands::Commands;
use super::contents::Anonymized;
use super::error::CloneError;
use super::exchange::{Exchange, Journal, SwappedDirectory};
use super::files::StagedFiles;
use super::report::{GroupReport, Grouping};
use super::survey::Surveyed;

/// How many of the smallest groups are told.
const SMALLEST: usize = 5;

/// Where a copy goes, wherever it comes from.
pub struct Replacement<'a> {
    /// Into which database, and how.
    pub plan: &'a DatabasePlan,
    /// Into which directories.
    pub staged: &'a StagedFiles,
    /// Where to.
    pub cluster: &'a Cluster,
    /// What is run in the new database before the swap.
    pub before_swap: &'a Commands<'a>,
    /// Groups that are counted.
    pub groupings: &'a [Grouping],
    /// Where the exchange is noted down.
    pub journal: &'a Journal,
    /// When: what is put aside is called by it.
    pub time: Timestamp,
    /// Who listens.
    pub observer: &'a Arc<dyn Observer>,
}

/// What became of the target.
#[derive(Debug)]
pub struct Replaced {
    /// Of the database.
    pub outcome: DatabaseOutcome,
    /// The smallest groups.
    pub groups: Vec<GroupReport>,
    /// Directories that were exchanged.
    pub directories: Vec<SwappedDirectory>,
}

/// What is copied, of a repository that can be read here.
pub struct CloneWork<'a> {
    /// As the database is stored.
    pub contents: &'a Contents<'a, 'a>,
    /// The rules, made ready.
    pub program: &'a Program,
    /// The encoding of the rows.
    pub charset: Charset,
    /// Which rows.
    pub kept: &'a Kept,
    /// What the first pass found.
    pub surveyed: &'a Surveyed,
}

/// What a copy did.
#[derive(Debug)]
pub struct Applied {
    /// To the target.
    pub replaced: Replaced,
    /// To the columns of each table.
    pub counts: BTreeMap<String, Counts>,
}

/// Makes the copy. Before the swap an error leaves nothing behind.
pub fn apply(work: &CloneWork<'_>, to: &Replacement<'_>) -> Result<Applied, CloneError> {
    let anonymized = Anonymized::new(
        work.contents,
        &to.plan.toc,
        work.program,
        work.charset,
        &work.surveyed.originals,
        work.kept,
        to.staged,
    );
    match to.run(&anonymized, || Ok(())) {
        Ok(replaced) => Ok(Applied { replaced, counts: anonymized.take_counts() }),
        Err(error) => Err(caused(error, anonymized.take_failure())),
    }
}

/// What to tell: a row that was not rewritten is the cause of whatever came of it. If the half-made database is
/// left, that is told, too.
pub(super) fn caused(error: CloneError, cause: Option<RewriteError>) -> CloneError {
    match (cause, error) {
        (_, error) if error.leaves_something() => error,
        (Some(RewriteError::Leak(leak)), _) => CloneError::Leak(leak),
        (Some(RewriteError::Trouble(trouble)), _) => CloneError::Trouble(trouble),
        (None, error) => error,
    }
}

impl Replacement<'_> {
    /// Fills a new database with `incoming`; once `is_whole` finds nothing missing, it and the new directories
    /// take the places of the old ones. An error before that leaves nothing behind.
    pub fn run(
        &self,
        incoming: &dyn Incoming,
        is_whole: impl FnOnce() -> Result<(), DatabaseError>,
    ) -> Result<Replaced, CloneError> {
        let time = self.time;
        let now = || time;
        let replacing = Replacing {
            plan: self.plan,
            cluster: self.cluster,
            now: &now,
            reason: Reason::Clone,
            observer: self.observer,
        };
        let (mut groups, mut directories) = (Vec::new(), Vec::new());
        let result = replacing.run(incoming, || {
            is_whole()?;
            self.run_commands()?;
            groups = self.smallest_groups()?;
            self.observer.event(&Event::StepStarted { step: "files", total_bytes: None });
            let exchange = self.exchange().map_err(|error| not_exchanged(&error))?;
            self.journal.begin(&exchange).map_err(|error| not_exchanged(&error))?;
            exchange.forward().map_err(|error| not_exchanged(&error))?;
            directories = exchange.directories;
            Ok(())
        });
        // Whether the database changed places is asked of its server: so much may have failed.
        let settled = self.journal.settle(self.cluster);
        match result {
            Ok(outcome) => settled.map(|_| Replaced { outcome, groups, directories }),
            Err(error) => {
                if settled.is_ok() {
                    self.staged.discard();
                }
                Err(error.into())
            }
        }
    }

    fn exchange(&self) -> Result<Exchange, CloneError> {
        Ok(Exchange {
            database: self.plan.target.clone(),
            replaces: self.plan.replaces.is_some(),
            time: self.time,
            is_made: true,
            directories: self.staged.ready(self.time)?,
        })
    }

    /// Runs the target's own commands in the database that is ready.
    fn run_commands(&self) -> Result<(), DatabaseError> {
        if self.before_swap.commands.is_empty() {
            return Ok(());
        }
        self.observer.event(&Event::StepStarted { step: "commands", total_bytes: None });
        let ran = self.before_swap.run(&new_name(&self.plan.target));
        self.cluster.check_stop()?;
        ran.map_err(|error| DatabaseError::Differs {
            what: format!("before_swap: command `{}`", error.command),
            reason: error.reason,
        })
    }

    /// How few rows share the values of the columns that the rules name, in the database that is ready.
    fn smallest_groups(&self) -> Result<Vec<GroupReport>, DatabaseError> {
        if self.groupings.is_empty() {
            return Ok(Vec::new());
        }
        let mut session = self.cluster.session(&new_name(&self.plan.target))?;
        let mut groups = Vec::new();
        for Grouping { title, schema, name, columns } in self.groupings {
            let names: Vec<String> = columns.iter().map(|name| identifier(name)).collect();
            let grouped = format!(
                "SELECT count(*) AS n FROM {} GROUP BY {}",
                qualified(schema, name),
                names.join(", ")
            );
            let doing = format!("count groups of table {title}");
            let query = format!("SELECT n FROM ({grouped}) g ORDER BY n LIMIT {SMALLEST}");
            let rows = session.rows(&doing, &query)?;
            let smallest =
                rows.into_iter().flatten().flatten().filter_map(|text| text.parse().ok()).collect();
            let single = format!("SELECT count(*) FROM ({grouped}) g WHERE n = 1");
            let single = session.value(&doing, &single)?.parse().unwrap_or(0);
            let (table, columns) = (title.clone(), columns.clone());
            groups.push(GroupReport { table, columns, smallest, single });
        }
        Ok(groups)
    }
}

fn not_exchanged(error: &dyn std::fmt::Display) -> DatabaseError {
    DatabaseError::Differs { what: "directories of files".to_owned(), reason: error.to_string() }
}
