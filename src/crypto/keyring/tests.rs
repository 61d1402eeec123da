use super::super::random::SeededRandom;
use super::*;
use proptest::prelude::*;

const REPOSITORY: RepositoryId = RepositoryId::new([7; 32]);

const ALL: [Purpose; 5] =
    [Purpose::Data, Purpose::Tree, Purpose::Index, Purpose::Snapshot, Purpose::Session];

fn keyring(seed: u64) -> Keyring {
    Keyring::generate(REPOSITORY, 1_700_000_000, &SeededRandom::new(seed))
}

fn seal(keyring: &Keyring, purpose: Purpose, ad: &[u8], text: &[u8], seed: u64) -> Vec<u8> {
    let mut out = Vec::new();
    keyring.seal_into(purpose, ad, text, &SeededRandom::new(seed), &mut out).unwrap();
    out
}

/// A generator that is broken: it always gives the same.
#[derive(Debug)]
struct Stuck;

impl Randomness for Stuck {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(4);
    }
}

#[test]
fn the_same_seed_gives_the_same_keys_and_another_seed_others() {
    assert_eq!(*keyring(1).to_cbor(), *keyring(1).to_cbor());
    assert_ne!(*keyring(1).to_cbor(), *keyring(2).to_cbor());
    assert_eq!(
        seal(&keyring(1), Purpose::Data, b"ad", b"text", 3),
        seal(&keyring(1), Purpose::Data, b"ad", b"text", 3)
    );
}

#[test]
fn every_key_is_another() {
    let keyring = keyring(1);
    let mut keys: Vec<_> = ALL.map(|p| *keyring.key(p, KeyId(1)).unwrap().expose()).to_vec();
    let set = &keyring.keys;
    keys.extend([&set.config, &set.id, &set.gear, &set.nonce].map(|key| *key.0.expose()));
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 9);
    assert_ne!(keyring.chunk_id(b"x").as_bytes(), &keyring.config_mac(b"x"));
}

#[test]
fn sealing_appends_and_has_the_published_nonce() {
    let keyring = keyring(1);
    let mut out = b"before".to_vec();
    keyring.seal_into(Purpose::Data, b"ad", b"text", &Stuck, &mut out).unwrap();
    assert_eq!(out.len(), 6 + 4 + SEAL_OVERHEAD);
    assert!(out.starts_with(b"before"));
    let mut input = 2u64.to_le_bytes().to_vec();
    input.extend(b"adtext");
    input.extend([4; 32]);
    let nonce = blake3::keyed_hash(keyring.keys.nonce.0.expose(), &input);
    assert_eq!(out[6..30], nonce.as_bytes()[..24]);
    assert_eq!(keyring.open(Purpose::Data, KeyId(1), b"ad", &out[6..]).unwrap(), b"text");
}

#[test]
fn nonces_differ_for_the_same_text_and_for_other_texts_of_a_broken_generator() {
    let keyring = keyring(1);
    let random = SeededRandom::new(9);
    let mut nonces = std::collections::HashSet::new();
    for _ in 0..100 {
        let mut out = Vec::new();
        keyring.seal_into(Purpose::Data, b"", b"same", &random, &mut out).unwrap();
        assert!(nonces.insert(out[..24].to_vec()));
    }
    // Each pair of associated data and text, also where they join to the same bytes.
    for (ad, text) in [("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", ""), ("", "")] {
        let mut out = Vec::new();
        keyring.seal_into(Purpose::Data, ad.as_bytes(), text.as_bytes(), &Stuck, &mut out).unwrap();
        assert!(nonces.insert(out[..24].to_vec()));
    }
}

#[test]
fn only_the_same_purpose_key_and_associated_data_open() {
    let keyring = keyring(1);
    for purpose in ALL {
        let sealed = seal(&keyring, purpose, b"ad", b"text", 3);
        for other in ALL {
            let opened = keyring.open(other, KeyId(1), b"ad", &sealed);
            assert_eq!(opened.is_ok(), other == purpose, "{purpose:?} {other:?}");
        }
        let refused = Err(OpenError::NotAuthentic(NotAuthentic));
        assert_eq!(keyring.open(purpose, KeyId(1), b"da", &sealed), refused);
        assert_eq!(self::keyring(2).open(purpose, KeyId(1), b"ad", &sealed), refused);
        for absent in [KeyId(0), KeyId(2), KeyId(u32::MAX)] {
            let opened = keyring.open(purpose, absent, b"ad", &sealed);
            assert_eq!(opened, Err(OpenError::NoKey(absent)));
        }
    }
}

#[test]
fn nothing_changed_or_cut_opens() {
    let keyring = keyring(1);
    let sealed = seal(&keyring, Purpose::Tree, b"ad", b"some text", 3);
    for length in 0..sealed.len() {
        let expected = if length < SEAL_OVERHEAD {
            OpenError::TooShort
        } else {
            OpenError::NotAuthentic(NotAuthentic)
        };
        let opened = keyring.open(Purpose::Tree, KeyId(1), b"ad", &sealed[..length]);
        assert_eq!(opened, Err(expected), "{length}");
    }
    for at in 0..sealed.len() {
        let mut other = sealed.clone();
        other[at] ^= 0x10;
        assert!(keyring.open(Purpose::Tree, KeyId(1), b"ad", &other).is_err(), "byte {at}");
    }
}

