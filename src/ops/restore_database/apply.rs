//! The restore itself. Until the swap only the new database is written to; whatever fails before that
//! ends with the new one dropped.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::event::{Event, Observer};
use crate::postgres::{Client, literal};
use crate::repository::{Fetcher, Repository};
use crate::snapshot::Snapshot;
use crate::source::archive::Toc;
use crate::target::postgres::{
    ArchiveRestore, Cluster, DatabaseError, Load, Marker, Reason, Statistics, Swap,
    apply_properties, check_assertions, check_objects, check_rows, create_database, create_roles,
    drop_database, drop_half_made, drop_roles, mark_half_made, new_name, old_name,
};

use super::plan::leftovers;
use super::{Contents, DatabasePlan, Incoming, RestoreDatabaseError};

/// Bytes of opened segments kept while rows are read.
const CONTENT_CACHE: usize = 48 << 20;

/// How often it is tried to drop what is half made.
const DROP_TRIES: u32 = 6;
/// How long to wait before it is tried again.
const DROP_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is tried to be the only restore of a database.
const TURN_TRIES: u32 = 12;
/// How long to wait before it is tried again.
const TURN_INTERVAL: Duration = Duration::from_millis(500);

/// What a restore of a database did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseOutcome {
    /// Rows of tables that are streams of their own.
    pub rows: u64,
    /// Objects found there and valid.
    pub objects: u64,
    /// What the replaced database is called now.
    pub kept: Option<String>,
}

/// A database to fill, as it is called while that goes on.
pub struct Filling<'a> {
    /// Where.
    pub cluster: &'a Cluster,
    /// What comes into it.
    pub contents: &'a dyn Incoming,
    /// What is in its archive.
    pub toc: &'a Toc,
    /// Its name.
    pub name: &'a str,
    /// Sessions at once.
    pub workers: usize,
    /// Everything into the default tablespace.
    pub without_tablespaces: bool,
    /// Who listens.
    pub observer: &'a dyn Observer,
}

/// Tells how much of the archive has passed.
struct Told<'a, R> {
    inner: R,
    observer: &'a dyn Observer,
}

impl<R: Read> Read for Told<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.observer.event(&Event::Progress { bytes: count as u64, items: 0 });
        Ok(count)
    }
}

/// Fills an empty database: definitions, rows, everything else, its properties, statistics. Gives the
/// rows of tables that are streams of their own.
pub fn fill(filling: &Filling<'_>) -> Result<u64, DatabaseError> {
    let Filling { cluster, contents, toc, name, observer, .. } = filling;
    let step = |step, total_bytes| observer.event(&Event::StepStarted { step, total_bytes });
    let archive = ArchiveRestore {
        cluster,
        database: name,
        toc,
        workers: filling.workers,
        without_tablespaces: filling.without_tablespaces,
    };
    step("definitions", None);
    archive.before_rows()?;
    let statistics = Statistics::of_definitions(cluster, name)?;
    let tables = contents.streamed();
    let bytes = tables.iter().map(|table| table.bytes).sum::<u64>() + contents.archive_bytes();
    step("rows", Some(bytes));
    let load = Load {
        cluster,
        database: name,
        encoding: contents.encoding(),
        workers: filling.workers.min(contents.at_once()),
        observer: *observer,
        open: &|table| contents.open(table),
        compare: &|table, found| contents.compare(table, found),
        statistics: &statistics,
    };
    let rows = load.run(&tables)?;
    let rows_of_archive = contents.archive().map_err(|reason| DatabaseError::Read {
        what: format!("archive of database {name}"),
        reason,
    })?;
    archive.rows(&mut Told { inner: rows_of_archive, observer: *observer })?;
    step("indexes", None);
    archive.after_rows()?;
    step("statistics", None);
    statistics.of_rest(cluster, filling.workers, &tables)?;
    apply_properties(&mut cluster.session(name)?, toc, name)?;
    Ok(rows)
}

/// Does what the plan says. Before the swap an error leaves nothing behind.
pub fn apply(
    repository: &Repository,
    snapshot: &Snapshot,
    plan: &DatabasePlan,
    cluster: &Cluster,
    observer: &Arc<dyn Observer>,
) -> Result<DatabaseOutcome, RestoreDatabaseError> {
    load(repository, snapshot, plan, cluster, observer)?.swap(repository, plan, cluster, observer)
}

