//! What a hostile or failing store can do to a pack: nothing but cause an error.

use sha2::{Digest, Sha256};

use super::*;
use crate::crypto::keyring::{OpenError, SEAL_OVERHEAD};
use crate::pack::layout::{self, Part};
use crate::pack::sealer::frame_compressor;

/// A small pack and the two segments in it: one compressed of two chunks, one raw.
fn small() -> (Arc<Keyring>, Arc<dyn Randomness>, FinishedPack) {
    let (keyring, random) = keys();
    let segments = [vec![text(1, 900), text(2, 300)], vec![noise(3, 200)]];
    let pack = pack(&keyring, &random, &segments);
    (keyring, random, pack)
}

/// Everything a reader gets out of a pack.
fn read_all(keyring: &Keyring, bytes: &[u8]) -> Result<Vec<Vec<u8>>, PackError> {
    let (header, entries) = read_directory(keyring, bytes)?;
    let open = |entry| open_segment(keyring, header.class, entry, sealed(bytes, entry), None);
    entries.iter().map(open).collect()
}

/// Header, anything at all as segments, and a well-sealed directory of `raw`, of which the trailer
/// says `raw_len`.
fn forged(keyring: &Keyring, random: &dyn Randomness, raw: &[u8], raw_len: u32) -> Vec<u8> {
    let frame = frame_compressor(3).unwrap().compress(raw).unwrap();
    forged_frame(keyring, random, &frame, raw_len)
}

fn forged_frame(keyring: &Keyring, random: &dyn Randomness, frame: &[u8], raw_len: u32) -> Vec<u8> {
    let header = layout::header(PackClass::Data, keyring.current(), [9; 16]);
    let mut bytes = header.bytes.to_vec();
    bytes.resize(2000, 0);
    let ad = layout::part_ad(Part::Directory, keyring.repository(), &header);
    keyring.seal_into(Purpose::Data, &ad, frame, random, &mut bytes).unwrap();
    let len = bytes.len() as u64 - 2000;
    with_trailer(keyring, random, bytes, (2000, len as u32, raw_len, 0))
}

fn with_trailer(
    keyring: &Keyring,
    random: &dyn Randomness,
    mut bytes: Vec<u8>,
    (offset, len, raw_len, reserved): (u64, u32, u32, u64),
) -> Vec<u8> {
    let header = parse_header(&bytes).unwrap();
    let mut fields = offset.to_le_bytes().to_vec();
    fields.extend(len.to_le_bytes());
    fields.extend(raw_len.to_le_bytes());
    fields.extend(reserved.to_le_bytes());
    let ad = layout::part_ad(Part::Trailer, keyring.repository(), &header);
    keyring.seal_into(header.class.purpose(), &ad, &fields, random, &mut bytes).unwrap();
    bytes
}

fn directory(keyring: &Keyring, entries: &[SegmentEntry]) -> Vec<u8> {
    let mut encoder = minicbor::Encoder::new(Vec::new());
    encode_entries(entries, keyring.current(), &mut encoder).unwrap();
    encoder.into_writer()
}

#[test]
fn a_flip_of_any_byte_is_noticed() {
    let (keyring, _, pack) = small();
    let good = read_all(&keyring, &pack.bytes()).unwrap();
    let segments_end = pack.entries.last().unwrap().end() as usize;
    let mut in_padding = 0;
    for at in 0..pack.bytes().len() {
        let mut bytes = pack.bytes();
        bytes[at] ^= 1 << (at % 8);
        match read_all(&keyring, &bytes) {
            Err(_) => {}
            Ok(read) => {
                assert!(at >= segments_end, "{at}");
                assert_eq!(read, good);
                in_padding += 1;
                let name: [u8; 32] = Sha256::digest(&bytes).into();
                assert_ne!(name, *pack.id.as_bytes(), "padding shows in the name alone");
            }
        }
    }
    let header = parse_header(&pack.bytes()).unwrap();
    let trailer = &pack.bytes()[pack.bytes().len() - TRAILER_LEN..];
    let at = parse_trailer(&keyring, &header, trailer, pack.size()).unwrap().0;
    assert_eq!(in_padding, at as usize - segments_end);
}

#[test]
fn a_shorter_or_longer_pack_is_noticed() {
    let (keyring, _, pack) = small();
    for len in 0..pack.bytes().len() {
        assert!(read_directory(&keyring, &pack.bytes()[..len]).is_err(), "{len}");
    }
    let mut longer = pack.bytes();
    longer.push(0);
    assert!(read_directory(&keyring, &longer).is_err());
}

