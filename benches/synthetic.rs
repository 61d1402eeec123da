//! Makes a repository look as if it held millions of chunks, to measure what depends on their number.
//!
//!     cargo run --release --example synthetic -- REPOSITORY CHUNKS [SNAPSHOTS]
//!
//! The repository must exist; its password is taken from `MRS_BACKUP_PASSWORD`. Index objects are real; the
//! packs they name are sparse files of the right length with nothing in them, so such a repository is
//! good for backups, prunes that rewrite nothing, and memory figures, not for restores.
//!
//! With SNAPSHOTS, there are as many of instance `app`, a night apart, whose trees are real and hold all chunks:
//! four of five since the first night, the others came night by night, in files of a hundred chunks.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use mrs_backup::clock::{Clock as _, SystemClock};
use mrs_backup::crypto::slot::Credential;
use mrs_backup::crypto::{Secret, SystemRandom};
use mrs_backup::event::StopFlag;
use mrs_backup::id::{ChunkId, PackId, SegmentId, SessionId, SnapshotId};
use mrs_backup::index::{IndexObject, IndexedPack};
use mrs_backup::pack::{ChunkEntry, PackClass, SegmentEntry, SegmentKind};
use mrs_backup::repository::{
    DirectoryBuilder, Environment, Ingest, IngestOptions, Repository, RepositoryError,
    StreamBuilder,
};
use mrs_backup::snapshot::{ChunkRef, Node, NodeKind, Snapshot, StreamRef};
use mrs_backup::store::{ObjectName, open_store};

const CHUNKS_PER_PACK: u64 = 256;
const PACKS_PER_OBJECT: u64 = 64;
const CHUNK_LEN: u32 = 256 << 10;
const SEALED_LEN: u32 = 64 << 10;

fn id(kind: &str, number: u64) -> [u8; 32] {
    *blake3::hash(format!("synthetic {kind} {number}").as_bytes()).as_bytes()
}

/// The files of one night: which file number each is, by directory.
struct Files {
    directories: Vec<Vec<u64>>,
    /// What each directory was stored as, until one of its files changes.
    stored: Vec<Option<StreamRef>>,
    next: u64,
}

const CHUNKS_PER_FILE: u64 = 100;
const FILES_PER_DIRECTORY: usize = 25;

impl Files {
    fn new(files: u64) -> Self {
        let numbers: Vec<u64> = (0..files).collect();
        let directories: Vec<Vec<u64>> =
            numbers.chunks(FILES_PER_DIRECTORY).map(<[u64]>::to_vec).collect();
        let stored = vec![None; directories.len()];
        Self { directories, stored, next: files }
    }

    /// `count` files change, in directories far from each other. Two nights change the same files, so that nothing
    /// else needs what came with the first of them.
    fn change(&mut self, count: u64, night: u64) {
        let night = night / 2;
        for at in 0..count {
            let places = self.directories.len() as u64;
            let place = usize::try_from((night * 7919 + at * 104_729) % places).unwrap_or(0);
            let file = usize::try_from(night + at).unwrap_or(0) % self.directories[place].len();
            self.directories[place][file] = self.next;
            self.stored[place] = None;
            self.next += 1;
        }
    }

    fn store(&mut self, ingest: &mut Ingest<'_>) -> Result<StreamRef, RepositoryError> {
        let mut root = DirectoryBuilder::new();
        for (number, files) in self.directories.iter().enumerate() {
            let stored = match &self.stored[number] {
                Some(stored) => stored.clone(),
                None => store_directory(ingest, files)?,
            };
            let mut node = Node::new(format!("{number:06}"), NodeKind::Directory);
            node.content = Some(stored.clone());
            root.push(ingest, &node)?;
            self.stored[number] = Some(stored);
        }
        root.finish(ingest)
    }
}

fn store_directory(ingest: &mut Ingest<'_>, files: &[u64]) -> Result<StreamRef, RepositoryError> {
    let mut directory = DirectoryBuilder::new();
    for (place, file) in files.iter().enumerate() {
        let mut stream = StreamBuilder::new();
        for at in 0..CHUNKS_PER_FILE {
            let id = ChunkId::new(id("chunk", file * CHUNKS_PER_FILE + at));
            stream.push(ingest, ChunkRef { id, len: CHUNK_LEN })?;
        }
        let mut node = Node::new(format!("{place:03}"), NodeKind::File);
        node.content = Some(stream.finish(ingest)?);
        directory.push(ingest, &node)?;
    }
    directory.finish(ingest)
}

