//! What is stored where, as it comes and goes.

use std::collections::{HashMap, HashSet};

use rusqlite::{OptionalExtension, Transaction, params};

use crate::id::{ObjectId, PackId, SessionId};

use super::db::{Failure, bytes, bytes_or_none, from_sql, valid};
use super::object::{IndexObject, IndexedPack};
use super::rows::{insert_lookup, insert_pack, remove_packs};
use super::store::{Index, IndexError};

impl Index {
    /// Loads one index object (in one transaction, sorted). Loading it again changes nothing. Packs that were not known
    /// count as absent until [`Self::refresh_packs`] sees them listed; pending ones become confirmed.
    pub fn add_object(&self, id: ObjectId, object: &IndexObject) -> Result<(), IndexError> {
        self.write("loading an index object", |tx| {
            let Some(object_number) = insert_object(tx, id)? else {
                return Ok(());
            };
            let mut found_by = Vec::new();
            for pack in &object.packs {
                let number = match known_pack(tx, &pack.id)? {
                    Some(number) => {
                        confirm_pack(tx, number)?;
                        number
                    }
                    None => insert_pack(tx, pack, None, &mut found_by)?,
                };
                link(tx, number, object_number)?;
            }
            insert_lookup(tx, found_by)
        })
    }

    /// Drops what these objects said, unless another loaded object (or a pending row) says it too. Bumps the loss generation
    /// if something usable goes.
    pub fn drop_objects(&self, gone: &[ObjectId]) -> Result<(), IndexError> {
        self.write("dropping index objects", |tx| {
            let mut delete = tx.prepare_cached("DELETE FROM object WHERE id = ?1 RETURNING no")?;
            let mut unlink = tx.prepare_cached("DELETE FROM object_pack WHERE object = ?1")?;
            for id in gone {
                let number: Option<i64> =
                    delete.query_row([id.as_bytes()], |row| row.get(0)).optional()?;
                if let Some(number) = number {
                    unlink.execute([number])?;
                }
            }
            drop_unnamed(tx)
        })
    }

    /// Takes a listing of `packs/` (id → size) and the packs named by known condemned objects. Bumps the loss generation if anything
    /// usable before no longer is. A listed pack of another size than recorded counts as absent. So does a pending pack that is
    /// not listed: take the listing after the uploads.
    pub fn refresh_packs(
        &self,
        listed: &HashMap<PackId, u64>,
        condemned: &HashSet<PackId>,
    ) -> Result<(), IndexError> {
        // Known damage is as good a reason not to rely on a pack.
        let avoided: HashSet<PackId> = condemned.union(&self.suspects()?).copied().collect();
        self.write("comparing packs with a listing", |tx| {
            let (changed, is_loss) = differences(tx, listed, &avoided)?;
            let mut update =
                tx.prepare_cached("UPDATE pack SET present = ?2, condemned = ?3 WHERE no = ?1")?;
            for (number, is_present, is_condemned) in changed {
                update.execute(params![number, is_present, is_condemned])?;
            }
            if is_loss { bump_loss(tx) } else { Ok(()) }
        })
    }

    /// Records an uploaded pack whose index object is not stored yet; it counts as present. If another session has it pending, it
    /// is this one's now; if it is confirmed, it stays so.
    pub fn add_pending(&self, session: SessionId, pack: &IndexedPack) -> Result<(), IndexError> {
        self.write("recording a new pack", |tx| {
            if let Some(number) = known_pack(tx, &pack.id)? {
                tx.prepare_cached(
                    "UPDATE pack SET present = 1,
                     pending = CASE WHEN pending IS NULL THEN NULL ELSE ?2 END WHERE no = ?1",
                )?
                .execute(params![number, session.as_bytes()])?;
                return Ok(());
            }
            let mut found_by = Vec::new();
            insert_pack(tx, pack, Some(session), &mut found_by)?;
            insert_lookup(tx, found_by)
        })
    }

    /// These pending packs of `session` are now in index object `object`, and nothing else is. If one of them is not known any more (or is
    /// another session's), nothing is recorded, and the object will be loaded from the store like any other.
    pub fn confirm(
        &self,
        session: SessionId,
        object: ObjectId,
        packs: &[PackId],
    ) -> Result<(), IndexError> {
        self.write("confirming packs", |tx| {
            let mut find = tx.prepare_cached(
                "SELECT no FROM pack WHERE id = ?1 AND (pending IS NULL OR pending = ?2)",
            )?;
            let mut numbers = Vec::with_capacity(packs.len());
            for pack in packs {
                let number: Option<i64> = find
                    .query_row(params![pack.as_bytes(), session.as_bytes()], |row| row.get(0))
                    .optional()?;
                let Some(number) = number else {
                    return Ok(());
                };
                numbers.push(number);
            }
            let Some(object_number) = insert_object(tx, object)? else {
                return Ok(());
            };
            for number in numbers {
                confirm_pack(tx, number)?;
                link(tx, number, object_number)?;
            }
            Ok(())
        })
    }

