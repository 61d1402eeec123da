//! Makes a repository look as if it held millions of chunks, to measure what depends on their number.
//!
//!     cargo run --release --example synthetic -- REPOSITORY CHUNKS
//!
//! The repository must exist; its password is taken from `MRS_BACKUP_PASSWORD`. Index objects are real; the
//! packs they name are sparse files of the right length with nothing in them, so such a repository is
//! good for backups and memory figures, not for restores.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use mrs_backup::clock::SystemClock;
use mrs_backup::crypto::slot::Credential;
use mrs_backup::crypto::{Secret, SystemRandom};
use mrs_backup::id::{ChunkId, PackId, SegmentId};
use mrs_backup::index::{IndexObject, IndexedPack};
use mrs_backup::pack::{ChunkEntry, PackClass, SegmentEntry, SegmentKind};
use mrs_backup::repository::{Environment, Repository};
use mrs_backup::store::{ObjectName, open_store};

const CHUNKS_PER_PACK: u64 = 256;
const PACKS_PER_OBJECT: u64 = 64;
const CHUNK_LEN: u32 = 256 << 10;
const SEALED_LEN: u32 = 64 << 10;

fn id(kind: &str, number: u64) -> [u8; 32] {
    *blake3::hash(format!("synthetic {kind} {number}").as_bytes()).as_bytes()
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, place, chunks] = &arguments[..] else {
        return Err("usage: synthetic REPOSITORY CHUNKS".into());
    };
    let chunks: u64 = chunks.parse()?;
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
    Ok(())
}
