use super::super::keyring::Purpose;
use super::super::random::SeededRandom;
use super::*;
use crate::id::{KeyId, to_hex};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

const REPOSITORY: RepositoryId = RepositoryId::new([7; 32]);

/// The cheapest that is allowed.
const CHEAP: KdfCost = KdfCost { memory_kib: 8192, passes: 1, lanes: 1 };

fn keyring() -> Keyring {
    Keyring::generate(REPOSITORY, 1_700_000_000, &SeededRandom::new(1))
}

fn password(text: &str) -> Credential {
    Credential::Password(Secret::new(text.as_bytes().to_vec()))
}

fn key_file(byte: u8, length: usize) -> Credential {
    Credential::KeyFile(Secret::new(vec![byte; length]))
}

fn slot(credential: &Credential) -> Vec<u8> {
    let random = SeededRandom::new(2);
    write_slot(&keyring(), credential, CHEAP, "laptop", 1_700_000_001, &random).unwrap()
}

/// The slot with another map.
fn with_map(slot: &[u8], change: impl FnOnce(&mut SlotMap)) -> Vec<u8> {
    let mut map: SlotMap = minicbor::decode(&slot[12..]).unwrap();
    change(&mut map);
    object_of(&minicbor::to_vec(&map).unwrap())
}

fn object_of(map: &[u8]) -> Vec<u8> {
    [MAGIC.as_slice(), &(map.len() as u32).to_le_bytes(), map].concat()
}

#[test]
fn the_password_opens_and_another_does_not() {
    let bytes = slot(&password("correct horse"));
    let opened = open_slot(&bytes, REPOSITORY, &password("correct horse")).unwrap();
    assert_eq!(*opened.to_cbor(), *keyring().to_cbor());
    assert_eq!(opened.repository(), REPOSITORY);
    for wrong in ["", "correct horsf", "correct hors", "correct horse\n", "Correct horse"] {
        let result = open_slot(&bytes, REPOSITORY, &password(wrong));
        assert_eq!(result.unwrap_err(), SlotError::WrongPassword, "{wrong:?}");
    }
}

#[test]
fn a_key_file_opens_its_slot_and_no_password_slot() {
    let content = vec![5; 40];
    let file = slot(&Credential::KeyFile(Secret::new(content.clone())));
    let opened = open_slot(&file, REPOSITORY, &key_file(5, 40)).unwrap();
    assert_eq!(*opened.to_cbor(), *keyring().to_cbor());
    let as_password = Credential::Password(Secret::new(content));
    let word = slot(&as_password);
    for (bytes, credential) in [(&file, &as_password), (&word, &key_file(5, 40))] {
        let result = open_slot(bytes, REPOSITORY, credential);
        assert_eq!(result.unwrap_err(), SlotError::OtherCredential);
    }
    for (bytes, credential) in
        [(&file, &key_file(5, 41)), (&file, &key_file(6, 40)), (&file, &key_file(5, 3))]
    {
        let result = open_slot(bytes, REPOSITORY, credential);
        assert_eq!(result.unwrap_err(), SlotError::WrongPassword);
    }
}

#[test]
fn short_key_files_are_refused() {
    for length in [0, 1, 31] {
        let random = SeededRandom::new(2);
        let result = write_slot(&keyring(), &key_file(5, length), CHEAP, "", 0, &random);
        assert_eq!(result, Err(SlotError::ShortKeyFile { length }));
    }
    assert!(open_slot(&slot(&key_file(5, 32)), REPOSITORY, &key_file(5, 32)).is_ok());
}

#[test]
fn info_needs_no_password() {
    let info = read_info(&slot(&password("x"))).unwrap();
    let expected = SlotInfo {
        repository: REPOSITORY,
        key_file: false,
        cost: CHEAP,
        label: "laptop".into(),
        created: 1_700_000_001,
    };
    assert_eq!(info, expected);
    let info = read_info(&slot(&key_file(1, 32))).unwrap();
    assert_eq!(info, SlotInfo { key_file: true, cost: NO_COST, ..expected });
}

#[test]
fn commitment_and_key_set_are_as_the_format_says() {
    let file = slot(&key_file(5, 32));
    let map: SlotMap = minicbor::decode(&file[12..]).unwrap();
    let mut secret = [0; 64];
    blake3::Hasher::new_keyed(&map.salt).update(&[5; 32]).finalize_xof().fill(&mut secret);
    check_by_hand(&map, 1, [0; 3], &secret);

    let word = slot(&password("word"));
    let map: SlotMap = minicbor::decode(&word[12..]).unwrap();
    let params = Params::new(8192, 1, 1, Some(64)).unwrap();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(b"word", &map.salt, &mut secret)
        .unwrap();
    check_by_hand(&map, 0, [8192, 1, 1], &secret);
}