    /// Sessions that have rows of packs no index object names yet.
    pub fn pending_sessions(&self) -> Result<HashSet<SessionId>, IndexError> {
        self.read("looking for pending packs", |connection| {
            let mut statement = connection
                .prepare_cached("SELECT DISTINCT pending FROM pack WHERE pending IS NOT NULL")?;
            let mut rows = statement.query([])?;
            let mut found = HashSet::new();
            while let Some(row) = rows.next()? {
                let session = SessionId::from_slice(bytes(row, 0, "session of a pack")?);
                found.insert(valid(session, "session of a pack")?);
            }
            Ok(found)
        })
    }

    /// Drops pending rows of the `dead` sessions. Bumps the loss generation if such a session could use one.
    pub fn drop_pending(&self, dead: &HashSet<SessionId>) -> Result<(), IndexError> {
        self.write("dropping pending packs", |tx| {
            let mut packs = Vec::new();
            let mut is_loss = false;
            let mut statement = tx.prepare_cached(
                "SELECT no, pending, present AND NOT condemned FROM pack WHERE pending IS NOT NULL",
            )?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let session = SessionId::from_slice(bytes(row, 1, "session of a pack")?);
                if dead.contains(&valid(session, "session of a pack")?) {
                    packs.push(row.get(0)?);
                    is_loss |= row.get::<_, bool>(2)?;
                }
            }
            drop(rows);
            remove_packs(tx, &packs)?;
            if is_loss { bump_loss(tx) } else { Ok(()) }
        })
    }
}

/// The number of a new object, or `None` if it is loaded already.
fn insert_object(tx: &Transaction<'_>, id: ObjectId) -> Result<Option<i64>, Failure> {
    let inserted = tx
        .prepare_cached("INSERT OR IGNORE INTO object (id) VALUES (?1)")?
        .execute([id.as_bytes()])?;
    Ok((inserted == 1).then(|| tx.last_insert_rowid()))
}

fn known_pack(tx: &Transaction<'_>, id: &PackId) -> Result<Option<i64>, Failure> {
    Ok(tx
        .prepare_cached("SELECT no FROM pack WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()?)
}

fn confirm_pack(tx: &Transaction<'_>, number: i64) -> Result<(), Failure> {
    tx.prepare_cached("UPDATE pack SET pending = NULL WHERE no = ?1 AND pending IS NOT NULL")?
        .execute([number])?;
    Ok(())
}

fn link(tx: &Transaction<'_>, pack: i64, object: i64) -> Result<(), Failure> {
    tx.prepare_cached("INSERT OR IGNORE INTO object_pack VALUES (?1, ?2)")?
        .execute([pack, object])?;
    Ok(())
}

fn bump_loss(tx: &Transaction<'_>) -> Result<(), Failure> {
    tx.execute("UPDATE meta SET loss_generation = loss_generation + 1", [])?;
    Ok(())
}

/// Drops packs that no object names and nobody waits for.
fn drop_unnamed(tx: &Transaction<'_>) -> Result<(), Failure> {
    let mut unnamed = Vec::new();
    let mut is_loss = false;
    let mut statement = tx.prepare_cached(
        "SELECT no, present AND NOT condemned FROM pack WHERE pending IS NULL
         AND NOT EXISTS (SELECT 1 FROM object_pack WHERE object_pack.pack = pack.no)",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        unnamed.push(row.get(0)?);
        is_loss |= row.get::<_, bool>(1)?;
    }
    drop(rows);
    remove_packs(tx, &unnamed)?;
    if is_loss { bump_loss(tx) } else { Ok(()) }
}

/// A pack's number, whether it is present, whether it is condemned.
type Change = (i64, bool, bool);

/// The packs whose rows are not as listed, and whether one of them is no longer usable.
fn differences(
    tx: &Transaction<'_>,
    listed: &HashMap<PackId, u64>,
    condemned: &HashSet<PackId>,
) -> Result<(Vec<Change>, bool), Failure> {
    let mut changed = Vec::new();
    let mut is_loss = false;
    let mut statement = tx.prepare_cached("SELECT no, id, size, present, condemned FROM pack")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id = bytes_or_none(row, 1, "id of a pack")?.and_then(PackId::from_slice);
        let id = valid(id, "id of a pack")?;
        let size = from_sql(row.get(2)?, "size of a pack")?;
        let before: (bool, bool) = (row.get(3)?, row.get(4)?);
        let now = (listed.get(&id) == Some(&size), condemned.contains(&id));
        if before != now {
            changed.push((row.get(0)?, now.0, now.1));
            is_loss |= before == (true, false);
        }
    }
    Ok((changed, is_loss))
}
