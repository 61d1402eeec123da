//! Finds what a new segment is compressed against (docs/adr/0008).
//!
//! The chunk that was at its place in the stream's earlier version is tried first, then those with the
//! same features. A delta is kept only if it is much smaller than the segment would be by itself.
//!
//! Reading a delta means reading its base first, and so on: the chain is bounded. When the nearest
//! segment is at the end of the longest chain, one further up is taken, the higher the less it costs: so the
//! ancestors get renewed by themselves, those near the root more rarely, and nothing is stored whole again.

use crate::chunker::Features;
use crate::id::SegmentId;
use crate::index::{Dedup, Place};
use crate::pack::{Delta, MAX_DELTA_LEN, PackClass, RawSegment, compress_delta};

use super::error::RepositoryError;
use super::fetch::Fetcher;
use super::open::Repository;
use super::session::Session;

/// Segments shorter than this are not looked at: a delta would save less than its entry costs to keep.
const LEAST_LEN: usize = 32 << 10;
/// Similar segments that are tried.
const TRIED: usize = 2;
/// Bytes of opened bases kept for the segments after this one.
const CACHE: usize = 8 << 20;
/// How much of the length of a plain segment a delta may have, in percent.
const PAYS: u64 = 70;

/// How deltas are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaOptions {
    /// Longest chain: 0 switches deltas off, 1 allows no delta on a delta.
    pub depth: usize,
    /// At the end of the longest chain: how many times as large a delta on the next ancestor may be, in percent,
    /// that it is preferred. 100 never climbs.
    pub climb: u64,
    /// Whether content of files is compared.
    pub files: bool,
    /// Whether streams (databases, outputs of commands) are.
    pub streams: bool,
    /// Also where bases have to be [fetched over a line](crate::store::Store::is_far). Each delta then waits for a
    /// read about as long as the plain segment, which pays only if sending is much dearer than receiving.
    pub far: bool,
}

impl DeltaOptions {
    /// Every segment stands by itself.
    pub const OFF: Self = Self { depth: 0, climb: 100, files: false, streams: false, far: false };
}

impl Default for DeltaOptions {
    /// Measured over 30 nights; see docs/benchmarks.md.
    fn default() -> Self {
        Self { depth: 8, climb: 180, files: true, streams: true, far: false }
    }
}

/// Looks for bases, for one pipeline. Shared between its sealers.
pub(super) struct Bases<'a> {
    repository: &'a Repository,
    session: &'a Session<'a>,
    dedup: &'a Dedup<'a>,
    fetcher: Fetcher<'a>,
    options: DeltaOptions,
}

impl<'a> Bases<'a> {
    pub fn new(session: &'a Session<'a>, dedup: &'a Dedup<'a>, options: DeltaOptions) -> Self {
        let repository = session.repository();
        let may_read = options.far || !repository.store.is_far();
        let is_on = repository.config.deltas && may_read;
        let options = if is_on { options } else { DeltaOptions::OFF };
        let fetcher = Fetcher::new(repository, CACHE).in_session(session.id());
        Self { repository, session, dedup, fetcher, options }
    }

    /// Whether no segment becomes a delta.
    pub fn are_off(&self) -> bool {
        self.options.depth == 0
    }

    /// What `segment` is like, if later ones may be compressed against it.
    pub fn features(&self, segment: &RawSegment) -> Option<Features> {
        let is_candidate = !self.are_off()
            && segment.class == PackClass::Data
            && segment.chunks.len() == 1
            && (LEAST_LEN..=MAX_DELTA_LEN).contains(&segment.bytes.len());
        segment.likeness.features.filter(|_| is_candidate)
    }

    /// `segment` as a delta, if that pays.
    pub fn delta(
        &self,
        segment: &RawSegment,
        features: Features,
    ) -> Result<Option<Delta>, RepositoryError> {
        if let Some(earlier) = segment.likeness.earlier
            && let Some(delta) = self.try_base(segment, &SegmentId::from(earlier))?
        {
            return Ok(Some(delta));
        }
        if !self.dedup.may_be_similar(features) {
            return Ok(None);
        }
        for candidate in self.repository.index().similar(features, TRIED)? {
            if segment.likeness.earlier.is_none_or(|earlier| SegmentId::from(earlier) != candidate)
                && let Some(delta) = self.try_base(segment, &candidate)?
            {
                return Ok(Some(delta));
            }
        }
        Ok(None)
    }

    fn try_base(
        &self,
        segment: &RawSegment,
        candidate: &SegmentId,
    ) -> Result<Option<Delta>, RepositoryError> {
        let chain = self.repository.index().usable_chain(candidate, self.session.id())?;
        let Some(chain) = chain.filter(|chain| suits(chain, segment)) else { return Ok(None) };
        // Those that are too deep already to have another delta on them.
        let too_deep = chain.len().saturating_sub(self.options.depth);
        let mut best: Option<Delta> = None;
        for place in &chain[too_deep..] {
            // What cannot be read is no base: then it is stored plain, or on another one.
            let Ok(base) = self.fetcher.segment_by_id(&place.entry.id) else { break };
            let mut frame = Vec::new();
            compress_delta(&base, &segment.bytes, &mut frame)?;
            if best.as_ref().is_some_and(|best| {
                frame.len() as u64 * 100 > best.frame.len() as u64 * self.options.climb
            }) {
                break;
            }
            best = Some(Delta { base: place.entry.id, frame });
            if too_deep == 0 {
                break;
            }
        }
        let limit = plain_len(&chain, segment).saturating_mul(PAYS) / 100;
        Ok(best.filter(|delta| delta.frame.len() as u64 <= limit))
    }
}

/// Whether `segment` may be compressed against the first of `chain`. A form of the segment itself in the
/// chain would make a circle of it.
fn suits(chain: &[Place], segment: &RawSegment) -> bool {
    chain.iter().all(|place| {
        place.class == segment.class
            && place.entry.raw_len as usize <= MAX_DELTA_LEN
            && segment.chunks.iter().all(|chunk| SegmentId::from(chunk.id) != place.entry.id)
    })
}

/// How long `segment` would be by itself, by the plain one at the end of `chain`, which is like it.
fn plain_len(chain: &[Place], segment: &RawSegment) -> u64 {
    chain.last().map_or(0, |root| {
        let raw_len = u64::from(root.entry.raw_len).max(1);
        u64::from(root.entry.sealed_len) * segment.bytes.len() as u64 / raw_len
    })
}