#[test]
fn a_header_of_another_sort_is_refused() {
    let (_, _, pack) = small();
    for (at, value) in [(0, b'm'), (8, 2), (9, 2), (10, 1), (11, 1)] {
        let mut bytes = pack.bytes();
        bytes[at] = value;
        assert!(matches!(parse_header(&bytes), Err(PackError::Malformed(_))), "{at}");
    }
    assert!(matches!(parse_header(&pack.bytes()[..31]), Err(PackError::Malformed(_))));
}

#[test]
fn segments_do_not_open_as_one_another() {
    let (keyring, _, pack) = small();
    let (first, second) = (&pack.entries[0], &pack.entries[1]);
    let open = |entry: &SegmentEntry, from: &SegmentEntry| {
        open_segment(&keyring, PackClass::Data, entry, sealed(&pack.bytes(), from), None)
    };
    assert!(open(first, first).is_ok() && open(second, second).is_ok());
    assert!(matches!(open(first, second), Err(PackError::Malformed(_))));
    // Another's bytes with lengths that agree: the id in the seal gives it away.
    let mut posing = second.clone();
    posing.id = first.id;
    assert_eq!(
        open(&posing, second),
        Err(PackError::Open(OpenError::NotAuthentic(crate::crypto::xaes::NotAuthentic)))
    );
    // A data segment in a tree pack.
    let as_tree =
        open_segment(&keyring, PackClass::Tree, first, sealed(&pack.bytes(), first), None);
    assert!(matches!(as_tree, Err(PackError::Open(_))));
}

#[test]
fn an_entry_that_lies_is_refused() {
    let (keyring, _, pack) = small();
    let good = &pack.entries[0];
    let lies: [fn(&mut SegmentEntry); 9] = [
        |entry| entry.raw_len += 1,
        |entry| {
            entry.raw_len += 1;
            entry.chunks[0].len += 1;
        },
        |entry| entry.sealed_len -= 1,
        |entry| entry.kind = SegmentKind::Raw,
        |entry| entry.base = Some(entry.id),
        |entry| entry.key = KeyId(2),
        |entry| entry.chunks.swap(0, 1),
        |entry| entry.chunks.clear(),
        |entry| entry.chunks[0].id = entry.chunks[1].id,
    ];
    for (at, lie) in lies.iter().enumerate() {
        let mut entry = good.clone();
        lie(&mut entry);
        assert_ne!(&entry, good);
        let opened = open_segment(&keyring, pack.class, &entry, sealed(&pack.bytes(), good), None);
        assert!(opened.is_err(), "{at}");
    }
    let mut wrong = good.clone();
    wrong.chunks[1].id = good.chunks[0].id;
    let opened = open_segment(&keyring, pack.class, &wrong, sealed(&pack.bytes(), good), None);
    assert!(matches!(opened, Err(PackError::WrongChunk(_))));
}

#[test]
fn a_delta_without_its_base_is_not_opened() {
    let (keyring, random, pack) = small();
    let mut entries = pack.entries.clone();
    entries[1].kind = SegmentKind::ZstdWithBase;
    entries[1].base = Some(entries[0].id);
    let raw = directory(&keyring, &entries);
    let bytes = forged(&keyring, &*random, &raw, raw.len() as u32);
    let (_, read) = read_directory(&keyring, &bytes).unwrap();
    assert_eq!(read, entries);
    let opened = open_segment(&keyring, pack.class, &read[1], sealed(&bytes, &read[1]), None);
    assert_eq!(opened, Err(PackError::NeedsBase(entries[1].id.short())));
}

#[test]
fn entries_that_overlap_or_leave_the_segments_are_refused() {
    let (keyring, random, pack) = small();
    let check = |entries: &[SegmentEntry]| {
        let raw = directory(&keyring, entries);
        read_directory(&keyring, &forged(&keyring, &*random, &raw, raw.len() as u32))
    };
    assert!(check(&pack.entries).is_ok());
    let reversed: Vec<_> = pack.entries.iter().rev().cloned().collect();
    assert!(check(&reversed).is_ok(), "the order does not matter");
    let end = pack.entries[0].end() as u32;
    for offset in [0, 31, 32, end - 1, 2000 - pack.entries[1].sealed_len + 1, u32::MAX] {
        let mut entries = pack.entries.clone();
        entries[1].offset = offset;
        assert!(matches!(check(&entries), Err(PackError::Malformed(_))), "{offset}");
    }
    let mut entries = pack.entries.clone();
    entries[1].offset = 2000 - entries[1].sealed_len;
    assert!(check(&entries).is_ok());
}

