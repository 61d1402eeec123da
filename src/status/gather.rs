//! Looks at an open repository and notes down what `status` and the page tell of it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use crate::id::{ObjectId, SnapshotId};
use crate::instance::config::Instance;
use crate::ops::copy::lag;
use crate::ops::test_restore::RECEIPT_KIND;
use crate::repository::{Repository, RepositoryError, list_ids};
use crate::snapshot::retention::{Candidate, judge};
use crate::snapshot::{ReceiptRecord, Snapshot, pins, suspicions};
use crate::store::{ObjectKind, ObjectName, Place, StoreErrorKind, Written};

use super::known::{
    Catalogue, Known, KnownCopy, KnownError, KnownProof, KnownReceipt, KnownSnapshot, Store,
};

/// Snapshots of which the rows of each table are kept, and the largest tables of each.
const WITH_ROWS: usize = 60;
const MOST_TABLES: usize = 12;
/// Receipts in the catalogue.
const MOST_RECEIPTS: usize = 40;
/// Longest text kept of a receipt's detail.
const LONGEST_DETAIL: usize = 300;
/// How far back the summary has the times of snapshots.
const RECENT: SignedDuration = SignedDuration::from_hours(35 * 24);

/// Why nothing was noted down.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// The repository cannot be read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The state directory cannot be written.
    #[error(transparent)]
    Known(#[from] KnownError),
}

/// Notes down how `repository` stands, for `instance`. Reads the small objects that are new since the last time.
pub fn gather(
    repository: &Repository,
    instance: &Instance,
    state_dir: &Path,
) -> Result<Known, GatherError> {
    let store = Store::new(state_dir);
    let id = repository.config().id.to_hex();
    let before = store.seen(&instance.name)?;
    let before = if before.repository == id { before } else { Catalogue::default() };
    let seen = look(repository, before, id)?;
    let own = of_instance(&seen, instance, repository.environment().clock.now());
    let known = summarize(repository, instance, &seen, &own)?;
    store.put(&instance.name, &known, &own, &seen)?;
    Ok(known)
}

