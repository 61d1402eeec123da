use proptest::collection::vec;
use proptest::prelude::*;

use crate::id::{ChunkId, SessionId, SnapshotId};

use super::*;

/// Reads back what `value` is written as, refuses every shorter text, and passes over unknown keys.
fn round_trip<T>(value: &T)
where
    T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()> + PartialEq + std::fmt::Debug,
{
    let bytes = minicbor::to_vec(value).unwrap();
    assert_eq!(minicbor::decode::<T>(&bytes).unwrap(), *value);
    for len in 0..bytes.len() {
        assert!(minicbor::decode::<T>(&bytes[..len]).is_err(), "{len} of {}", bytes.len());
    }
    assert!(bytes[0] & 0x1f < 23);
    let mut more = vec![bytes[0] + 1];
    more.extend_from_slice(&bytes[1..]);
    more.extend_from_slice(b"\x18\xc8\xa1\x61x\x82\x01\x02");
    assert_eq!(minicbor::decode::<T>(&more).unwrap(), *value);
}

fn read_all(bytes: &[u8], piece: usize) -> Result<Vec<Node>, NodeError> {
    let mut reader = NodeReader::default();
    let mut nodes = Vec::new();
    for piece in bytes.chunks(piece) {
        reader.push(piece);
        while let Some(node) = reader.next_node()? {
            nodes.push(node);
        }
    }
    reader.finish()?;
    Ok(nodes)
}

fn encoded(nodes: &[Node]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for node in nodes {
        encode_node(node, &mut bytes);
    }
    bytes
}

/// Why `node` is refused.
fn refusal(node: &Node) -> String {
    read_all(&encoded(std::slice::from_ref(node)), 4096).unwrap_err().0
}

fn file(name: &[u8]) -> Node {
    let mut node = Node::new(name, NodeKind::File);
    node.content = Some(StreamRef::default());
    node
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn streams_and_snapshots_read_back(stream in arbitrary::stream(), value in arbitrary::snapshot()) {
        round_trip(&stream);
        round_trip(&value);
    }

    #[test]
    fn records_read_back(
        session in arbitrary::session(),
        condemned in arbitrary::condemned(),
        receipt in arbitrary::receipt(),
    ) {
        round_trip(&session);
        round_trip(&condemned);
        round_trip(&receipt);
    }

    #[test]
    fn nodes_read_back_from_pieces(mut nodes in vec(arbitrary::node(), 0..8), piece in 1..200_usize) {
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes.dedup_by(|a, b| a.name == b.name);
        let bytes = encoded(&nodes);
        prop_assert_eq!(read_all(&bytes, piece).unwrap(), nodes);
    }

    #[test]
    fn a_cut_directory_is_an_error(node in arbitrary::node(), cut in any::<prop::sample::Index>()) {
        let bytes = encoded(&[node]);
        let cut = cut.index(bytes.len());
        prop_assert!(cut == 0 || read_all(&bytes[..cut], 64).is_err());
    }

    #[test]
    fn garbage_never_panics(garbage in vec(any::<u8>(), 0..200)) {
        let _ = read_all(&garbage, 7);
        let mut record = u32::try_from(garbage.len()).unwrap().to_le_bytes().to_vec();
        record.extend_from_slice(&garbage);
        let _ = read_all(&record, 64);
        let _ = minicbor::decode::<Snapshot>(&garbage);
        let _ = minicbor::decode::<ReceiptRecord>(&garbage);
    }

    #[test]
    fn a_changed_byte_never_panics(
        node in arbitrary::node(),
        snapshot in arbitrary::snapshot(),
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let mut bytes = encoded(&[node]);
        let index = at.index(bytes.len());
        bytes[index] = value;
        let _ = read_all(&bytes, 64);
        let mut bytes = minicbor::to_vec(&snapshot).unwrap();
        let index = at.index(bytes.len());
        bytes[index] = value;
        let _ = minicbor::decode::<Snapshot>(&bytes);
    }
}

