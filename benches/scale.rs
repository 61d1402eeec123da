//! What very many servers and very much data cost: measured per pack, per chunk and per night on repositories of
//! growing size, then multiplied. `docs/scaling.md` has the figures and what they mean.
//!
//!     cargo bench --bench scale                          sizes up to 20,000 packs
//!     MRSB_SCALE_PACKS=100000 cargo bench --bench scale  larger ones, too

use std::sync::Arc;

use mrs_backup::clock::SystemClock;
use mrs_backup::crypto::slot::Credential;
use mrs_backup::crypto::{Secret, SystemRandom};
use mrs_backup::event::{Silent, StopFlag};
use mrs_backup::id::{ChunkId, PackId, SegmentId};
use mrs_backup::index::{Holdings, IndexObject, IndexedPack};
use mrs_backup::ops::copy::{CopyError, CopyOptions, Sample, copy};
use mrs_backup::pack::{ChunkEntry, PackClass, SegmentEntry, SegmentKind};
use mrs_backup::repository::{Environment, InitOptions, Repository};
use mrs_backup::store::{MemoryStore, ObjectKind, ObjectName, Recording, Store, Verb, list_all};
use sha2::{Digest, Sha256};

/// Chunks of a full pack: 16 MiB of chunks of 256 KiB at half their size.
const CHUNKS_PER_PACK: u64 = 128;
const PACKS_PER_OBJECT: u64 = 64;
const PACK_LEN: f64 = (16_u64 << 20) as f64;
/// Names in one answer of an object store.
const PAGE: f64 = 1000.0;
/// A sealed segment here: small, since only what names them is measured.
const SEALED_LEN: u32 = 64;

/// List prices of Amazon S3 in us-east-1, dollars.
struct Prices {
    name: &'static str,
    month_gb: f64,
    put_1000: f64,
    get_1000: f64,
}

const PRICES: [Prices; 3] = [
    Prices { name: "Standard", month_gb: 0.021, put_1000: 0.005, get_1000: 0.0004 },
    Prices { name: "Standard-IA", month_gb: 0.0125, put_1000: 0.01, get_1000: 0.001 },
    Prices { name: "Glacier IR", month_gb: 0.004, put_1000: 0.02, get_1000: 0.01 },
];

/// What one repository of some size showed.
struct Measured {
    packs: u64,
    /// Calls at the store of a writer that opens a session, and names in its listings.
    open_calls: usize,
    open_names: u64,
    /// Calls at the copy in an unchanged night, nothing read back.
    night_calls: usize,
    night_names: u64,
    /// Bytes of index objects and of the local index, a chunk.
    object_bytes: f64,
    index_bytes: f64,
    /// Bytes of the record of the copy, a pack.
    record_bytes: f64,
}

fn id(kind: &str, number: u64) -> [u8; 32] {
    *blake3::hash(format!("scale {kind} {number}").as_bytes()).as_bytes()
}

fn entries(pack: u64, repository: &Repository) -> Vec<SegmentEntry> {
    let key = repository.keyring().current();
    (0..CHUNKS_PER_PACK)
        .map(|at| {
            let chunk = ChunkId::new(id("chunk", pack * CHUNKS_PER_PACK + at));
            SegmentEntry {
                id: SegmentId::from(chunk),
                offset: 32 + SEALED_LEN * u32::try_from(at).unwrap_or(0),
                sealed_len: SEALED_LEN,
                raw_len: 256 << 10,
                kind: SegmentKind::Zstd,
                key,
                base: None,
                features: None,
                chunks: vec![ChunkEntry { id: chunk, len: 256 << 10 }],
            }
        })
        .collect()
}

/// A repository that names `packs` packs. They have right names and lengths, and nothing in them.
fn fill(repository: &Repository, store: &MemoryStore, packs: u64) {
    let key = repository.keyring().current();
    let len = SEALED_LEN as usize * CHUNKS_PER_PACK as usize + 512;
    for first in (0..packs).step_by(PACKS_PER_OBJECT as usize) {
        let mut object = IndexObject::default();
        for number in first..(first + PACKS_PER_OBJECT).min(packs) {
            let mut bytes = number.to_le_bytes().to_vec();
            bytes.resize(len, 0);
            let id = PackId::new(Sha256::digest(&bytes).into());
            store.insert_raw(ObjectName::Pack(id), bytes);
            let entries = entries(number, repository);
            let (class, size) = (PackClass::Data, len as u64);
            object.packs.push(IndexedPack { id, class, size, key, entries });
        }
        repository.write_index_object(&object).expect("an index object");
    }
}

fn names(store: &MemoryStore, kinds: &[ObjectKind]) -> u64 {
    kinds.iter().map(|kind| list_all(store, *kind).expect("a listing").len() as u64).sum()
}

fn calls(recording: &Recording) -> usize {
    recording.calls().len() - recording.count(Verb::Sync)
}