#[test]
fn after_a_rotation_old_objects_open_and_new_ones_have_the_new_key() {
    let mut keyring = keyring(1);
    let old = seal(&keyring, Purpose::Index, b"", b"old", 3);
    assert_eq!(keyring.rotate(1_800_000_000, &SeededRandom::new(5)), KeyId(2));
    assert_eq!(keyring.current(), KeyId(2));
    assert_eq!(keyring.epochs(), [(KeyId(1), 1_700_000_000), (KeyId(2), 1_800_000_000)]);
    let new = seal(&keyring, Purpose::Index, b"", b"new", 3);
    assert_eq!(keyring.open(Purpose::Index, KeyId(1), b"", &old).unwrap(), b"old");
    assert_eq!(keyring.open(Purpose::Index, KeyId(2), b"", &new).unwrap(), b"new");
    assert!(keyring.open(Purpose::Index, KeyId(1), b"", &new).is_err());
    assert_eq!(keyring.chunk_id(b"x"), self::keyring(1).chunk_id(b"x"), "ids stay");

    let again = Keyring::from_cbor(REPOSITORY, &keyring.to_cbor()).unwrap();
    assert_eq!((again.current(), again.epochs()), (KeyId(2), keyring.epochs()));
    assert_eq!(again.open(Purpose::Index, KeyId(1), b"", &old).unwrap(), b"old");
}

#[test]
fn a_key_that_is_absent_stays_absent() {
    let mut keyring = keyring(1);
    keyring.keys.epochs[0].data = None;
    let keyring = Keyring::from_cbor(REPOSITORY, &keyring.to_cbor()).unwrap();
    let sealed = keyring.seal_into(Purpose::Data, b"", b"", &Stuck, &mut Vec::new());
    assert_eq!(sealed, Err(OpenError::NoKey(KeyId(1))));
    let opened = keyring.open(Purpose::Data, KeyId(1), b"", &[0; 50]);
    assert_eq!(opened, Err(OpenError::NoKey(KeyId(1))));
    assert!(keyring.seal_into(Purpose::Tree, b"", b"", &Stuck, &mut Vec::new()).is_ok());
}

#[test]
fn printing_tells_no_key() {
    // The same text for other keys: so it depends on none.
    assert_eq!(format!("{:?}", keyring(1)), format!("{:?}", keyring(2)));
    assert_eq!(format!("{:#?}", keyring(1)), format!("{:#?}", keyring(2)));
}

/// A key set with these epoch ids, and the first key `length` bytes long.
fn key_set(ids: &[u32], length: usize, unknown: bool) -> Vec<u8> {
    let mut e = minicbor::Encoder::new(Vec::new());
    e.map(if unknown { 6 } else { 5 }).unwrap();
    e.u8(0).unwrap().bytes(&vec![0; length]).unwrap();
    for key in 1..4u8 {
        e.u8(key).unwrap().bytes(&[key; 32]).unwrap();
    }
    e.u8(4).unwrap().array(ids.len() as u64).unwrap();
    for id in ids {
        e.map(if unknown { 4 } else { 3 }).unwrap();
        e.u8(0).unwrap().u32(*id).unwrap().u8(1).unwrap().i8(-5).unwrap();
        e.u8(2).unwrap().bytes(&[9; 32]).unwrap();
        if unknown {
            e.u8(99).unwrap().str("later").unwrap();
        }
    }
    if unknown {
        e.u8(77).unwrap().array(2).unwrap().null().unwrap().bool(true).unwrap();
    }
    e.into_writer()
}

#[test]
fn key_sets_are_read_strictly_but_unknown_keys_are_passed_over() {
    let read = |bytes: &[u8]| Keyring::from_cbor(REPOSITORY, bytes);
    for unknown in [false, true] {
        let keyring = read(&key_set(&[1, 4, 9], 32, unknown)).unwrap();
        assert_eq!(keyring.epochs(), [(KeyId(1), -5), (KeyId(4), -5), (KeyId(9), -5)]);
        assert_eq!(keyring.current(), KeyId(9));
    }
    for ids in [&[][..], &[0], &[0, 1], &[1, 1], &[2, 1], &[1, 3, 2], &[1 << 31], &[u32::MAX]] {
        assert!(read(&key_set(ids, 32, false)).is_none(), "{ids:?}");
    }
    assert!(read(&key_set(&[LAST_KEY_ID], 32, false)).is_some());
    for length in [0, 16, 31, 33, 64] {
        assert!(read(&key_set(&[1], length, false)).is_none(), "{length}");
    }
    let good = key_set(&[1], 32, false);
    for length in 0..good.len() {
        assert!(read(&good[..length]).is_none(), "{length}");
    }
    assert!(read(&[&good[..], &[0]].concat()).is_none(), "bytes left over");
    assert!(read(&[0xa0]).is_none(), "an empty map");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn everything_sealed_opens(
        text in prop::collection::vec(any::<u8>(), 0..5000),
        ad in prop::collection::vec(any::<u8>(), 0..200),
        seed: u64,
    ) {
        let keyring = keyring(seed);
        let sealed = seal(&keyring, Purpose::Data, &ad, &text, seed);
        prop_assert_eq!(sealed.len(), text.len() + SEAL_OVERHEAD);
        prop_assert_eq!(keyring.open(Purpose::Data, KeyId(1), &ad, &sealed).unwrap(), text);
    }

    #[test]
    fn reading_any_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Keyring::from_cbor(REPOSITORY, &bytes).is_none());
        prop_assert!(keyring(1).open(Purpose::Data, KeyId(1), b"", &bytes).is_err());
    }
}