#[test]
fn a_node_has_the_bytes_of_the_format() {
    let mut node = Node::new("a", NodeKind::File);
    (node.mode, node.uid, node.gid, node.mtime) = (0o644, 1000, 24, -1);
    let chunk = ChunkRef { id: ChunkId::new([7; 32]), len: 300 };
    node.content = Some(StreamRef { len: 300, depth: 0, chunks: vec![chunk] });
    let mut expected = b"\x47\0\0\0\xa7\x00\x41a\x01\x00\x02\x19\x01\xa4\x03\x19\x03\xe8\x04\x18\x18\x07\x20\x09\xa2\x00\x19\x01\x2c\x02\x58\x24".to_vec();
    expected.extend_from_slice(&[7; 32]);
    expected.extend_from_slice(&[0x2c, 1, 0, 0]);
    expected[0] = u8::try_from(expected.len() - 4).unwrap();
    assert_eq!(encoded(&[node]), expected);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0", &[b'x'; 4097]] {
        assert!(refusal(&file(name)).contains("not allowed"), "{}", name.escape_ascii());
    }
    for name in [&b"..."[..], b"\xff\n", &[b'x'; 4096]] {
        assert!(read_all(&encoded(&[file(name)]), 99).is_ok());
    }
}

#[test]
fn names_must_ascend() {
    for second in ["b", "a"] {
        let bytes = encoded(&[file(b"b"), file(second.as_bytes())]);
        assert!(read_all(&bytes, 10).unwrap_err().0.contains("not in order"));
    }
}

#[test]
fn long_records_are_refused_before_they_are_read() {
    let mut reader = NodeReader::default();
    reader.push(&(1_u32 << 24).to_le_bytes());
    assert_eq!(reader.next_node(), Ok(None));
    let mut reader = NodeReader::default();
    reader.push(&((1_u32 << 24) + 1).to_le_bytes());
    assert!(reader.next_node().is_err());
}

#[test]
fn what_a_kind_needs_must_be_there() {
    let make = |kind| Node::new("x", kind);
    for kind in [NodeKind::File, NodeKind::Directory] {
        assert!(refusal(&make(kind)).contains("content"));
    }
    assert!(refusal(&make(NodeKind::Symlink)).contains("target"));
    assert!(refusal(&make(NodeKind::BlockDevice)).contains("device"));
    let mut link = make(NodeKind::File);
    link.is_further_link = true;
    assert!(refusal(&link).contains("no group"));
    link.hard_link = Some(1);
    assert!(read_all(&encoded(&[link]), 99).is_ok());
}

#[test]
fn extents_must_fit() {
    let sparse = |extents: &[(u64, u64)], len, size| {
        let mut node = file(b"x");
        node.content = Some(StreamRef { len, depth: 1, chunks: Vec::new() });
        node.extents = Some(extents.iter().map(|&(offset, len)| Extent { offset, len }).collect());
        node.sparse_size = Some(size);
        node
    };
    assert!(read_all(&encoded(&[sparse(&[(4, 4), (8, 1)], 5, 9)]), 99).is_ok());
    assert!(refusal(&sparse(&[(4, 4), (7, 1)], 5, 9)).contains("overlap"));
    assert!(refusal(&sparse(&[(4, 4), (8, 1)], 6, 9)).contains("add up"));
    assert!(refusal(&sparse(&[(4, 4), (8, 1)], 5, 8)).contains("after the end"));
    assert!(refusal(&sparse(&[(u64::MAX, 1)], 1, 9)).contains("beyond"));
}