fn measure(packs: u64) -> Measured {
    let scratch = tempfile::tempdir().expect("a directory");
    let memory = Arc::new(MemoryStore::new());
    let environment = Environment {
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        host: "scale".to_owned(),
        state_dir: Some(scratch.path().to_owned()),
    };
    let credential = Credential::KeyFile(Secret::new(vec![7; 32]));
    let options = InitOptions::default();
    let made =
        Repository::init(Arc::clone(&memory) as _, &credential, &options, environment.clone());
    fill(&made.expect("a repository"), &memory, packs);
    let recording = Arc::new(Recording::new(Arc::clone(&memory) as _));
    let repository =
        Repository::open(Arc::clone(&recording) as _, &credential, environment).expect("opened");
    repository.refresh().expect("loaded");
    recording.clear();
    repository.begin_session("scale").expect("a session").end().expect("ended");
    let open_calls = calls(&recording);
    let target_memory = Arc::new(memory.clone_store());
    let target_recording = Arc::new(Recording::new(Arc::clone(&target_memory) as _));
    let target: Arc<dyn Store> = Arc::clone(&target_recording) as _;
    let record = scratch.path().join("record.sqlite");
    let holdings = Holdings::open(&record, repository.config().id).expect("a record");
    let night = || {
        let options = CopyOptions { sample: Sample::NONE, ..CopyOptions::default() };
        let accept = |_: &_| Ok::<_, CopyError>(true);
        copy(&repository, &target, &holdings, &options, (&StopFlag::new(), &Silent), accept)
            .expect("a copy");
    };
    night();
    target_recording.clear();
    night();
    let chunks = (packs * CHUNKS_PER_PACK) as f64;
    let object_bytes: u64 = list_all(memory.as_ref(), ObjectKind::Index)
        .expect("a listing")
        .iter()
        .map(|info| info.size)
        .sum();
    let on_disk = |path: &std::path::Path| {
        let wal = std::fs::metadata(path.with_extension("sqlite-wal")).map_or(0, |file| file.len());
        (std::fs::metadata(path).expect("is there").len() + wal) as f64
    };
    use ObjectKind as K;
    Measured {
        packs,
        open_calls,
        open_names: names(&memory, &[K::Session, K::Condemned, K::Index, K::Pack]),
        night_calls: calls(&target_recording),
        night_names: names(&target_memory, &[K::Key, K::Index, K::Snapshot, K::Receipt]),
        object_bytes: object_bytes as f64 / chunks,
        index_bytes: on_disk(repository.index().path()) / chunks,
        record_bytes: on_disk(&record) / packs as f64,
    }
}

/// So many servers, each with so many bytes, and what a night adds to each.
struct Fleet {
    servers: f64,
    bytes: f64,
    night_packs: f64,
    /// Repositories they share.
    repositories: f64,
}

fn tell(fleet: &Fleet, measured: &Measured) {
    let packs = fleet.bytes / PACK_LEN / fleet.repositories;
    let writers = fleet.servers / fleet.repositories;
    let scale = packs / measured.packs as f64;
    let pages = |names: u64| (names as f64 * scale / PAGE).ceil();
    let lists_open = pages(measured.open_names) + measured.open_calls as f64;
    let lists_night = pages(measured.night_names) + measured.night_calls as f64;
    let chunks = packs * CHUNKS_PER_PACK as f64;
    println!(
        "\n{:.0} repositories with {writers:.0} writers each: {packs:.0} packs, {:.1} million chunks",
        fleet.repositories,
        chunks / 1e6
    );
    println!(
        "  index objects          {:>10.2} GB in the store",
        chunks * measured.object_bytes / 1e9
    );
    println!(
        "  local index            {:>10.2} GB at every writer",
        chunks * measured.index_bytes / 1e9
    );
    println!("  record of a copy       {:>10.3} GB", packs * measured.record_bytes / 1e9);
    println!("  a backup opens with    {lists_open:>10.0} calls");
    println!("  an unchanged copy      {lists_night:>10.0} calls");
    let nights = fleet.servers * 30.0;
    // A pack, its size, an index object, a snapshot, sessions, receipts; and the copy's reading back.
    let objects = nights * (fleet.night_packs + 6.0);
    for price in &PRICES {
        let storage = fleet.bytes / 1e9 * price.month_gb;
        let put = (objects + nights * lists_night) / 1000.0 * price.put_1000;
        let get = nights * (fleet.night_packs + 32.0) / 1000.0 * price.get_1000;
        let direct = nights * lists_open / 1000.0 * price.put_1000;
        println!(
            "  {:<12} a month: storage {storage:>8.0} $, a copy's calls {:>8.0} $; were it the primary {:>8.0} $ more",
            price.name,
            put + get,
            direct
        );
    }
}

fn main() {
    let is_short = !std::env::args().any(|argument| argument == "--bench");
    let most: u64 =
        std::env::var("MRSB_SCALE_PACKS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let sizes: Vec<u64> = match is_short {
        true => vec![128, 256],
        false => {
            [1_000, 5_000, 20_000, 100_000].into_iter().filter(|packs| *packs <= most).collect()
        }
    };
    println!(
        "{:>8} {:>12} {:>12} {:>14} {:>12} {:>12}",
        "packs", "open: calls", "copy: calls", "object B/chunk", "index B/chunk", "record B/pack"
    );
    let all: Vec<Measured> = sizes.into_iter().map(measure).collect();
    for one in &all {
        println!(
            "{:>8} {:>12} {:>12} {:>14.1} {:>12.1} {:>12.1}",
            one.packs,
            one.open_calls,
            one.night_calls,
            one.object_bytes,
            one.index_bytes,
            one.record_bytes
        );
    }
    let first = &all[0];
    for one in &all {
        // What `docs/scaling.md` rests on: calls do not grow with the repository, but for pages of listings.
        assert_eq!((one.open_calls, one.night_calls), (first.open_calls, first.night_calls));
    }
    let Some(measured) = all.last() else { return };
    for repositories in [10_000.0, 100.0, 1.0] {
        let fleet = Fleet { servers: 10_000.0, bytes: 1e15, night_packs: 3.0, repositories };
        tell(&fleet, measured);
    }
}
