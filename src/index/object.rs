//! Index objects as they are stored (format.md section 7).

use crate::id::{KeyId, ObjectId, PackId};
use crate::pack::{PackClass, SegmentEntry};

/// One pack and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedPack {
    /// Which.
    pub id: PackId,
    /// What it holds.
    pub class: PackClass,
    /// Its length in bytes.
    pub size: u64,
    /// Epoch of its header.
    pub key: KeyId,
    /// Its segments.
    pub entries: Vec<SegmentEntry>,
}

/// The content of one index object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IndexObject {
    /// Packs.
    pub packs: Vec<IndexedPack>,
    /// Index objects this one replaces.
    pub replaces: Vec<ObjectId>,
}

impl minicbor::Encode<()> for IndexObject {
    fn encode<W: minicbor::encode::Write>(
        &self,
        _: &mut minicbor::Encoder<W>,
        (): &mut (),
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        todo!()
    }
}

impl minicbor::Decode<'_, ()> for IndexObject {
    fn decode(_: &mut minicbor::Decoder<'_>, (): &mut ()) -> Result<Self, minicbor::decode::Error> {
        todo!()
    }
}
