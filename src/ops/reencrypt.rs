//! Snapshots of one repository, read as streams and stored in another one: with its keys, its cuts, its packs.
//! Times, tags, hosts and everything else stay as they are.
//!
//! What both call the same moment of the same instance is the same snapshot: copying again changes nothing.

use std::collections::{HashMap, HashSet};

use crate::event::{Event, Observer, StopFlag};
use crate::id::SnapshotId;
use crate::repository::{
    DirectoryBuilder, DirectoryReader, Fetcher, Ingest, IngestOptions, Repository, RepositoryError,
    Session, StreamBytes,
};
use crate::snapshot::{Node, NodeKind, Selected, Snapshot, StreamKey, StreamRef};

use super::backup::ContentStore;
use super::browse::{display_path, resolve};
use super::tree::join;

/// Bytes of opened segments kept while something is read.
const CACHE: usize = 32 << 20;
/// Streams of which it is remembered what they became; beyond that they are read again.
const KNOWN_STREAMS: usize = 1 << 20;

/// Which snapshot it is, in every repository.
type Moment = (String, String, i64, i64, bool);

fn moment(snapshot: &Snapshot) -> Moment {
    let Snapshot { instance, host, start, end, is_complete, .. } = snapshot;
    (instance.clone(), host.clone(), *start, *end, *is_complete)
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct ReencryptReport {
    /// Snapshots that were there already.
    pub known: u64,
    /// Snapshots copied: what they were and what they are.
    pub copied: Vec<(SnapshotId, SnapshotId)>,
    /// Snapshots that could not be copied, and why.
    pub failed: Vec<(SnapshotId, String)>,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes stored: packs and index objects.
    pub stored_bytes: u64,
}

/// Those of `snapshots` that `target` has not, oldest first.
pub fn missing<'s>(
    snapshots: &'s [Selected],
    target: &Repository,
) -> Result<Vec<&'s Selected>, RepositoryError> {
    let there = target.snapshots()?;
    let there: HashSet<Moment> =
        there.snapshots.iter().map(|(_, snapshot)| moment(snapshot)).collect();
    Ok(snapshots.iter().filter(|(_, snapshot)| !there.contains(&moment(snapshot))).collect())
}

/// Stores `snapshots` of `source` in `target`, those it has not. One that cannot be read whole is told and left
/// out. Killed anywhere, it can be repeated.
pub fn reencrypt(
    source: &Repository,
    snapshots: &[Selected],
    target: &Repository,
    options: IngestOptions,
    (stop, observer): (&StopFlag, &dyn Observer),
) -> Result<ReencryptReport, RepositoryError> {
    let missing = missing(snapshots, target)?;
    let mut report = ReencryptReport {
        known: (snapshots.len() - missing.len()) as u64,
        ..ReencryptReport::default()
    };
    // What the snapshots here are called there.
    let mut names: HashMap<SnapshotId, SnapshotId> = HashMap::new();
    let there: HashMap<Moment, SnapshotId> = target
        .snapshots()?
        .snapshots
        .into_iter()
        .map(|(id, snapshot)| (moment(&snapshot), id))
        .collect();
    for (id, snapshot) in snapshots {
        names.extend(there.get(&moment(snapshot)).map(|new| (*id, *new)));
    }
    let fetcher = Fetcher::new(source, CACHE);
    let mut known = HashMap::new();
    observer.event(&Event::StepStarted { step: "re-encrypt", total_bytes: None });
    for (id, snapshot) in missing {
        if stop.is_stopped() {
            return Err(RepositoryError::Interrupted);
        }
        let item = format!("snapshot {}", id.short());
        observer.event(&Event::Working { item: item.clone() });
        let copying = Copying { fetcher: &fetcher, observer, known: &mut known, read_bytes: 0 };
        match copying.snapshot(snapshot, &names, target, options, stop) {
            Ok((new, read, stored)) => {
                names.insert(*id, new);
                report.copied.push((*id, new));
                report.read_bytes += read;
                report.stored_bytes += stored;
                observer.event(&Event::Progress { bytes: 0, items: 1 });
            }
            Err(error) if error.is_damage() => {
                let message = error.to_string();
                observer.event(&Event::ItemFailed { item, message: message.clone() });
                report.failed.push((*id, message));
            }
            Err(error) => return Err(error),
        }
    }
    observer.event(&Event::StepFinished { step: "re-encrypt" });
    Ok(report)
}