#[test]
fn streams_must_add_up() {
    let chunk = ChunkRef { id: ChunkId::new([0; 32]), len: 2 };
    for (len, depth) in [(1, 0), (3, 0), (2, 9)] {
        let bytes = minicbor::to_vec(StreamRef { len, depth, chunks: vec![chunk] }).unwrap();
        assert!(minicbor::decode::<StreamRef>(&bytes).is_err(), "{len} {depth}");
    }
    assert!(minicbor::decode::<StreamRef>(b"\xa2\x00\x01\x00\x00").is_err(), "a key twice");
    assert!(minicbor::decode::<StreamRef>(b"\xa2\x00\x00\x02\x41x").is_err(), "part of a record");
}

/// A snapshot of `instance`, begun `start` seconds after 1970, whose id begins with `start` in hex.
fn selected(instance: &str, counter: u64, start: i64, is_complete: bool) -> Selected {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&u32::try_from(start).unwrap().to_be_bytes());
    let snapshot = Snapshot {
        root: StreamRef::default(),
        instance: instance.to_owned(),
        host: "host".to_owned(),
        start: start * 1_000_000_000,
        end: start * 1_000_000_000,
        time_zone: "UTC".to_owned(),
        tags: vec![format!("n={counter}"), "all".to_owned()],
        sources: Vec::new(),
        is_complete,
        parent: None,
        predecessors: Vec::new(),
        counter,
        statistics: Default::default(),
        program: String::new(),
        session: SessionId::new([0; 16]),
        databases: Vec::new(),
    };
    (SnapshotId::new(id), snapshot)
}

/// 2026-11-22T22:30 and 23:30 UTC of `a`, one day later of `b`, and an incomplete one of `a`.
fn four() -> Vec<Selected> {
    const FIRST: i64 = 1_795_386_600;
    vec![
        selected("a", 2, FIRST + 3600, true),
        selected("a", 1, FIRST, true),
        selected("b", 1, FIRST + 86_400, true),
        selected("a", 3, FIRST + 2 * 86_400, false),
    ]
}

fn find(selector: &Selector, text: &str, zone: &jiff::tz::TimeZone) -> Option<(String, u64)> {
    let all = four();
    let found = selector.find(text, &all, zone).ok()?;
    Some((found.1.instance.clone(), found.1.counter))
}

#[test]
fn latest_and_dates_are_found() {
    let utc = jiff::tz::TimeZone::UTC;
    let all = Selector::default();
    let only_a = Selector { instance: Some("a".to_owned()), ..Selector::default() };
    let cases = [
        (&all, "latest", Some(("b", 1))),
        (&all, "latest:a", Some(("a", 2))),
        (&only_a, "latest", Some(("a", 2))),
        (&only_a, "latest:b", None),
        (&all, "2026-11-22", Some(("a", 2))),
        (&all, "2026-11-22T22", Some(("a", 1))),
        (&all, "2026-11-22T22:30", Some(("a", 1))),
        (&all, "2026-11-22 23:30:00", Some(("a", 2))),
        (&all, "2026-11-22T23:29", Some(("a", 1))),
        (&all, "2026-11-22T23:30+00:00", Some(("a", 2))),
        (&all, "2026-11-23T00:30+01:00", Some(("a", 2))),
        (&all, "2026-11-22T22:29:59", None),
        (&all, "2026-11-21", None),
        (&all, "2027-01-01", Some(("a", 3))),
        (&all, "yesterday", None),
        (&all, "", None),
    ];
    for (selector, text, expected) in cases {
        let expected = expected.map(|(instance, counter)| (instance.to_owned(), counter));
        assert_eq!(find(selector, text, &utc), expected, "{text}");
    }
    let berlin = jiff::tz::TimeZone::fixed(jiff::tz::offset(1));
    assert_eq!(find(&all, "2026-11-22", &berlin), Some(("a".to_owned(), 1)));
    assert_eq!(find(&all, "2026-11-22T23:30", &berlin), Some(("a".to_owned(), 1)));
}