/// A database that is restored beside the live one and was looked at.
pub struct Loaded {
    /// Has the turn as long as it lives.
    session: Client,
    name: String,
    rows: u64,
    objects: u64,
}

/// Everything before the swap. An error leaves nothing behind.
pub fn load(
    repository: &Repository,
    snapshot: &Snapshot,
    plan: &DatabasePlan,
    cluster: &Cluster,
    observer: &Arc<dyn Observer>,
) -> Result<Loaded, RestoreDatabaseError> {
    let fetcher = Fetcher::new(repository, CONTENT_CACHE);
    let contents = Contents::find(&fetcher, snapshot, &plan.manifest)?;
    let now = || repository.environment().clock.now();
    Replacing { plan, cluster, now: &now, reason: Reason::Restore, observer }.load(&contents)
}

impl Loaded {
    /// Puts it into the place of the live one. An error leaves nothing behind.
    pub fn swap(
        self,
        repository: &Repository,
        plan: &DatabasePlan,
        cluster: &Cluster,
        observer: &Arc<dyn Observer>,
    ) -> Result<DatabaseOutcome, RestoreDatabaseError> {
        let now = || repository.environment().clock.now();
        self.swap_as(&Replacing { plan, cluster, now: &now, reason: Reason::Restore, observer })
    }

    fn swap_as(mut self, work: &Replacing<'_>) -> Result<DatabaseOutcome, RestoreDatabaseError> {
        let Replacing { plan, cluster, observer, .. } = work;
        observer.event(&Event::StepStarted { step: "swap", total_bytes: None });
        let swapped = work.swap(&mut self.session, &self.name).and_then(|swap| {
            swap.run(cluster)?;
            Ok(swap.aside)
        });
        let kept = swapped.map_err(|error| clean_up(cluster, plan, &self.name, error))?;
        for old in &plan.expired {
            drop_database(&mut self.session, &old.name)?;
        }
        observer.event(&Event::StepFinished { step: "swap" });
        Ok(DatabaseOutcome { rows: self.rows, objects: self.objects, kept })
    }

    /// Drops it again: it is not wanted any more.
    pub fn discard(self, plan: &DatabasePlan, cluster: &Cluster) -> Result<(), DatabaseError> {
        let cluster = cluster.unstoppable();
        let mut session = cluster.maintenance(&plan.target)?;
        drop_half_made(&cluster, &mut session, &self.name)?;
        drop_roles(&mut session, &plan.missing_roles);
        Ok(())
    }
}

/// A new database on its way into the place of another.
pub struct Replacing<'a> {
    /// What was planned.
    pub plan: &'a DatabasePlan,
    /// Where.
    pub cluster: &'a Cluster,
    /// The time.
    pub now: &'a dyn Fn() -> Timestamp,
    /// What the replaced one is put aside for.
    pub reason: Reason,
    /// Who listens.
    pub observer: &'a Arc<dyn Observer>,
}

