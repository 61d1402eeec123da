//! Index objects as they are stored (format.md section 7).

use minicbor::{Decoder, Encoder, decode, encode};

use crate::cbor::{read_list, read_map};
use crate::id::{KeyId, ObjectId, PackId};
use crate::pack::{
    HEADER_LEN, MAX_PACK_LEN, PackClass, SegmentEntry, TRAILER_LEN, decode_entries, encode_entries,
};

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
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        (): &mut (),
    ) -> Result<(), encode::Error<W::Error>> {
        e.map(if self.replaces.is_empty() { 1 } else { 2 })?;
        e.u8(0)?.array(self.packs.len() as u64)?;
        for pack in &self.packs {
            e.map(5)?.u8(0)?.encode(pack.id)?;
            e.u8(1)?.u8(pack.class as u8)?;
            e.u8(2)?.u64(pack.size)?;
            e.u8(3)?;
            encode_entries(&pack.entries, pack.key, e)?;
            e.u8(4)?.encode(pack.key)?;
        }
        if !self.replaces.is_empty() {
            e.u8(1)?.array(self.replaces.len() as u64)?;
            for id in &self.replaces {
                e.encode(id)?;
            }
        }
        Ok(())
    }
}

impl minicbor::Decode<'_, ()> for IndexObject {
    fn decode(d: &mut Decoder<'_>, (): &mut ()) -> Result<Self, decode::Error> {
        let (mut packs, mut replaces) = (None, Vec::new());
        read_map(d, |key, d| {
            match key {
                0 => packs = Some(read_list(d, decode_pack)?),
                1 => replaces = read_list(d, Decoder::decode)?,
                _ => d.skip()?,
            }
            Ok::<_, decode::Error>(())
        })?;
        let packs = packs.ok_or_else(|| decode::Error::message("an index without packs"))?;
        Ok(Self { packs, replaces })
    }
}

fn decode_pack(d: &mut Decoder<'_>) -> Result<IndexedPack, decode::Error> {
    let (mut id, mut class, mut size, mut key, mut entries_at) = (None, None, None, None, None);
    read_map(d, |number, d| {
        match number {
            0 => id = Some(d.decode::<PackId>()?),
            1 => class = Some(d.u64()?),
            2 => size = Some(d.u64()?),
            // Entries without a key id have the pack's, which may come after them.
            3 => {
                entries_at = Some(d.position());
                d.skip()?;
            }
            4 => key = Some(d.decode::<KeyId>()?),
            _ => d.skip()?,
        }
        Ok::<_, decode::Error>(())
    })?;
    let (Some(id), Some(class), Some(size), Some(key), Some(at)) =
        (id, class, size, key, entries_at)
    else {
        return Err(decode::Error::message("a pack lacks its id, class, size, key or segments"));
    };
    let class = PackClass::from_number(class)
        .ok_or_else(|| decode::Error::message("a pack of a class nobody knows"))?;
    let mut inner = Decoder::new(d.input());
    inner.set_position(at);
    let entries = decode_entries(&mut inner, key).map_err(decode::Error::message)?;
    let pack = IndexedPack { id, class, size, key, entries };
    pack.check().map_err(decode::Error::message)?;
    Ok(pack)
}

impl IndexedPack {
    /// Whether its segments can be where they are said to be.
    fn check(&self) -> Result<(), &'static str> {
        let least = (HEADER_LEN + TRAILER_LEN) as u64;
        if self.size < least || self.size > MAX_PACK_LEN {
            return Err("a pack's size is outside the limits");
        }
        let end = self.size - TRAILER_LEN as u64;
        for entry in &self.entries {
            if u64::from(entry.offset) < HEADER_LEN as u64 || entry.end() > end {
                return Err("a segment lies outside its pack");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ChunkId, SegmentId};
    use crate::pack::{ChunkEntry, SegmentKind};

    fn sample() -> IndexObject {
        let chunk = |n: u8, len| ChunkEntry { id: ChunkId::new([n; 32]), len };
        let entry = |n: u8, offset, key, chunks: Vec<ChunkEntry>| SegmentEntry {
            id: SegmentId::new([n; 32]),
            offset,
            sealed_len: 100,
            raw_len: chunks.iter().map(|chunk| chunk.len).sum(),
            kind: SegmentKind::Zstd,
            key: KeyId(key),
            base: None,
            features: None,
            chunks,
        };
        IndexObject {
            packs: vec![IndexedPack {
                id: PackId::new([7; 32]),
                class: PackClass::Tree,
                size: 1000,
                key: KeyId(3),
                entries: vec![
                    entry(1, 32, 3, vec![chunk(1, 500)]),
                    entry(2, 132, 2, vec![chunk(3, 500), chunk(4, 1)]),
                ],
            }],
            replaces: vec![ObjectId::new([9; 32])],
        }
    }

    fn read(bytes: &[u8]) -> Result<IndexObject, decode::Error> {
        minicbor::decode(bytes)
    }

    #[test]
    fn it_reads_back() {
        for object in [sample(), IndexObject::default()] {
            let bytes = minicbor::to_vec(&object).unwrap();
            assert_eq!(read(&bytes).unwrap(), object);
        }
    }

    #[test]
    fn a_cut_one_is_refused() {
        let bytes = minicbor::to_vec(sample()).unwrap();
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |change: &dyn Fn(&mut IndexedPack)| {
            let mut object = sample();
            change(&mut object.packs[0]);
            read(&minicbor::to_vec(&object).unwrap()).unwrap_err().to_string()
        };
        assert!(refused(&|pack| pack.size = 95).contains("size"));
        assert!(refused(&|pack| pack.size = MAX_PACK_LEN + 1).contains("size"));
        assert!(refused(&|pack| pack.size = 295).contains("outside its pack"));
        assert!(refused(&|pack| pack.entries[0].offset = 31).contains("outside its pack"));
        assert!(refused(&|pack| pack.entries[1].raw_len = 7).contains("fill"));
    }

    #[test]
    fn a_long_array_that_is_not_there_takes_no_room() {
        let mut bytes = vec![0xa1, 0x00, 0x9b];
        bytes.extend([0xff; 8]);
        assert!(read(&bytes).is_err());
    }

    #[test]
    fn other_keys_are_passed_over_and_lengths_may_be_open() {
        // {_ 77: "x", 0: [_ {4: 3, 3: [], 2: 96, 1: 0, 0: id}], -1: null}
        let mut bytes =
            vec![0xbf, 0x18, 77, 0x61, b'x', 0x00, 0x9f, 0xa5, 4, 3, 3, 0x80, 2, 0x18, 96];
        bytes.extend([1, 0, 0, 0x58, 32]);
        bytes.extend([5; 32]);
        bytes.extend([0xff, 0x20, 0xf6, 0xff]);
        let object = read(&bytes).unwrap();
        assert_eq!(object.packs[0].id, PackId::new([5; 32]));
        assert_eq!((object.packs[0].key, object.packs[0].class), (KeyId(3), PackClass::Data));
        let class_2 = bytes.iter().rposition(|byte| *byte == 96).unwrap() + 2;
        bytes[class_2] = 2;
        assert!(read(&bytes).unwrap_err().to_string().contains("class"));
    }
}
