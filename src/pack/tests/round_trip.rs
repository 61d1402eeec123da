//! What is written is read.

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::crypto::padme::padme;
use crate::id::SegmentId;

fn check(keyring: &Keyring, pack: &FinishedPack, segments: &[Vec<Vec<u8>>]) {
    assert_eq!(pack.size(), padme(pack.size()));
    assert_eq!(pack.id.as_bytes()[..], Sha256::digest(pack.bytes())[..]);
    let (header, entries) = read_directory(keyring, &pack.bytes()).unwrap();
    assert_eq!((header.class, header.key), (pack.class, pack.key));
    assert_eq!(entries, pack.entries);
    assert_eq!(entries.len(), segments.len());
    for (entry, parts) in entries.iter().zip(segments) {
        let opened = open_segment(keyring, pack.class, entry, sealed(&pack.bytes(), entry), None);
        assert!(opened.unwrap() == parts.concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn segments_read_back(
        shapes in proptest::collection::vec(
            proptest::collection::vec((any::<bool>(), 1usize..9000), 1..5), 1..12),
    ) {
        let (keyring, random) = keys();
        let mut seed = 0;
        let mut bytes = |(plain, len)| {
            seed += 1;
            if plain { text(seed, len) } else { noise(seed, len) }
        };
        let segments: Vec<Vec<Vec<u8>>> =
            shapes.into_iter().map(|parts| parts.into_iter().map(&mut bytes).collect()).collect();
        check(&keyring, &pack(&keyring, &random, &segments), &segments);
    }
}

#[test]
fn a_builder_without_segments_has_no_packs() {
    let (keyring, random) = keys();
    let mut builder = PackBuilder::new(PackClass::Tree, 1 << 20, keyring, random);
    assert!(builder.finish().unwrap().is_empty());
}

#[test]
fn kinds_and_ids_are_chosen_by_content() {
    let (keyring, random) = keys();
    let mut sealer = Sealer::new(keyring.clone(), 3, random).unwrap();
    let single = |bytes| raw(&keyring, PackClass::Data, &[bytes]);

    let plain = sealer.seal(single(text(1, 50_000))).unwrap();
    assert_eq!(plain.entry.kind, SegmentKind::Zstd);
    assert!(plain.entry.sealed_len < 1000);
    assert_eq!(plain.entry.id, SegmentId::from(plain.entry.chunks[0].id));

    let random_bytes = sealer.seal(single(noise(1, 50_000))).unwrap();
    assert_eq!(
        (random_bytes.entry.kind, random_bytes.entry.sealed_len),
        (SegmentKind::Raw, 50_040)
    );
    assert_eq!(random_bytes.bytes.capacity(), 50_040);

    let mut skipped = single(text(1, 50_000));
    skipped.compression = Compression::Skip;
    assert_eq!(sealer.seal(skipped).unwrap().entry.kind, SegmentKind::Raw);

    let several = raw(&keyring, PackClass::Data, &[text(1, 10), text(2, 20)]);
    let id = keyring.chunk_id(&several.bytes);
    assert_eq!(sealer.seal(several).unwrap().entry.id, SegmentId::from(id));
}

#[test]
fn what_cannot_be_a_segment_is_refused() {
    let (keyring, random) = keys();
    let mut sealer = Sealer::new(keyring.clone(), 3, random.clone()).unwrap();
    let good = raw(&keyring, PackClass::Data, &[text(1, 100)]);
    let mut cases = vec![good.clone(); 4];
    cases[0].chunks.clear();
    cases[1].chunks[0].len = 99;
    cases[2].bytes.clear();
    let empty = ChunkEntry { len: 0, ..good.chunks[0] };
    cases[3].chunks.push(empty);
    for case in cases {
        assert!(matches!(sealer.seal(case), Err(PackError::Segment(_))));
    }
    let sealed = sealer.seal(good).unwrap();
    let mut trees = PackBuilder::new(PackClass::Tree, 1 << 20, keyring, random);
    assert!(matches!(trees.push(sealed), Err(PackError::Segment(_))));
}

#[test]
fn sealed_segments_move_between_packs_and_epochs() {
    let (keyring, random) = keys();
    let segments = [vec![text(1, 3000)], vec![noise(2, 500), text(3, 400)]];
    let first = pack(&keyring, &random, &segments);

    let mut rotated = (*keyring).clone();
    let newer = rotated.rotate(1_800_000_000, &*random);
    let rotated = Arc::new(rotated);
    let mut builder = PackBuilder::new(PackClass::Data, 1 << 20, rotated.clone(), random.clone());
    let mut sealer = Sealer::new(rotated.clone(), 3, random).unwrap();
    let fresh = text(9, 700);
    builder
        .push(sealer.seal(raw(&rotated, PackClass::Data, std::slice::from_ref(&fresh))).unwrap())
        .unwrap();
    for entry in first.entries.iter().rev() {
        let moved = SealedSegment {
            class: PackClass::Data,
            entry: entry.clone(),
            bytes: sealed(&first.bytes(), entry).to_vec(),
        };
        builder.push(moved).unwrap();
    }
    let second = builder.finish().unwrap().remove(0);
    assert_eq!(second.key, newer);
    assert_eq!(second.entries[1].key, first.key);
    check(&rotated, &second, &[vec![fresh], segments[1].clone(), segments[0].clone()]);
}

#[test]
fn two_packs_of_the_same_segments_differ() {
    let (keyring, random) = keys();
    let segments = [vec![text(1, 3000)]];
    assert_ne!(pack(&keyring, &random, &segments).id, pack(&keyring, &random, &segments).id);
}

/// Every byte as `docs/format.md` section 6 has it, put together by hand.
#[test]
fn bytes_are_those_of_the_format() {
    let (keyring, random) = keys();
    let part = noise(1, 100);
    let pack = pack(&keyring, &random, &[vec![part.clone()]]);
    let bytes = &pack.bytes();
    assert_eq!(bytes[..16], *b"MRSBPACK\x01\x00\x00\x00\x01\x00\x00\x00");

    let ad = |label: &[u8]| [label, &[5; 32], &bytes[..32]].concat();
    let open =
        |ad: &[u8], sealed: &[u8]| keyring.open(Purpose::Data, KeyId(1), ad, sealed).unwrap();
    let trailer = open(&ad(b"mrs-backup trailer v1"), &bytes[bytes.len() - 64..]);
    let number = |at: usize| u32::from_le_bytes(trailer[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!((trailer.len(), number(4), &trailer[16..]), (24, 0, &[0; 8][..]));
    assert_eq!(number(0) + number(8), bytes.len() - 64);
    let directory = open(&ad(b"mrs-backup directory v1"), &bytes[number(0)..bytes.len() - 64]);
    let directory = zstd::bulk::decompress(&directory, 1000).unwrap();
    let id = keyring.chunk_id(&part);
    let entry = [&[0x81, 0xa5, 0, 0x58, 32], &id.as_bytes()[..]].concat();
    let lengths = [1, 0x18, 32, 2, 0x18, 140, 3, 0x18, 100, 4, 0];
    assert_eq!(directory, [&entry[..], &lengths].concat());
    assert_eq!(directory.len(), number(12));

    let ad = [
        b"mrs-backup segment v1",
        &[5; 32][..],
        &[0, 0, 1, 0, 0, 0],
        id.as_bytes(),
        &[0; 32],
        &[100, 0, 0, 0, 100, 0, 0, 0],
    ];
    assert_eq!(open(&ad.concat(), &bytes[32..172]), part);
}