fn add_snapshots(repository: &Repository, chunks: u64, nights: u64) -> Result<(), RepositoryError> {
    let files = chunks / CHUNKS_PER_FILE;
    let changing = files / 5 / nights.saturating_sub(1).max(1);
    let mut tree = Files::new(files - changing * (nights - 1));
    let (options, stop) = (IngestOptions::default(), StopFlag::new());
    let now = SystemClock.now().as_second();
    let mut before: Option<SnapshotId> = None;
    for night in 0..nights {
        if night > 0 {
            tree.change(changing, night);
        }
        let session = repository.begin_session("synthetic")?;
        let (root, _) = repository.ingest(&session, options, &stop, |ingest| tree.store(ingest))?;
        let ago = i64::try_from((nights - night) * 86_400).unwrap_or(0);
        let start = (now - ago) * 1_000_000_000;
        let snapshot = Snapshot {
            root,
            instance: "app".to_owned(),
            host: "synthetic".to_owned(),
            start,
            end: start,
            time_zone: "UTC".to_owned(),
            tags: Vec::new(),
            sources: Vec::new(),
            is_complete: true,
            parent: before,
            predecessors: before.into_iter().collect(),
            counter: night + 1,
            statistics: Default::default(),
            program: "synthetic".to_owned(),
            session: SessionId::new([0; 16]),
            databases: Vec::new(),
        };
        before = Some(session.commit(&snapshot, options, &stop)?.id);
        session.end()?;
    }
    println!("{nights} snapshots, {changing} files of {CHUNKS_PER_FILE} chunks a night");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let (place, chunks, nights): (&String, u64, u64) = match &arguments[..] {
        [_, place, chunks] => (place, chunks.parse()?, 0),
        [_, place, chunks, nights] => (place, chunks.parse()?, nights.parse()?),
        _ => return Err("usage: synthetic REPOSITORY CHUNKS [SNAPSHOTS]".into()),
    };
    let password = std::env::var("MRS_BACKUP_PASSWORD")?;
    let environment = Environment {
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        host: "synthetic".to_owned(),
        state_dir: None,
    };
    let credential = Credential::Password(Secret::new(password.into_bytes()));
    let repository = Repository::open(open_store(place)?, &credential, environment)?;
    let key = repository.keyring().current();
    let pack_count = chunks.div_ceil(CHUNKS_PER_PACK);
    let size = u64::from(SEALED_LEN) * CHUNKS_PER_PACK + 4096;
    for first in (0..pack_count).step_by(usize::try_from(PACKS_PER_OBJECT)?) {
        let mut object = IndexObject::default();
        for number in first..(first + PACKS_PER_OBJECT).min(pack_count) {
            let pack = PackId::new(id("pack", number));
            let path = PathBuf::from(place).join(ObjectName::Pack(pack).path());
            fs::create_dir_all(path.parent().ok_or("a pack has a directory")?)?;
            fs::File::create(&path)?.set_len(size)?;
            let entries = (0..CHUNKS_PER_PACK)
                .map(|at| {
                    let chunk = ChunkId::new(id("chunk", number * CHUNKS_PER_PACK + at));
                    SegmentEntry {
                        id: SegmentId::from(chunk),
                        offset: 32 + SEALED_LEN * u32::try_from(at).unwrap_or(0),
                        sealed_len: SEALED_LEN,
                        raw_len: CHUNK_LEN,
                        kind: SegmentKind::Zstd,
                        key,
                        base: None,
                        features: None,
                        chunks: vec![ChunkEntry { id: chunk, len: CHUNK_LEN }],
                    }
                })
                .collect();
            object.packs.push(IndexedPack { id: pack, class: PackClass::Data, size, key, entries });
        }
        repository.write_index_object(&object)?;
    }
    println!("{pack_count} packs, {} chunks", pack_count * CHUNKS_PER_PACK);
    if nights > 0 {
        add_snapshots(&repository, pack_count * CHUNKS_PER_PACK, nights)?;
    }
    Ok(())
}
