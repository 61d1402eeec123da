//! Entries in CBOR.

use minicbor::{Decoder, Encoder};
use proptest::prelude::*;

use super::*;
use crate::chunker::Features;
use crate::id::{ChunkId, SegmentId};

fn encode(entries: &[SegmentEntry], key: u32) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    encode_entries(entries, KeyId(key), &mut encoder).unwrap();
    encoder.into_writer()
}

fn decode(bytes: &[u8], key: u32) -> Result<Vec<SegmentEntry>, PackError> {
    decode_entries(&mut Decoder::new(bytes), KeyId(key))
}

/// One chunk of 500 bytes in 140.
fn plain() -> SegmentEntry {
    let id = ChunkId::new([1; 32]);
    SegmentEntry {
        id: id.into(),
        offset: 32,
        sealed_len: 140,
        raw_len: 500,
        kind: SegmentKind::Zstd,
        key: KeyId(3),
        base: None,
        features: None,
        chunks: vec![ChunkEntry { id, len: 500 }],
    }
}

#[test]
fn the_usual_entry_is_short() {
    let bytes = encode(&[plain()], 3);
    let mut expected = vec![0x81, 0xa4, 0x00, 0x58, 0x20];
    expected.extend([1; 32]);
    expected.extend([0x01, 0x18, 32, 0x02, 0x18, 140, 0x03, 0x19, 0x01, 0xf4]);
    assert_eq!(bytes, expected);
}

#[test]
fn unknown_keys_and_indefinite_lengths_are_read() {
    let mut e = Encoder::new(Vec::new());
    e.begin_array().unwrap().begin_map().unwrap();
    e.u8(99).unwrap().begin_array().unwrap().str("later").unwrap().end().unwrap();
    e.i8(-1).unwrap().map(1).unwrap().u8(0).unwrap().null().unwrap();
    e.u8(3).unwrap().u16(500).unwrap().u8(2).unwrap().u8(140).unwrap();
    e.u8(1).unwrap().u8(32).unwrap().u8(0).unwrap().bytes(&[1; 32]).unwrap();
    e.u8(7).unwrap().begin_array().unwrap().map(3).unwrap();
    e.u8(0).unwrap().bytes(&[1; 32]).unwrap().u8(1).unwrap().u16(500).unwrap();
    e.u64(u64::MAX).unwrap().bool(true).unwrap().end().unwrap();
    e.end().unwrap().end().unwrap();
    assert_eq!(decode(&e.into_writer(), 3).unwrap(), [plain()]);
}

#[test]
fn kinds_this_version_never_heard_of_are_refused() {
    let mut bytes = encode(
        &[SegmentEntry {
            kind: SegmentKind::ZstdWithBase,
            base: Some(SegmentId::new([8; 32])),
            ..plain()
        }],
        3,
    );
    assert!(decode(&bytes, 3).is_ok());
    let at = bytes.len() - 37;
    assert_eq!(bytes[at..at + 2], [4, 2]);
    bytes[at + 1] = 3;
    assert!(matches!(decode(&bytes, 3), Err(PackError::UnknownKind(_))));
}

#[test]
fn lengths_that_contradict_are_refused() {
    let cases: [fn(&mut SegmentEntry); 9] = [
        |entry| entry.sealed_len = 40,
        |entry| entry.sealed_len = 0,
        |entry| entry.raw_len = 0,
        |entry| entry.raw_len = (1 << 27) + 1,
        |entry| entry.raw_len = 499,
        |entry| entry.kind = SegmentKind::Raw,
        |entry| entry.chunks.push(ChunkEntry { len: 0, ..entry.chunks[0] }),
        |entry| entry.chunks[0].len = u32::MAX,
        |entry| entry.base = Some(entry.id),
    ];
    for (at, lie) in cases.iter().enumerate() {
        let mut entry = plain();
        lie(&mut entry);
        let read = decode(&encode(&[entry], 3), 3);
        assert!(matches!(read, Err(PackError::Malformed(_))), "{at}");
    }
    let mut longest = plain();
    (longest.raw_len, longest.chunks[0].len) = (1 << 27, 1 << 27);
    assert!(decode(&encode(&[longest], 3), 3).is_ok());
}

#[test]
fn every_truncation_is_refused_without_room_for_what_is_not_there() {
    let mut entry = plain();
    entry.chunks = vec![ChunkEntry { id: ChunkId::new([2; 32]), len: 250 }; 2];
    let bytes = encode(&[entry, plain()], 1);
    for len in 0..bytes.len() {
        assert!(decode(&bytes[..len], 1).is_err(), "{len}");
    }
    assert!(decode(b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", 1).is_err());
    assert!(decode(b"\x81\xa1\x07\x9b\x00\xff\xff\xff\xff\xff\xff\xff", 1).is_err());
    assert!(decode(b"\x81\xbb\xff\xff\xff\xff\xff\xff\xff\xff", 1).is_err());
}

fn entries() -> impl Strategy<Value = SegmentEntry> {
    let lens = proptest::collection::vec(1u32..10_000_000, 1..6);
    (any::<[u8; 32]>(), any::<[u8; 32]>(), lens, any::<u32>(), 41u32.., 1u32..4, 0u8..4).prop_map(
        |(id, other, lens, offset, sealed_len, key, sort)| {
            let raw_len = lens.iter().sum();
            let chunk = |len: &u32| ChunkEntry { id: ChunkId::new(other), len: *len };
            let (mut chunks, mut sealed_len): (Vec<_>, _) =
                (lens.iter().map(chunk).collect(), sealed_len);
            let (mut kind, mut base) = (SegmentKind::Zstd, None);
            match sort {
                0 => chunks = vec![ChunkEntry { id: ChunkId::new(id), len: raw_len }],
                1 => (kind, sealed_len) = (SegmentKind::Raw, raw_len + 40),
                2 => (kind, base) = (SegmentKind::ZstdWithBase, Some(SegmentId::new(other))),
                _ => {}
            }
            let id = SegmentId::new(id);
            let key = KeyId(key);
            let features = (sort % 2 == 0).then(|| Features::from_bytes(&other[..12])).flatten();
            SegmentEntry { id, offset, sealed_len, raw_len, kind, key, base, features, chunks }
        },
    )
}

proptest! {
    #[test]
    fn entries_read_back(entries in proptest::collection::vec(entries(), 0..20), key in 1u32..4) {
        prop_assert_eq!(decode(&encode(&entries, key), key).unwrap(), entries);
    }

    #[test]
    fn any_bytes_end_in_entries_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes, 1);
    }
}
