use super::super::random::SeededRandom;
use super::*;
use crate::id::to_hex;
use proptest::prelude::*;

const KINDS: [SealedKind; 5] = [
    SealedKind::Index,
    SealedKind::Snapshot,
    SealedKind::Session,
    SealedKind::Condemned,
    SealedKind::Receipt,
];

fn keyring(repository: u8) -> Keyring {
    Keyring::generate(RepositoryId::new([repository; 32]), 0, &SeededRandom::new(1))
}

fn sealed(value: &String) -> Vec<u8> {
    seal(&keyring(7), SealedKind::Index, value, &SeededRandom::new(2)).unwrap()
}

fn read(bytes: &[u8]) -> Result<String, EnvelopeError> {
    open(&keyring(7), SealedKind::Index, bytes)
}

/// An object that opens, with this text in it.
fn object_of(text: &[u8]) -> Vec<u8> {
    let keyring = keyring(7);
    let header = header(SealedKind::Index, KeyId(1));
    let mut object = header.to_vec();
    let ad = associated_data(keyring.repository(), &header);
    keyring.seal_into(Purpose::Index, &ad, text, &SeededRandom::new(3), &mut object).unwrap();
    object
}

/// A text with these lengths in front of this frame.
fn text_of(raw: u32, length: u32, frame: &[u8], padding: &[u8]) -> Vec<u8> {
    [&raw.to_le_bytes(), &length.to_le_bytes(), frame, padding].concat()
}

fn is_content(result: &Result<String, EnvelopeError>) -> bool {
    matches!(result, Err(EnvelopeError::Content(_)))
}

#[test]
fn objects_have_the_layout_of_the_format() {
    let keyring = keyring(7);
    let object = sealed(&"x".repeat(5000));
    assert_eq!(&object[..8], b"MRSBOBJ1");
    assert_eq!(object[8..16], [2, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(padme(object.len() as u64), object.len() as u64);
    let ad = [b"mrs-backup object v1", &[7; 32][..], &object[..16]].concat();
    let text = keyring.open(Purpose::Index, KeyId(1), &ad, &object[16..]).unwrap();
    assert_eq!(text[..4], 5003u32.to_le_bytes());
    let length = u32::from_le_bytes(text[4..8].try_into().unwrap()) as usize;
    let raw = zstd::bulk::decompress(&text[8..8 + length], 5003).unwrap();
    assert_eq!(minicbor::decode::<String>(&raw).unwrap(), "x".repeat(5000));
    assert!(text[8 + length..].iter().all(|byte| *byte == 0));
}

#[test]
fn an_object_written_once_opens_for_ever() {
    let object = concat!(
        "4d5253424f424a310200000001000000ac83fd3bace2d9245b6c856883ece85049a6583cb9e756fc",
        "eb3691132d323c2aefb7511e3d350546b8bd52b36021160f2f892fdb33e8153a36d8cc04038ea6f6"
    );
    let bytes: Vec<u8> = object
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    assert_eq!(to_hex(&bytes), object);
    assert_eq!(read(&bytes).unwrap(), "kept");
}

#[test]
fn another_kind_or_repository_does_not_open() {
    for kind in KINDS {
        let object = seal(&keyring(7), kind, &1u8, &SeededRandom::new(2)).unwrap();
        for other in KINDS {
            let mut moved = object.clone();
            let result = open::<u8>(&keyring(7), other, &moved);
            assert_eq!(result.is_ok(), kind == other);
            if kind != other {
                assert!(matches!(result, Err(EnvelopeError::Malformed(_))));
                // Even one that claims the other kind, where the key is the same.
                moved[8] = other as u8;
                let result = open::<u8>(&keyring(7), other, &moved);
                assert!(matches!(result, Err(EnvelopeError::Open(_))), "{kind:?} {other:?}");
            }
        }
        // The same keys, only another repository.
        assert!(matches!(open::<u8>(&keyring(8), kind, &object), Err(EnvelopeError::Open(_))));
    }
}

#[test]
fn nothing_changed_cut_or_longer_opens() {
    let object = sealed(&"some content".to_owned());
    assert!(read(&object).is_ok());
    for length in 0..object.len() {
        assert!(read(&object[..length]).is_err(), "{length}");
    }
    for at in 0..object.len() {
        for mask in [1, 0x80, 0xff] {
            let mut other = object.clone();
            other[at] ^= mask;
            assert!(read(&other).is_err(), "byte {at}");
        }
    }
    assert!(read(&[&object[..], &[0]].concat()).is_err());
}

#[test]
fn an_unknown_key_is_named() {
    let mut keyring = keyring(7);
    keyring.rotate(5, &SeededRandom::new(4));
    let object = seal(&keyring, SealedKind::Index, &1u8, &SeededRandom::new(2)).unwrap();
    assert_eq!(object[12..16], [2, 0, 0, 0]);
    assert_eq!(open::<u8>(&keyring, SealedKind::Index, &object), Ok(1));
    assert_eq!(read(&object), Err(EnvelopeError::Open(OpenError::NoKey(KeyId(2)))));
    assert_eq!(open::<String>(&keyring, SealedKind::Index, &sealed(&"old".into())).unwrap(), "old");
}

#[test]
fn any_size_is_read_with_or_without_padding() {
    let raw = minicbor::to_vec("text").unwrap();
    let frame = zstd::bulk::compress(&raw, 1).unwrap();
    let lengths = (raw.len() as u32, frame.len() as u32);
    for padding in [0, 1, 1000] {
        let text = text_of(lengths.0, lengths.1, &frame, &vec![0; padding]);
        assert_eq!(read(&object_of(&text)).unwrap(), "text");
    }
    for at in 0..5 {
        let mut padding = [0; 5];
        padding[at] = 1;
        let text = text_of(lengths.0, lengths.1, &frame, &padding);
        assert!(is_content(&read(&object_of(&text))), "padding byte {at} is not zero");
    }
}

#[test]
fn lengths_that_lie_are_refused() {
    let raw = minicbor::to_vec("text".repeat(100)).unwrap();
    let frame = zstd::bulk::compress(&raw, 1).unwrap();
    let (r, s) = (raw.len() as u32, frame.len() as u32);
    let object = |r, s| object_of(&text_of(r, s, &frame, &[0; 20]));
    assert!(read(&object(r, s)).is_ok());
    for (r, s) in [
        (r - 1, s),
        (r + 1, s),
        (0, s),
        (1 << 30, s),
        ((1 << 30) + 1, s),
        (u32::MAX, s),
        (r, s - 1),
        (r, s + 1),
        (r, 0),
        (r, s + 20),
        (r, s + 21),
        (r, u32::MAX),
    ] {
        assert!(is_content(&read(&object(r, s))), "{r} {s}");
    }
    for length in 0..LENGTHS {
        let result = read(&object_of(&vec![0; length]));
        assert!(matches!(result, Err(EnvelopeError::Malformed(_))), "{length}");
    }
    let two = [&frame[..], &frame].concat();
    assert!(is_content(&read(&object_of(&text_of(r, 2 * s, &two, &[])))), "two frames");
    assert!(is_content(&read(&object_of(&text_of(2 * r, 2 * s, &two, &[])))), "two frames");
}

#[test]
fn bombs_get_no_memory() {
    // 64 MiB of zeros in a few kilobytes, recorded as 10 bytes.
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    let text = text_of(10, bomb.len() as u32, &bomb, &[]);
    assert!(is_content(&read(&object_of(&text))));

    // A frame that itself promises 1 GiB and holds one block of one byte: magic, descriptor
    // (single segment, 4 bytes of content size), content size, last raw block of size 1.
    let mut liar = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000];
    liar.extend((1u32 << 30).to_le_bytes());
    liar.extend([0b1001, 0, 0, 0x61]);
    let promised = zstd::zstd_safe::get_frame_content_size(&liar);
    assert_eq!(promised.ok().flatten(), Some(1 << 30));
    assert!(is_content(&read(&object_of(&text_of(1 << 30, liar.len() as u32, &liar, &[])))));

    // The same, just within what a frame of its length could hold.
    liar[5..9].copy_from_slice(&(3u32 << 17).to_le_bytes());
    assert!(is_content(&read(&object_of(&text_of(3 << 17, liar.len() as u32, &liar, &[])))));

    // A frame without content size.
    let mut silent = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x50];
    silent.extend([0b1001, 0, 0, 0x61]);
    assert!(is_content(&read(&object_of(&text_of(1, silent.len() as u32, &silent, &[])))));
}

