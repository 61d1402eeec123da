//! Damaged and missing packs: every chunk of theirs that can be read, here or in a copy, is stored in new
//! packs. The damaged ones are freed by a later prune once nothing needs them.

use std::collections::HashSet;

use crate::event::{Event, Observer, StopFlag};
use crate::id::{ChunkId, PackId};
use crate::index::PackRow;
use crate::pack::PackClass;
use crate::repository::{
    Fetcher, Grouping, Ingest, IngestOptions, Repository, RepositoryError, Session,
};
use crate::store::ObjectName;

use super::CACHE;

/// What became of damaged packs.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct PacksReport {
    /// Packs looked at.
    pub packs: u64,
    /// Chunks of them that are in good packs already.
    pub known_chunks: u64,
    /// Chunks read from them and stored again.
    pub salvaged_chunks: u64,
    /// Chunks read from the copy and stored again.
    pub healed_chunks: u64,
    /// Chunks that are nowhere any more.
    pub lost_chunks: u64,
    /// Bytes stored: packs and index objects.
    pub stored_bytes: u64,
}

/// Packs that are known to be damaged, and those that the index knows and the store has not.
pub fn known_damage(repository: &Repository) -> Result<Vec<PackId>, RepositoryError> {
    let refresh = repository.refresh()?;
    let mut damaged: HashSet<PackId> = repository.index().suspects()?;
    damaged.retain(|id| refresh.packs.contains_key(id));
    let is_missing = |row: &&PackRow| !row.is_pending && !row.is_present;
    damaged.extend(repository.index().packs()?.iter().filter(is_missing).map(|row| row.id));
    let mut damaged: Vec<PackId> = damaged.into_iter().collect();
    damaged.sort_unstable();
    Ok(damaged)
}

/// Stores what can be read of `packs` in new ones; what cannot is looked for in `copy`, which is the same
/// repository elsewhere. From now on nothing new relies on `packs`.
pub fn repair_packs(
    repository: &Repository,
    packs: &[PackId],
    copy: Option<&Repository>,
    options: IngestOptions,
    stop: &StopFlag,
    observer: &dyn Observer,
) -> Result<PacksReport, RepositoryError> {
    let index = repository.index();
    let mut suspects = index.suspects()?;
    suspects.extend(packs);
    index.set_suspects(&suspects)?;
    if let Some(copy) = copy {
        copy.refresh()?;
    }
    // The session's opening compares all packs with the list of suspects.
    let session = repository.begin_session("repair")?;
    let done = repair_in(&session, packs, copy, options, stop, observer);
    let ended = session.end();
    let report = done?;
    ended?;
    repository.refresh()?;
    Ok(report)
}

fn repair_in(
    session: &Session<'_>,
    packs: &[PackId],
    copy: Option<&Repository>,
    options: IngestOptions,
    stop: &StopFlag,
    observer: &dyn Observer,
) -> Result<PacksReport, RepositoryError> {
    let repository = session.repository();
    let rows = repository.index().packs()?;
    let mut salvage = Salvage {
        here: Fetcher::new(repository, CACHE),
        there: copy.map(|copy| Fetcher::new(copy, CACHE)),
        session,
        done: HashSet::new(),
        report: PacksReport::default(),
    };
    let ((), stats) = repository.ingest(session, options, stop, |ingest| {
        for row in rows.iter().filter(|row| packs.contains(&row.id)) {
            observer.event(&Event::Working { item: ObjectName::Pack(row.id).to_string() });
            let lost = salvage.pack(row, ingest)?;
            if lost > 0 {
                let item = ObjectName::Pack(row.id).to_string();
                let message = format!("{lost} of its chunks cannot be read anywhere");
                observer.event(&Event::ItemFailed { item, message });
            }
        }
        Ok::<_, RepositoryError>(())
    })?;
    salvage.report.stored_bytes = stats.stored_bytes;
    Ok(salvage.report)
}

struct Salvage<'r> {
    here: Fetcher<'r>,
    there: Option<Fetcher<'r>>,
    session: &'r Session<'r>,
    /// Chunks stored in this run.
    done: HashSet<ChunkId>,
    report: PacksReport,
}

impl Salvage<'_> {
    /// Stores what one pack holds; gives how many chunks are lost.
    fn pack(&mut self, row: &PackRow, ingest: &mut Ingest<'_>) -> Result<u64, RepositoryError> {
        let index = self.session.repository().index();
        self.report.packs += 1;
        let mut lost = 0;
        for entry in index.segments_of(&row.id)? {
            let ids: Vec<ChunkId> = entry.chunks.iter().map(|chunk| chunk.id).collect();
            let usable = index.are_usable(&ids, self.session.id())?;
            // A segment of one chunk keeps its id, and with it whatever was compressed against it.
            let is_alone = ids.len() == 1 && row.class == PackClass::Data;
            let grouping = if is_alone { Grouping::Alone } else { Grouping::Shared };
            for (id, is_usable) in ids.into_iter().zip(usable) {
                if is_usable || !self.done.insert(id) {
                    self.report.known_chunks += 1;
                } else if !self.chunk(&id, row.class, grouping, ingest)? {
                    lost += 1;
                }
            }
        }
        self.report.lost_chunks += lost;
        self.session.keep_alive()?;
        Ok(lost)
    }

    /// Whether the chunk could be read somewhere, and is stored.
    fn chunk(
        &mut self,
        id: &ChunkId,
        class: PackClass,
        grouping: Grouping,
        ingest: &mut Ingest<'_>,
    ) -> Result<bool, RepositoryError> {
        match self.here.chunk_by_id(id) {
            Ok(bytes) => {
                ingest.store_elsewhere(class, &bytes, grouping)?;
                self.report.salvaged_chunks += 1;
                return Ok(true);
            }
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
        let Some(there) = &self.there else { return Ok(false) };
        match there.chunk_by_id(id) {
            Ok(bytes) => {
                ingest.store_elsewhere(class, &bytes, grouping)?;
                self.report.healed_chunks += 1;
                Ok(true)
            }
            Err(error) if error.is_damage() => Ok(false),
            Err(error) => Err(error),
        }
    }
}
