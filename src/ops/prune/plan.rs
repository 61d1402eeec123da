//! What is to be done, decided before anything is changed.
//!
//! The order of the listings is the protocol's: packs, then sessions, then snapshots. Whatever is decided
//! may come late; the rules do not rest on its being done soon.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::event::{Observer, StopFlag};
use crate::id::{ObjectId, PackId};
use crate::index::PackRow;
use crate::repository::{
    Refresh, Repository, RepositoryError, SeenSession, Session, is_rightly_named,
};
use crate::snapshot::Snapshot;
use crate::store::{ByteRange, ObjectInfo, ObjectKind, ObjectName, list_all};

use super::mark::Mark;
use super::merge;
use super::summary::{PruneSummary, Waiting, WaitsFor};
use super::trees::{Reached, reach};
use super::{MaxUnused, PruneOptions};

/// How often snapshots and index are read again when something seems to be missing.
const READINGS: usize = 3;

/// What a prune is going to do.
#[derive(Debug)]
pub struct PrunePlan {
    /// For people.
    pub summary: PruneSummary,
    pub(super) mark: Mark,
    /// Sessions taken for dead.
    pub(super) expired: Vec<SeenSession>,
    /// Condemned objects that nothing holds up.
    pub(super) ripe: Vec<ObjectId>,
    /// Condemned objects that nobody can read any more.
    pub(super) unreadable: Vec<ObjectName>,
    /// What the ripe ones name and nobody needs, with sizes.
    pub(super) doomed: Vec<(PackId, u64)>,
    /// What nobody needs and nobody has condemned yet, with sizes.
    pub(super) condemn: Vec<(PackId, u64)>,
    /// Packs to be stored elsewhere, by their numbers in the mark.
    pub(super) repack: Vec<usize>,
    /// Packs listed, with sizes.
    pub(super) listed: HashMap<PackId, u64>,
    /// Small index objects that are due to be merged.
    pub(super) merge: Vec<ObjectId>,
}

/// What was listed before the snapshots.
struct Seen {
    /// Size of each pack, and when it was written.
    packs: HashMap<PackId, (u64, Option<Timestamp>)>,
    /// Sessions of others.
    live: Vec<SeenSession>,
    expired: Vec<SeenSession>,
    /// Now, as the store says.
    now: Option<Timestamp>,
    /// When the oldest live session, ours among them, began.
    oldest: Option<Timestamp>,
}

impl Seen {
    fn of(session: &Session<'_>, expiry: Duration) -> Result<Self, RepositoryError> {
        let repository = session.repository();
        let mut packs = HashMap::new();
        for info in list_all(repository.store().as_ref(), ObjectKind::Pack)? {
            if let ObjectName::Pack(id) = info.name {
                packs.insert(id, (info.size, info.modified));
            }
        }
        // Our own session was written a moment ago: its time is the store's now.
        let (own, others): (Vec<_>, Vec<_>) =
            repository.seen_sessions()?.into_iter().partition(|seen| seen.id == session.id());
        let Some(own) = own.first() else { return Err(RepositoryError::SessionExpired) };
        let now = own.last_written;
        let is_dead = |seen: &SeenSession| match (now, seen.last_written) {
            (Some(now), Some(last)) => age(now, last) >= expiry,
            _ => false,
        };
        let (expired, live): (Vec<_>, Vec<_>) = others.into_iter().partition(is_dead);
        let oldest = live.iter().map(|seen| seen.first_written).chain([own.first_written]).min();
        Ok(Self { packs, live, expired, now, oldest: oldest.flatten() })
    }

    /// Whether a pack was written before any live session began, so that none of them has uploaded it.
    fn is_old(&self, pack: &PackId) -> bool {
        let modified = self.packs.get(pack).and_then(|(_, modified)| *modified);
        matches!((modified, self.oldest), (Some(modified), Some(oldest)) if modified < oldest)
    }

    fn size(&self, pack: &PackId) -> Option<u64> {
        self.packs.get(pack).map(|(size, _)| *size)
    }
}