#[test]
fn a_trailer_that_lies_is_refused() {
    let (keyring, random, pack) = small();
    let raw = directory(&keyring, &pack.entries);
    let raw_len = raw.len() as u32;
    let good = forged(&keyring, &*random, &raw, raw_len);
    let body = &good[..good.len() - TRAILER_LEN];
    let len = body.len() as u32 - 2000;
    let check =
        |fields| read_directory(&keyring, &with_trailer(&keyring, &*random, body.to_vec(), fields));
    assert!(check((2000, len, raw_len, 0)).is_ok());
    for fields in [
        (2000, len, raw_len, 1),
        (2000, len, 0, 0),
        (2000, len, raw_len + 1, 0),
        (2000, len, raw_len - 1, 0),
        (2000, len, (1 << 28) + 1, 0),
        (2000, len, u32::MAX, 0),
        (2000, len - 1, raw_len, 0),
        (2001, len, raw_len, 0),
        (2001, len - 1, raw_len, 0),
        (0, len + 2000, raw_len, 0),
        (31, len + 1969, raw_len, 0),
        (2000 + u64::from(len), 0, raw_len, 0),
        (1960 + u64::from(len), 40, raw_len, 0),
        (u64::MAX, len, raw_len, 0),
        (u64::MAX - u64::from(len), len, raw_len, 0),
    ] {
        assert!(check(fields).is_err(), "{fields:?}");
    }
    let header = parse_header(&good).unwrap();
    let trailer = &good[body.len()..];
    for pack_len in [0, 135, MAX_PACK_LEN + 1, u64::MAX, good.len() as u64 - 1] {
        assert!(parse_trailer(&keyring, &header, trailer, pack_len).is_err(), "{pack_len}");
    }
}

#[test]
fn a_directory_that_is_not_one_frame_of_cbor_is_refused() {
    let (keyring, random, pack) = small();
    let raw = directory(&keyring, &pack.entries);
    let frame = frame_compressor(3).unwrap().compress(&raw).unwrap();
    let raw_len = raw.len() as u32;
    let check = |frame: &[u8], raw_len| {
        read_directory(&keyring, &forged_frame(&keyring, &*random, frame, raw_len)).map(|_| ())
    };
    assert!(check(&frame, raw_len).is_ok());
    assert!(check(&frame[..frame.len() - 1], raw_len).is_err());
    assert!(check(&[&frame[..], &frame[..]].concat(), raw_len).is_err());
    assert!(check(&[&frame[..], b"x"].concat(), raw_len).is_err());
    assert!(check(&raw, raw_len).is_err());
    for bad in [
        &raw[..raw.len() - 1],
        &[&raw[..], &[0]].concat(),
        b"",
        b"\xa0",
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let frame = frame_compressor(3).unwrap().compress(bad).unwrap();
        assert!(check(&frame, bad.len() as u32).is_err(), "{bad:?}");
    }
}

#[test]
fn a_bomb_gets_no_room() {
    let (keyring, random) = keys();
    let zeros = frame_compressor(19).unwrap().compress(&vec![0; 64 << 20]).unwrap();
    assert!(zeros.len() < 10_000);
    assert_eq!(layout::inflate(&zeros, 1000), None);
    assert_eq!(layout::inflate(&zeros, u32::MAX), None);
    assert_eq!(layout::inflate(&zeros, 64 << 20).map(|raw| raw.len()), Some(64 << 20));
    assert!(read_directory(&keyring, &forged_frame(&keyring, &*random, &zeros, 1000)).is_err());

    // A frame without a content size.
    let mut compressor = frame_compressor(3).unwrap();
    compressor.include_contentsize(false).unwrap();
    let unsized_frame = compressor.compress(&text(1, 500)).unwrap();
    assert_eq!(layout::inflate(&unsized_frame, 500), None);

    // The same in a well-sealed segment.
    let part = text(1, 1000);
    let chunk = ChunkEntry { id: keyring.chunk_id(&part), len: 1000 };
    let entry = SegmentEntry {
        id: chunk.id.into(),
        offset: 0,
        sealed_len: (zeros.len() + SEAL_OVERHEAD) as u32,
        raw_len: 1000,
        kind: SegmentKind::Zstd,
        key: keyring.current(),
        base: None,
        features: None,
        chunks: vec![chunk],
    };
    let ad = layout::segment_ad(keyring.repository(), PackClass::Data, &entry, zeros.len() as u32);
    let mut bytes = Vec::new();
    keyring.seal_into(Purpose::Data, &ad, &zeros, &*random, &mut bytes).unwrap();
    let opened = open_segment(&keyring, PackClass::Data, &entry, &bytes, None);
    assert_eq!(opened, Err(PackError::Decompress(entry.id.short())));
}
