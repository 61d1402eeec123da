//! Back to the database that a restore, or an undo, put aside. The server itself remembers which.

use jiff::{SignedDuration, Timestamp};

use crate::postgres::literal;
use crate::target::postgres::{
    Cluster, DatabaseError, Marked, Marker, Reason, Swap, drop_database, kept, old_name, size_of,
};

/// What an undo will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoPlan {
    /// Where the server is.
    pub server: String,
    /// The database.
    pub database: String,
    /// Bytes of the one that is live now; `None`: there is none.
    pub live: Option<u64>,
    /// The one that comes back.
    pub incoming: Marked,
    /// Sessions that will be ended.
    pub sessions: u64,
    /// All that is kept, this one too, the newest first.
    pub kept: Vec<Marked>,
}

/// Plans to take back the last restore of one of `databases`, or of any if none is named; of the only one of them anything
/// is kept of.
pub fn plan_undo(cluster: &Cluster, databases: &[String]) -> Result<UndoPlan, DatabaseError> {
    let one = if let [one] = databases { one.as_str() } else { "" };
    let mut session = cluster.maintenance(one)?;
    let mut all = kept(&mut session)?;
    if !databases.is_empty() {
        all.retain(|found| databases.contains(&found.marker.of));
    }
    let Some(incoming) = all.first().cloned() else {
        let names: Vec<String> = databases.iter().map(|name| format!("`{name}`")).collect();
        let whose = match names.is_empty() {
            true => String::new(),
            false => format!(" of {}", names.join(", ")),
        };
        return Err(DatabaseError::NotThere(format!(
            "no database{whose} is kept from before a restore ({})",
            cluster.place()
        )));
    };
    let name = incoming.marker.of.clone();
    if let Some(other) = all.iter().find(|found| found.marker.of != name) {
        return Err(DatabaseError::NotThere(format!(
            "databases are kept of `{name}` and of `{}`; name one with --database",
            other.marker.of
        )));
    }
    let live = size_of(&mut session, &name)?;
    let query = format!(
        "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datname = {}",
        literal(&name)
    );
    let sessions = session.value("count sessions", &query)?.parse().unwrap_or(0);
    Ok(UndoPlan { server: cluster.place(), database: name, live, incoming, sessions, kept: all })
}

/// Swaps back. What was live is kept as long as the other one would have been: another undo brings it back.
/// Gives its name.
pub fn undo(
    cluster: &Cluster,
    plan: &UndoPlan,
    now: Timestamp,
    keep: SignedDuration,
) -> Result<Option<String>, DatabaseError> {
    let aside = match plan.live {
        Some(_) => {
            let mut session = cluster.maintenance(&plan.database)?;
            Some(old_name(&mut session, &plan.database, now)?)
        }
        None => None,
    };
    let swap = Swap {
        live: plan.database.clone(),
        incoming: plan.incoming.name.clone(),
        aside,
        marker: Marker {
            of: plan.database.clone(),
            snapshot: plan.incoming.marker.snapshot.clone(),
            time: now,
            until: now.checked_add(keep).ok(),
            reason: Reason::Undo,
        },
    };
    swap.run(cluster)?;
    Ok(swap.aside)
}

/// Those put aside in place of one of `databases` that were kept long enough at `now`.
pub fn expired(
    cluster: &Cluster,
    databases: &[String],
    now: Timestamp,
) -> Result<Vec<Marked>, DatabaseError> {
    let mut found = kept(&mut cluster.maintenance("")?)?;
    found.retain(|old| {
        databases.contains(&old.marker.of) && old.marker.until.is_some_and(|until| until <= now)
    });
    Ok(found)
}

/// Drops databases that were put aside: those that `is_over` says. Gives them.
pub fn drop_kept(
    cluster: &Cluster,
    is_over: impl Fn(&Marked) -> bool,
) -> Result<Vec<Marked>, DatabaseError> {
    let mut session = cluster.maintenance("")?;
    let mut dropped = Vec::new();
    for found in kept(&mut session)?.into_iter().filter(|found| is_over(found)) {
        drop_database(&mut session, &found.name)?;
        dropped.push(found);
    }
    Ok(dropped)
}