impl Replacing<'_> {
    /// Fills a new database with `contents`, looks at it, does what `before_swap` does, and puts it in its
    /// place. An error before that leaves nothing behind.
    pub fn run(
        &self,
        contents: &dyn Incoming,
        before_swap: impl FnOnce() -> Result<(), DatabaseError>,
    ) -> Result<DatabaseOutcome, RestoreDatabaseError> {
        let loaded = self.load(contents)?;
        before_swap()
            .and_then(|()| self.cluster.check_stop())
            .map_err(|error| clean_up(self.cluster, self.plan, &loaded.name, error))?;
        loaded.swap_as(self)
    }

    /// Fills a new database with `contents` and looks at it. An error leaves nothing behind.
    fn load(&self, contents: &dyn Incoming) -> Result<Loaded, RestoreDatabaseError> {
        let Self { plan, cluster, observer, .. } = self;
        let name = new_name(&plan.target);
        let mut session = cluster.maintenance(&plan.target)?;
        take_turn(&mut session, cluster, &plan.target)?;
        // Not those of the plan: the server may have gone on for one that was killed since.
        for left in leftovers(cluster, &mut session, &plan.target)? {
            observer.event(&Event::Notice {
                item: format!("database {left}"),
                message: "dropped: an earlier restore did not come to its end".to_owned(),
            });
            drop_database(&mut session, &left)?;
        }
        let filled = self.prepare(&mut session, &name).and_then(|()| {
            let filled = self.fill(contents, &name)?;
            cluster.check_stop()?;
            Ok(filled)
        });
        match filled {
            Ok((rows, objects)) => Ok(Loaded { session, name, rows, objects }),
            Err(error) => Err(clean_up(cluster, plan, &name, error)),
        }
    }

    /// Fills the new database and looks at it; gives rows and objects.
    fn fill(&self, contents: &dyn Incoming, name: &str) -> Result<(u64, u64), DatabaseError> {
        let Self { plan, cluster, observer, .. } = self;
        let filling = Filling {
            cluster,
            contents,
            toc: &plan.toc,
            name,
            workers: plan.options.workers,
            without_tablespaces: !plan.missing_tablespaces.is_empty(),
            observer: observer.as_ref(),
        };
        let rows = fill(&filling)?;
        observer.event(&Event::StepStarted { step: "gates", total_bytes: None });
        let mut inside = cluster.session(name)?;
        let objects = check_objects(&mut inside, &plan.toc)?;
        let archived = contents.archived();
        check_rows(&mut inside, &archived.iter().collect::<Vec<_>>())?;
        drop(inside);
        check_assertions(cluster, name, &plan.target, &plan.options.assertions)?;
        Ok((rows, objects))
    }

    fn prepare(&self, session: &mut Client, name: &str) -> Result<(), DatabaseError> {
        let Self { plan, cluster, observer, .. } = self;
        observer.event(&Event::StepStarted { step: "database", total_bytes: None });
        cluster.check_stop()?;
        create_roles(session, &plan.missing_roles)?;
        create_database(session, &plan.toc, name, !plan.missing_tablespaces.is_empty())?;
        let marker = Marker {
            of: plan.target.clone(),
            snapshot: plan.id.to_string(),
            time: (self.now)(),
            until: None,
            reason: self.reason,
        };
        mark_half_made(session, name, &marker)
    }

    fn swap(&self, session: &mut Client, name: &str) -> Result<Swap, DatabaseError> {
        let (plan, now) = (self.plan, (self.now)());
        let aside = match plan.replaces {
            Some(_) => Some(old_name(session, &plan.target, now)?),
            None => None,
        };
        Ok(Swap {
            live: plan.target.clone(),
            incoming: name.to_owned(),
            aside,
            marker: Marker {
                of: plan.target.clone(),
                snapshot: plan.id.to_string(),
                time: now,
                until: now.checked_add(plan.options.keep).ok(),
                reason: self.reason,
            },
        })
    }
}

/// One restore of a database at a time, wherever it is started: the server holds the lock as long as
/// the session lives.
fn take_turn(session: &mut Client, cluster: &Cluster, database: &str) -> Result<(), DatabaseError> {
    let query = format!(
        "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtext('mrs-backup restore'), \
         pg_catalog.hashtext({}))",
        literal(database)
    );
    for attempt in 0..TURN_TRIES {
        if session.value("take the turn", &query)? == "t" {
            return Ok(());
        }
        // A session of a restore that was killed ends only with its statement.
        if attempt + 1 < TURN_TRIES {
            cluster.check_stop()?;
            std::thread::sleep(TURN_INTERVAL);
        }
    }
    Err(DatabaseError::Busy { database: database.to_owned(), server: cluster.place() })
}

/// Drops what is half made; says what became of it.
fn clean_up(
    cluster: &Cluster,
    plan: &DatabasePlan,
    name: &str,
    error: DatabaseError,
) -> RestoreDatabaseError {
    let database = plan.target.clone();
    let cluster = cluster.unstoppable();
    let error = Box::new(error);
    let drop_it = || {
        let mut session = cluster.maintenance(&plan.target)?;
        drop_half_made(&cluster, &mut session, name)?;
        drop_roles(&mut session, &plan.missing_roles);
        Ok::<(), DatabaseError>(())
    };
    // A server that has just fallen over, of a full disk for example, comes back in a moment.
    let mut dropped = drop_it();
    for _ in 1..DROP_TRIES {
        if dropped.is_ok() {
            break;
        }
        std::thread::sleep(DROP_INTERVAL);
        dropped = drop_it();
    }
    match dropped {
        Ok(()) => RestoreDatabaseError::Untouched { database, error },
        Err(reason) => RestoreDatabaseError::Left {
            database,
            error,
            left: name.to_owned(),
            reason: reason.to_string(),
        },
    }
}
