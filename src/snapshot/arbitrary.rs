//! Arbitrary valid nodes, snapshots and records for tests.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use crate::id::{ChunkId, ObjectId, PackId, SessionId, SnapshotId};

use super::*;

pub(crate) fn stream() -> impl Strategy<Value = StreamRef> {
    (0_u8..=8, any::<u64>(), vec((any::<[u8; 32]>(), any::<u32>()), 0..4)).prop_map(
        |(depth, len, chunks)| {
            let chunks: Vec<_> = chunks
                .into_iter()
                .map(|(id, len)| ChunkRef { id: ChunkId::new(id), len })
                .collect();
            let sum = chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
            StreamRef { len: if depth == 0 { sum } else { len }, depth, chunks }
        },
    )
}

pub(crate) fn name() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 1..300).prop_filter("not a name", |name| check_name(name).is_ok())
}

fn kind() -> impl Strategy<Value = NodeKind> {
    prop::sample::select(vec![
        NodeKind::File,
        NodeKind::Directory,
        NodeKind::Symlink,
        NodeKind::Fifo,
        NodeKind::CharDevice,
        NodeKind::BlockDevice,
    ])
}

/// Extents over holes of the second numbers' lengths, and the content and size that go with them.
fn make_sparse(node: &mut Node, parts: &[(u32, u32)], hole: u32) {
    let (mut offset, mut len) = (0, 0);
    let mut extents = Vec::new();
    for &(gap, data) in parts {
        offset += u64::from(gap);
        extents.push(Extent { offset, len: data.into() });
        offset += u64::from(data);
        len += u64::from(data);
    }
    node.sparse_size = Some(offset + u64::from(hole));
    node.extents = Some(extents);
    node.content = Some(StreamRef { len, depth: 1, chunks: Vec::new() });
}

pub(crate) fn node() -> impl Strategy<Value = Node> {
    let stat = (0..=0o7777_u32, any::<u32>(), any::<u32>(), any::<i64>(), 0..1_000_000_000_u32);
    let names = (option::of(".*"), option::of(".*"));
    let xattrs = vec((vec(1..=255_u8, 1..20), vec(any::<u8>(), 0..40)), 0..3);
    let content = (stream(), option::of((vec(any::<(u32, u32)>(), 0..4), any::<u32>())));
    let special = (vec(1..=255_u8, 1..50), any::<(u32, u32)>());
    let links = (option::of(any::<u64>()), any::<bool>(), any::<bool>());
    (name(), kind(), stat, names, xattrs, content, special, links).prop_map(
        |(name, kind, stat, names, xattrs, content, special, links)| {
            let mut node = Node::new(name, kind);
            (node.mode, node.uid, node.gid, node.mtime, node.mtime_nanos) = stat;
            (node.user, node.group) = names;
            node.xattrs = xattrs.into_iter().map(|(name, value)| Xattr { name, value }).collect();
            if kind != NodeKind::Directory {
                node.hard_link = links.0;
                node.is_further_link = links.1 && links.0.is_some();
            }
            match kind {
                NodeKind::File if !node.is_further_link => match content {
                    (_, Some((parts, hole))) => make_sparse(&mut node, &parts, hole),
                    (stream, None) => node.content = Some(stream),
                },
                NodeKind::Directory => node.content = Some(content.0),
                NodeKind::Symlink => node.link_target = Some(special.0),
                NodeKind::CharDevice | NodeKind::BlockDevice => {
                    node.device = Some(Device { major: special.1.0, minor: special.1.1 });
                }
                _ => {}
            }
            node.is_torn = links.2;
            node
        },
    )
}

fn texts() -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
    btree_map(".*", ".*", 0..3)
}

fn source() -> impl Strategy<Value = SourceRecord> {
    (".*", ".*", vec(any::<u8>(), 0..20), vec(".*", 0..2), texts()).prop_map(
        |(kind, name, path, incomplete, details)| SourceRecord {
            kind,
            name,
            path,
            incomplete,
            details,
        },
    )
}

