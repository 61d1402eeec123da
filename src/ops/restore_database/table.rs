//! One table out of a snapshot, beside the live one. Only its own rows are read; of one that is in the archive,
//! what lies before it there.

use std::sync::Arc;

use crate::event::{Event, Observer};
use crate::id::SnapshotId;
use crate::repository::{Fetcher, Repository};
use crate::snapshot::{DatabaseManifest, Snapshot, TableManifest};
use crate::target::postgres::{
    Beside, Cluster, DatabaseError, Difference, Live, free_bytes, needed_bytes, table_name,
};

use super::{Contents, RestoreDatabaseError, choose};

/// Bytes of opened segments kept.
const CACHE: usize = 16 << 20;

/// What a restore of a table will do.
#[derive(Debug)]
pub struct TablePlan {
    /// Which snapshot.
    pub id: SnapshotId,
    /// The database; its tables are only this one.
    pub manifest: DatabaseManifest,
    /// The schema beside.
    pub schema: String,
    /// Where the server is.
    pub server: String,
    /// The live table; `None`: it is gone.
    pub live: Option<Live>,
    /// What an earlier restore of a table left under the name, to be replaced.
    pub replaces: Option<String>,
    /// Bytes free on the server's disk, if known.
    pub free_bytes: Option<u64>,
}

impl TablePlan {
    /// The table.
    pub fn table(&self) -> &TableManifest {
        &self.manifest.tables[0]
    }

    fn beside<'a>(&'a self, cluster: &'a Cluster) -> Beside<'a> {
        Beside {
            cluster,
            database: &self.manifest.name,
            schema: &self.schema,
            table: self.table(),
            encoding: &self.manifest.encoding,
        }
    }
}

/// Which of the tables is meant by `schema.name`; a name may have a point itself.
fn find_table<'m>(
    manifest: &'m DatabaseManifest,
    wanted: &str,
) -> Result<&'m TableManifest, RestoreDatabaseError> {
    let name = &manifest.name;
    let mut found = manifest.tables.iter().filter(|table| table_name(table) == wanted);
    let reason = match (found.next(), found.next()) {
        // Of an extension's table only a part may be there.
        (Some(table), None) if table.path.is_some() || table.hash.is_some() => return Ok(table),
        (Some(_), None) => format!(
            "`{wanted}` belongs to an extension, of which `{name}` has only a part: mrs-backup dump SNAPSHOT ARCHIVE | pg_restore"
        ),
        (Some(_), Some(_)) => format!("`{wanted}` means more than one table of `{name}`"),
        (None, _) if manifest.tables.is_empty() => format!(
            "this snapshot keeps `{name}` as one archive, without tables of their own: mrs-backup dump SNAPSHOT \
             ARCHIVE | pg_restore"
        ),
        (None, _) => {
            let name_part = wanted.rsplit('.').next().unwrap_or(wanted);
            let near = manifest.tables.iter().find(|table| table.name == name_part);
            let near = near.map_or_else(
                || "write it as SCHEMA.NAME".to_owned(),
                |table| format!("did you mean `{}`", table_name(table)),
            );
            format!("there is no table `{wanted}` in database `{name}` of the snapshot; {near}")
        }
    };
    Err(RestoreDatabaseError::Choice(reason))
}

/// Plans the restore of the table `wanted` into `schema`.
pub fn plan_table(
    id: SnapshotId,
    snapshot: &Snapshot,
    cluster: &Cluster,
    database: Option<&str>,
    wanted: &str,
    schema: &str,
) -> Result<TablePlan, RestoreDatabaseError> {
    let whole = choose(&id, snapshot, database)?;
    let table = find_table(whole, wanted)?.clone();
    if table.schema == schema {
        let reason =
            format!("`{wanted}` is itself in schema `{schema}`; choose another with --schema");
        return Err(RestoreDatabaseError::Choice(reason));
    }
    let manifest = DatabaseManifest { tables: vec![table], ..whole.clone() };
    let mut plan = TablePlan {
        id,
        manifest,
        schema: schema.to_owned(),
        server: cluster.place(),
        live: None,
        replaces: None,
        free_bytes: None,
    };
    let beside = plan.beside(cluster);
    let mut session = beside.session()?;
    let (live, replaces) = (beside.live(&mut session)?, beside.in_the_way(&mut session)?);
    let free = free_bytes(cluster, &mut session);
    let needed = needed_bytes(0, plan.table().bytes);
    if let Some(free) = free.filter(|free| *free < needed) {
        let (database, server) = (plan.manifest.name.clone(), cluster.place());
        return Err(DatabaseError::NoSpace { database, server, free, needed }.into());
    }
    (plan.live, plan.replaces, plan.free_bytes) = (live, replaces, free);
    Ok(plan)
}

/// Does what the plan says; gives the rows, and how they differ from the live ones.
pub fn apply_table(
    repository: &Repository,
    snapshot: &Snapshot,
    plan: &TablePlan,
    cluster: &Cluster,
    observer: &Arc<dyn Observer>,
) -> Result<(u64, Option<Difference>), RestoreDatabaseError> {
    let table = plan.table();
    observer.event(&Event::StepStarted { step: "rows", total_bytes: Some(table.bytes) });
    let fetcher = Fetcher::new(repository, CACHE);
    let contents = Contents::find(&fetcher, snapshot, &plan.manifest)?;
    let beside = plan.beside(cluster);
    let mut session = beside.session()?;
    let open = |table: &TableManifest| contents.open(table);
    let rows = beside.load(&mut session, &plan.id.to_string(), &open, observer.as_ref())?;
    observer.event(&Event::StepStarted { step: "compare", total_bytes: None });
    let difference = match &plan.live {
        Some(live) => Some(beside.difference(&mut session, live)?),
        None => None,
    };
    observer.event(&Event::StepFinished { step: "compare" });
    Ok((rows, difference))
}