fn check_by_hand(map: &SlotMap, kind: u32, cost: [u32; 3], secret: &[u8; 64]) {
    let (slot_key, commitment_key) = secret.split_at(32);
    let mut ad = b"mrs-backup key slot v1".to_vec();
    ad.extend([7; 32]);
    ad.extend(map.salt);
    let commitment = blake3::keyed_hash(commitment_key.try_into().unwrap(), &ad);
    assert_eq!(commitment.as_bytes(), &map.commitment);
    ad.extend(kind.to_le_bytes());
    ad.extend(cost.iter().flat_map(|number| number.to_le_bytes()));
    ad.extend(map.created.to_le_bytes());
    ad.extend(map.label.as_bytes());
    let slot_key = SecretKey::new(slot_key.try_into().unwrap());
    assert_eq!(sealed::open(&slot_key, &ad, &map.sealed).unwrap(), **keyring().to_cbor());
}

#[test]
fn the_same_seed_gives_the_bytes_it_always_gave() {
    let digest = |slot: &[u8]| to_hex(&Sha256::digest(slot));
    assert_eq!(
        digest(&slot(&password("correct horse"))),
        "3fd2be795f3d2923d28ea4772482c1372ddb93b1dff0c684b950ad2257a3b61e"
    );
    assert_eq!(
        digest(&slot(&key_file(5, 32))),
        "484eb11361b6e6763ae9c68a5aacb83f4cdeb54922ff96800bbfb4592d2a7ac5"
    );
}

#[test]
fn costs_out_of_bounds_are_refused_before_any_work() {
    let good = slot(&password("x"));
    let costs = [
        (8191, 1, 1),
        (0, 1, 1),
        (2_097_153, 1, 1),
        (u32::MAX, 1, 1),
        (8192, 0, 1),
        (8192, 65, 1),
        (8192, u32::MAX, 1),
        (8192, 1, 0),
        (8192, 1, 65),
        (8192, 1, u32::MAX),
    ];
    for (memory_kib, passes, lanes) in costs {
        let refused = SlotError::OutOfBounds { memory_kib, passes, lanes };
        let bytes = with_map(&good, |map| {
            (map.memory_kib, map.passes, map.lanes) = (memory_kib, passes, lanes);
        });
        let result = open_slot(&bytes, REPOSITORY, &password("x"));
        assert_eq!(result.unwrap_err(), refused);
        assert_eq!(read_info(&bytes).unwrap_err(), refused);
        let cost = KdfCost { memory_kib, passes, lanes };
        let random = SeededRandom::new(2);
        let written = write_slot(&keyring(), &password("x"), cost, "", 0, &random);
        assert_eq!(written, Err(refused));
    }
    let file = with_map(&slot(&key_file(5, 32)), |map| map.passes = 1);
    assert!(matches!(read_info(&file), Err(SlotError::OutOfBounds { .. })));
}

#[test]
fn another_repository_is_told_apart() {
    let bytes = slot(&password("x"));
    let other = RepositoryId::new([8; 32]);
    let result = open_slot(&bytes, other, &password("wrong"));
    assert_eq!(result.unwrap_err(), SlotError::OtherRepository);
    // One that claims to be of the other is as good as one with another password.
    let moved = with_map(&bytes, |map| map.repository = other);
    let result = open_slot(&moved, other, &password("x"));
    assert_eq!(result.unwrap_err(), SlotError::WrongPassword);
}

#[test]
fn damage_behind_the_right_password_is_told_apart() {
    let good = slot(&key_file(5, 32));
    for change in [
        (|map| map.sealed[30] ^= 1) as fn(&mut SlotMap),
        |map| map.sealed.clear(),
        |map| map.sealed.truncate(60),
        |map| map.sealed.push(0),
    ] {
        let result = open_slot(&with_map(&good, change), REPOSITORY, &key_file(5, 32));
        assert_eq!(result.unwrap_err(), SlotError::Damaged);
    }
    let costlier = with_map(&slot(&password("x")), |map| map.lanes = 2);
    let result = open_slot(&costlier, REPOSITORY, &password("x"));
    assert_eq!(result.unwrap_err(), SlotError::WrongPassword);
    // A key set that opens and is none.
    let none = with_map(&good, |map| {
        let keys = map.derive(&key_file(5, 32)).unwrap();
        let random = SeededRandom::new(1);
        map.sealed.clear();
        let ad = map.associated_data();
        sealed::seal_into(&keys.slot, &keys.slot, &ad, b"\xa0", &random, &mut map.sealed);
    });
    let result = open_slot(&none, REPOSITORY, &key_file(5, 32));
    assert_eq!(result.unwrap_err(), SlotError::Damaged);
}

