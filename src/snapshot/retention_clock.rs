//! Signs that a clock was wrong when snapshots were made: by their times alone, too much would go.

use jiff::{SignedDuration, Timestamp};

use crate::id::SnapshotId;

use super::retention::Candidate;

/// Clocks of hosts may differ by so much.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(10);
/// Two hosts may count and start in different order, but not by more than a night.
const ORDER_TOLERANCE: SignedDuration = SignedDuration::from_hours(24);
/// A gap before the newest snapshot that is longer than this, and
const LONG_GAP: SignedDuration = SignedDuration::from_hours(24 * 40);
/// so many times longer than gaps usually are, looks like a clock that jumped.
const GAP_FACTOR: i32 = 10;

/// What looks wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Suspicion {
    /// It was made in the future.
    #[error("snapshot {} is from {time}, but it is only {now} now", id.short())]
    Future {
        /// Which.
        id: SnapshotId,
        /// Its time.
        time: Timestamp,
        /// The clock here.
        now: Timestamp,
    },
    /// It was counted later than another one, but is earlier.
    #[error("snapshot {} was made after {}, but its time, {time}, is before {other_time}", id.short(), other.short())]
    Backwards {
        /// Which.
        id: SnapshotId,
        /// Its time.
        time: Timestamp,
        /// The one before it.
        other: SnapshotId,
        /// The time of that.
        other_time: Timestamp,
    },
    /// The newest is far from all others.
    #[error("snapshot {} is from {time}, {} days after the one before it", id.short(), gap.as_hours() / 24)]
    Jump {
        /// The newest.
        id: SnapshotId,
        /// Its time.
        time: Timestamp,
        /// How far.
        gap: SignedDuration,
    },
}

/// What looks wrong in the history of one instance, seen at `now`.
pub fn suspicions(candidates: &[Candidate], now: Timestamp) -> Vec<Suspicion> {
    let mut found = Vec::new();
    let latest_believable = now.saturating_add(TOLERANCE).unwrap_or(Timestamp::MAX);
    found.extend(
        candidates.iter().filter(|one| one.time > latest_believable).map(|one| Suspicion::Future {
            id: one.id,
            time: one.time,
            now,
        }),
    );
    let mut counted: Vec<&Candidate> = candidates.iter().collect();
    counted.sort_by_key(|one| (one.counter, one.time, one.id));
    let mut latest: Option<&Candidate> = None;
    for one in counted {
        match latest {
            Some(other) if other.time.duration_since(one.time) > ORDER_TOLERANCE => {
                // What comes from the future was told already.
                if other.time <= latest_believable {
                    found.push(Suspicion::Backwards {
                        id: one.id,
                        time: one.time,
                        other: other.id,
                        other_time: other.time,
                    });
                }
            }
            Some(other) if other.time > one.time => {}
            _ => latest = Some(one),
        }
    }
    found.extend(jump(candidates));
    found
}

fn jump(candidates: &[Candidate]) -> Option<Suspicion> {
    let mut times: Vec<(Timestamp, SnapshotId)> =
        candidates.iter().map(|one| (one.time, one.id)).collect();
    times.sort();
    let mut gaps: Vec<SignedDuration> =
        times.windows(2).map(|pair| pair[1].0.duration_since(pair[0].0)).collect();
    let gap = gaps.pop()?;
    let (time, id) = *times.last()?;
    gaps.sort();
    // Two snapshots tell nothing about what is usual.
    let usual = *gaps.get(gaps.len() / 2)?;
    let is_far = gap > LONG_GAP && usual.checked_mul(GAP_FACTOR).is_some_and(|far| gap > far);
    is_far.then_some(Suspicion::Jump { id, time, gap })
}
