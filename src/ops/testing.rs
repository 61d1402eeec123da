//! Small repositories for tests. Compiled into the unit tests and, by path, into tests of the public
//! interface: so it names everything through `mrs_backup`.

use std::num::NonZeroUsize;
use std::sync::Arc;

use mrs_backup::chunker::Features;
use mrs_backup::clock::SystemClock;
use mrs_backup::crypto::random::SystemRandom;
use mrs_backup::crypto::secret::Secret;
use mrs_backup::crypto::slot::Credential;
use mrs_backup::event::StopFlag;
use mrs_backup::id::SnapshotId;
use mrs_backup::pack::{Likeness, PackClass};
use mrs_backup::repository::{
    DirectoryBuilder, Environment, Grouping, Ingest, IngestOptions, InitOptions, Repository,
    RepositoryError, StreamBuilder,
};
use mrs_backup::snapshot::{Node, NodeKind, Snapshot, StreamRef};
use mrs_backup::store::{MemoryStore, Store};

/// Bytes of a chunk.
const CHUNK: usize = 64 << 10;

/// A tree to be stored. Names must ascend.
#[derive(Debug, Clone)]
pub enum Tree {
    /// A file.
    File(Vec<u8>),
    /// A directory.
    Dir(Vec<(&'static str, Tree)>),
    /// Any node whose content is stored already, or that has none.
    Node(Box<Node>),
    /// A node of which the content is still to be stored.
    With(Box<Node>, Vec<u8>),
}

/// A file with this content.
pub fn file(content: impl Into<Vec<u8>>) -> Tree {
    Tree::File(content.into())
}

/// A directory with these entries.
pub fn dir<const N: usize>(entries: [(&'static str, Tree); N]) -> Tree {
    Tree::Dir(entries.into())
}

/// Bytes that cannot be compressed and follow from `seed`.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn environment() -> Environment {
    Environment {
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        host: "host".to_owned(),
        state_dir: None,
    }
}

/// What opens the test repositories.
pub fn credential() -> Credential {
    Credential::KeyFile(Secret::new(vec![7; 32]))
}

/// A new repository in `store`, with packs of 1 MiB.
pub fn init(store: &Arc<MemoryStore>) -> Repository {
    let options = InitOptions { pack_len: Some(1 << 20), ..InitOptions::default() };
    Repository::init(Arc::clone(store) as _, &credential(), &options, environment()).unwrap()
}

/// The repository in `store`, as a machine sees it that never did before.
pub fn open(store: &Arc<MemoryStore>) -> Result<Repository, RepositoryError> {
    open_in(Arc::clone(store) as _)
}

/// The same in any store.
pub fn open_in(store: Arc<dyn Store>) -> Result<Repository, RepositoryError> {
    Repository::open(store, &credential(), environment())
}

/// The repository in `store`, with its local index in a directory.
#[allow(dead_code, reason = "not every test that includes this needs it")]
pub fn open_at(store: &Arc<MemoryStore>, state: &std::path::Path) -> Repository {
    let environment = Environment { state_dir: Some(state.to_owned()), ..environment() };
    Repository::open(Arc::clone(store) as _, &credential(), environment).unwrap()
}

/// Stores the content of one file.
pub fn store_content(ingest: &mut Ingest<'_>, content: &[u8]) -> StreamRef {
    let mut stream = StreamBuilder::new();
    for piece in content.chunks(CHUNK) {
        let profile = ingest.repository().config().text;
        let features = Some(Features::of(ingest.gear(), profile, piece));
        let likeness = Likeness { features, earlier: None };
        let chunk = ingest.store_like(PackClass::Data, piece, Grouping::Alone, likeness).unwrap();
        stream.push(ingest, chunk).unwrap();
    }
    stream.finish(ingest).unwrap()
}

/// Stores `tree`; gives its node, named `name`.
pub fn store_tree(ingest: &mut Ingest<'_>, name: &str, tree: &Tree) -> Node {
    let new = |kind, content| Node {
        content: Some(content),
        mode: 0o644,
        mtime: 1_700_000_000,
        ..Node::new(name, kind)
    };
    match tree {
        Tree::File(content) => new(NodeKind::File, store_content(ingest, content)),
        Tree::Dir(entries) => {
            let mut directory = DirectoryBuilder::new();
            for (name, entry) in entries {
                let node = store_tree(ingest, name, entry);
                directory.push(ingest, &node).unwrap();
            }
            new(NodeKind::Directory, directory.finish(ingest).unwrap())
        }
        Tree::Node(node) => Node { name: name.into(), ..(**node).clone() },
        Tree::With(node, content) => {
            let content = Some(store_content(ingest, content));
            Node { name: name.into(), content, ..(**node).clone() }
        }
    }
}

/// A snapshot object over `root`.
pub fn snapshot(instance: &str, counter: u64, root: StreamRef) -> Snapshot {
    let start = 1_700_000_000_000_000_000 + i64::try_from(counter).unwrap();
    Snapshot {
        root,
        instance: instance.to_owned(),
        host: "host".to_owned(),
        start,
        end: start,
        time_zone: "UTC".to_owned(),
        tags: Vec::new(),
        sources: Vec::new(),
        is_complete: true,
        parent: None,
        predecessors: Vec::new(),
        counter,
        statistics: Default::default(),
        program: "test".to_owned(),
        session: mrs_backup::id::SessionId::new([0; 16]),
        databases: Vec::new(),
    }
}

/// Backs up what `produce` stores, as the `counter`-th snapshot of instance `app`.
pub fn backup_with(
    repository: &Repository,
    counter: u64,
    produce: impl FnOnce(&mut Ingest<'_>) -> StreamRef,
) -> SnapshotId {
    let stop = StopFlag::new();
    let options =
        IngestOptions { level: 1, sealers: NonZeroUsize::MIN, ..IngestOptions::default() };
    let session = repository.begin_session("test").unwrap();
    let produce = |ingest: &mut Ingest<'_>| Ok::<_, RepositoryError>(produce(ingest));
    let (root, _) = repository.ingest(&session, options, &stop, produce).unwrap();
    let commit = session.commit(&snapshot("app", counter, root), options, &stop).unwrap();
    session.end().unwrap();
    commit.id
}

/// Backs up `tree`, a directory.
pub fn backup(repository: &Repository, counter: u64, tree: &Tree) -> SnapshotId {
    backup_with(repository, counter, |ingest| store_tree(ingest, "", tree).content.unwrap())
}
