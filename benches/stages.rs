//! Throughput of each stage a byte passes on its way into a pack, on one thread.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use mrs_backup::chunker::{Chunker, ChunkerProfile, GearTable, ProfileName, looks_incompressible};
use mrs_backup::crypto::random::SeededRandom;
use mrs_backup::crypto::{Keyring, Randomness, SystemRandom};
use mrs_backup::id::RepositoryId;
use mrs_backup::pack::{
    ChunkEntry, Compression, Likeness, PackBuilder, PackClass, RawSegment, SealedSegment, Sealer,
    open_segment,
};

use input::{noise, text};

mod input;

const SEGMENT: usize = 256 << 10;
const PACK: u64 = 16 << 20;

fn keys() -> (Arc<Keyring>, Arc<dyn Randomness>) {
    let keyring = Keyring::generate(RepositoryId::new([1; 32]), 0, &SeededRandom::new(1));
    (Arc::new(keyring), Arc::new(SystemRandom))
}

fn segment(keyring: &Keyring, bytes: Vec<u8>, compression: Compression) -> RawSegment {
    let chunks = vec![ChunkEntry { id: keyring.chunk_id(&bytes), len: bytes.len() as u32 }];
    RawSegment { class: PackClass::Data, bytes, chunks, compression, likeness: Likeness::default() }
}

fn cutting(c: &mut Criterion) {
    let (keyring, _) = keys();
    let table = GearTable::new(keyring.gear_key());
    let mut group = c.benchmark_group("cut");
    for (name, input, has_features) in [
        ("text", text(16 << 20), false),
        ("text with features", text(16 << 20), true),
        ("random", noise(16 << 20), false),
    ] {
        group.throughput(Throughput::Bytes(input.len() as u64));
        let mut buffer = Vec::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                let profile = ChunkerProfile::default_for(ProfileName::Text);
                let spare = std::mem::take(&mut buffer);
                let mut chunker = Chunker::with_buffer(&table, profile, &input[..], spare)
                    .with_features(has_features);
                while let Ok(Some(chunk)) = chunker.next_chunk() {
                    black_box(chunk);
                }
                buffer = chunker.into_buffer();
            });
        });
    }
    let small = text(3000);
    group.throughput(Throughput::Elements(1));
    let mut buffer = Vec::new();
    group.bench_function("file of 3 KB", |b| {
        b.iter(|| {
            let profile = ChunkerProfile::default_for(ProfileName::Text);
            let spare = std::mem::take(&mut buffer);
            let mut chunker = Chunker::with_buffer(&table, profile, &small[..], spare);
            black_box(chunker.next_chunk().is_ok());
            buffer = chunker.into_buffer();
        });
    });
    for (name, input) in [("sample of text", text(64 << 10)), ("sample of random", noise(64 << 10))]
    {
        group.bench_function(name, |b| b.iter(|| looks_incompressible(black_box(&input))));
    }
    group.finish();
}

fn segments(c: &mut Criterion) {
    let (keyring, random) = keys();
    let mut group = c.benchmark_group("segment");
    group.throughput(Throughput::Bytes(SEGMENT as u64));
    let bytes = text(SEGMENT);
    group.bench_function("hash", |b| b.iter(|| keyring.chunk_id(black_box(&bytes))));
    let mut seal = |name: &str, raw: RawSegment, level| {
        let Ok(mut sealer) = Sealer::new(keyring.clone(), level, random.clone()) else { return };
        group.bench_function(name, |b| {
            b.iter_batched(|| raw.clone(), |raw| sealer.seal(raw), BatchSize::LargeInput);
        });
        let Ok(sealed) = sealer.seal(raw) else { return };
        group.bench_function(format!("open after {name}"), |b| {
            b.iter(|| open_segment(&keyring, PackClass::Data, &sealed.entry, &sealed.bytes, None));
        });
    };
    seal("compress and seal (2)", segment(&keyring, bytes.clone(), Compression::Try), 2);
    seal("compress and seal (3)", segment(&keyring, bytes.clone(), Compression::Try), 3);
    seal("compress and seal (9)", segment(&keyring, bytes, Compression::Try), 9);
    seal("seal", segment(&keyring, noise(SEGMENT), Compression::Skip), 3);
    group.finish();
}

fn packs(c: &mut Criterion) {
    let (keyring, random) = keys();
    let Ok(mut sealer) = Sealer::new(keyring.clone(), 3, random.clone()) else { return };
    let noise = noise(SEGMENT);
    let sealed: Vec<SealedSegment> = (0..120)
        .filter_map(|n| {
            let len = 20_000 + n * 7919 % 240_000;
            sealer.seal(segment(&keyring, noise[..len].to_vec(), Compression::Skip)).ok()
        })
        .collect();
    let total = sealed.iter().map(|segment| segment.bytes.len() as u64).sum();
    let build = |segments: Vec<SealedSegment>| {
        let mut builder = PackBuilder::new(PackClass::Data, PACK, keyring.clone(), random.clone());
        let mut packs = Vec::new();
        for segment in segments {
            packs.extend(builder.push(segment).into_iter().flatten());
        }
        packs.extend(builder.finish().into_iter().flatten());
        packs
    };
    let mut group = c.benchmark_group("pack");
    group.throughput(Throughput::Bytes(total)).sample_size(20);
    group.bench_function("build", |b| {
        b.iter_batched(|| sealed.clone(), build, BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(stages, cutting, segments, packs);
criterion_main!(stages);
