//! One stage of the pipeline, a fixed amount of work: `instructions.sh` counts the machine instructions it takes.
//!
//!     target/debug/examples/instructions STAGE
//!
//! The stage `nothing` makes the same input and does no more: what it takes is subtracted.

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;

use mrs_backup::chunker::{Chunker, ChunkerProfile, GearTable, ProfileName};
use mrs_backup::crypto::random::SeededRandom;
use mrs_backup::crypto::{Keyring, Randomness};
use mrs_backup::id::{ChunkId, KeyId, ObjectId, PackId, RepositoryId, SegmentId, SessionId};
use mrs_backup::index::{Dedup, Index, IndexObject, IndexedPack};
use mrs_backup::pack::{
    ChunkEntry, Compression, Likeness, PackBuilder, PackClass, RawSegment, SealedSegment, Sealer,
    SegmentEntry, SegmentKind, compress_delta, open_segment,
};

use input::{noise, text};

mod input;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Bytes each stage works on, in segments of 256 KiB.
const BYTES: usize = 8 << 20;
const SEGMENT: usize = 256 << 10;
/// Chunks of the index.
const CHUNKS: u32 = 20_000;
const LEVEL: i32 = 2;

struct Rig {
    keyring: Arc<Keyring>,
    random: Arc<dyn Randomness>,
    text: Vec<u8>,
    noise: Vec<u8>,
}

impl Rig {
    fn new() -> Self {
        let random = Arc::new(SeededRandom::new(1));
        let keyring = Arc::new(Keyring::generate(RepositoryId::new([1; 32]), 0, &*random));
        Self { keyring, random, text: text(BYTES), noise: noise(BYTES) }
    }

    fn cut(&self, has_features: bool) -> Outcome<()> {
        let table = GearTable::new(self.keyring.gear_key());
        let profile = ChunkerProfile::default_for(ProfileName::Text);
        let mut chunker = Chunker::new(&table, profile, &self.text[..]).with_features(has_features);
        while let Some(chunk) = chunker.next_chunk()? {
            black_box(chunk);
        }
        Ok(())
    }

    fn seal(&self, bytes: &[u8], compression: Compression) -> Outcome<Vec<SealedSegment>> {
        let mut sealer = Sealer::new(Arc::clone(&self.keyring), LEVEL, Arc::clone(&self.random))?;
        let seal = |part: &[u8]| {
            // The id is not what is measured.
            let id = ChunkId::new([part[0]; 32]);
            let chunks = vec![ChunkEntry { id, len: part.len() as u32 }];
            let (class, bytes) = (PackClass::Data, part.to_vec());
            let likeness = Likeness::default();
            Ok(sealer.seal(RawSegment { class, bytes, chunks, compression, likeness })?)
        };
        bytes.chunks(SEGMENT).map(seal).collect()
    }

    fn fill_packs(&self) -> Outcome<()> {
        let (keyring, random) = (Arc::clone(&self.keyring), Arc::clone(&self.random));
        let mut builder = PackBuilder::new(PackClass::Data, 4 << 20, keyring, random);
        for segment in self.seal(&self.noise, Compression::Skip)? {
            black_box(builder.push(segment)?);
        }
        black_box(builder.finish()?);
        Ok(())
    }

    fn open(&self) -> Outcome<()> {
        for sealed in self.seal(&self.text, Compression::Try)? {
            black_box(open_segment(
                &self.keyring,
                PackClass::Data,
                &sealed.entry,
                &sealed.bytes,
                None,
            )?);
        }
        Ok(())
    }

    /// Each segment against itself with some bytes changed.
    fn deltas(&self) -> Outcome<()> {
        let mut frame = Vec::new();
        for part in self.text.chunks(SEGMENT) {
            let mut changed = part.to_vec();
            changed.iter_mut().step_by(10_007).for_each(|byte| *byte ^= 1);
            compress_delta(part, &changed, &mut frame)?;
            black_box(&frame);
        }
        Ok(())
    }
}

fn number(kind: u8, n: u32) -> [u8; 32] {
    *blake3::hash(&[&[kind][..], &n.to_le_bytes()].concat()).as_bytes()
}

fn object() -> IndexObject {
    let entry = |n: u32| SegmentEntry {
        id: SegmentId::new(number(0, n)),
        offset: n % 100 * 40_000,
        sealed_len: 40_000,
        raw_len: 100_000,
        kind: SegmentKind::Zstd,
        key: KeyId(1),
        base: None,
        features: None,
        chunks: vec![ChunkEntry { id: ChunkId::new(number(0, n)), len: 100_000 }],
    };
    let pack = |first: u32| IndexedPack {
        id: PackId::new(number(1, first)),
        class: PackClass::Data,
        size: 16 << 20,
        key: KeyId(1),
        entries: (first..first + 100).map(entry).collect(),
    };
    IndexObject { packs: (0..CHUNKS).step_by(100).map(pack).collect(), replaces: Vec::new() }
}

/// Fills an index; asks it for every chunk, and as many that it has not, if it shall.
fn index(is_asked: bool) -> Outcome<()> {
    let place = tempfile::tempdir()?;
    let index = Index::open(place.path(), RepositoryId::new([1; 32]))?.0;
    index.add_object(ObjectId::new(number(3, 0)), &object())?;
    if is_asked {
        let dedup = Dedup::new(&index, SessionId::new([1; 16]))?;
        for n in 0..2 * CHUNKS {
            black_box(dedup.claim(ChunkId::new(number(0, n)))?);
        }
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let stage = std::env::args().nth(1).unwrap_or_default();
    let rig = Rig::new();
    match &stage[..] {
        "nothing" => Ok(()),
        "cut" => rig.cut(false),
        "cut-with-features" => rig.cut(true),
        "hash" => {
            black_box(rig.keyring.chunk_id(&rig.text));
            Ok(())
        }
        "compress-and-seal" => rig.seal(&rig.text, Compression::Try).map(drop),
        "seal" => rig.seal(&rig.noise, Compression::Skip).map(drop),
        "fill-packs" => rig.fill_packs(),
        "open" => rig.open(),
        "delta" => rig.deltas(),
        "index-fill" => index(false),
        "index-ask" => index(true),
        _ => Err(format!("no stage {stage:?}").into()),
    }
}
