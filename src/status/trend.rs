//! Trends: how long a disk lasts, and which nights stand out.

use jiff::Timestamp;

/// Measurements over less than this tell nothing about days.
const SHORTEST_SECONDS: f64 = 1.5 * 86_400.0;
/// Further ahead than this nobody can see.
const LONGEST_DAYS: f64 = 3650.0;
/// Nights that a night is compared with, and the fewest that say anything.
const COMPARED: usize = 14;
const FEWEST: usize = 5;
/// So many times the usual is a spike, if it is also this share of everything in the snapshot.
const SPIKE: u64 = 8;
const SPIKE_SHARE: u64 = 4;

/// Days until nothing is free, by a line through what was free at each of `points` (time, bytes); `None` if what is free does
/// not become less, or too little is known.
pub fn days_until_full(points: &[(Timestamp, u64)]) -> Option<f64> {
    let (first, last) = (points.first()?, points.last()?);
    let span = last.0.duration_since(first.0).as_secs_f64();
    if points.len() < 3 || span < SHORTEST_SECONDS {
        return None;
    }
    let at = |time: Timestamp| time.duration_since(first.0).as_secs_f64() / 86_400.0;
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(time, _)| at(*time)).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, free)| *free as f64).sum::<f64>() / count;
    let (mut above, mut below) = (0.0, 0.0);
    for (time, free) in points {
        let x = at(*time) - mean_x;
        above += x * (*free as f64 - mean_y);
        below += x * x;
    }
    // Less than a MiB a day is noise.
    let slope = above / below;
    if !slope.is_finite() || slope > -1_048_576.0 {
        return None;
    }
    Some(last.1 as f64 / -slope).filter(|days| *days <= LONGEST_DAYS)
}

/// What is odd about a night.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Anomaly {
    /// Far more was new than usual: everything was encrypted by somebody, or a large import.
    Spike,
    /// Less than half of what there usually is: an empty dump, a directory that is gone.
    Shrunk,
}

/// Which of `nights` (bytes in the snapshot, bytes it added), oldest first, stand out against those before them.
pub fn anomalies(nights: &[(u64, u64)]) -> Vec<Option<Anomaly>> {
    let judge = |at: usize| {
        let before = nights.get(at.saturating_sub(COMPARED)..at)?;
        let (total, added) = nights.get(at)?;
        if before.len() < FEWEST {
            return None;
        }
        let usual_total = median(before.iter().map(|night| night.0));
        let usual_added = median(before.iter().map(|night| night.1));
        if *total < usual_total / 2 {
            return Some(Anomaly::Shrunk);
        }
        let is_spike =
            *added / SPIKE > usual_added && *added > *total / SPIKE_SHARE && *added > 1 << 20;
        is_spike.then_some(Anomaly::Spike)
    };
    (0..nights.len()).map(judge).collect()
}

fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
