//! One tree of another program's repository on its way into ours.

use std::collections::HashMap;
use std::io::Read;

use crate::event::{Event, Observer};
use crate::ops::backup::ContentStore;
use crate::ops::browse::{display_path, resolve};
use crate::ops::tree::join;
use crate::repository::{DirectoryBuilder, Fetcher, Ingest, RepositoryError};
use crate::snapshot::{Node, NodeKind, Snapshot, StreamRef};
use crate::source::foreign::{
    ForeignContent, ForeignNode, ForeignRepository, ForeignSnapshot, TreeName,
};

use super::databases::{DIRECTORY, Databases, DumpServer, databases};
use super::{ImportError, Known};

/// Streams of which it is remembered what they became; beyond that they are read again.
const KNOWN_STREAMS: usize = 1 << 20;
/// Reasons of one snapshot that are kept.
const REASONS: usize = 100;

/// Numbers of one snapshot.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub files: u64,
    pub directories: u64,
    pub bytes: u64,
}

/// What was found on the way.
pub(super) struct Imported {
    pub read_bytes: u64,
    /// Why it is not whole.
    pub torn: Vec<String>,
    pub counts: Counts,
}

/// One snapshot on its way.
pub(super) struct Importing<'a> {
    pub foreign: &'a dyn ForeignRepository,
    observer: &'a dyn Observer,
    known: &'a mut Known,
    /// The snapshot imported before, in which files have earlier versions.
    earlier: Option<&'a Snapshot>,
    /// Groups of files with several names, by device and inode there.
    groups: HashMap<(u64, u64), u64>,
    /// Entries that the directory of databases has here besides its own.
    added: Vec<Node>,
    read_bytes: u64,
    torn: Vec<String>,
    counts: Counts,
}

/// An entry of a directory being stored.
enum Entry {
    /// One of the other repository.
    Foreign(Box<ForeignNode>),
    /// One whose content is stored here.
    Own(Box<Node>),
}

impl Entry {
    fn name(&self) -> &[u8] {
        match self {
            Self::Foreign(entry) => &entry.node.name,
            Self::Own(node) => &node.name,
        }
    }
}

/// A directory being stored, with the node it is the content of.
struct Open {
    entries: std::vec::IntoIter<Entry>,
    builder: DirectoryBuilder,
    name: TreeName,
    node: Option<Node>,
    path: Vec<u8>,
    /// Whether it may be taken for another one of the same name: no group of links begins in it, nothing in it is torn.
    is_plain: bool,
}

