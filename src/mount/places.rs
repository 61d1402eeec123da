//! The directories above snapshots: instances, and times in each.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::snapshot::Selected;

/// Name of the link to the newest complete snapshot of an instance.
const LATEST: &str = "latest";

/// Something that is made up, and in no snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// A directory with these names.
    Directory(BTreeMap<Vec<u8>, Made>),
    /// A link to the name beside it.
    Link(Vec<u8>),
    /// The tree of a snapshot, by its number.
    Snapshot(usize),
}

/// The tree above `snapshots`: `INSTANCE/2026-11-25T23-00-04`, and `INSTANCE/latest`.
pub fn places(snapshots: &[Selected], zone: &TimeZone) -> Made {
    let mut top: BTreeMap<Vec<u8>, Made> = BTreeMap::new();
    let mut newest: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (number, (id, snapshot)) in snapshots.iter().enumerate() {
        let instance = name_of(&snapshot.instance);
        let Made::Directory(times) =
            top.entry(instance.clone()).or_insert_with(|| Made::Directory(BTreeMap::new()))
        else {
            continue;
        };
        let nanos = i128::from(snapshot.start);
        let time = Timestamp::from_nanosecond(nanos).unwrap_or(Timestamp::UNIX_EPOCH);
        let mut name =
            time.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H-%M-%S").to_string().into_bytes();
        if times.contains_key(&name) {
            name = [&name[..], b"-", id.short().as_bytes()].concat();
        }
        if snapshot.is_complete {
            newest.insert(instance, name.clone());
        }
        times.insert(name, Made::Snapshot(number));
    }
    for (instance, name) in newest {
        if let Some(Made::Directory(times)) = top.get_mut(&instance) {
            times.insert(LATEST.as_bytes().to_vec(), Made::Link(name));
        }
    }
    Made::Directory(top)
}

/// A name that a directory can have.
fn name_of(text: &str) -> Vec<u8> {
    let name = text.replace(['/', '\0'], "_");
    match name.as_str() {
        "" | "." | ".." => format!("_{name}").into_bytes(),
        _ => name.into_bytes(),
    }
}
