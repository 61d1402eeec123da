//! The small records: a writer's session, a prune's condemned packs, receipts.

use std::collections::BTreeMap;

use minicbor::Decoder;
use minicbor::decode::Error;

use crate::id::{ObjectId, PackId, SnapshotId};

use crate::cbor::{Writer, codec, read_list, read_map, read_text_map, required, text};

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

impl SessionRecord {
    fn write(&self, writer: &mut Writer) {
        writer.map(|map| {
            map.key(0).text(&self.host);
            map.key(1).uint(self.process.into());
            map.key(2).int(self.start);
            map.key(3).int(self.beat);
            map.key(4).list(&self.knows, |w, id| {
                w.bytes(id.as_bytes());
            });
            if let Some(staged) = &self.staged {
                map.key(5).bytes(staged.as_bytes());
            }
            map.key(6).text(&self.purpose);
        });
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, Error> {
        let (mut host, mut process, mut start, mut beat) = (None, None, None, None);
        let (mut knows, mut staged, mut purpose) = (Vec::new(), None, None);
        read_map(d, |key, d| {
            match key {
                0 => host = Some(text(d)?),
                1 => process = Some(d.u32()?),
                2 => start = Some(d.i64()?),
                3 => beat = Some(d.i64()?),
                4 => knows = read_list(d, Decoder::decode)?,
                5 => staged = Some(d.decode()?),
                6 => purpose = Some(text(d)?),
                _ => d.skip()?,
            }
            Ok(())
        })?;
        Ok(Self {
            host: required(host, "the host of a session")?,
            process: required(process, "the process of a session")?,
            start: required(start, "the start of a session")?,
            beat: required(beat, "the time of a session's beat")?,
            knows,
            staged,
            purpose: required(purpose, "the purpose of a session")?,
        })
    }
}

impl CondemnedRecord {
    fn write(&self, writer: &mut Writer) {
        writer.map(|map| {
            map.key(0).list(&self.packs, |w, id| {
                w.bytes(id.as_bytes());
            });
            map.key(1).int(self.time);
            map.key(2).text(&self.host);
        });
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, Error> {
        let (mut packs, mut time, mut host) = (None, None, None);
        read_map(d, |key, d| {
            match key {
                0 => packs = Some(read_list(d, Decoder::decode)?),
                1 => time = Some(d.i64()?),
                2 => host = Some(text(d)?),
                _ => d.skip()?,
            }
            Ok(())
        })?;
        Ok(Self {
            packs: required(packs, "the list of condemned packs")?,
            time: required(time, "the time packs were condemned")?,
            host: required(host, "the host that condemned packs")?,
        })
    }
}

impl ReceiptRecord {
    fn write(&self, writer: &mut Writer) {
        writer.map(|map| {
            map.key(0).text(&self.kind);
            map.key(1).int(self.time);
            map.key(2).text(&self.instance);
            map.key(3).text(&self.host);
            map.key(4).text(&self.result);
            if let Some(snapshot) = &self.snapshot {
                map.key(5).bytes(snapshot.as_bytes());
            }
            map.key(6).text_map(self.details.iter(), |w, value| {
                w.text(value);
            });
            if !self.forgotten.is_empty() {
                map.key(7).list(&self.forgotten, |w, id| {
                    w.bytes(id.as_bytes());
                });
            }
        });
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, Error> {
        let (mut kind, mut time, mut instance, mut host) = (None, None, None, None);
        let (mut result, mut snapshot) = (None, None);
        let (mut details, mut forgotten) = (BTreeMap::new(), Vec::new());
        read_map(d, |key, d| {
            match key {
                0 => kind = Some(text(d)?),
                1 => time = Some(d.i64()?),
                2 => instance = Some(text(d)?),
                3 => host = Some(text(d)?),
                4 => result = Some(text(d)?),
                5 => snapshot = Some(d.decode()?),
                6 => details = read_text_map(d, text)?,
                7 => forgotten = read_list(d, Decoder::decode)?,
                _ => d.skip()?,
            }
            Ok(())
        })?;
        Ok(Self {
            kind: required(kind, "the kind of a receipt")?,
            time: required(time, "the time of a receipt")?,
            instance: required(instance, "the instance of a receipt")?,
            host: required(host, "the host of a receipt")?,
            result: required(result, "the result of a receipt")?,
            snapshot,
            details,
            forgotten,
        })
    }
}

codec!(SessionRecord);
codec!(CondemnedRecord);
codec!(ReceiptRecord);