fn table() -> impl Strategy<Value = TableManifest> {
    let columns = vec((".*", ".*"), 0..3);
    let places = (option::of(any::<[u8; 32]>()), option::of(vec(any::<u8>(), 0..20)));
    (".*", ".*", columns, any::<(u64, u64)>(), places).prop_map(
        |(schema, name, columns, (rows, bytes), (hash, path))| TableManifest {
            schema,
            name,
            columns: columns
                .into_iter()
                .map(|(name, type_name)| ColumnManifest { name, type_name })
                .collect(),
            rows,
            bytes,
            hash,
            path,
        },
    )
}

fn properties() -> impl Strategy<Value = DatabaseProperties> {
    (any::<(u64, u64)>(), (".*", ".*", ".*", ".*"), (".*", ".*", ".*")).prop_map(
        |((server_version_num, disk_bytes), first, second)| DatabaseProperties {
            server_version_num,
            pg_dump_version: first.0,
            owner: first.1,
            ctype: first.2,
            locale_provider: first.3,
            locale: second.0,
            icu_rules: second.1,
            collation_version: second.2,
            disk_bytes,
        },
    )
}

fn database() -> impl Strategy<Value = DatabaseManifest> {
    let texts = (".*", ".*", ".*", ".*", ".*");
    let places = (vec(any::<u8>(), 0..20), option::of(vec(any::<u8>(), 0..20)));
    (texts, places, vec(table(), 0..3), properties()).prop_map(
        |(texts, (path, archive), tables, properties)| DatabaseManifest {
            name: texts.0,
            server_version: texts.1,
            encoding: texts.2,
            collation: texts.3,
            system_identifier: texts.4,
            path,
            tables,
            archive,
            properties,
        },
    )
}

fn snapshot_id() -> impl Strategy<Value = SnapshotId> {
    any::<[u8; 32]>().prop_map(SnapshotId::new)
}

pub(crate) fn snapshot() -> impl Strategy<Value = Snapshot> {
    let texts = (".*", ".*", ".*", ".*", vec(".*", 0..3));
    let numbers = any::<(i64, i64, bool, u64, [u8; 16])>();
    let ids = (option::of(snapshot_id()), vec(snapshot_id(), 0..3));
    let lists = (vec(source(), 0..3), btree_map(".*", any::<u64>(), 0..3), vec(database(), 0..2));
    (stream(), texts, numbers, ids, lists).prop_map(|(root, texts, numbers, ids, lists)| Snapshot {
        root,
        instance: texts.0,
        host: texts.1,
        start: numbers.0,
        end: numbers.1,
        time_zone: texts.2,
        tags: texts.4,
        sources: lists.0,
        is_complete: numbers.2,
        parent: ids.0,
        predecessors: ids.1,
        counter: numbers.3,
        statistics: lists.1,
        program: texts.3,
        session: SessionId::new(numbers.4),
        databases: lists.2,
    })
}

pub(crate) fn session() -> impl Strategy<Value = SessionRecord> {
    (".*", ".*", any::<(u32, i64, i64)>(), vec(any::<[u8; 32]>(), 0..3), option::of(snapshot_id()))
        .prop_map(|(host, purpose, (process, start, beat), knows, staged)| SessionRecord {
            host,
            process,
            start,
            beat,
            knows: knows.into_iter().map(ObjectId::new).collect(),
            staged,
            purpose,
        })
}

pub(crate) fn condemned() -> impl Strategy<Value = CondemnedRecord> {
    (vec(any::<[u8; 32]>(), 0..3), any::<i64>(), ".*").prop_map(|(packs, time, host)| {
        CondemnedRecord { packs: packs.into_iter().map(PackId::new).collect(), time, host }
    })
}

pub(crate) fn receipt() -> impl Strategy<Value = ReceiptRecord> {
    let names = (".*", ".*", ".*", ".*");
    (names, any::<i64>(), option::of(snapshot_id()), texts(), vec(snapshot_id(), 0..3)).prop_map(
        |((kind, instance, host, result), time, snapshot, details, forgotten)| ReceiptRecord {
            kind,
            time,
            instance,
            host,
            result,
            snapshot,
            details,
            forgotten,
        },
    )
}