fn age(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or(Duration::ZERO)
}

impl PrunePlan {
    /// Decides. Changes nothing but the local caches.
    pub fn compute(
        session: &Session<'_>,
        options: &PruneOptions,
        stop: &StopFlag,
        observer: &dyn Observer,
    ) -> Result<Self, RepositoryError> {
        let repository = session.repository();
        let seen = Seen::of(session, options.expiry)?;
        if options.must_be_alone && !seen.live.is_empty() {
            let names: Vec<_> = seen.live.iter().map(SeenSession::describe).collect();
            let reason = format!("somebody else is at work: {}", names.join(", "));
            return Err(unprunable(repository, reason));
        }
        let opening = session.opening();
        let condemned = opening.condemned_packs();
        let (mark, reached, snapshots) = mark_all(session, &seen, stop, observer)?;
        let mut plan = Self {
            summary: PruneSummary {
                snapshots,
                packs: seen.packs.len() as u64,
                pack_bytes: seen.packs.values().map(|(size, _)| size).sum(),
                trees: reached.trees,
                trees_read: reached.trees_read,
                expired_sessions: seen.expired.iter().map(SeenSession::describe).collect(),
                ..PruneSummary::default()
            },
            mark,
            expired: Vec::new(),
            ripe: Vec::new(),
            unreadable: unreadable(repository, opening, &seen, options.grace)?,
            doomed: Vec::new(),
            condemn: Vec::new(),
            repack: Vec::new(),
            listed: seen.packs.iter().map(|(id, (size, _))| (*id, *size)).collect(),
            merge: merge::due(repository)?,
        };
        plan.summary.merge_index_objects = plan.merge.len() as u64;
        plan.summary.unreadable_condemned = plan.unreadable.len() as u64;
        plan.choose_doomed(session, opening, &seen, options.grace)?;
        plan.choose_condemned(repository, &seen, &condemned)?;
        plan.choose_repack(&seen, &condemned, options);
        plan.expired = seen.expired;
        Ok(plan)
    }

    /// The second half: what was condemned, is old enough, and known to every session.
    fn choose_doomed(
        &mut self,
        session: &Session<'_>,
        opening: &Refresh,
        seen: &Seen,
        grace: Duration,
    ) -> Result<(), RepositoryError> {
        let listed = list_all(session.repository().store().as_ref(), ObjectKind::Condemned)?;
        let needed: HashSet<PackId> = self.needed().collect();
        for ObjectInfo { name, modified, .. } in listed {
            let ObjectName::Condemned(id) = name else { continue };
            // One that came after our opening is not named by our session, nor by others yet.
            let Some(packs) = opening.condemned.get(&id) else { continue };
            let there: Vec<(PackId, u64)> =
                packs.iter().filter_map(|pack| Some((*pack, seen.size(pack)?))).collect();
            if let Some(waits_for) = waits_for(id, modified, seen, grace) {
                self.summary.waiting.push(Waiting {
                    object: name.to_string(),
                    packs: there.len() as u64,
                    bytes: there.iter().map(|(_, size)| size).sum(),
                    waits_for,
                });
                continue;
            }
            self.ripe.push(id);
            let (spared, doomed): (Vec<_>, Vec<_>) =
                there.into_iter().partition(|(pack, _)| needed.contains(pack));
            self.summary.spared_packs += spared.len() as u64;
            self.doomed.extend(doomed);
        }
        self.doomed.sort_unstable();
        self.doomed.dedup();
        self.summary.delete_packs = self.doomed.len() as u64;
        self.summary.delete_bytes = self.doomed.iter().map(|(_, size)| size).sum();
        Ok(())
    }