#[test]
fn well_compressed_content_passes_the_check_for_bombs() {
    let large = "\0".repeat(20 << 20);
    assert!(sealed(&large).len() < 4096);
    assert!(read(&sealed(&large)).unwrap() == large);
}

#[test]
fn content_must_be_of_its_type_and_end_where_it_ends() {
    let keyring = keyring(7);
    assert!(is_content(&read(
        &seal(&keyring, SealedKind::Index, &17u8, &SeededRandom::new(1)).unwrap()
    )));
    let raw = [minicbor::to_vec("text").unwrap(), vec![0]].concat();
    let frame = zstd::bulk::compress(&raw, 1).unwrap();
    let text = text_of(raw.len() as u32, frame.len() as u32, &frame, &[]);
    assert_eq!(read(&object_of(&text)), Err(EnvelopeError::Content("bytes are left over".into())));
    // Nothing at all: an empty frame.
    let frame = zstd::bulk::compress(&[], 1).unwrap();
    assert!(is_content(&read(&object_of(&text_of(0, frame.len() as u32, &frame, &[])))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn everything_sealed_opens(value in ".{0,2000}", seed: u64) {
        let object = seal(&keyring(7), SealedKind::Index, &value, &SeededRandom::new(seed)).unwrap();
        prop_assert_eq!(padme(object.len() as u64), object.len() as u64);
        prop_assert_eq!(read(&object).unwrap(), value);
    }

    #[test]
    fn any_text_that_opens_never_panics(text in prop::collection::vec(any::<u8>(), 8..400)) {
        prop_assert!(read(&object_of(&text)).is_err());
    }

    #[test]
    fn a_damaged_frame_never_panics(at in 0usize..60, mask in 1u8.., value in "[a-f]{50,90}") {
        let raw = minicbor::to_vec(&value).unwrap();
        let mut frame = zstd::bulk::compress(&raw, 1).unwrap();
        let at = at % frame.len();
        frame[at] ^= mask;
        // It may open to another text; the seal is what keeps such a frame out.
        let _ = read(&object_of(&text_of(raw.len() as u32, frame.len() as u32, &frame, &[])));
    }
}
