use std::sync::Arc;

use crate::crypto::envelope::SealedKind;
use crate::pack::PackClass;
use crate::repository::{
    DirectoryBuilder, Grouping, Ingest, IngestOptions, Repository, StreamBuilder,
};
use crate::snapshot::{CondemnedRecord, Node, NodeKind};
use crate::store::{MemoryStore, ObjectKind, ObjectName, Store as _, list_all};

use super::*;

#[path = "../../ops/testing.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
#[expect(clippy::duplicate_mod, reason = "the layer above has it, which is not named from here")]
mod testing;

/// Two directories of fifty files of a chunk each, in a third.
fn store_tree(ingest: &mut Ingest<'_>) -> StreamRef {
    let mut root = DirectoryBuilder::new();
    for number in 0..2_u8 {
        let mut directory = DirectoryBuilder::new();
        for file in 0..50_u8 {
            let bytes = [number, file].repeat(100 + usize::from(file));
            let chunk = ingest.store_chunk(PackClass::Data, &bytes, Grouping::Shared).unwrap();
            let mut stream = StreamBuilder::new();
            stream.push(ingest, chunk).unwrap();
            let content = Some(stream.finish(ingest).unwrap());
            let node = Node { content, ..Node::new(format!("f{file:02}"), NodeKind::File) };
            directory.push(ingest, &node).unwrap();
        }
        let content = Some(directory.finish(ingest).unwrap());
        let node = Node { content, ..Node::new(format!("d{number}"), NodeKind::Directory) };
        root.push(ingest, &node).unwrap();
    }
    root.finish(ingest).unwrap()
}

fn packs(store: &MemoryStore) -> Vec<ObjectName> {
    list_all(store, ObjectKind::Pack).unwrap().into_iter().map(|info| info.name).collect()
}

/// As a prune does: all packs that are there.
fn condemn_all(repository: &Repository, store: &MemoryStore) {
    let ids = packs(store).into_iter().map(|name| match name {
        ObjectName::Pack(id) => id,
        other => panic!("{other}"),
    });
    let record = CondemnedRecord { packs: ids.collect(), time: 0, host: "other".to_owned() };
    repository.put_sealed(SealedKind::Condemned, &record, ObjectName::Condemned).unwrap();
}

#[test]
fn what_is_condemned_meanwhile_is_stored_again_a_few_at_a_time() {
    let store = Arc::new(MemoryStore::new());
    let repository = testing::init(&store);
    testing::backup_with(&repository, 1, store_tree);
    let old = packs(&store);
    let options = IngestOptions { level: 1, ..IngestOptions::default() };
    let stop = StopFlag::new();
    let session = repository.begin_session("test").unwrap();
    let (root, stats) = repository
        .ingest(&session, options, &stop, |ingest| {
            condemn_all(&repository, &store);
            Ok::<_, RepositoryError>(store_tree(ingest))
        })
        .unwrap();
    assert_eq!(stats.new_chunks, 0, "all of it is stored");
    repository.refresh().unwrap();
    let indexes = || list_all(store.as_ref(), ObjectKind::Index).unwrap().len();
    let before = indexes();
    // A hundred files, two directories, and the one they are in.
    assert_eq!(session.rescue(&root, options, &stop, 10).unwrap(), 103);
    assert_eq!(indexes() - before, 11, "ten chunks at a time");
    assert_eq!(session.rescue(&root, options, &stop, 10).unwrap(), 0);
    session.commit(&testing::snapshot("app", 2, root.clone()), options, &stop).unwrap();
    session.end().unwrap();
    old.iter().for_each(|pack| store.delete(pack).unwrap());
    repository.refresh().unwrap();
    let fetcher = Fetcher::new(&repository, 0);
    let mut files = 0;
    let mut directories = vec![root];
    while let Some(directory) = directories.pop() {
        let mut nodes = DirectoryReader::new(&fetcher, &directory);
        while let Some(node) = nodes.next_node().unwrap() {
            let content = node.content.unwrap();
            match node.kind {
                NodeKind::Directory => directories.push(content),
                _ => {
                    content.chunks.iter().for_each(|chunk| drop(fetcher.chunk(chunk).unwrap()));
                    files += 1;
                }
            }
        }
    }
    assert_eq!(files, 100);
}

#[test]
fn a_commit_stores_again_what_was_condemned_and_tells_how_much() {
    let store = Arc::new(MemoryStore::new());
    let repository = testing::init(&store);
    testing::backup_with(&repository, 1, store_tree);
    let options = IngestOptions { level: 1, ..IngestOptions::default() };
    let stop = StopFlag::new();
    let session = repository.begin_session("test").unwrap();
    let (root, _) = repository
        .ingest(&session, options, &stop, |ingest| Ok::<_, RepositoryError>(store_tree(ingest)))
        .unwrap();
    condemn_all(&repository, &store);
    let snapshot = testing::snapshot("app", 2, root);
    assert_eq!(session.commit(&snapshot, options, &stop).unwrap().rescued_chunks, 103);
    session.end().unwrap();
}