#[test]
fn whatever_byte_is_changed_no_other_keys_come_out() {
    let bytes = slot(&key_file(5, 32));
    let whole = read_info(&bytes).unwrap();
    for at in 0..bytes.len() {
        for mask in [1u8, 2, 0x20, 0x80, 0xff] {
            let mut other = bytes.clone();
            other[at] ^= mask;
            let Ok(opened) = open_slot(&other, REPOSITORY, &key_file(5, 32)) else { continue };
            // Label and creation time are not part of what is sealed: all else is.
            assert_eq!(*opened.to_cbor(), *keyring().to_cbor());
            let info = read_info(&other).unwrap();
            assert!(info.label != whole.label || info.created != whole.created, "byte {at}");
        }
    }
    for length in 0..bytes.len() {
        assert!(open_slot(&bytes[..length], REPOSITORY, &key_file(5, 32)).is_err(), "{length}");
        assert!(read_info(&bytes[..length]).is_err(), "{length}");
    }
}

#[test]
fn lengths_that_lie_and_maps_that_are_none_are_refused() {
    let bytes = slot(&key_file(5, 32));
    let length = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
    for lie in [0, length - 1, length + 1, (1 << 20) + 1, u32::MAX] {
        let mut other = bytes.clone();
        other[8..12].copy_from_slice(&lie.to_le_bytes());
        assert!(matches!(read_info(&other), Err(SlotError::Malformed(_))), "{lie}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(read_info(&longer), Err(SlotError::Malformed(_))));
    let left_over = object_of(&[&bytes[12..], &[0]].concat());
    assert_eq!(read_info(&left_over), Err(SlotError::Malformed("bytes are left over")));
    let large = object_of(&vec![0; 3 << 20]);
    assert_eq!(read_info(&large), Err(SlotError::Malformed("it is larger than 2 MiB")));
    let unknown = with_map(&bytes, |map| map.kind = 2);
    assert_eq!(read_info(&unknown), Err(SlotError::Malformed("it is of an unknown kind")));
    // Eight, not 32, bytes of salt; a byte string of 2^64 - 1 bytes; nested without end.
    for map in [&b"\xa1\x05\x48saltsalt"[..], b"\xa1\x07\x5b\xff\xff\xff\xff\xff\xff\xff\xff", b""]
    {
        assert!(matches!(read_info(&object_of(map)), Err(SlotError::Malformed(_))));
    }
    let nested = [&[0xa1, 0x18, 99][..], &[0x81; 100_000]].concat();
    assert!(matches!(read_info(&object_of(&nested)), Err(SlotError::Malformed(_))));
}

#[test]
fn a_label_too_long_for_a_slot_is_refused() {
    let label = "x".repeat(1 << 20);
    let random = SeededRandom::new(2);
    let result = write_slot(&keyring(), &key_file(5, 32), CHEAP, &label, 0, &random);
    assert!(matches!(result, Err(SlotError::Malformed(_))));
}

#[test]
fn rotated_keys_pass_through_a_slot() {
    let mut keyring = keyring();
    keyring.rotate(1_800_000_000, &SeededRandom::new(3));
    let random = SeededRandom::new(4);
    let bytes = write_slot(&keyring, &key_file(5, 32), CHEAP, "", 0, &random).unwrap();
    let opened = open_slot(&bytes, REPOSITORY, &key_file(5, 32)).unwrap();
    assert_eq!(opened.current(), KeyId(2));
    let mut sealed = Vec::new();
    keyring.seal_into(Purpose::Tree, b"ad", b"text", &random, &mut sealed).unwrap();
    assert_eq!(opened.open(Purpose::Tree, KeyId(2), b"ad", &sealed).unwrap(), b"text");
}

#[test]
fn printing_a_credential_tells_nothing() {
    let text = format!("{:?} {:?}", password("hunter2"), key_file(0xab, 32));
    assert_eq!(text, "Password(Secret(..)) KeyFile(Secret(..))");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn reading_any_map_never_panics(map in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(read_info(&object_of(&map)).is_err());
        prop_assert!(read_info(&map).is_err());
    }

    #[test]
    fn any_key_file_opens_only_its_own_slot(
        content in prop::collection::vec(any::<u8>(), 32..100),
        at in 0usize..32,
        mask in 1u8..,
    ) {
        let credential = Credential::KeyFile(Secret::new(content.clone()));
        let bytes = slot(&credential);
        prop_assert!(open_slot(&bytes, REPOSITORY, &credential).is_ok());
        let mut other = content;
        other[at] ^= mask;
        let result = open_slot(&bytes, REPOSITORY, &Credential::KeyFile(Secret::new(other)));
        prop_assert_eq!(result.unwrap_err(), SlotError::WrongPassword);
    }
}
