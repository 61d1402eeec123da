//! A snapshot, or a part of it, as a tar archive: for people who leave, and for pipes.
//!
//! Everything a node keeps is in it: owners, times with nanoseconds, attributes and ACLs, hard links, holes. It is
//! written as it is read, so memory does not grow with it, but for the names of files that have several.

use std::collections::HashMap;
use std::io::{self, Write};

use crate::event::{Event, Observer, StopFlag};
use crate::repository::{Fetcher, RepositoryError, StreamBytes};
use crate::snapshot::{Device, Node, NodeKind, Snapshot};

use super::browse::{BrowseError, Located};
use super::browse::{display_path, walk};
use super::dump::{DumpError, first_link};

mod tar;

use tar::{Entry, Kind, TarWriter};

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct ArchiveReport {
    /// Entries.
    pub entries: u64,
    /// Bytes of the archive.
    pub bytes: u64,
    /// Files that the snapshot has not whole.
    pub torn: u64,
}

/// Writes what is at and below `path` (all of it, if empty) as a tar archive with the paths the snapshot has.
pub fn archive(
    fetcher: &Fetcher<'_>,
    snapshot: &Snapshot,
    path: &[u8],
    out: &mut dyn Write,
    (stop, observer): (&StopFlag, &dyn Observer),
) -> Result<ArchiveReport, DumpError> {
    let mut writing = Writing {
        fetcher,
        snapshot,
        stop,
        observer,
        tar: TarWriter::new(out),
        first_names: HashMap::new(),
        report: ArchiveReport::default(),
    };
    let mut failed = None;
    let done = walk(fetcher, snapshot, path, true, stop, &mut |found| {
        // The walk has errors of its own only; ours ends it and is told instead.
        writing.add(found).map_err(|error| {
            failed = Some(error);
            BrowseError::Repository(RepositoryError::Interrupted)
        })
    });
    if let Some(error) = failed {
        return Err(error);
    }
    done?;
    writing.report.bytes = writing.tar.finish().map_err(|error| output(path, error))?;
    Ok(writing.report)
}

fn output(path: &[u8], error: io::Error) -> DumpError {
    DumpError::Output { path: display_path(path), error }
}

struct Writing<'a, 'r, W> {
    fetcher: &'a Fetcher<'r>,
    snapshot: &'a Snapshot,
    stop: &'a StopFlag,
    observer: &'a dyn Observer,
    tar: TarWriter<W>,
    /// Where the first name of each group of hard links is in the archive.
    first_names: HashMap<u64, Vec<u8>>,
    report: ArchiveReport,
}

impl<W: Write> Writing<'_, '_, W> {
    fn add(&mut self, found: &Located) -> Result<(), DumpError> {
        let Located { path, node } = found;
        let known = node.hard_link.and_then(|group| self.first_names.get(&group).cloned());
        self.report.entries += 1;
        if let Some(first) = known {
            return self.entry(&entry(path, node, Kind::Link(first), 0), None);
        }
        // The name with the content may lie outside of what is asked for.
        let mut content = None;
        if let Some(group) = node.hard_link {
            self.first_names.insert(group, path.clone());
            if node.is_further_link {
                content = Some(first_link(self.fetcher, self.snapshot, group, self.stop)?);
            }
        }
        let content = content.as_ref().unwrap_or(node);
        let len = content.content.as_ref().map_or(0, |content| content.len);
        let device = content.device.unwrap_or(Device { major: 0, minor: 0 });
        let kind = match content.kind {
            NodeKind::Directory => Kind::Directory,
            NodeKind::Fifo => Kind::Fifo,
            NodeKind::CharDevice => Kind::CharDevice(device.major, device.minor),
            NodeKind::BlockDevice => Kind::BlockDevice(device.major, device.minor),
            NodeKind::Symlink => Kind::Symlink(content.link_target.clone().unwrap_or_default()),
            NodeKind::File => match &content.extents {
                None => Kind::File,
                Some(extents) => {
                    let mut parts: Vec<(u64, u64)> = extents
                        .iter()
                        .filter(|extent| extent.len > 0)
                        .map(|extent| (extent.offset, extent.len))
                        .collect();
                    let size = content.size();
                    if parts.last().is_none_or(|(offset, len)| offset + len < size) {
                        parts.push((size, 0));
                    }
                    Kind::Sparse { size, parts }
                }
            },
        };
        let len = if content.kind == NodeKind::File { len } else { 0 };
        if content.is_torn {
            self.report.torn += 1;
            let message = "it was not stored whole: the snapshot is incomplete".to_owned();
            self.observer.event(&Event::ItemFailed { item: display_path(path), message });
        }
        self.entry(&entry(path, content, kind, len), Some(content))
    }

    /// Writes an entry, with the data of `content`.
    fn entry(&mut self, entry: &Entry, content: Option<&Node>) -> Result<(), DumpError> {
        let failed = |error| output(&entry.path, error);
        self.tar.begin(entry).map_err(failed)?;
        let stream = content.and_then(|node| node.content.as_ref()).filter(|_| entry.len > 0);
        let mut written = 0;
        if let Some(stream) = stream {
            let mut pieces = StreamBytes::new(self.fetcher, stream);
            while let Some(piece) = pieces.next_piece()? {
                if self.stop.is_stopped() {
                    return Err(RepositoryError::Interrupted.into());
                }
                self.tar.write_all(&piece).map_err(failed)?;
                written += piece.len() as u64;
                self.observer.event(&Event::Progress { bytes: piece.len() as u64, items: 0 });
            }
        }
        if written != entry.len {
            return Err(RepositoryError::DamagedTree {
                location: self.fetcher.repository().store().location().clone(),
                reason: format!(
                    "`{}`: its content is not as long as it should be",
                    display_path(&entry.path)
                ),
            }
            .into());
        }
        self.tar.end_entry().map_err(failed)?;
        self.observer.event(&Event::Progress { bytes: 0, items: 1 });
        Ok(())
    }
}

fn entry(path: &[u8], node: &Node, kind: Kind, len: u64) -> Entry {
    Entry {
        path: path.to_vec(),
        kind,
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        user: node.user.clone().unwrap_or_default(),
        group: node.group.clone().unwrap_or_default(),
        mtime: (node.mtime, node.mtime_nanos),
        xattrs: node.xattrs.iter().map(|xattr| (xattr.name.clone(), xattr.value.clone())).collect(),
        len,
    }
}
