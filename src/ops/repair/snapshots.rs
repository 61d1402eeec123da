//! Snapshots that cannot be restored whole. One whose object is damaged is copied back from a copy, or
//! dropped. One that lacks content is replaced by one without the lost entries, which is incomplete and names
//! them; what it replaces is forgotten, with a receipt. Everything is shown first.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::event::{Event, Observer, StopFlag};
use crate::id::{SessionId, SnapshotId};
use crate::ops::browse::display_path;
use crate::ops::forget::{ForgetNote, forget_snapshots};
use crate::ops::tree::join;
use crate::repository::{
    ChunkWalk, DirectoryBuilder, DirectoryReader, Fetcher, Ingest, IngestOptions, Repository,
    RepositoryError, Session, is_rightly_named,
};
use crate::snapshot::{Node, NodeKind, Snapshot, StreamKey, StreamRef};
use crate::store::{ByteRange, ObjectName};

use super::CACHE;

/// Lost paths that are named.
const MAX_PATHS: usize = 100;
/// Longest snapshot object (format.md section 12).
const OBJECT_LIMIT: u64 = 1 << 30;

/// What is done about one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// Its object is copied back from the copy.
    CopyBack,
    /// It is replaced by one without what is lost.
    Replace {
        /// Entries that are lost.
        lost: u64,
        /// The first of their paths, fit to print; of a directory cut short it ends in `/`.
        paths: Vec<String>,
    },
    /// Nothing of it can be read: it is forgotten.
    Drop {
        /// Why.
        reason: String,
    },
}

