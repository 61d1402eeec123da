//! One file's content, written to whoever wants it.

use std::io::{self, Write};

use crate::event::StopFlag;
use crate::repository::{Fetcher, RepositoryError, StreamBytes};
use crate::snapshot::{Extent, Node, NodeKind, Snapshot, StreamRef};

use super::browse::{BrowseError, TreeWalk, display_path, resolve};

/// Zeros written at once for holes.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Why a file was not dumped.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The path or the repository.
    #[error(transparent)]
    Browse(#[from] BrowseError),
    /// Something else than a file.
    #[error("`{path}` in the snapshot is not a file but {what}")]
    NotAFile {
        /// As given.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// Whoever takes the bytes failed.
    #[error("cannot write the content of `{path}`: {error}")]
    Output {
        /// As given.
        path: String,
        /// Why.
        error: io::Error,
    },
}

impl From<RepositoryError> for DumpError {
    fn from(error: RepositoryError) -> Self {
        Self::Browse(error.into())
    }
}

/// What people call a kind.
const fn noun(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::File => "a file",
        NodeKind::Directory => "a directory",
        NodeKind::Symlink => "a symbolic link",
        NodeKind::Fifo => "a named pipe",
        NodeKind::CharDevice => "a character device",
        NodeKind::BlockDevice => "a block device",
    }
}

/// Writes the content of the file at `path`, holes as zeros. Gives the number of bytes written.
pub fn dump(
    fetcher: &Fetcher<'_>,
    snapshot: &Snapshot,
    path: &[u8],
    out: &mut dyn Write,
    stop: &StopFlag,
) -> Result<u64, DumpError> {
    let mut node = resolve(fetcher, snapshot, path)?;
    if node.kind != NodeKind::File {
        return Err(DumpError::NotAFile { path: display_path(path), what: noun(node.kind) });
    }
    if let (true, Some(group)) = (node.is_further_link, node.hard_link) {
        node = first_link(fetcher, snapshot, group, stop)?;
    }
    let mut sink = Sink { out, path, stop, written: 0 };
    let content = node.content.clone().unwrap_or_default();
    let damaged = |reason: &str| RepositoryError::DamagedTree {
        location: fetcher.repository().store().location().clone(),
        reason: format!("`{}`: {reason}", display_path(path)),
    };
    match &node.extents {
        None => copy(fetcher, &content, &mut sink)?,
        Some(extents) => copy_sparse(fetcher, &content, extents, &mut sink)?,
    }
    // A file of 0 chunks has no content but a size where it is one hole.
    if sink.written < node.size() && node.extents.is_some() {
        sink.zeros(node.size())?;
    }
    if sink.written != node.size() {
        return Err(damaged("its content is not as long as it should be").into());
    }
    sink.out.flush().map_err(|error| sink.failed(error))?;
    Ok(sink.written)
}

struct Sink<'o> {
    out: &'o mut dyn Write,
    path: &'o [u8],
    stop: &'o StopFlag,
    written: u64,
}

impl Sink<'_> {
    fn failed(&self, error: io::Error) -> DumpError {
        DumpError::Output { path: display_path(self.path), error }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DumpError> {
        if self.stop.is_stopped() {
            return Err(RepositoryError::Interrupted.into());
        }
        self.out.write_all(bytes).map_err(|error| self.failed(error))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Zeros up to the byte `end` of the file.
    fn zeros(&mut self, end: u64) -> Result<(), DumpError> {
        while self.written < end {
            let count = usize::try_from(end - self.written).unwrap_or(usize::MAX).min(ZEROS.len());
            self.write(&ZEROS[..count])?;
        }
        Ok(())
    }
}

fn copy(fetcher: &Fetcher<'_>, content: &StreamRef, sink: &mut Sink<'_>) -> Result<(), DumpError> {
    let mut pieces = StreamBytes::new(fetcher, content);
    while let Some(piece) = pieces.next_piece()? {
        sink.write(&piece)?;
    }
    Ok(())
}

fn copy_sparse(
    fetcher: &Fetcher<'_>,
    content: &StreamRef,
    extents: &[Extent],
    sink: &mut Sink<'_>,
) -> Result<(), DumpError> {
    let mut extents = extents.iter().copied().filter(|extent| extent.len > 0);
    let mut current: Option<Extent> = None;
    let mut pieces = StreamBytes::new(fetcher, content);
    while let Some(piece) = pieces.next_piece()? {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            // Nodes whose extents do not add up to their content are refused when they are read.
            let Some(extent) = current.take().or_else(|| extents.next()) else { return Ok(()) };
            sink.zeros(extent.offset)?;
            let count = usize::try_from(extent.len).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at(count);
            sink.write(now)?;
            rest = later;
            let done = count as u64;
            if done < extent.len {
                let (offset, len) = (extent.offset + done, extent.len - done);
                current = Some(Extent { offset, len });
            }
        }
    }
    Ok(())
}

/// The first name of a hard link group: it has the content.
pub(super) fn first_link(
    fetcher: &Fetcher<'_>,
    snapshot: &Snapshot,
    group: u64,
    stop: &StopFlag,
) -> Result<Node, DumpError> {
    let mut walk = TreeWalk::new(fetcher, b"", &snapshot.root);
    while let Some(entry) = walk.next_entry()? {
        if stop.is_stopped() {
            return Err(RepositoryError::Interrupted.into());
        }
        if entry.node.hard_link == Some(group) && !entry.node.is_further_link {
            return Ok(entry.node);
        }
        walk.enter(&entry);
    }
    Err(RepositoryError::DamagedTree {
        location: fetcher.repository().store().location().clone(),
        reason: format!("hard link group {group} has no first name"),
    }
    .into())
}