impl<'a> Importing<'a> {
    pub fn new(
        foreign: &'a dyn ForeignRepository,
        observer: &'a dyn Observer,
        known: &'a mut Known,
        earlier: Option<&'a Snapshot>,
    ) -> Self {
        Self {
            foreign,
            observer,
            known,
            earlier,
            groups: HashMap::new(),
            added: Vec::new(),
            read_bytes: 0,
            torn: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Databases made of the dump in `one`, or why there are none.
    pub fn databases(
        &self,
        server: &dyn DumpServer,
        one: &ForeignSnapshot,
        ingest: &mut Ingest<'_>,
    ) -> Result<Result<Databases, String>, ImportError> {
        databases(server, (self.foreign, one), ingest, self.earlier, self.observer)
    }

    pub fn finish(&mut self) -> Imported {
        Imported {
            read_bytes: self.read_bytes,
            torn: std::mem::take(&mut self.torn),
            counts: self.counts,
        }
    }

    fn open(&self, name: TreeName, node: Option<Node>, path: Vec<u8>) -> Result<Open, ImportError> {
        let observer = self.observer;
        let mut left_out = |name: &[u8], why: &str| {
            let item = display_path(&join(&path, name));
            observer.event(&Event::Notice { item, message: why.to_owned() });
        };
        let entries = self.foreign.directory(&name, &mut left_out)?;
        let entries = entries.into_iter().map(|entry| Entry::Foreign(Box::new(entry)));
        let entries = entries.collect::<Vec<_>>().into_iter();
        let builder = DirectoryBuilder::new();
        Ok(Open { entries, builder, name, node, path, is_plain: true })
    }

    /// The same with entries of ours, which makes it another directory than any of that name.
    fn open_with(&self, opened: Open, own: Vec<Node>) -> Open {
        let own = own.into_iter().map(|node| Entry::Own(Box::new(node)));
        let mut entries: Vec<Entry> = opened.entries.chain(own).collect();
        entries.sort_by(|one, other| one.name().cmp(other.name()));
        Open { entries: entries.into_iter(), is_plain: false, ..opened }
    }

    /// The root directory. Where the original has no directory of databases, there is one with what was added.
    fn root(&mut self, root: &TreeName, ingest: &mut Ingest<'_>) -> Result<Open, ImportError> {
        let opened = self.open(*root, None, Vec::new())?;
        let is_there = |entry: &Entry| entry.name() == DIRECTORY;
        if self.added.is_empty() || opened.entries.as_slice().iter().any(is_there) {
            return Ok(opened);
        }
        let mut builder = DirectoryBuilder::new();
        for node in std::mem::take(&mut self.added) {
            builder.push(ingest, &node)?;
        }
        let mut node = Node::new(DIRECTORY, NodeKind::Directory);
        node.mode = 0o755;
        node.content = Some(builder.finish(ingest)?);
        Ok(self.open_with(opened, vec![node]))
    }

    /// Stores the tree with this listing, and `added` in its directory of databases.
    pub fn tree(
        &mut self,
        root: &TreeName,
        added: Vec<Node>,
        ingest: &mut Ingest<'_>,
    ) -> Result<StreamRef, ImportError> {
        self.added = added;
        let mut contents = ContentStore::new(ingest);
        let mut stack = vec![self.root(root, ingest)?];
        loop {
            ingest.check_stop()?;
            let Some(top) = stack.last_mut() else {
                return Err(
                    RepositoryError::Internal("a tree was imported without its root").into()
                );
            };
            let Some(entry) = top.entries.next() else {
                match self.close(&mut stack, ingest)? {
                    Some(content) => return Ok(content),
                    None => continue,
                }
            };
            let ForeignNode { mut node, content, link } = match entry {
                Entry::Foreign(entry) => *entry,
                Entry::Own(node) => {
                    top.builder.push(ingest, &node)?;
                    continue;
                }
            };
            let path = join(&top.path, &node.name);
            if let Some(place) = link {
                top.is_plain = false;
                let next = self.groups.len() as u64 + 1;
                let is_further = self.groups.contains_key(&place);
                node.hard_link = Some(*self.groups.entry(place).or_insert(next));
                node.is_further_link = is_further;
                if is_further {
                    self.counts.files += 1;
                    top.builder.push(ingest, &node)?;
                    continue;
                }
            }
            match &content {
                ForeignContent::Nothing => {}
                ForeignContent::Directory(name) if path == DIRECTORY && !self.added.is_empty() => {
                    let own = std::mem::take(&mut self.added);
                    let opened = self.open(*name, Some(node), path)?;
                    stack.push(self.open_with(opened, own));
                    continue;
                }
                ForeignContent::Directory(name) => match self.known.get(name) {
                    Some(known) => node.content = Some(known.clone()),
                    None => {
                        let name = *name;
                        stack.push(self.open(name, Some(node), path)?);
                        continue;
                    }
                },
                ForeignContent::File { size, .. } => {
                    self.counts.files += 1;
                    self.counts.bytes += size;
                    self.file(&mut node, &content, &path, ingest, &mut contents)?;
                    top.is_plain &= !node.is_torn;
                }
            }
            top.builder.push(ingest, &node)?;
        }
    }

    /// Ends the directory on top and puts it into the one below; gives its content if there is none.
    fn close(
        &mut self,
        stack: &mut Vec<Open>,
        ingest: &mut Ingest<'_>,
    ) -> Result<Option<StreamRef>, ImportError> {
        let Some(done) = stack.pop() else { return Ok(None) };
        let content = done.builder.finish(ingest)?;
        self.counts.directories += u64::from(done.node.is_some());
        if done.is_plain {
            self.remember(done.name, &content);
        }
        let Some(parent) = stack.last_mut() else { return Ok(Some(content)) };
        parent.is_plain &= done.is_plain;
        if let Some(node) = done.node {
            parent.builder.push(ingest, &Node { content: Some(content), ..node })?;
        }
        Ok(None)
    }

    /// Stores the content of a file.
    fn file<'i>(
        &mut self,
        node: &mut Node,
        content: &ForeignContent,
        path: &[u8],
        ingest: &mut Ingest<'i>,
        contents: &mut ContentStore<'i>,
    ) -> Result<(), ImportError> {
        let ForeignContent::File { pieces, size } = content else { return Ok(()) };
        let name = name_of(pieces);
        if let Some(known) = self.known.get(&name) {
            node.content = Some(known.clone());
            return Ok(());
        }
        let (observer, previous) = (self.observer, self.earlier);
        let mut read = 0;
        let mut progress = |bytes: u64| {
            read += bytes;
            observer.event(&Event::Progress { bytes, items: 0 });
        };
        let mut stored = None;
        self.foreign.read(content, &mut |reader: &mut dyn Read| {
            let earlier =
                &mut |fetcher: &Fetcher<'_>| resolve(fetcher, previous?, path).ok()?.content;
            stored = Some(contents.store(ingest, reader, &mut progress, earlier));
        });
        self.read_bytes += read;
        let stored = stored.ok_or(RepositoryError::Internal("a file was not read"))??;
        let reason = match stored.read_error {
            Some(error) => Some(error.to_string()),
            // What was sealed with this length there is what counts.
            None if stored.content.len != *size => {
                Some(format!("it has {} bytes, but should have {size}", stored.content.len))
            }
            None => None,
        };
        if let Some(message) = reason {
            node.is_torn = true;
            let item = display_path(path);
            if self.torn.len() < REASONS {
                self.torn.push(format!("{item}: {message}"));
            }
            self.observer.event(&Event::ItemFailed { item, message });
        } else {
            self.remember(name, &stored.content);
        }
        node.content = Some(stored.content);
        Ok(())
    }

    fn remember(&mut self, name: [u8; 32], content: &StreamRef) {
        if self.known.len() >= KNOWN_STREAMS {
            self.known.clear();
        }
        self.known.insert(name, content.clone());
    }
}

/// The names in a path.
pub(super) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

/// A name for the content that consists of these pieces: no listing has it.
pub(super) fn name_of(pieces: &[[u8; 32]]) -> [u8; 32] {
    let mut hasher =
        blake3::Hasher::new_derive_key("mrs-backup 2026-11-30 pieces of an imported file");
    for piece in pieces {
        hasher.update(piece);
    }
    *hasher.finalize().as_bytes()
}