/// One snapshot that is not whole.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SnapshotRepair {
    /// Which.
    pub id: SnapshotId,
    /// Of which instance, if that can be read.
    pub instance: Option<String>,
    /// Its start, nanoseconds since 1970, if that can be read.
    pub time: Option<i64>,
    /// What is done.
    pub remedy: Remedy,
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct SnapshotsPlan {
    /// Snapshots that are not whole; all others stay as they are.
    pub repairs: Vec<SnapshotRepair>,
    /// How many snapshots were looked at.
    pub snapshots: u64,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct SnapshotsReport {
    /// Copied back.
    pub copied_back: u64,
    /// Replaced: the old ones and the new ones.
    pub replaced: Vec<(SnapshotId, SnapshotId)>,
    /// Forgotten without a replacement.
    pub dropped: Vec<SnapshotId>,
}

/// Finds the snapshots that are not whole, and what can be done about each.
pub fn plan_snapshots(
    repository: &Repository,
    copy: Option<&Repository>,
    stop: &StopFlag,
    observer: &dyn Observer,
) -> Result<SnapshotsPlan, RepositoryError> {
    observer.event(&Event::StepStarted { step: "snapshots", total_bytes: None });
    let listed = repository.snapshots()?;
    let mut plan = SnapshotsPlan::default();
    for (id, error) in listed.damaged {
        let remedy = match copy.map(|copy| good_object(copy, &id)) {
            Some(Ok(_)) => Remedy::CopyBack,
            _ => Remedy::Drop { reason: error.to_string() },
        };
        plan.snapshots += 1;
        plan.repairs.push(SnapshotRepair { id, instance: None, time: None, remedy });
    }
    repository.refresh()?;
    let mut losses = Losses::new(repository);
    for (id, snapshot) in &listed.snapshots {
        plan.snapshots += 1;
        let found = losses.find(&snapshot.root, stop)?;
        observer.event(&Event::Progress { bytes: 0, items: 1 });
        if found.lost == 0 {
            continue;
        }
        let remedy = if found.kept == 0 {
            Remedy::Drop { reason: "none of its files can be read".to_owned() }
        } else {
            Remedy::Replace { lost: found.lost, paths: found.paths }
        };
        let (instance, time) = (Some(snapshot.instance.clone()), Some(snapshot.start));
        plan.repairs.push(SnapshotRepair { id: *id, instance, time, remedy });
    }
    observer.event(&Event::StepFinished { step: "snapshots" });
    Ok(plan)
}

/// The bytes of a snapshot's object, if they are those it was written with.
fn good_object(copy: &Repository, id: &SnapshotId) -> Result<Vec<u8>, RepositoryError> {
    let name = ObjectName::Snapshot(*id);
    let bytes = copy.store().get(&name, ByteRange::Whole { limit: OBJECT_LIMIT })?;
    if is_rightly_named(&name, &bytes) {
        return Ok(bytes);
    }
    let location = copy.store().location().clone();
    let reason = "its checksum differs from its name".to_owned();
    Err(RepositoryError::Damaged { object: name, location, reason })
}

/// Does what the plan says. Killed anywhere, it can be repeated: a replacement is published before
/// what it replaces is forgotten.
pub fn apply_snapshots(
    repository: &Repository,
    plan: &SnapshotsPlan,
    copy: Option<&Repository>,
    options: IngestOptions,
    stop: &StopFlag,
    observer: &dyn Observer,
) -> Result<SnapshotsReport, RepositoryError> {
    let mut report = SnapshotsReport::default();
    for repair in &plan.repairs {
        match &repair.remedy {
            Remedy::CopyBack => {
                let Some(copy) = copy else { continue };
                let bytes = good_object(copy, &repair.id)?;
                let name = ObjectName::Snapshot(repair.id);
                repository.store().delete(&name)?;
                repository.store().put(&name, &[&bytes])?;
                repository.store().sync()?;
                report.copied_back += 1;
            }
            Remedy::Replace { lost, paths } => {
                let new = replace(repository, repair.id, (*lost, paths), options, stop)?;
                forget(repository, repair, Some(new), observer)?;
                report.replaced.push((repair.id, new));
            }
            Remedy::Drop { .. } => {
                forget(repository, repair, None, observer)?;
                report.dropped.push(repair.id);
            }
        }
    }
    Ok(report)
}

fn forget(
    repository: &Repository,
    repair: &SnapshotRepair,
    new: Option<SnapshotId>,
    observer: &dyn Observer,
) -> Result<(), RepositoryError> {
    let mut details = BTreeMap::from([("reason".to_owned(), "repair".to_owned())]);
    if let Some(new) = new {
        details.insert("replaced_by".to_owned(), new.to_hex());
    }
    let instance = repair.instance.clone().unwrap_or_default();
    forget_snapshots(repository, &[repair.id], &ForgetNote { instance, details }, observer)?;
    Ok(())
}

/// Publishes the snapshot without what is lost.
fn replace(
    repository: &Repository,
    id: SnapshotId,
    (lost, paths): (u64, &[String]),
    options: IngestOptions,
    stop: &StopFlag,
) -> Result<SnapshotId, RepositoryError> {
    let old = repository.snapshot(&id)?;
    let session = repository.begin_session("repair")?;
    let done = replace_in(&session, id, &old, (lost, paths), options, stop);
    let ended = session.end();
    let new = done?;
    ended?;
    Ok(new)
}

fn replace_in(
    session: &Session<'_>,
    id: SnapshotId,
    old: &Snapshot,
    (lost, paths): (u64, &[String]),
    options: IngestOptions,
    stop: &StopFlag,
) -> Result<SnapshotId, RepositoryError> {
    let repository = session.repository();
    let mut losses = Losses::new(repository);
    losses.find(&old.root, stop)?;
    let (root, _) =
        repository.ingest(session, options, stop, |ingest| losses.rewrite(&old.root, ingest))?;
    let mut reason = format!("repaired: {lost} entries of {} were lost: ", id.short());
    reason.push_str(&paths.join(", "));
    if paths.len() as u64 != lost {
        reason.push_str(", ...");
    }
    let mut snapshot = Snapshot { root, is_complete: false, session: session.id(), ..old.clone() };
    match snapshot.sources.first_mut() {
        Some(source) => source.incomplete.push(reason),
        None => snapshot.tags.push("repaired".to_owned()),
    }
    Ok(session.commit(&snapshot, options, stop)?.id)
}

/// What was found in one tree.
#[derive(Debug, Clone, Default)]
struct Found {
    lost: u64,
    kept: u64,
    paths: Vec<String>,
}

/// Knows what is lost.
struct Losses<'r> {
    fetcher: Fetcher<'r>,
    /// Streams that were walked, and whether something of them is lost.
    streams: HashMap<StreamKey, bool>,
    /// Directories below which nothing is lost.
    whole: HashSet<StreamKey>,
    /// Hard link groups whose content is lost: their further names are of no use.
    groups: HashSet<u64>,
}

/// A directory being looked at.
struct Open<'f, 'r> {
    reader: DirectoryReader<'f, 'r>,
    key: StreamKey,
    path: Vec<u8>,
    lost_before: u64,
}

impl<'r> Losses<'r> {
    fn new(repository: &'r Repository) -> Self {
        Self {
            fetcher: Fetcher::new(repository, CACHE),
            streams: HashMap::new(),
            whole: HashSet::new(),
            groups: HashSet::new(),
        }
    }

