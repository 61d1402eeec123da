//! Loading an index of a million chunks, and asking it.

use std::collections::{HashMap, HashSet};
use std::hint::black_box;
use std::path::Path;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use mrs_backup::id::{ChunkId, KeyId, ObjectId, PackId, RepositoryId, SegmentId, SessionId};
use mrs_backup::index::{Claim, Dedup, FileState, Index, IndexObject, IndexedPack, StateWriter};
use mrs_backup::pack::{ChunkEntry, PackClass, SegmentEntry, SegmentKind};

const SESSION: SessionId = SessionId::new([1; 16]);
const PACK_CHUNKS: u64 = 128;
const OBJECT_CHUNKS: u64 = 50_000;

fn id(kind: u8, n: u64) -> [u8; 32] {
    *blake3::Hasher::new().update(&[kind]).update(&n.to_le_bytes()).finalize().as_bytes()
}

fn chunk(n: u64) -> ChunkId {
    ChunkId::new(id(0, n))
}

fn segment(n: u64, offset: u32, chunks: u64) -> SegmentEntry {
    let chunks: Vec<_> =
        (n..n + chunks).map(|n| ChunkEntry { id: chunk(n), len: 100_000 }).collect();
    let id = if let [only] = &chunks[..] { *only.id.as_bytes() } else { id(2, n) };
    SegmentEntry {
        id: SegmentId::new(id),
        offset,
        sealed_len: 40_000,
        raw_len: 100_000 * chunks.len() as u32,
        kind: SegmentKind::Zstd,
        key: KeyId(1),
        base: None,
        features: None,
        chunks,
    }
}

/// Chunks `from` on, `per_segment` in a segment.
fn object(from: u64, per_segment: u64) -> IndexObject {
    let pack = |first: u64| IndexedPack {
        id: PackId::new(id(1, first)),
        class: PackClass::Data,
        size: 16 << 20,
        key: KeyId(1),
        entries: (first..first + PACK_CHUNKS)
            .step_by(per_segment as usize)
            .map(|n| segment(n, ((n - first) * 40_000) as u32, per_segment))
            .collect(),
    };
    let packs = (from..from + OBJECT_CHUNKS).step_by(PACK_CHUNKS as usize).map(pack).collect();
    IndexObject { packs, replaces: Vec::new() }
}

fn open(directory: &Path) -> Index {
    Index::open(directory, RepositoryId::new([1; 32])).expect("opens").0
}

fn load(index: &Index, objects: &[IndexObject]) {
    for (n, object) in objects.iter().enumerate() {
        index.add_object(ObjectId::new(id(3, n as u64)), object).expect("loads");
    }
}

fn listing(index: &Index) -> HashMap<PackId, u64> {
    index.packs().expect("lists").iter().map(|pack| (pack.id, pack.size)).collect()
}

fn chunks(c: &mut Criterion) {
    // MRSB_BENCH_CHUNKS=10000000 shows how it behaves when it is large; 0 leaves it out.
    let total: u64 =
        std::env::var("MRSB_BENCH_CHUNKS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    if total == 0 {
        return;
    }
    let mut group = c.benchmark_group("index");
    group.sample_size(10);
    for per_segment in [1, 64] {
        let objects: Vec<_> = (0..total)
            .step_by(OBJECT_CHUNKS as usize)
            .map(|from| object(from, per_segment))
            .collect();
        group.throughput(Throughput::Elements(total));
        group.bench_function(format!("load/{per_segment} a segment"), |b| {
            b.iter_batched(
                || tempfile::tempdir().expect("a directory"),
                |directory| {
                    load(&open(directory.path()), &objects);
                    directory
                },
                BatchSize::PerIteration,
            );
        });
        let directory = tempfile::tempdir().expect("a directory");
        let index = open(directory.path());
        load(&index, &objects);
        drop(objects);
        let listed = listing(&index);
        index.refresh_packs(&listed, &HashSet::new()).expect("refreshes");
        let size = std::fs::metadata(index.path()).expect("is there").len();
        println!("{per_segment} a segment: {} bytes a chunk", size / total);
        lookups(&mut group, &index, total, per_segment);
        group.throughput(Throughput::Elements(listed.len() as u64));
        group.bench_function(format!("refresh unchanged/{per_segment} a segment"), |b| {
            b.iter(|| index.refresh_packs(&listed, &HashSet::new()).expect("refreshes"));
        });
    }
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

fn lookups(group: &mut Group<'_>, index: &Index, total: u64, per_segment: u64) {
    let scattered: Vec<_> = (0..20_000).map(|n| chunk(n * 7919 % total)).collect();
    group.throughput(Throughput::Elements(scattered.len() as u64));
    group.bench_function(format!("are_usable/{per_segment} a segment"), |b| {
        b.iter(|| black_box(index.are_usable(&scattered, SESSION).expect("answers")));
    });
    group.bench_function(format!("locate/{per_segment} a segment"), |b| {
        b.iter(|| scattered.iter().for_each(|id| drop(black_box(index.locate(id, None)))));
    });
    group.bench_function(format!("claim known/{per_segment} a segment"), |b| {
        let dedup = Dedup::new(index, SESSION).expect("starts");
        let is_known = |id: &&ChunkId| dedup.claim(**id).expect("answers") == Claim::Known;
        b.iter(|| assert_eq!(scattered.iter().filter(is_known).count(), scattered.len()));
    });
    group.throughput(Throughput::Elements(total));
    group.bench_function(format!("first claim/{per_segment} a segment"), |b| {
        b.iter(|| Dedup::new(index, SESSION).expect("starts").claim(chunk(u64::MAX)));
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function(format!("claim new/{per_segment} a segment"), |b| {
        let dedup = Dedup::new(index, SESSION).expect("starts");
        let mut n = total;
        let next = || {
            n += 1;
            chunk(n)
        };
        b.iter_batched(next, |id| dedup.claim(id), BatchSize::SmallInput);
    });
}

/// 200,000 files in 20,000 directories.
fn state(c: &mut Criterion) {
    let file = |n: u64| FileState {
        name: format!("file-{n:06}.html").into_bytes(),
        inode: 1_000_000 + n,
        size: 20_000 + n,
        mtime: 1_700_000_000_000_000_000 + i128::from(n),
        ctime: 1_700_000_000_000_000_000 + i128::from(n),
        node: id(9, n).repeat(4),
    };
    let directory = |n: u64| {
        let files: Vec<_> = (n * 10..n * 10 + 10).map(file).collect();
        (format!("var/www/site/{}/{n}", n / 100).into_bytes(), files)
    };
    let all: Vec<_> = (0..20_000).map(directory).collect();
    let place = tempfile::tempdir().expect("a directory");
    let index = open(place.path());
    let store = || {
        for (path, files) in &all {
            let mut writer = StateWriter::new("r", path);
            files.iter().for_each(|file| writer.push(&index, file).expect("is taken"));
            writer.finish(&index, 1).expect("stages");
        }
        index.commit_state("r").expect("commits");
    };
    store();
    let mut group = c.benchmark_group("state");
    group.sample_size(10).throughput(Throughput::Elements(200_000));
    group.bench_function("stage and commit", |b| b.iter(store));
    group.bench_function("read", |b| {
        b.iter(|| {
            for (path, files) in &all {
                let mut found = index.read_state("r", path).expect("reads").expect("is there");
                for file in files {
                    assert_eq!(found.next_file(&index).expect("reads").as_ref(), Some(file));
                }
            }
        });
    });
}

criterion_group!(benches, chunks, state);
criterion_main!(benches);