/// All snapshots and receipts, those seen before without reading them again.
fn look(
    repository: &Repository,
    before: Catalogue,
    id: String,
) -> Result<Catalogue, RepositoryError> {
    let store = repository.store().as_ref();
    let mut known: HashMap<String, KnownSnapshot> =
        before.snapshots.into_iter().map(|one| (one.id.clone(), one)).collect();
    let mut snapshots = Vec::new();
    for name in list_ids(store, ObjectKind::Snapshot)? {
        let ObjectName::Snapshot(id) = name else { continue };
        if let Some(one) = known.remove(&id.to_hex()) {
            snapshots.push(one);
            continue;
        }
        match repository.snapshot(&id) {
            Ok(snapshot) => snapshots.push(of_snapshot(&id, &snapshot)),
            // Forgotten meanwhile, or damaged, which `check` tells.
            Err(RepositoryError::Store(error)) if error.kind == StoreErrorKind::NotFound => {}
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    snapshots.sort_by(|a, b| (a.time, a.counter, &a.id).cmp(&(b.time, b.counter, &b.id)));
    let with_rows = snapshots.len().saturating_sub(WITH_ROWS);
    snapshots.iter_mut().take(with_rows).for_each(|one| one.rows.clear());
    let mut known: HashMap<String, KnownReceipt> =
        before.receipts.into_iter().map(|one| (one.id.clone(), one)).collect();
    let mut receipts = Vec::new();
    for name in list_ids(store, ObjectKind::Receipt)? {
        let ObjectName::Receipt(id) = name else { continue };
        match known.remove(&id.to_hex()) {
            Some(one) => receipts.push(one),
            None => receipts.extend(repository.receipt(&id).ok().map(|told| of_receipt(&id, told))),
        }
    }
    receipts.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
    Ok(Catalogue { repository: id, snapshots, receipts })
}

fn time(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn of_snapshot(id: &SnapshotId, snapshot: &Snapshot) -> KnownSnapshot {
    let number = |name: &str| snapshot.statistics.get(name).copied().unwrap_or(0);
    let mut tables: Vec<(String, u64)> = Vec::new();
    for database in &snapshot.databases {
        let name = |schema: &str, table: &str| format!("{}/{schema}.{table}", database.name);
        tables.extend(
            database.tables.iter().map(|table| (name(&table.schema, &table.name), table.rows)),
        );
    }
    tables.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    tables.truncate(MOST_TABLES);
    KnownSnapshot {
        id: id.to_hex(),
        instance: snapshot.instance.clone(),
        time: time(snapshot.start),
        end: time(snapshot.end),
        counter: snapshot.counter,
        is_complete: snapshot.is_complete,
        bytes: number("bytes"),
        stored_bytes: number("stored_bytes"),
        tags: snapshot.tags.clone(),
        reasons: Vec::new(),
        rows: tables.into_iter().collect(),
    }
}

fn of_receipt(id: &ObjectId, told: ReceiptRecord) -> KnownReceipt {
    // What pins and takes pins away is needed whole.
    let is_pin = [pins::PIN, pins::UNPIN].contains(&told.kind.as_str());
    let cut = |(name, text): (String, String)| match is_pin {
        true => (name, text),
        false => (name, text.chars().take(LONGEST_DETAIL).collect()),
    };
    KnownReceipt {
        id: id.to_hex(),
        kind: told.kind,
        time: time(told.time),
        instance: told.instance,
        host: told.host,
        result: told.result,
        snapshot: told.snapshot.map(|id| id.to_hex()),
        details: told.details.into_iter().map(cut).collect(),
    }
}

/// A receipt as the repository has it, as far as pins need it.
fn as_record(receipt: &KnownReceipt) -> Option<(ObjectId, ReceiptRecord)> {
    let record = ReceiptRecord {
        kind: receipt.kind.clone(),
        time: i64::try_from(receipt.time.as_nanosecond()).unwrap_or(i64::MAX),
        instance: receipt.instance.clone(),
        host: receipt.host.clone(),
        result: receipt.result.clone(),
        snapshot: receipt.snapshot.as_ref().and_then(|id| id.parse().ok()),
        details: receipt.details.clone(),
        forgotten: Vec::new(),
    };
    Some((receipt.id.parse().ok()?, record))
}

fn candidates(snapshots: &[KnownSnapshot]) -> Vec<Candidate> {
    let of = |one: &KnownSnapshot| {
        Some(Candidate {
            id: one.id.parse().ok()?,
            time: one.time,
            counter: one.counter,
            is_complete: one.is_complete,
            tags: one.tags.clone(),
        })
    };
    snapshots.iter().filter_map(of).collect()
}

/// Those of one instance, with what its policy says about them.
fn of_instance(seen: &Catalogue, instance: &Instance, now: Timestamp) -> Catalogue {
    let is_own = |one: &&KnownSnapshot| one.instance == instance.name;
    let mut snapshots: Vec<KnownSnapshot> = seen.snapshots.iter().filter(is_own).cloned().collect();
    let records: Vec<(ObjectId, ReceiptRecord)> = seen
        .receipts
        .iter()
        .filter(|one| [pins::PIN, pins::UNPIN].contains(&one.kind.as_str()))
        .filter_map(as_record)
        .collect();
    let verdicts = judge(
        &candidates(&snapshots),
        &instance.retention.value,
        &pins::pins(&records),
        &instance.timezone.value,
        now,
    );
    let mut reasons: BTreeMap<String, Vec<String>> = verdicts
        .into_iter()
        .map(|one| (one.id.to_hex(), one.reasons.iter().map(ToString::to_string).collect()))
        .collect();
    for one in &mut snapshots {
        one.reasons = reasons.remove(&one.id).unwrap_or_default();
    }
    let own = seen.receipts.iter().filter(|one| one.instance == instance.name);
    let mut receipts: Vec<KnownReceipt> = own.cloned().collect();
    receipts.drain(..receipts.len().saturating_sub(MOST_RECEIPTS));
    Catalogue { repository: seen.repository.clone(), snapshots, receipts }
}

fn summarize(
    repository: &Repository,
    instance: &Instance,
    seen: &Catalogue,
    own: &Catalogue,
) -> Result<Known, RepositoryError> {
    let now = repository.environment().clock.now();
    let store = repository.store();
    let tests = || {
        let own = seen.receipts.iter().filter(|one| one.instance == instance.name);
        own.filter(|one| one.kind == RECEIPT_KIND)
    };
    let proof = tests().rfind(|one| one.result == "ok").map(|one| KnownProof {
        time: one.time,
        snapshot: one.snapshot.clone().unwrap_or_default(),
        seconds: one
            .details
            .get("duration_ms")
            .and_then(|text| text.parse::<f64>().ok())
            .map_or(0.0, |milliseconds| milliseconds / 1000.0),
    });
    let failed_proof = tests().next_back().filter(|one| one.result != "ok").map(|one| {
        (one.time, one.details.get("reason").cloned().unwrap_or_else(|| one.result.clone()))
    });
    let newest = own.snapshots.last();
    let objections = suspicions(&candidates(&own.snapshots), now);
    Ok(Known {
        time: now,
        repository: seen.repository.clone(),
        location: store.location().to_string(),
        repository_bytes: repository.index().counts()?.pack_bytes,
        free_bytes: store.free_bytes(),
        snapshots: own.snapshots.len() as u64,
        newest: newest.cloned(),
        newest_complete: own.snapshots.iter().rfind(|one| one.is_complete).cloned(),
        recent: own
            .snapshots
            .iter()
            .filter(|one| now.duration_since(one.time) < RECENT)
            .map(|one| (one.time, one.is_complete))
            .collect(),
        copies: copies(repository, instance, seen)?,
        has_databases: instance.postgres.is_some(),
        proof,
        failed_proof,
        objections: objections.iter().map(ToString::to_string).collect(),
    })
}

/// How far the copies of the configuration are behind, as far as this machine knows.
fn copies(
    repository: &Repository,
    instance: &Instance,
    seen: &Catalogue,
) -> Result<Vec<KnownCopy>, RepositoryError> {
    let ids: Vec<SnapshotId> =
        seen.snapshots.iter().filter_map(|one| one.id.parse().ok()).collect();
    let mut found = Vec::new();
    for copy in instance.copies.values() {
        let lag = match Place::parse(copy.location.value.as_str(), Written::Privately) {
            Ok(place) => lag(repository, &place.location().to_string(), &ids)?,
            // Its credential is not at hand here.
            Err(_) => None,
        };
        found.push(KnownCopy {
            name: copy.name.clone(),
            location: copy.location.value.to_string(),
            behind: lag.map_or(ids.len() as u64, |lag| lag.behind),
            copied: lag.and_then(|lag| lag.copied).map(time),
        });
    }
    Ok(found)
}