#[test]
fn an_incomplete_one_is_latest_only_if_there_is_no_other() {
    let utc = jiff::tz::TimeZone::UTC;
    let tagged = |tag: &str| Selector { tags: vec![tag.to_owned()], ..Selector::default() };
    assert_eq!(find(&tagged("n=3"), "latest", &utc), Some(("a".to_owned(), 3)));
    assert_eq!(find(&tagged("none"), "latest", &utc), None);
}

#[test]
fn a_clock_set_back_does_not_hide_the_newest() {
    let all = [selected("a", 1, 5000, true), selected("a", 2, 4000, true)];
    let found = Selector::default().find("latest", &all, &jiff::tz::TimeZone::UTC).unwrap();
    assert_eq!(found.1.counter, 2);
}

#[test]
fn ids_are_found_by_their_first_digits() {
    let all = [1, 2, 3, 4].map(|start| selected("a", 1, 0x1234_0000 + start, true));
    let utc = jiff::tz::TimeZone::UTC;
    let selector = Selector::default();
    for one in &all {
        let digits = one.0.to_hex();
        assert_eq!(selector.find(&digits[..8], &all, &utc), Ok(one));
        assert_eq!(selector.find(&digits.to_uppercase(), &all, &utc), Ok(one));
    }
    let Err(SelectError::Ambiguous { count: 4, examples, .. }) =
        selector.find(&all[0].0.to_hex()[..4], &all, &utc)
    else {
        panic!("not ambiguous");
    };
    assert_eq!(examples.split(", ").count(), 3);
    assert!(selector.find(&all[0].0.to_hex()[..3], &all, &utc).is_err());
}

#[test]
fn who_is_not_understood_is_told_what_there_is() {
    let utc = jiff::tz::TimeZone::UTC;
    let all = four();
    let only = |instance: &str| Selector { instance: Some(instance.into()), ..Selector::default() };
    let told = |selector: &Selector, text: &str, all: &[Selected]| {
        selector.find(text, all, &utc).unwrap_err().to_string()
    };
    let id = all[2].0.to_hex();
    let mistyped = format!("{}f{}", &id[..6], &id[7..12]);
    let ids = told(&Selector::default(), &mistyped, &all);
    assert!(ids.contains(&format!("the nearest ids are {}, ", all[2].0.short())), "{ids}");
    assert_eq!(ids.matches(", ").count(), 2, "{ids}");
    assert!(told(&Selector::default(), &id[..3], &all).contains("4 digits or more"));
    assert!(told(&Selector::default(), "latest:c", &all).contains("snapshots of a, b"));
    assert!(told(&Selector::default(), "yesterday", &all).contains("`latest:INSTANCE`"));
    assert!(told(&Selector::default(), "latest", &[]).contains("none yet"));
    let none = told(&only("c"), "latest", &all);
    assert!(none.contains("none of 4 snapshots (of a, b)"), "{none}");
}

#[test]
fn filtered_snapshots_come_oldest_first() {
    let selector = Selector {
        instance: Some("a".to_owned()),
        tags: vec!["all".to_owned()],
        host: Some("host".to_owned()),
    };
    let counters: Vec<_> = selector.filter(four()).iter().map(|(_, s)| s.counter).collect();
    assert_eq!(counters, [1, 2, 3]);
    let elsewhere = Selector { host: Some("other".to_owned()), ..selector };
    assert!(elsewhere.filter(four()).is_empty());
}

#[test]
fn a_record_no_reader_takes_is_not_written() {
    let mut node = Node::new(b"fat".to_vec(), NodeKind::Fifo);
    let mut bytes = b"before".to_vec();
    node.xattrs = vec![Xattr { name: b"user.x".to_vec(), value: vec![0; 1 << 24] }];
    assert!(try_encode_node(&node, &mut bytes).is_err());
    assert_eq!(bytes, b"before");
    node.xattrs[0].value.truncate((1 << 24) - 100);
    bytes.clear();
    try_encode_node(&node, &mut bytes).unwrap();
    assert_eq!(read_all(&bytes, 1 << 20).unwrap(), [node]);
}
