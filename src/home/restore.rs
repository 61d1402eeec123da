//! The order of putting a home back, the same for the first time, for going on, and for an undo.

use std::path::Path;
use std::sync::Arc;

use crate::event::StopFlag;
use crate::ops::restore::{self, RestoreOutcome};
use crate::ops::restore_database::{self, Contents, Loaded};
use crate::postgres::GLOBALS_PATH;
use crate::repository::{Fetcher, Repository};
use crate::snapshot::Selected;
use crate::target::postgres::{Cluster, Input, drop_database, globals_roles};

use super::exchange::Exchange;
use super::journal::{Journal, Kind, Operation, Phase};
use super::plan::{HomeOptions, HomePlan, Mode};
use super::{HomeError, Stack, Work, database, reflink};

/// Largest list of roles.
const GLOBALS_LIMIT: u64 = 64 << 20;
/// Bytes of opened segments kept while it is read.
const CACHE: usize = 16 << 20;

/// What putting a home back did.
#[derive(Debug, Clone)]
pub struct HomeOutcome {
    /// The operation; what it replaced is kept.
    pub operation: Operation,
    /// Files that were written.
    pub files: u64,
    /// Bytes of all files, read back and equal.
    pub verified_bytes: u64,
    /// Containers that were started again.
    pub started: usize,
}

/// Does what the plan says.
pub fn restore(
    work: &Work<'_>,
    repository: &Repository,
    plan: HomePlan,
) -> Result<HomeOutcome, HomeError> {
    let journal = work.journal()?;
    journal.sweep()?;
    for old in &plan.expired {
        journal.remove(old)?;
    }
    let now = work.clock.now();
    let is_new = plan.mode == Mode::NewServer;
    let mut operation = Operation {
        number: journal.next_number(),
        kind: Kind::Restore,
        instance: work.instance.name.clone(),
        snapshot: plan.selected.0.to_string(),
        time: now,
        until: now.checked_add(plan.options.keep).ok(),
        phase: Phase::Loading,
        items: plan.items.clone(),
        databases: plan.databases.iter().map(database::noted).collect(),
        containers: plan
            .stack
            .iter()
            .flat_map(|stack| stack.running(is_new))
            .map(|one| one.id.clone())
            .collect(),
        with_server: is_new,
        by_compose: plan.by_compose || is_new,
        service: plan.service.clone(),
        earlier: None,
    };
    journal.write(&operation)?;
    let mut loaded = Vec::new();
    let files = match load(work, repository, &journal, &operation, &plan, &mut loaded) {
        Ok(files) => files,
        Err(error) => {
            discard(work, &plan, loaded)?;
            journal.remove(&operation)?;
            return Err(error);
        }
    };
    operation.phase = Phase::Stopping;
    journal.write(&operation)?;
    let refill = Refill {
        repository,
        selected: &plan.selected,
        names: &plan.names,
        keep: plan.options.keep,
    };
    let started = advance(work, &journal, &mut operation, Some(&refill))?;
    // Until here nobody else restored these databases.
    drop(loaded);
    Ok(HomeOutcome { files: files.files, verified_bytes: files.verified_bytes, started, operation })
}

/// Everything beside, looked at.
fn load(
    work: &Work<'_>,
    repository: &Repository,
    journal: &Journal,
    operation: &Operation,
    plan: &HomePlan,
    loaded: &mut Vec<Loaded>,
) -> Result<RestoreOutcome, HomeError> {
    let mut files = plan.files.clone();
    files.target = journal.incoming(operation.number);
    if plan.shares {
        for item in operation.items.iter().filter(|item| item.comes) {
            let (live, copy) = (work.home().join(&item.path), files.target.join(&item.path));
            reflink::share(&live, &copy, &work.stop);
        }
        // What the snapshot does not have must not come in.
        files.options.delete = true;
    }
    let outcome = restore::apply(repository, &files, &work.stop, &work.observer)?;
    if outcome.failed_count > 0 {
        let first =
            outcome.failed.first().map_or_else(String::new, |(path, why)| format!("{path}: {why}"));
        return Err(HomeError::NotWhole { count: outcome.failed_count, first });
    }
    if let Some(cluster) = work.cluster_for(plan.mode)? {
        for one in &plan.databases {
            let snapshot = &plan.selected.1;
            loaded.push(restore_database::load(
                repository,
                snapshot,
                one,
                &cluster,
                &work.observer,
            )?);
        }
    }
    if work.stop.is_stopped() {
        return Err(HomeError::Interrupted);
    }
    Ok(outcome)
}

