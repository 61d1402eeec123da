//! The copy itself: into a new database and new directories, which then take the place of the target's.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::anonymize::{Charset, Counts, Kept, Program, RewriteError, Rules};
use crate::event::{Event, Observer};
use crate::ops::restore_database::{
    Contents, DatabaseOutcome, DatabasePlan, Replacing, RestoreDatabaseError,
};
use crate::postgres::{identifier, qualified};
use crate::target::postgres::{Cluster, DatabaseError, Reason, new_name};

use super::commands::Commands;
use super::contents::Anonymized;
use super::error::CloneError;
use super::files::{FilesPlan, StagedFiles, SwappedDirectory};
use super::report::GroupReport;
use super::survey::Surveyed;

/// How many of the smallest groups are told.
const SMALLEST: usize = 5;

/// Everything a copy needs.
pub struct CloneWork<'a> {
    /// As the database is stored.
    pub contents: &'a Contents<'a, 'a>,
    /// Into which database, and how.
    pub plan: &'a DatabasePlan,
    /// Into which directories.
    pub files: &'a FilesPlan,
    /// The rules.
    pub rules: &'a Rules,
    /// The same, made ready.
    pub program: &'a Program,
    /// The encoding of the rows.
    pub charset: Charset,
    /// Which rows.
    pub kept: &'a Kept,
    /// What the first pass found.
    pub surveyed: &'a Surveyed,
    /// Where to.
    pub cluster: &'a Cluster,
    /// What is run in the new database before the swap.
    pub before_swap: &'a Commands<'a>,
    /// When: what is put aside is called by it.
    pub time: Timestamp,
    /// Who listens.
    pub observer: &'a Arc<dyn Observer>,
}

/// What a copy did.
#[derive(Debug)]
pub struct Applied {
    /// To the database.
    pub outcome: DatabaseOutcome,
    /// To the columns of each table.
    pub counts: BTreeMap<String, Counts>,
    /// The smallest groups.
    pub groups: Vec<GroupReport>,
    /// Placeholders made.
    pub files_made: u64,
    /// Directories that were exchanged.
    pub directories: Vec<SwappedDirectory>,
}

/// Makes the copy. Before the swap an error leaves nothing behind.
pub fn apply(work: &CloneWork<'_>) -> Result<Applied, CloneError> {
    let staged = StagedFiles::begin(work.files)?;
    let anonymized = Anonymized::new(
        work.contents,
        &work.plan.toc,
        work.program,
        work.charset,
        &work.surveyed.originals,
        work.kept,
        &staged,
    );
    let time = work.time;
    let now = || time;
    let replacing = Replacing {
        plan: work.plan,
        cluster: work.cluster,
        now: &now,
        reason: Reason::Clone,
        observer: work.observer,
    };
    let (mut groups, mut directories) = (Vec::new(), Vec::new());
    let result = replacing.run(&anonymized, || {
        run_commands(work)?;
        groups = smallest_groups(work)?;
        work.observer.event(&Event::StepStarted { step: "files", total_bytes: None });
        directories = staged.swap(time).map_err(|error| DatabaseError::Differs {
            what: "directories of files".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(())
    });
    match result {
        Ok(outcome) => Ok(Applied {
            outcome,
            counts: anonymized.take_counts(),
            groups,
            files_made: staged.written(),
            directories,
        }),
        Err(error) => {
            for directory in directories.iter().rev() {
                // The database was not exchanged: neither are they.
                let _ = super::files::swap_back(directory);
            }
            staged.discard();
            Err(failed(error, anonymized.take_failure()))
        }
    }
}

/// Runs the target's own commands in the database that is ready.
fn run_commands(work: &CloneWork<'_>) -> Result<(), DatabaseError> {
    if work.before_swap.commands.is_empty() {
        return Ok(());
    }
    work.observer.event(&Event::StepStarted { step: "commands", total_bytes: None });
    let ran = work.before_swap.run(&new_name(&work.plan.target));
    work.cluster.check_stop()?;
    ran.map_err(|error| DatabaseError::Differs {
        what: format!("before_swap: command `{}`", error.command),
        reason: error.reason,
    })
}

/// What to tell: a row that was not rewritten is the cause of whatever came of it. If the half-made database is
/// left, that is told, too.
fn failed(error: RestoreDatabaseError, cause: Option<RewriteError>) -> CloneError {
    match (cause, error) {
        (Some(_), error @ RestoreDatabaseError::Left { .. }) => error.into(),
        (Some(RewriteError::Leak(leak)), _) => CloneError::Leak(leak),
        (Some(RewriteError::Trouble(trouble)), _) => CloneError::Trouble(trouble),
        (None, error) => error.into(),
    }
}

/// How few rows share the values of the columns that the rules name, in the database that is ready.
fn smallest_groups(work: &CloneWork<'_>) -> Result<Vec<GroupReport>, DatabaseError> {
    let mut groups = Vec::new();
    if work.rules.quasi_identifiers.is_empty() {
        return Ok(groups);
    }
    let mut session = work.cluster.session(&new_name(&work.plan.target))?;
    for (title, columns) in &work.rules.quasi_identifiers {
        let table = work.program.tables.iter().find(|table| table.title == *title);
        let Some(table) = table.filter(|table| !table.is_emptied) else { continue };
        let names: Vec<String> = columns.iter().map(|name| identifier(name)).collect();
        let grouped = format!(
            "SELECT count(*) AS n FROM {} GROUP BY {}",
            qualified(&table.schema, &table.name),
            names.join(", ")
        );
        let doing = format!("count groups of table {title}");
        let query = format!("SELECT n FROM ({grouped}) g ORDER BY n LIMIT {SMALLEST}");
        let rows = session.rows(&doing, &query)?;
        let smallest =
            rows.into_iter().flatten().flatten().filter_map(|text| text.parse().ok()).collect();
        let single = format!("SELECT count(*) FROM ({grouped}) g WHERE n = 1");
        let single = session.value(&doing, &single)?.parse().unwrap_or(0);
        groups.push(GroupReport {
            table: title.clone(),
            columns: columns.clone(),
            smallest,
            single,
        });
    }
    Ok(groups)
}