    fn needed(&self) -> impl Iterator<Item = PackId> + '_ {
        self.mark.packs.iter().filter(|pack| pack.is_needed).map(|pack| pack.row.id)
    }

    /// The first half: what is not needed, not condemned yet, and older than every live session. Packs in no
    /// index object (of killed runs) and packs of another size than indexed are found by the listing.
    fn choose_condemned(
        &mut self,
        repository: &Repository,
        seen: &Seen,
        condemned: &HashSet<PackId>,
    ) -> Result<(), RepositoryError> {
        let mut staying: HashSet<PackId> = self.needed().collect();
        staying.extend(condemned);
        staying.extend(
            repository.index().packs()?.iter().filter(|row| row.is_pending).map(|row| row.id),
        );
        for (pack, (size, _)) in seen.packs.iter().filter(|(pack, _)| !staying.contains(*pack)) {
            if seen.is_old(pack) {
                self.condemn.push((*pack, *size));
            } else {
                self.summary.young_packs += 1;
                self.summary.young_bytes += size;
            }
        }
        self.condemn.sort_unstable();
        Ok(())
    }

    /// Packs of which too much is unused, the worst first; and what is needed of condemned ones.
    fn choose_repack(&mut self, seen: &Seen, condemned: &HashSet<PackId>, options: &PruneOptions) {
        let packs = &self.mark.packs;
        let used: u64 = packs.iter().map(|pack| pack.used_bytes).sum();
        let is_condemned = |at: usize| condemned.contains(&packs[at].row.id);
        let needed = (0..packs.len()).filter(|at| packs[*at].is_needed);
        let (rescued, usable): (Vec<usize>, Vec<usize>) = needed.partition(|at| is_condemned(*at));
        let unused = |at: &usize| packs[*at].sealed_bytes - packs[*at].used_bytes;
        let mut left: u64 = usable.iter().map(unused).sum();
        self.summary.used_bytes = used;
        self.summary.unused_bytes = left;
        let allowed = match options.max_unused {
            MaxUnused::Unlimited => u64::MAX,
            MaxUnused::Bytes(bytes) => bytes,
            MaxUnused::Percent(percent) => percent_of(used, percent),
        };
        // A suspect pack stays as it is: rewriting it is for a repair.
        let mut wasteful: Vec<usize> = usable
            .into_iter()
            .filter(|at| !packs[*at].row.is_condemned && unused(at) > 0)
            .filter(|at| seen.is_old(&packs[*at].row.id))
            .collect();
        let share = |at: &usize| unused(at) as f64 / packs[*at].sealed_bytes.max(1) as f64;
        wasteful.sort_by(|a, b| share(b).total_cmp(&share(a)).then(a.cmp(b)));
        let most = options.max_repack_bytes.unwrap_or(u64::MAX);
        let mut bytes: u64 = 0;
        let mut chosen = Vec::new();
        for at in rescued {
            bytes += packs[at].used_bytes;
            chosen.push(at);
        }
        for at in wasteful {
            if left <= allowed {
                break;
            }
            if bytes.saturating_add(packs[at].used_bytes) > most {
                continue;
            }
            bytes += packs[at].used_bytes;
            left -= unused(&at);
            chosen.push(at);
        }
        chosen.sort_unstable();
        self.summary.unused_bytes_after = left;
        self.summary.repack_packs = chosen.len() as u64;
        self.summary.repack_bytes = bytes;
        let repacked = chosen.iter().map(|at| &packs[*at].row);
        let (more, more_bytes) = repacked
            .filter(|row| !condemned.contains(&row.id))
            .fold((0, 0), |(count, bytes), row| (count + 1, bytes + row.size));
        self.summary.condemn_packs = self.condemn.len() as u64 + more;
        self.summary.condemn_bytes =
            self.condemn.iter().map(|(_, size)| size).sum::<u64>() + more_bytes;
        self.repack = chosen;
    }
}

/// How many unused bytes beside `used` ones are `percent` of all.
fn percent_of(used: u64, percent: f64) -> u64 {
    let percent = percent.clamp(0.0, 100.0);
    if percent >= 100.0 {
        return u64::MAX;
    }
    (used as f64 * percent / (100.0 - percent)) as u64
}

