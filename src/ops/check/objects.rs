//! Every small object, read and held against its name.

use std::collections::HashSet;

use crate::event::StopFlag;
use crate::id::{ObjectId, PackId, SnapshotId};
use crate::repository::{Content, Repository, RepositoryError};
use crate::snapshot::Snapshot;
use crate::store::{ObjectInfo, ObjectKind, ObjectName, StoreErrorKind, list_all};

use super::report::{Findings, Step};

/// What to do when index objects fail.
pub(super) const REBUILD: &str =
    "nothing of the snapshots is in it: `mrs-backup index rebuild --from-packs` makes it anew";

/// What the objects other than packs and index say.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// Snapshots that can be read, oldest first.
    pub snapshots: Vec<(SnapshotId, Snapshot)>,
    /// All snapshots listed.
    pub listed: HashSet<SnapshotId>,
    /// Snapshots that receipts tell were forgotten.
    pub forgotten: HashSet<SnapshotId>,
    pub has_damaged_receipts: bool,
}

/// What became of reading one object.
enum Read {
    Content(Content),
    /// Removed between listing and reading.
    Gone,
    Damaged(RepositoryError),
}

fn read(repository: &Repository, name: &ObjectName) -> Result<Read, RepositoryError> {
    match repository.read_object(name) {
        Ok(content) => Ok(Read::Content(content)),
        Err(RepositoryError::Store(error)) if error.kind == StoreErrorKind::NotFound => {
            Ok(Read::Gone)
        }
        // One object that cannot be read is a finding; the next may be readable.
        Err(error) if error.concerns_object() => Ok(Read::Damaged(error)),
        Err(error) => Err(error),
    }
}

/// Reads every small object but those of the index.
pub(super) fn check_objects(
    repository: &Repository,
    findings: &Findings<'_>,
    stop: &StopFlag,
) -> Result<Objects, RepositoryError> {
    let step = Step::begin(findings.observer, "objects", None);
    let mut objects = Objects::default();
    check_config(repository, findings)?;
    check_slots(repository, findings)?;
    // Receipts after snapshots: whoever forgets a snapshot leaves the receipt first.
    for kind in
        [ObjectKind::Snapshot, ObjectKind::Receipt, ObjectKind::Session, ObjectKind::Condemned]
    {
        for info in list_all(repository.store().as_ref(), kind)? {
            if stop.is_stopped() {
                return Err(RepositoryError::Interrupted);
            }
            check_object(repository, &info, &mut objects, findings)?;
            step.progress(info.size, 1);
        }
    }
    objects.snapshots.sort_by_key(|(id, snapshot)| (snapshot.start, snapshot.counter, *id));
    Ok(objects)
}

fn check_config(repository: &Repository, findings: &Findings<'_>) -> Result<(), RepositoryError> {
    let name = ObjectName::Config;
    let hint = "every other object is readable with a good copy of `config`: copy it back from another copy of the repository";
    match read(repository, &name)? {
        Read::Content(_) => {}
        Read::Gone => findings.error(&name, "it is missing", hint),
        Read::Damaged(error) => findings.error(&name, error.to_string(), hint),
    }
    Ok(())
}

fn check_slots(repository: &Repository, findings: &Findings<'_>) -> Result<(), RepositoryError> {
    let mut has_own = false;
    let hint = "its password does not open the repository any more: add it again with `mrs-backup key add`, then remove the damaged slot";
    for info in list_all(repository.store().as_ref(), ObjectKind::Key)? {
        findings.count(|counts| counts.key_slots += 1);
        has_own |= info.name == ObjectName::Key(repository.slot());
        if let Read::Damaged(error) = read(repository, &info.name)? {
            findings.error(&info.name, error.to_string(), hint);
        }
    }
    if !has_own {
        let name = ObjectName::Key(repository.slot());
        findings.error(&name, "the key slot that opened the repository is gone", hint);
    }
    Ok(())
}

fn check_object(
    repository: &Repository,
    info: &ObjectInfo,
    objects: &mut Objects,
    findings: &Findings<'_>,
) -> Result<(), RepositoryError> {
    let name = &info.name;
    let kind = name.kind();
    findings.count(|counts| match kind {
        ObjectKind::Snapshot => counts.snapshots += 1,
        ObjectKind::Receipt => counts.receipts += 1,
        ObjectKind::Condemned => counts.condemned_objects += 1,
        _ => counts.session_objects += 1,
    });
    match read(repository, name)? {
        Read::Content(Content::Snapshot(snapshot)) => {
            if let ObjectName::Snapshot(id) = name {
                objects.listed.insert(*id);
                objects.snapshots.push((*id, *snapshot));
            }
        }
        Read::Content(Content::Receipt(receipt)) => objects.forgotten.extend(receipt.forgotten),
        Read::Content(_) | Read::Gone => {}
        Read::Damaged(error) => {
            let message = error.to_string();
            match name {
                ObjectName::Snapshot(id) => {
                    objects.listed.insert(*id);
                    let hint = "this snapshot cannot be restored, the others are not affected; copy it back from another copy of the repository, if there is one";
                    findings.error(name, message, hint);
                }
                ObjectName::Receipt(_) => {
                    objects.has_damaged_receipts = true;
                    let hint = "no snapshot needs it; what it told of a run is lost";
                    findings.warning(name, message, hint);
                }
                ObjectName::Condemned(_) => {
                    let hint =
                        "no snapshot needs it, and no prune acts on it: the packs it names stay";
                    findings.warning(name, message, hint);
                }
                _ => {
                    let hint = "no snapshot needs it; it belongs to a run that is at work or died";
                    findings.warning(name, message, hint);
                }
            }
        }
    }
    Ok(())
}

/// Reads every index object and compares it with what the local index made of it. Gives those listed.
pub(super) fn check_index(
    repository: &Repository,
    findings: &Findings<'_>,
    stop: &StopFlag,
) -> Result<HashSet<ObjectId>, RepositoryError> {
    let step = Step::begin(findings.observer, "index", None);
    let rows = repository.index().packs()?;
    let rows: std::collections::HashMap<PackId, _> =
        rows.into_iter().map(|row| (row.id, (row.class, row.size, row.key))).collect();
    let mut listed = HashSet::new();
    let loaded = repository.index().objects()?;
    for info in list_all(repository.store().as_ref(), ObjectKind::Index)? {
        if stop.is_stopped() {
            return Err(RepositoryError::Interrupted);
        }
        let ObjectName::Index(id) = info.name else { continue };
        listed.insert(id);
        findings.count(|counts| counts.index_objects += 1);
        step.progress(info.size, 1);
        match read(repository, &info.name)? {
            Read::Content(Content::Index(object)) if loaded.contains(&id) => {
                let differs = object
                    .packs
                    .iter()
                    .find(|pack| rows.get(&pack.id) != Some(&(pack.class, pack.size, pack.key)));
                if let Some(pack) = differs {
                    let message = format!(
                        "the local index says something else of {}",
                        ObjectName::Pack(pack.id)
                    );
                    findings.error(&info.name, message, "run `mrs-backup index rebuild`");
                }
            }
            Read::Damaged(error) => findings.error(&info.name, error.to_string(), REBUILD),
            Read::Content(_) | Read::Gone => {}
        }
    }
    Ok(listed)
}
