//! The first half: stores what is needed of wasteful packs elsewhere, then condemns them, and what
//! nobody needs.
//!
//! Segments are moved as they are sealed. One of which only a part is needed is opened, and the
//! chunks that are needed go into new segments.

use std::collections::HashSet;

use crate::event::{Event, Observer, StopFlag};
use crate::pack::{MAX_PACK_LEN, PackClass, SealedSegment, SegmentEntry, unseal_segment};
use crate::repository::{
    DeltaOptions, Grouping, Ingest, IngestOptions, Repository, RepositoryError, Session,
    is_rightly_named,
};
use crate::store::{ByteRange, ObjectName};

use super::PruneOptions;
use super::mark::Need;
use super::plan::PrunePlan;
use super::summary::PruneStats;

/// Chunks from this length on get a segment of their own, as in a backup.
const ALONE_BYTES: usize = 32 << 10;

/// Repacks and condemns.
pub(super) fn condemn(
    session: &Session<'_>,
    plan: PrunePlan,
    options: &PruneOptions,
    stats: &mut PruneStats,
    stop: &StopFlag,
    observer: &dyn Observer,
) -> Result<(), RepositoryError> {
    let mut condemn = plan.condemn.clone();
    let repacked = repack(session, &plan, options, stats, stop, observer)?;
    let known = session.opening().condemned_packs();
    let packs = repacked.into_iter().map(|at| &plan.mark.packs[at].row);
    condemn.extend(packs.filter(|row| !known.contains(&row.id)).map(|row| (row.id, row.size)));
    condemn.sort_unstable();
    condemn.dedup();
    if condemn.is_empty() {
        return Ok(());
    }
    session.keep_alive()?;
    session.condemn(condemn.iter().map(|(id, _)| *id).collect())?;
    stats.condemned_packs = condemn.len() as u64;
    stats.condemned_bytes = condemn.iter().map(|(_, size)| size).sum();
    Ok(())
}

/// Gives the packs that need not stay any more.
fn repack(
    session: &Session<'_>,
    plan: &PrunePlan,
    options: &PruneOptions,
    stats: &mut PruneStats,
    stop: &StopFlag,
    observer: &dyn Observer,
) -> Result<Vec<usize>, RepositoryError> {
    if plan.repack.is_empty() {
        return Ok(Vec::new());
    }
    let repository = session.repository();
    let bytes = plan.summary.repack_bytes;
    observer.event(&Event::StepStarted { step: "repack", total_bytes: Some(bytes) });
    let mut damaged = HashSet::new();
    // A delta could have its base in a pack that is condemned right after this.
    let pipeline = IngestOptions { deltas: DeltaOptions::OFF, ..options.ingest };
    let (done, ingested) = repository.ingest(session, pipeline, stop, |ingest| {
        let mut done = Vec::new();
        for at in &plan.repack {
            match repack_one(repository, plan, *at, ingest)? {
                Ok(bytes) => {
                    done.push(*at);
                    observer.event(&Event::Progress { bytes, items: 1 });
                }
                Err(reason) => {
                    let item = ObjectName::Pack(plan.mark.packs[*at].row.id).to_string();
                    stats.damaged_packs.push(item.clone());
                    damaged.insert(plan.mark.packs[*at].row.id);
                    observer.event(&Event::ItemFailed { item, message: reason });
                }
            }
        }
        Ok::<_, RepositoryError>(done)
    })?;
    if !damaged.is_empty() {
        let index = repository.index();
        damaged.extend(index.suspects()?);
        index.set_suspects(&damaged)?;
    }
    stats.repacked_packs = done.len() as u64;
    stats.stored_bytes = ingested.stored_bytes;
    observer.event(&Event::StepFinished { step: "repack" });
    Ok(done)
}

/// Stores what is needed of one pack elsewhere; gives the bytes of it, or says how it is damaged. A pack
/// is read whole, so that its name proves every byte of it: damage is not carried on.
fn repack_one(
    repository: &Repository,
    plan: &PrunePlan,
    at: usize,
    ingest: &mut Ingest<'_>,
) -> Result<Result<u64, String>, RepositoryError> {
    let pack = &plan.mark.packs[at];
    let name = ObjectName::Pack(pack.row.id);
    let bytes = repository.store().get(&name, ByteRange::Whole { limit: MAX_PACK_LEN })?;
    if !is_rightly_named(&name, &bytes) {
        return Ok(Err("its checksum differs from its name; it stays as it is".to_owned()));
    }
    let mut moved = 0;
    for entry in repository.index().segments_of(&pack.row.id)? {
        let need = plan.mark.need(at, &entry);
        if need == Need::Nothing {
            continue;
        }
        let Some(sealed) = slice(&bytes, &entry) else {
            return Ok(Err("the index places a segment behind its end".to_owned()));
        };
        moved += u64::from(entry.sealed_len);
        match need {
            Need::Chunks(needed) => {
                if let Err(reason) =
                    rewrite(repository, pack.row.class, &entry, sealed, &needed, ingest)?
                {
                    return Ok(Err(reason));
                }
            }
            _ => {
                let entry = SegmentEntry { offset: 0, ..entry };
                let class = pack.row.class;
                ingest.move_segment(SealedSegment { class, entry, bytes: sealed.to_vec() })?;
            }
        }
    }
    Ok(Ok(moved))
}

fn slice<'b>(bytes: &'b [u8], entry: &SegmentEntry) -> Option<&'b [u8]> {
    bytes.get(usize::try_from(entry.offset).ok()?..usize::try_from(entry.end()).ok()?)
}

/// Stores some chunks of a segment anew.
fn rewrite(
    repository: &Repository,
    class: PackClass,
    entry: &SegmentEntry,
    sealed: &[u8],
    needed: &[usize],
    ingest: &mut Ingest<'_>,
) -> Result<Result<(), String>, RepositoryError> {
    // A delta has one chunk: it is needed whole or not at all.
    let raw = match unseal_segment(repository.keyring(), class, entry, sealed, None) {
        Ok(raw) => raw,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let mut start = 0;
    let mut needed = needed.iter().peekable();
    for (number, chunk) in entry.chunks.iter().enumerate() {
        let end = start + chunk.len as usize;
        if needed.next_if_eq(&&number).is_some() {
            let Some(bytes) = raw.get(start..end) else {
                return Ok(Err("a chunk lies behind the end of its segment".to_owned()));
            };
            if repository.keyring().chunk_id(bytes) != chunk.id {
                return Ok(Err("a chunk has other bytes than its id says".to_owned()));
            }
            let grouping = match bytes.len() < ALONE_BYTES {
                true => Grouping::Shared,
                false => Grouping::Alone,
            };
            ingest.store_elsewhere(class, bytes, grouping)?;
        }
        start = end;
    }
    Ok(Ok(()))
}
