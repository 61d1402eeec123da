//! Back to what was in the home before the last restore, or the last undo.

use jiff::SignedDuration;

use super::journal::{Database, Item, Kind, Operation, Phase};
use super::restore::advance;
use super::{HomeError, Stack, Work, database};

/// What an undo will do.
#[derive(Debug)]
pub struct HomeUndo {
    /// What is taken back.
    pub operation: Operation,
    /// What is exchanged.
    pub items: Vec<Item>,
    /// Databases that change hands.
    pub databases: Vec<Database>,
    /// The containers.
    pub stack: Option<Stack>,
}

/// Plans to take back the newest of what is kept. `None` if nothing is.
pub fn plan_undo(work: &Work<'_>) -> Result<Option<HomeUndo>, HomeError> {
    let journal = work.journal()?;
    let Some(operation) = journal.kept()?.into_iter().next() else { return Ok(None) };
    let kept = journal.outgoing(operation.number);
    let items = operation.items.iter().map(|item| Item {
        path: item.path.clone(),
        comes: kept.join(&item.path).symlink_metadata().is_ok(),
    });
    let items: Vec<Item> = items.collect();
    let databases = operation.databases.iter().filter_map(|one| {
        Some(Database {
            name: one.name.clone(),
            incoming: one.aside.clone()?,
            replaces: true,
            aside: None,
            is_done: false,
        })
    });
    let databases: Vec<Database> = databases.collect();
    if !databases.is_empty()
        && let Some(cluster) = work.cluster()?
    {
        let missing = database::missing(&cluster, &databases)?;
        if !missing.is_empty() {
            return Err(HomeError::refused(
                format!("what database {} was before is kept no more", missing.join(", ")),
                format!("the files of before are in {}", kept.display()),
            ));
        }
    }
    let stack = Stack::find(work, false)?;
    Ok(Some(HomeUndo { operation, items, databases, stack }))
}

/// Does it. What is taken back is kept in its turn, for `keep`.
pub fn undo(work: &Work<'_>, plan: HomeUndo, keep: SignedDuration) -> Result<Operation, HomeError> {
    let journal = work.journal()?;
    let now = work.clock.now();
    let earlier = plan.operation;
    let mut operation = Operation {
        number: earlier.number,
        kind: Kind::Undo,
        instance: earlier.instance.clone(),
        snapshot: earlier.snapshot.clone(),
        time: now,
        until: now.checked_add(keep).ok(),
        phase: Phase::Turning,
        items: plan.items,
        databases: plan.databases,
        containers: plan
            .stack
            .iter()
            .flat_map(|stack| stack.running(earlier.with_server))
            .map(|one| one.id.clone())
            .collect(),
        with_server: earlier.with_server,
        by_compose: earlier.by_compose,
        service: None,
        earlier: Some(Box::new(Operation { earlier: None, ..earlier })),
    };
    journal.write(&operation)?;
    journal.turn(operation.number)?;
    operation.phase = Phase::Stopping;
    journal.write(&operation)?;
    advance(work, &journal, &mut operation, None)?;
    Ok(operation)
}
