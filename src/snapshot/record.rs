//! The small records: a writer's session, a prune's condemned packs, receipts.

use std::collections::BTreeMap;

use crate::id::{ObjectId, PackId, SnapshotId};

/// A beat of a writer at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Host.
    pub host: String,
    /// Process id there.
    pub process: u32,
    /// Start, nanoseconds since 1970.
    pub start: i64,
    /// Time of this beat.
    pub beat: i64,
    /// Condemned objects it knows and of whose packs it uses nothing.
    pub knows: Vec<ObjectId>,
    /// The snapshot it is about to publish.
    pub staged: Option<SnapshotId>,
    /// What it is doing (`backup`).
    pub purpose: String,
}

/// Packs that will be deleted later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CondemnedRecord {
    /// Which.
    pub packs: Vec<PackId>,
    /// When, nanoseconds since 1970.
    pub time: i64,
    /// By which host.
    pub host: String,
}

/// What was run, proven or copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptRecord {
    /// `run`, `check`, ...
    pub kind: String,
    /// When, nanoseconds since 1970.
    pub time: i64,
    /// Instance.
    pub instance: String,
    /// Host.
    pub host: String,
    /// `ok`, `incomplete`, `failed`.
    pub result: String,
    /// The snapshot it is about.
    pub snapshot: Option<SnapshotId>,
    /// More.
    pub details: BTreeMap<String, String>,
    /// Snapshots that were forgotten.
    pub forgotten: Vec<SnapshotId>,
}

macro_rules! cbor_stub {
    ($name:ident) => {
        impl minicbor::Encode<()> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                _: &mut minicbor::Encoder<W>,
                (): &mut (),
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                todo!()
            }
        }

        impl minicbor::Decode<'_, ()> for $name {
            fn decode(
                _: &mut minicbor::Decoder<'_>,
                (): &mut (),
            ) -> Result<Self, minicbor::decode::Error> {
                todo!()
            }
        }
    };
}
cbor_stub!(SessionRecord);
cbor_stub!(CondemnedRecord);
cbor_stub!(ReceiptRecord);
