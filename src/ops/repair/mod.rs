//! Repair: what is damaged is stored anew as far as it can still be read, here or in a copy, and what is
//! lost for good is taken out of the snapshots by name, never silently.

mod packs;
mod snapshots;

#[cfg(test)]
mod tests;

pub use packs::{PacksReport, known_damage, repair_packs};
pub use snapshots::{
    Remedy, SnapshotRepair, SnapshotsPlan, SnapshotsReport, apply_snapshots, plan_snapshots,
};

/// Bytes of opened segments kept while something is read.
const CACHE: usize = 32 << 20;