/// Drops databases that were loaded and are not wanted any more.
fn discard(work: &Work<'_>, plan: &HomePlan, loaded: Vec<Loaded>) -> Result<(), HomeError> {
    let Some(cluster) = work.calm().cluster_for(plan.mode)? else { return Ok(()) };
    for (plan, one) in plan.databases.iter().zip(loaded) {
        one.discard(plan, &cluster)?;
    }
    Ok(())
}

/// What a new server is filled with.
pub(super) struct Refill<'a> {
    pub repository: &'a Repository,
    pub selected: &'a Selected,
    pub names: &'a [String],
    pub keep: jiff::SignedDuration,
}

impl<'a> Work<'a> {
    /// The same for work that nobody stops at half its way.
    fn calm(&self) -> Work<'a> {
        Work {
            instance: self.instance,
            clock: Arc::clone(&self.clock),
            stop: Arc::new(StopFlag::new()),
            observer: Arc::clone(&self.observer),
            patience: self.patience,
        }
    }

    fn cluster_for(&self, mode: Mode) -> Result<Option<Cluster>, HomeError> {
        if mode == Mode::Beside { self.cluster() } else { Ok(None) }
    }
}

/// From wherever the operation is to its end; gives how many containers were started. What fails on the way is taken back.
pub(super) fn advance(
    work: &Work<'_>,
    journal: &Journal,
    operation: &mut Operation,
    refill: Option<&Refill<'_>>,
) -> Result<usize, HomeError> {
    let calm = work.calm();
    let changed =
        change(&calm, journal, operation).and_then(|()| fill(work, journal, operation, refill));
    if let Err(error) = changed {
        let error = Box::new(error);
        return Err(match take_back(&calm, journal, operation) {
            Ok(()) => HomeError::TakenBack { error },
            Err(reason) => {
                let (reason, instance) = (Box::new(reason), work.instance.name.clone());
                HomeError::Stuck { error, reason, instance }
            }
        });
    }
    // Everything is in its place: from here on an undo is the way back.
    let started = start(&calm, operation);
    operation.phase = Phase::Done;
    journal.write(operation)?;
    started.map_err(|error| match error {
        HomeError::Unwell { .. } => error,
        other => {
            HomeError::Unwell { what: other.to_string(), instance: work.instance.name.clone() }
        }
    })
}

