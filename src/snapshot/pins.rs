//! Pins: snapshots that somebody wants to stay, whatever the policy says.
//!
//! A pin is a receipt, sealed and written once like every other, so every host and every copy sees it; what
//! takes it away is another receipt, which names it. Nothing depends on the order of clocks.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use jiff::Timestamp;

use crate::id::{ObjectId, SnapshotId};

use super::record::ReceiptRecord;

/// Kind of the receipt that pins.
pub const PIN: &str = "pin";
/// Kind of the receipt that takes pins away.
pub const UNPIN: &str = "unpin";
const REASON: &str = "reason";
const UNTIL: &str = "until";
const PINS: &str = "pins";

/// Somebody's wish that a snapshot stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The receipt it is.
    pub id: ObjectId,
    /// Why.
    pub reason: String,
    /// Until when; `None`: until somebody takes it away.
    pub until: Option<Timestamp>,
}

impl Pin {
    /// Whether it has not ended.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(until) = &self.until {
            write!(f, " until {}", until.strftime("%Y-%m-%d %H:%M UTC"))?;
        }
        if self.reason.is_empty() { Ok(()) } else { write!(f, ": {}", self.reason) }
    }
}

/// What a receipt that pins says besides.
pub fn pin_details(reason: &str, until: Option<Timestamp>) -> BTreeMap<String, String> {
    let mut details = BTreeMap::from([(REASON.to_owned(), reason.to_owned())]);
    details.extend(until.map(|until| (UNTIL.to_owned(), until.to_string())));
    details
}

/// What a receipt that takes `pins` away says besides.
pub fn unpin_details(pins: &[ObjectId]) -> BTreeMap<String, String> {
    let ids: Vec<String> = pins.iter().map(ObjectId::to_hex).collect();
    BTreeMap::from([(PINS.to_owned(), ids.join(" "))])
}

/// The pins nobody took away, by snapshot; ended ones are among them.
pub fn pins(receipts: &[(ObjectId, ReceiptRecord)]) -> BTreeMap<SnapshotId, Vec<Pin>> {
    let of_kind = |kind: &'static str| receipts.iter().filter(move |(_, told)| told.kind == kind);
    let taken_away: HashSet<&str> = of_kind(UNPIN)
        .filter_map(|(_, told)| told.details.get(PINS))
        .flat_map(|ids| ids.split(' '))
        .collect();
    let mut found: BTreeMap<SnapshotId, Vec<Pin>> = BTreeMap::new();
    for (id, told) in of_kind(PIN).filter(|(id, _)| !taken_away.contains(id.to_hex().as_str())) {
        let Some(snapshot) = told.snapshot else { continue };
        // An end that cannot be read is none: rather one snapshot too many.
        let until = told.details.get(UNTIL).and_then(|until| until.parse().ok());
        let reason = told.details.get(REASON).cloned().unwrap_or_default();
        found.entry(snapshot).or_default().push(Pin { id: *id, reason, until });
    }
    for pins in found.values_mut() {
        pins.sort_by_key(|pin| pin.id);
    }
    found
}