/// Condemned objects whose bytes differ from their name: what they named is condemned anew if nobody needs it. They
/// go when they are older than the grace time and nobody else is at work: nobody can then have read one while it was
/// whole, and be about to delete what it named (docs/protocol.md, "Spared packs stay condemned").
fn unreadable(
    repository: &Repository,
    opening: &Refresh,
    seen: &Seen,
    grace: Duration,
) -> Result<Vec<ObjectName>, RepositoryError> {
    let damaged: Vec<ObjectName> = opening
        .damaged
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| matches!(name, ObjectName::Condemned(_)))
        .collect();
    if damaged.is_empty() || !seen.live.is_empty() || !seen.expired.is_empty() {
        return Ok(Vec::new());
    }
    let is_old = |info: &ObjectInfo| match (seen.now, info.modified) {
        (Some(now), Some(written)) => age(now, written) >= grace,
        _ => false,
    };
    let listed = list_all(repository.store().as_ref(), ObjectKind::Condemned)?;
    let mut gone = Vec::new();
    for info in listed.iter().filter(|info| damaged.contains(&info.name) && is_old(info)) {
        let limit = crate::crypto::envelope::MAX_OBJECT;
        let bytes = repository.store().get(&info.name, ByteRange::Whole { limit })?;
        if !is_rightly_named(&info.name, &bytes) {
            gone.push(info.name);
        }
    }
    Ok(gone)
}

/// What a condemned object waits for, if anything.
fn waits_for(
    id: ObjectId,
    written: Option<Timestamp>,
    seen: &Seen,
    grace: Duration,
) -> Option<WaitsFor> {
    let names = |session: &&SeenSession| {
        session.record.as_ref().is_some_and(|record| record.knows.contains(&id))
    };
    let holding: Vec<String> =
        seen.live.iter().filter(|session| !names(session)).map(SeenSession::describe).collect();
    let (Some(now), Some(written)) = (seen.now, written) else { return Some(WaitsFor::Age) };
    let left = grace.saturating_sub(age(now, written));
    if !left.is_zero() {
        Some(WaitsFor::Grace(left.as_secs().max(1)))
    } else if !holding.is_empty() {
        Some(WaitsFor::Sessions(holding))
    } else {
        None
    }
}

/// Reads the snapshots and marks; again, if something is missing that may just have been written.
fn mark_all(
    session: &Session<'_>,
    seen: &Seen,
    stop: &StopFlag,
    observer: &dyn Observer,
) -> Result<(Mark, Reached, u64), RepositoryError> {
    let repository = session.repository();
    for reading in 1..=READINGS {
        let listed = repository.snapshots()?;
        if let Some((id, error)) = listed.damaged.first() {
            let reason = format!("snapshot {} cannot be read: {error}", id.short());
            return Err(unprunable(repository, reason));
        }
        // Whatever these snapshots need was indexed before they were published.
        repository.refresh()?;
        let snapshots = listed.snapshots.iter().map(|(_, snapshot): &(_, Snapshot)| snapshot);
        let show_life = || session.keep_alive();
        let mut reached = match reach(repository, snapshots, true, &show_life, stop, observer) {
            Err(error) if error.is_damage() => {
                if reading < READINGS {
                    continue;
                }
                return Err(unprunable(repository, error.to_string()));
            }
            other => other?,
        };
        let chunks = std::mem::take(&mut reached.chunks);
        let written = |pack: &PackId| seen.packs.get(pack).and_then(|(_, written)| *written);
        let stays = |row: &PackRow| !row.is_condemned && !seen.is_old(&row.id);
        let mark = Mark::compute(repository.index(), chunks, written, stays)?;
        if mark.missing == 0 {
            return Ok((mark, reached, listed.snapshots.len() as u64));
        }
        if reading == READINGS {
            let reason = format!(
                "{} chunks that snapshots need are in no pack ({} among them)",
                mark.missing,
                mark.first_missing.unwrap_or_default()
            );
            return Err(unprunable(repository, reason));
        }
    }
    Err(RepositoryError::Internal("snapshots were read and nothing came of it"))
}

pub(super) fn unprunable(repository: &Repository, reason: String) -> RepositoryError {
    RepositoryError::Unprunable { location: repository.store().location().clone(), reason }
}
