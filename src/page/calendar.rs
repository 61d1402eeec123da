//! The calendar of retention: a row a month, a square a day with a snapshot, shaded by what keeps it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::tz::TimeZone;

use crate::instance::config::Language;
use crate::status::{Catalogue, KnownSnapshot};

use super::svg::open;

/// Months that are shown; what is older is counted.
const MOST_MONTHS: usize = 24;

/// What keeps the snapshots of a day, the longest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kept {
    Goes,
    Short,
    Weekly,
    Monthly,
    Yearly,
    Pinned,
}

impl Kept {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Goes, "k0"),
        (Self::Short, "k1"),
        (Self::Weekly, "k2"),
        (Self::Monthly, "k3"),
        (Self::Yearly, "k4"),
        (Self::Pinned, "k5"),
    ];

    fn of(snapshot: &KnownSnapshot) -> Self {
        let has = |word: &str| snapshot.reasons.iter().any(|reason| reason.contains(word));
        match () {
            () if snapshot.reasons.is_empty() => Self::Goes,
            () if has("pinned") || has("tag ") => Self::Pinned,
            () if has("yearly") => Self::Yearly,
            () if has("monthly") || has("quarterly") => Self::Monthly,
            () if has("weekly") => Self::Weekly,
            () => Self::Short,
        }
    }
}

/// The drawing, and how many snapshots are older than what it shows.
pub fn calendar(catalogue: &Catalogue, zone: &TimeZone, lang: Language) -> (String, usize) {
    let mut months: BTreeMap<(i16, i8), BTreeMap<i8, Kept>> = BTreeMap::new();
    let mut counts: BTreeMap<(i16, i8), usize> = BTreeMap::new();
    for snapshot in &catalogue.snapshots {
        let date = snapshot.time.to_zoned(zone.clone()).date();
        let month = (date.year(), date.month());
        *counts.entry(month).or_default() += 1;
        let kept = Kept::of(snapshot);
        let day = months.entry(month).or_default().entry(date.day()).or_insert(kept);
        *day = (*day).max(kept);
    }
    let older = months.len().saturating_sub(MOST_MONTHS);
    let is_older: Vec<(i16, i8)> = months.keys().take(older).copied().collect();
    let left_out = is_older.iter().filter_map(|month| counts.get(month)).sum();
    let label = lang
        .pick("Snapshots by day and what keeps them", "Sauvegardes par jour et ce qui les garde");
    let mut text = open(370.0, (months.len() - older) as f64 * 11.0 + 2.0, label);
    let mut paths: BTreeMap<Kept, String> = BTreeMap::new();
    for (row, ((year, month), days)) in months.iter().skip(older).enumerate() {
        let y = row * 11 + 1;
        // Writing into a string does not fail.
        let _ = write!(text, "<text x=\"0\" y=\"{}\">{year}-{month:02}</text>", y + 8);
        // Days in a row that are kept alike are one line; its dashes are the squares.
        let mut runs: Vec<(i32, i32, Kept)> = Vec::new();
        for (day, kept) in days {
            let day = i32::from(*day);
            match runs.last_mut() {
                Some((first, count, same)) if *same == *kept && *first + *count == day => {
                    *count += 1
                }
                _ => runs.push((day, 1, *kept)),
            }
        }
        for (day, count, kept) in runs {
            let (x, length) = (day * 10 + 46, count * 10 - 2);
            let _ = write!(paths.entry(kept).or_default(), "M{x} {}h{length}", y + 4);
        }
    }
    for (kept, class) in Kept::ALL {
        if let Some(path) = paths.get(&kept) {
            let _ = write!(text, "<path class=\"{class}\" d=\"{path}\"/>");
        }
    }
    text.push_str("</svg>");
    (text, left_out)
}