/// Containers are stopped, databases and files exchanged.
fn change(work: &Work<'_>, journal: &Journal, operation: &mut Operation) -> Result<(), HomeError> {
    let stack = Stack::find(work, false)?;
    if matches!(operation.phase, Phase::Stopping | Phase::Exchanging) {
        work.begin("stop");
        if let Some(stack) = &stack {
            // Somebody may have started them since, if we were killed.
            let mut ids: Vec<String> =
                stack.running(operation.with_server).map(|one| one.id.clone()).collect();
            ids.extend(
                operation
                    .containers
                    .iter()
                    .filter(|id| !ids.contains(id))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
            stack.stop(work, &ids)?;
        }
        if operation.phase == Phase::Stopping {
            operation.phase = Phase::Exchanging;
            journal.write(operation)?;
        }
        work.begin("exchange");
        if !operation.databases.is_empty()
            && let Some(cluster) = work.cluster()?
        {
            database::forward(work, journal, operation, &cluster)?;
        }
        work.begin("exchange files");
        exchange(work, journal, operation, |exchange| exchange.forward(&operation.items))?;
        let is_restore = operation.kind == Kind::Restore;
        operation.phase =
            if operation.with_server && is_restore { Phase::Filling } else { Phase::Starting };
        journal.write(operation)?;
    }
    Ok(())
}

fn exchange<T>(
    work: &Work<'_>,
    journal: &Journal,
    operation: &Operation,
    act: impl FnOnce(&Exchange<'_>) -> Result<T, HomeError>,
) -> Result<T, HomeError> {
    let (incoming, outgoing) =
        (journal.incoming(operation.number), journal.outgoing(operation.number));
    let before = |_: &Path| Ok(());
    act(&Exchange { home: work.home(), incoming: &incoming, outgoing: &outgoing, before: &before })
}

/// A new server is started and filled.
fn fill(
    work: &Work<'_>,
    journal: &Journal,
    operation: &mut Operation,
    refill: Option<&Refill<'_>>,
) -> Result<(), HomeError> {
    if operation.phase != Phase::Filling {
        return Ok(());
    }
    let Some(refill) = refill else {
        return Err(HomeError::refused(
            "the new server was not filled yet",
            "run the restore again",
        ));
    };
    work.begin("server");
    let stack = Stack::find(work, true)?.ok_or_else(|| {
        HomeError::refused("there is no compose file to start the server by", "restore it first")
    })?;
    stack.up(work, operation.service.as_deref())?;
    let cluster = wait_for_server(work)?;
    roles(refill, &cluster)?;
    let options = HomeOptions { keep: refill.keep, other_cluster: true, ..HomeOptions::default() };
    for name in refill.names {
        let plan =
            database::plan(work, refill.repository, refill.selected, &cluster, name, &options)?;
        let snapshot = &refill.selected.1;
        let outcome =
            restore_database::apply(refill.repository, snapshot, &plan, &cluster, &work.observer)?;
        // The image made an empty one of this name; or we did this before, and were killed.
        if let Some(kept) = outcome.kept {
            drop_database(&mut cluster.maintenance(name)?, &kept)?;
        }
    }
    operation.phase = Phase::Starting;
    journal.write(operation)
}

/// Waits for a server that somebody else can reach, too: while an image makes its cluster, a first one runs that only
/// its socket leads to.
fn wait_for_server(work: &Work<'_>) -> Result<Cluster, HomeError> {
    let (begun, patience) = (work.clock.elapsed(), work.patience.unsigned_abs());
    loop {
        let ready = work.cluster().and_then(|cluster| {
            let Some(cluster) = cluster else { return Ok(None) };
            let listens =
                cluster.maintenance("")?.value("ask where it listens", "SHOW listen_addresses");
            let listens = listens.map_err(crate::target::postgres::DatabaseError::from)?;
            Ok((!listens.is_empty()).then_some(cluster))
        });
        match ready {
            Ok(Some(cluster)) => return Ok(cluster),
            _ if work.stop.is_stopped() => return Err(HomeError::Interrupted),
            Err(error) if work.clock.elapsed().saturating_sub(begun) > patience => {
                return Err(error);
            }
            Ok(None) if work.clock.elapsed().saturating_sub(begun) > patience => {
                return Err(HomeError::refused(
                    "the new server does not come to its end of being made",
                    "look at its log: docker compose logs",
                ));
            }
            _ => std::thread::sleep(std::time::Duration::from_millis(300)),
        }
    }
}

/// Roles of the snapshot that the server does not have, with their passwords.
fn roles(refill: &Refill<'_>, cluster: &Cluster) -> Result<(), HomeError> {
    let fetcher = Fetcher::new(refill.repository, CACHE);
    let path = GLOBALS_PATH.as_bytes();
    let Some(bytes) = Contents::small_file(&fetcher, &refill.selected.1, path, GLOBALS_LIMIT)
    else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut session = cluster.maintenance("")?;
    let query = "SELECT rolname FROM pg_catalog.pg_roles";
    let known: Vec<String> = session
        .rows("list the roles", query)
        .map_err(crate::target::postgres::DatabaseError::from)?
        .into_iter()
        .filter_map(|row| row.into_iter().next().flatten())
        .collect();
    let names = globals_roles(&text);
    let is_known = |line: &str| {
        let of = |verb: &str| {
            known.iter().any(|name| {
                let rest = line.strip_prefix(verb).unwrap_or_default();
                [
                    format!("{name} "),
                    format!("{name};"),
                    format!("\"{name}\" "),
                    format!("\"{name}\";"),
                ]
                .iter()
                .any(|start| rest.starts_with(start.as_str()))
            })
        };
        of("CREATE ROLE ") || of("ALTER ROLE ")
    };
    if names.iter().all(|(name, _)| known.contains(name)) {
        return Ok(());
    }
    // Those that the image made keep the passwords of the compose file.
    let sql: String =
        text.lines().filter(|line| !is_known(line)).map(|line| format!("{line}\n")).collect();
    let mut reader = sql.as_bytes();
    let input = Input::Stream { what: GLOBALS_PATH, reader: &mut reader };
    cluster.run("make the roles", "psql", "postgres", &["-X", "-q", "-d", "postgres"], input)?;
    Ok(())
}

/// Containers run again, and are well.
fn start(work: &Work<'_>, operation: &Operation) -> Result<usize, HomeError> {
    work.begin("start");
    let Some(stack) = Stack::find(work, false)? else { return Ok(0) };
    let ids = if operation.by_compose {
        stack.up(work, None)?;
        Vec::new()
    } else {
        stack.start(work, &operation.containers)?;
        operation.containers.clone()
    };
    if ids.is_empty() && !operation.by_compose {
        return Ok(0);
    }
    work.begin("health");
    stack.wait_until_well(work, &ids)?;
    Ok(if ids.is_empty() { stack.again(work)?.containers.len() } else { ids.len() })
}

/// Goes on with an operation that did not come to its end. Gives the operation if something was exchanged.
pub fn finish(
    work: &Work<'_>,
    repository: &Repository,
    mut operation: Operation,
) -> Result<Option<Operation>, HomeError> {
    let journal = work.journal()?;
    match operation.phase {
        // Nothing was touched.
        Phase::Loading => {
            journal.remove(&operation)?;
            return Ok(None);
        }
        Phase::TakingBack | Phase::Returning => {
            take_back(work, &journal, &mut operation)?;
            return Ok(None);
        }
        Phase::Turning => {
            journal.turn(operation.number)?;
            operation.phase = Phase::Stopping;
            journal.write(&operation)?;
        }
        Phase::Stopping | Phase::Exchanging | Phase::Filling | Phase::Starting | Phase::Done => {}
    }
    let selected = snapshot_of(repository, &operation);
    let names = selected.as_ref().map(|one| database::wanted(work, one)).unwrap_or_default();
    let refill = selected.as_ref().map(|selected| Refill {
        repository,
        selected,
        names: &names,
        keep: operation
            .until
            .map_or(jiff::SignedDuration::ZERO, |until| until.duration_since(operation.time)),
    });
    advance(work, &journal, &mut operation, refill.as_ref())?;
    Ok(Some(operation))
}

fn snapshot_of(repository: &Repository, operation: &Operation) -> Option<Selected> {
    let id = operation.snapshot.parse().ok()?;
    Some((id, repository.snapshot(&id).ok()?))
}

/// Takes an operation back that did not come to its end.
pub fn take_back(
    work: &Work<'_>,
    journal: &Journal,
    operation: &mut Operation,
) -> Result<(), HomeError> {
    if operation.phase == Phase::Loading {
        return journal.remove(operation);
    }
    if operation.phase == Phase::Turning {
        return give_back(journal, operation);
    }
    work.begin("take back");
    if operation.phase != Phase::Returning {
        let was_filling = matches!(operation.phase, Phase::Filling | Phase::TakingBack);
        operation.phase = Phase::TakingBack;
        journal.write(operation)?;
        if let Some(stack) = Stack::find(work, false)? {
            let ids: Vec<String> = stack
                .running(operation.with_server && was_filling)
                .map(|one| one.id.clone())
                .collect();
            stack.stop(work, &ids)?;
        }
        if !operation.databases.is_empty()
            && let Some(cluster) = work.cluster()?
        {
            database::backward(work, operation, &cluster)?;
        }
        exchange(work, journal, operation, |exchange| exchange.backward(&operation.items))?;
        operation.phase = Phase::Returning;
        journal.write(operation)?;
    }
    if let Some(stack) = Stack::find(work, false)? {
        // Compose may have removed them, to make others.
        let there: Vec<String> = operation
            .containers
            .iter()
            .filter(|id| stack.containers.iter().any(|one| one.id == **id))
            .cloned()
            .collect();
        match there.len() == operation.containers.len() {
            true => stack.start(work, &there)?,
            false => stack.up(work, None)?,
        }
    }
    give_back(journal, operation)
}

/// What an undo was to bring in is kept as before; of a restore nothing stays.
fn give_back(journal: &Journal, operation: &Operation) -> Result<(), HomeError> {
    match &operation.earlier {
        Some(earlier) => {
            journal.turn_back(operation.number)?;
            journal.write(earlier)
        }
        None => journal.remove(operation),
    }
}
