//! How full packs are.

use super::*;
use crate::crypto::keyring::SEAL_OVERHEAD;
use crate::id::{ChunkId, SegmentId};

/// A segment whose seal does not open: only its length matters here.
fn dummy(keyring: &Keyring, seed: u64, len: u32) -> SealedSegment {
    let id = ChunkId::new(*blake3::hash(&seed.to_le_bytes()).as_bytes());
    let raw_len = len * 3;
    let entry = SegmentEntry {
        id: SegmentId::from(id),
        offset: 0,
        sealed_len: len + SEAL_OVERHEAD as u32,
        raw_len,
        kind: SegmentKind::Zstd,
        key: keyring.current(),
        base: None,
        features: None,
        chunks: vec![ChunkEntry { id, len: raw_len }],
    };
    SealedSegment { class: PackClass::Data, bytes: vec![0; entry.sealed_len as usize], entry }
}

struct Filled {
    packs: usize,
    /// Without the last.
    shortest: u64,
    longest: u64,
    bytes: u64,
    padding: u64,
    /// How many segments lie behind a younger one.
    out_of_order: usize,
    segments: usize,
}

impl Filled {
    /// Padding in hundredths of a percent.
    fn waste(&self) -> u64 {
        self.padding * 10_000 / self.bytes
    }
}

/// Fills packs of up to `max` bytes with segments of the given lengths.
fn fill(max: u64, lengths: impl Iterator<Item = u32>) -> Filled {
    let (keyring, random) = keys();
    let mut builder = PackBuilder::new(PackClass::Data, max, keyring.clone(), random);
    let (mut packs, mut ids) = (Vec::new(), Vec::new());
    for (seed, len) in (0..).zip(lengths) {
        let segment = dummy(&keyring, seed, len);
        ids.push(segment.entry.id);
        packs.extend(builder.push(segment).unwrap());
    }
    packs.extend(builder.finish().unwrap());

    let mut padding = 0;
    let mut order = Vec::new();
    for pack in &packs {
        let bytes = pack.bytes();
        let (_, entries) = read_directory(&keyring, &bytes).unwrap();
        assert_eq!(entries, pack.entries);
        let header = parse_header(&bytes).unwrap();
        let (_, trailer) = bytes.split_at(bytes.len() - TRAILER_LEN);
        let at = parse_trailer(&keyring, &header, trailer, pack.size()).unwrap().0;
        padding += at - entries.last().unwrap().end();
        order.extend(entries.iter().map(|entry| entry.id));
    }
    let place: std::collections::HashMap<_, _> = ids.iter().zip(0usize..).collect();
    let order: Vec<_> = order.iter().map(|id| place[id]).collect();
    assert_eq!(order.len(), ids.len(), "every segment once");
    let out_of_order = order.windows(2).filter(|pair| pair[0] > pair[1]).count();
    let lens = packs.iter().map(FinishedPack::size);
    Filled {
        packs: packs.len(),
        shortest: lens.clone().take(packs.len() - 1).min().unwrap_or(0),
        longest: lens.clone().max().unwrap(),
        bytes: lens.sum(),
        padding,
        out_of_order,
        segments: ids.len(),
    }
}

/// Lengths between `from` and `to` that sum up to `total`, evenly spread, or mostly short if `skewed`.
fn lengths(seed: u64, from: u32, to: u32, total: u64, skewed: bool) -> impl Iterator<Item = u32> {
    let mut left = total;
    (0..).map_while(move |n: u64| {
        let draw = noise(seed << 32 | n, 8);
        let draw = u64::from_le_bytes(draw.try_into().unwrap()) % 1_000_000;
        let draw = if skewed { draw * draw / 1_000_000 * draw / 1_000_000 } else { draw };
        let len = from + (u64::from(to - from) * draw / 1_000_000) as u32;
        left = left.checked_sub(u64::from(len))?;
        Some(len)
    })
}

fn report(name: &str, filled: &Filled) {
    println!(
        "{name}: {} packs of {}..{} KiB, {} segments ({} steps back), {}.{:02}% padding",
        filled.packs,
        filled.shortest >> 10,
        filled.longest >> 10,
        filled.segments,
        filled.out_of_order,
        filled.waste() / 100,
        filled.waste() % 100,
    );
}

#[test]
fn little_is_wasted() {
    let cases: [(&str, u64, u32, u32, bool, u64); 8] = [
        ("20 to 400 KiB, 16 MiB", 16, 20 << 10, 400 << 10, false, 40),
        ("20 to 400 KiB, 32 MiB", 32, 20 << 10, 400 << 10, false, 40),
        ("20 to 400 KiB, 64 MiB", 64, 20 << 10, 400 << 10, false, 60),
        ("mostly short, 16 MiB", 16, 200, 400 << 10, true, 40),
        ("1 to 4 MiB, 16 MiB", 16, 1 << 20, 4 << 20, false, 100),
        ("1 to 4 MiB, 32 MiB", 32, 1 << 20, 4 << 20, false, 100),
        ("all alike, 16 MiB", 16, 100 << 10, (100 << 10) + 1, false, 100),
        ("0.5 to 2 KiB, 16 MiB", 16, 500, 2000, false, 40),
    ];
    for (name, max, from, to, skewed, most) in cases {
        let total = if to < 4000 { 40_000_000 } else { 200_000_000 };
        let filled = fill(max << 20, lengths(max, from, to, total, skewed));
        report(name, &filled);
        assert!(filled.longest <= max << 20, "{name}");
        assert!(filled.shortest >= max << 19, "{name}");
        assert!(filled.waste() <= most, "{name}");
    }
}

#[test]
fn a_limit_that_is_no_padded_size_is_kept() {
    let filled = fill(10_000_001, lengths(3, 20 << 10, 400 << 10, 60_000_000, false));
    assert!(filled.longest <= 10_000_001);
    assert!(filled.waste() < 60);
}

#[test]
fn a_segment_longer_than_the_limit_is_alone() {
    let sizes = [100_000, 3_000_000, 100_000, 2_000_000, 1_040_000, 1_040_000, 5];
    let filled = fill(1 << 20, sizes.into_iter());
    assert!(filled.longest > 3_000_000);
    assert_eq!(filled.packs, 5);
}

#[test]
fn what_it_holds_is_bounded() {
    let (keyring, random) = keys();
    let max = 4 << 20;
    let mut builder = PackBuilder::new(PackClass::Data, max, keyring.clone(), random);
    let (mut inside, mut most) = (0u64, 0);
    for (seed, len) in (0..).zip(lengths(8, 1000, 900_000, 60_000_000, true)) {
        inside += u64::from(len);
        most = most.max(inside);
        if let Some(pack) = builder.push(dummy(&keyring, seed, len)).unwrap() {
            inside -= pack.entries.iter().map(|entry| u64::from(entry.sealed_len)).sum::<u64>();
        }
    }
    assert!(most <= max + max / 4 + 900_000, "{most}");
}