/// One snapshot on its way.
struct Copying<'a, 'r> {
    fetcher: &'a Fetcher<'r>,
    observer: &'a dyn Observer,
    /// What streams of the source are in the target.
    known: &'a mut HashMap<StreamKey, StreamRef>,
    read_bytes: u64,
}

/// A directory being rewritten, with the node it is the content of.
struct Open<'f, 'r> {
    reader: DirectoryReader<'f, 'r>,
    builder: DirectoryBuilder,
    key: StreamKey,
    node: Option<Node>,
    path: Vec<u8>,
}

impl<'r> Copying<'_, 'r> {
    /// Stores a snapshot; gives its new id, bytes read and bytes stored.
    fn snapshot(
        mut self,
        old: &Snapshot,
        names: &HashMap<SnapshotId, SnapshotId>,
        target: &Repository,
        options: IngestOptions,
        stop: &StopFlag,
    ) -> Result<(SnapshotId, u64, u64), RepositoryError> {
        let session = target.begin_session("copy")?;
        let done = self.snapshot_in(&session, old, names, options, stop);
        if done.is_err() {
            // What it says is in the target may not be.
            self.known.clear();
        }
        let ended = session.end();
        let (id, stored_bytes) = done?;
        ended?;
        Ok((id, self.read_bytes, stored_bytes))
    }

    fn snapshot_in(
        &mut self,
        session: &Session<'_>,
        old: &Snapshot,
        names: &HashMap<SnapshotId, SnapshotId>,
        options: IngestOptions,
        stop: &StopFlag,
    ) -> Result<(SnapshotId, u64), RepositoryError> {
        let target = session.repository();
        // What an earlier night stored is what changed pieces are compared with.
        let earlier = old.predecessors.iter().find_map(|id| names.get(id));
        let earlier = earlier.and_then(|id| target.snapshot(id).ok());
        let (root, stats) = target.ingest(session, options, stop, |ingest| {
            self.tree(&old.root, ingest, earlier.as_ref())
        })?;
        let named = |id: &SnapshotId| names.get(id).copied();
        let new = Snapshot {
            root,
            parent: old.parent.as_ref().and_then(named),
            predecessors: old.predecessors.iter().filter_map(named).collect(),
            session: session.id(),
            ..old.clone()
        };
        Ok((session.commit(&new, options, stop)?.id, stats.stored_bytes))
    }

    fn tree(
        &mut self,
        root: &StreamRef,
        ingest: &mut Ingest<'_>,
        earlier: Option<&Snapshot>,
    ) -> Result<StreamRef, RepositoryError> {
        let fetcher = self.fetcher;
        let open = |content: &StreamRef, node: Option<Node>, path: Vec<u8>| Open {
            reader: DirectoryReader::new(fetcher, content),
            builder: DirectoryBuilder::new(),
            key: content.key(),
            node,
            path,
        };
        let mut contents = ContentStore::new(ingest);
        ingest.compare(true);
        let mut stack = vec![open(root, None, Vec::new())];
        loop {
            let Some(top) = stack.last_mut() else {
                return Err(RepositoryError::Internal("a tree was copied without its root"));
            };
            if let Some(mut node) = top.reader.next_node()? {
                let path = join(&top.path, &node.name);
                let known =
                    node.content.as_ref().and_then(|content| self.known.get(&content.key()));
                match (node.content.clone(), known.cloned()) {
                    (Some(_), Some(known)) => node.content = Some(known),
                    (Some(content), None) if node.kind == NodeKind::Directory => {
                        stack.push(open(&content, Some(node), path));
                        continue;
                    }
                    (Some(content), None) => {
                        let stored =
                            self.content(&content, &path, ingest, &mut contents, earlier)?;
                        node.content = Some(stored);
                    }
                    (None, _) => {}
                }
                top.builder.push(ingest, &node)?;
                continue;
            }
            let Some(done) = stack.pop() else { continue };
            let content = done.builder.finish(ingest)?;
            self.remember(done.key, &content);
            match (done.node, stack.last_mut()) {
                (Some(node), Some(parent)) => {
                    let node = Node { content: Some(content), ..node };
                    parent.builder.push(ingest, &node)?;
                }
                _ => return Ok(content),
            }
        }
    }

    /// Copies the bytes of a file.
    fn content<'i>(
        &mut self,
        old: &StreamRef,
        path: &[u8],
        ingest: &mut Ingest<'i>,
        contents: &mut ContentStore<'i>,
        earlier: Option<&Snapshot>,
    ) -> Result<StreamRef, RepositoryError> {
        let mut reader = StreamBytes::new(self.fetcher, old);
        let mut read = 0;
        let observer = self.observer;
        let mut progress = |bytes: u64| {
            read += bytes;
            observer.event(&Event::Progress { bytes, items: 0 });
        };
        let before = &mut |fetcher: &Fetcher<'_>| resolve(fetcher, earlier?, path).ok()?.content;
        let stored = contents.store(ingest, &mut reader, &mut progress, before)?;
        if let Some(error) = stored.read_error {
            let reason = format!("{}: {error}", display_path(path));
            let location = self.fetcher.repository().store().location().clone();
            let damage = RepositoryError::DamagedTree { location, reason };
            return Err(reader.take_error().unwrap_or(damage));
        }
        if stored.content.len != old.len {
            return Err(RepositoryError::Internal(
                "a stream came out longer or shorter than it was",
            ));
        }
        self.read_bytes += read;
        self.remember(old.key(), &stored.content);
        Ok(stored.content)
    }

    fn remember(&mut self, key: StreamKey, content: &StreamRef) {
        if self.known.len() >= KNOWN_STREAMS {
            self.known.clear();
        }
        self.known.insert(key, content.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::crypto::Secret;
    use crate::crypto::slot::Credential;
    use crate::event::Silent;
    use crate::ops::check::{CheckOptions, ReadData, check};
    use crate::ops::dump::dump;
    use crate::ops::testing::{backup, dir, file, init, noise, open};
    use crate::repository::InitOptions;
    use crate::store::{Fault, Faulty, MemoryStore, ObjectKind, ObjectName, Store, list_all};

    /// Another repository: other keys, other packs, no deltas.
    fn other(store: Arc<dyn Store>, like: &Repository) -> Result<Repository, RepositoryError> {
        let credential = Credential::KeyFile(Secret::new(vec![9; 40]));
        let options =
            InitOptions { pack_len: Some(2 << 20), no_deltas: true, ..InitOptions::default() };
        let environment = like.environment().clone();
        match Repository::init(Arc::clone(&store), &credential, &options, environment.clone()) {
            Err(RepositoryError::NotEmpty { .. }) => {
                Repository::open(store, &credential, environment)
            }
            made => made,
        }
    }

    fn run(source: &Repository, target: &Repository) -> Result<ReencryptReport, RepositoryError> {
        let snapshots = source.snapshots()?.snapshots;
        let options = IngestOptions { level: 1, ..IngestOptions::default() };
        reencrypt(source, &snapshots, target, options, (&StopFlag::new(), &Silent))
    }

    fn source() -> (Arc<MemoryStore>, Repository) {
        let store = Arc::new(MemoryStore::new());
        let repository = init(&store);
        let same = || file(noise(9, 200_000));
        let sub = || dir([("empty", file([])), ("same", same())]);
        backup(&repository, 1, &dir([("a", file(noise(1, 500_000))), ("sub", sub())]));
        backup(&repository, 2, &dir([("a", file(noise(2, 70_000))), ("sub", sub())]));
        (store, repository)
    }

    fn read(repository: &Repository, snapshot: &Snapshot, path: &str) -> Vec<u8> {
        let fetcher = Fetcher::new(repository, CACHE);
        let mut bytes = Vec::new();
        dump(&fetcher, snapshot, path.as_bytes(), &mut bytes, &StopFlag::new()).unwrap();
        bytes
    }

    #[track_caller]
    fn assert_clean(repository: &Repository) {
        repository.refresh().unwrap();
        let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
        let report = check(repository, &options, &StopFlag::new(), &Silent).unwrap();
        assert!(report.is_clean(), "{report:?}");
    }

    #[test]
    fn everything_arrives_and_a_second_call_changes_nothing() {
        let (_, source) = source();
        let store = Arc::new(MemoryStore::new());
        let target = other(Arc::clone(&store) as _, &source).unwrap();
        let report = run(&source, &target).unwrap();
        assert_eq!((report.copied.len(), report.known), (2, 0));
        // What both snapshots have is read once.
        assert_eq!(report.read_bytes, 500_000 + 70_000 + 200_000);
        assert_clean(&target);
        let (old, new) =
            (source.snapshots().unwrap().snapshots, target.snapshots().unwrap().snapshots);
        for ((old_id, old), (new_id, new)) in old.iter().zip(&new) {
            assert_ne!(old_id, new_id);
            assert_eq!(moment(old), moment(new));
            assert_eq!(
                (&old.tags, old.counter, &old.program),
                (&new.tags, new.counter, &new.program)
            );
            for path in ["a", "sub/same", "sub/empty"] {
                assert_eq!(read(&source, old, path), read(&target, new, path), "{path}");
            }
        }
        // No chunk or object of one can be recognised in the other.
        let packs = |store: &MemoryStore| -> HashSet<ObjectName> {
            list_all(store, ObjectKind::Pack).unwrap().into_iter().map(|info| info.name).collect()
        };
        let before = store.objects();
        let again = run(&source, &target).unwrap();
        assert_eq!((again.copied.len(), again.known, again.stored_bytes), (0, 2, 0));
        assert_eq!(store.objects(), before);
        assert!(!packs(&store).is_empty());
        // A further night.
        backup(&source, 3, &dir([("a", file(noise(3, 1000)))]));
        assert_eq!(run(&source, &target).unwrap().copied.len(), 1);
        assert_clean(&target);
    }

    #[test]
    fn killed_anywhere_it_can_be_repeated() {
        let (_, source) = source();
        for call in (0..).step_by(3) {
            let memory = Arc::new(MemoryStore::new());
            let target = other(Arc::clone(&memory) as _, &source).unwrap();
            drop(target);
            let faulty =
                Arc::new(Faulty::new(Arc::clone(&memory) as _, vec![Fault::KillAfter { call }]));
            let dying = other(Arc::clone(&faulty) as _, &source).unwrap();
            let done = run(&source, &dying);
            let target = other(Arc::clone(&memory) as _, &source).unwrap();
            if !faulty.is_dead() {
                done.unwrap();
                assert!(call > 15, "only {call} calls were tried");
                break;
            }
            assert!(done.is_err());
            run(&source, &target).unwrap();
            assert_eq!(target.snapshots().unwrap().snapshots.len(), 2, "killed at {call}");
            target.refresh().unwrap();
            let options = CheckOptions::default();
            let report = check(&target, &options, &StopFlag::new(), &Silent).unwrap();
            assert_eq!(report.errors, 0, "killed at {call}: {report:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_and_the_rest_copied() {
        let (store, _) = source();
        let is_new = |name: &ObjectName, before: &HashSet<ObjectName>| {
            name.kind() == ObjectKind::Pack && !before.contains(name)
        };
        let before: HashSet<ObjectName> = store.objects().into_keys().collect();
        let source = open(&store).unwrap();
        backup(&source, 3, &dir([("lost", file(noise(3, 90_000)))]));
        backup(&source, 4, &dir([("found", file(noise(4, 1000)))]));
        let third: Vec<_> =
            store.objects().into_iter().filter(|(name, _)| is_new(name, &before)).collect();
        for (name, mut bytes) in third.into_iter().filter(|(_, bytes)| bytes.len() > 90_000) {
            bytes[1000] ^= 1;
            store.insert_raw(name, bytes);
        }
        let source = open(&store).unwrap();
        source.refresh().unwrap();
        let target = other(Arc::new(MemoryStore::new()), &source).unwrap();
        let report = run(&source, &target).unwrap();
        assert_eq!((report.copied.len(), report.failed.len()), (3, 1), "{report:?}");
        assert_clean(&target);
    }
}