    /// Looks at everything below `root`.
    fn find(&mut self, root: &StreamRef, stop: &StopFlag) -> Result<Found, RepositoryError> {
        self.groups.clear();
        let fetcher = Fetcher::new(self.fetcher.repository(), CACHE);
        let open = |content: &StreamRef, path: Vec<u8>, lost_before| Open {
            reader: DirectoryReader::new(&fetcher, content),
            key: content.key(),
            path,
            lost_before,
        };
        let mut found = Found::default();
        let mut stack = vec![open(root, Vec::new(), 0)];
        while let Some(top) = stack.last_mut() {
            if stop.is_stopped() {
                return Err(RepositoryError::Interrupted);
            }
            match top.reader.next_node() {
                Ok(Some(node)) => {
                    let path = join(&top.path, &node.name);
                    let directory = node.content.as_ref().filter(|_| is_directory(&node));
                    if let Some(content) = directory {
                        if self.whole.contains(&content.key()) {
                            found.kept += 1;
                        } else {
                            stack.push(open(content, path, found.lost));
                        }
                    } else if self.is_lost(&node)? {
                        found.note(&display_path(&path));
                        self.groups.extend(node.hard_link);
                    } else {
                        found.kept += 1;
                    }
                    continue;
                }
                Ok(None) if found.lost == top.lost_before => {
                    self.whole.insert(top.key);
                }
                Ok(None) => {}
                Err(error) if error.is_damage() => {
                    found.note(&(display_path(&top.path) + "/"));
                }
                Err(error) => return Err(error),
            }
            stack.pop();
        }
        Ok(found)
    }

    /// Whether the content of a file cannot be read whole.
    fn is_lost(&mut self, node: &Node) -> Result<bool, RepositoryError> {
        let Some(content) = node.content.as_ref().filter(|_| !is_directory(node)) else {
            return Ok(false);
        };
        let key = content.key();
        if let Some(known) = self.streams.get(&key) {
            return Ok(*known);
        }
        let is_lost = self.lacks_chunk(content)?;
        self.streams.insert(key, is_lost);
        Ok(is_lost)
    }

    fn lacks_chunk(&self, content: &StreamRef) -> Result<bool, RepositoryError> {
        let index = self.fetcher.repository().index();
        let nobody = SessionId::new([0; SessionId::SIZE]);
        let mut walk = ChunkWalk::new(&self.fetcher, content);
        loop {
            let chunk = match walk.next_chunk() {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ok(false),
                Err(error) if error.is_damage() => return Ok(true),
                Err(error) => return Err(error),
            };
            if index.are_usable(&[chunk.id], nobody)? == [true] {
                continue;
            }
            // In a pack known to be damaged, or condemned: it may be readable all the same.
            match self.fetcher.chunk(&chunk) {
                Ok(_) => {}
                Err(error) if error.is_damage() => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    /// The tree without what is lost. [`Self::find`] must have looked at it.
    fn rewrite(
        &mut self,
        root: &StreamRef,
        ingest: &mut Ingest<'_>,
    ) -> Result<StreamRef, RepositoryError> {
        let fetcher = Fetcher::new(self.fetcher.repository(), CACHE);
        let open = |content: &StreamRef| DirectoryReader::new(&fetcher, content);
        let mut stack = vec![(open(root), DirectoryBuilder::new(), None::<Node>)];
        loop {
            let Some((reader, builder, _)) = stack.last_mut() else {
                return Err(RepositoryError::Internal("a tree was rewritten without its root"));
            };
            let node = match reader.next_node() {
                Ok(node) => node,
                Err(error) if error.is_damage() => None,
                Err(error) => return Err(error),
            };
            if let Some(node) = node {
                let directory = node.content.clone().filter(|_| is_directory(&node));
                let further = node.is_further_link
                    && node.hard_link.is_some_and(|group| self.groups.contains(&group));
                match directory {
                    Some(content) if !self.whole.contains(&content.key()) => {
                        stack.push((open(&content), DirectoryBuilder::new(), Some(node)));
                    }
                    None if further || self.is_lost(&node)? => {}
                    _ => builder.push(ingest, &node)?,
                }
                continue;
            }
            let Some((_, builder, node)) = stack.pop() else { continue };
            let content = builder.finish(ingest)?;
            match (node, stack.last_mut()) {
                (Some(node), Some((_, parent, _))) => {
                    parent.push(ingest, &Node { content: Some(content), ..node })?;
                }
                _ => return Ok(content),
            }
        }
    }
}

impl Found {
    fn note(&mut self, path: &str) {
        self.lost += 1;
        if self.paths.len() < MAX_PATHS {
            self.paths.push(path.to_owned());
        }
    }
}

fn is_directory(node: &Node) -> bool {
    node.kind == NodeKind::Directory
}
