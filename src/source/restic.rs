//! Repositories of restic, read with `rustic_core`. Nothing is written there, not even a lock: a prune of restic's at the same
//! time may take away what is being read, which is told as an error.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rustic_backend::BackendOptions;
use rustic_core::repofile::{BlobType, Node as ResticNode, NodeType, SnapshotFile};
use rustic_core::{
    BlobId, Credentials, DataId, Id, IndexedFullStatus, Repository, RepositoryOptions, RusticError,
};

use crate::crypto::Secret;
use crate::snapshot::{Device, Node, NodeKind, Xattr, check_name};

use super::foreign::{
    ForeignContent, ForeignError, ForeignNode, ForeignRepository, ForeignSnapshot, TreeName,
};

/// From so many pieces on a file is read by several threads.
const SEVERAL: usize = 4;
/// Pieces that wait for being taken.
const WAITING: usize = 8;

/// A repository of restic, open, with its index in memory.
pub struct ResticRepository {
    repository: Repository<IndexedFullStatus>,
    location: String,
    id: String,
}

impl std::fmt::Debug for ResticRepository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ResticRepository({})", self.location)
    }
}

/// In one line, without what only developers of the library want to know.
fn reason(error: &RusticError) -> String {
    let text = error.display_log();
    let ends = ["For more information", "Some additional details", "Backtrace:"];
    let end = ends.iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len());
    let words = text.get(..end).unwrap_or(&text).split_whitespace();
    words.collect::<Vec<_>>().join(" ")
}

impl ResticRepository {
    /// Opens the repository in the directory `path`.
    pub fn open(path: &Path, password: &Secret) -> Result<Self, ForeignError> {
        let location = path.display().to_string();
        let unreadable =
            |reason: String| ForeignError::Unreadable { location: location.clone(), reason };
        let failed = |error: Box<RusticError>| match error.is_incorrect_password() {
            true => ForeignError::WrongPassword { location: location.clone() },
            false => unreadable(reason(&error)),
        };
        let text = path.to_str().ok_or_else(|| unreadable("its path is not UTF-8".to_owned()))?;
        if !path.join("config").is_file() {
            return Err(unreadable(
                "there is no repository of restic (no file `config`)".to_owned(),
            ));
        }
        let password = std::str::from_utf8(password.expose())
            .map_err(|_| unreadable("the password is not UTF-8, which restic's are".to_owned()))?;
        let backends = BackendOptions::default().repository(text).to_backends().map_err(failed)?;
        // Its cache would be one more place with names in it.
        let mut options = RepositoryOptions::default();
        options.no_cache = true;
        let closed = Repository::new(&options, &backends).map_err(failed)?;
        let open = closed.open(&Credentials::password(password)).map_err(failed)?;
        let id = open.config().id.to_hex().as_str().to_owned();
        let repository = open.to_indexed().map_err(failed)?;
        Ok(Self { repository, location, id })
    }

    fn unreadable(&self, error: &RusticError) -> ForeignError {
        ForeignError::Unreadable { location: self.location.clone(), reason: reason(error) }
    }
}

impl ForeignRepository for ResticRepository {
    fn kind(&self) -> &'static str {
        "restic"
    }

    fn location(&self) -> String {
        self.location.clone()
    }

    fn id(&self) -> String {
        self.id.clone()
    }

    fn snapshots(&self) -> Result<Vec<ForeignSnapshot>, ForeignError> {
        let all = self.repository.get_all_snapshots().map_err(|error| self.unreadable(&error))?;
        let mut all: Vec<ForeignSnapshot> = all.into_iter().map(snapshot).collect();
        all.sort_by_key(|one| one.time);
        Ok(all)
    }

    fn directory(
        &self,
        tree: &TreeName,
        left_out: &mut dyn FnMut(&[u8], &str),
    ) -> Result<Vec<ForeignNode>, ForeignError> {
        let tree = self.repository.get_tree(&Id::new(*tree).into());
        let tree = tree.map_err(|error| self.unreadable(&error))?;
        let mut nodes: Vec<ForeignNode> =
            tree.nodes.iter().filter_map(|node| convert(node, left_out)).collect();
        nodes.sort_by(|one, other| one.node.name.cmp(&other.node.name));
        nodes.dedup_by(|later, first| later.node.name == first.node.name);
        Ok(nodes)
    }

    fn read(&self, content: &ForeignContent, take: &mut dyn FnMut(&mut dyn Read)) {
        let ForeignContent::File { pieces, .. } = content else { return };
        if pieces.len() < SEVERAL {
            let mut reader =
                Pieces { repository: self, pieces: pieces.iter(), current: None, at: 0 };
            return take(&mut reader);
        }
        // Decoding takes longer than cutting and hashing: it has threads of its own.
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(WAITING);
            scope.spawn(move || {
                let mut node = ResticNode::default();
                node.content =
                    Some(pieces.iter().map(|piece| DataId::from(Id::new(*piece))).collect());
                let mut sending = Sending(sender);
                if let Err(error) = self.repository.dump(&node, &mut sending) {
                    // Whoever reads no more does not want to know.
                    let _ = sending.0.send(Err(io::Error::other(reason(&error))));
                }
            });
            let mut reader = Receiving { receiver, current: Vec::new(), at: 0 };
            take(&mut reader);
        });
    }
}

/// A few pieces, read one after the other.
struct Pieces<'a> {
    repository: &'a ResticRepository,
    pieces: std::slice::Iter<'a, [u8; 32]>,
    current: Option<bytes::Bytes>,
    at: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(count) = self.current.as_ref().map(|piece| give(piece, &mut self.at, out))
                && (count > 0 || out.is_empty())
            {
                return Ok(count);
            }
            let Some(piece) = self.pieces.next() else { return Ok(0) };
            let id = BlobId::from(Id::new(*piece));
            let bytes = self.repository.repository.get_blob_cached(&id, BlobType::Data);
            self.current = Some(bytes.map_err(|error| io::Error::other(reason(&error)))?);
            self.at = 0;
        }
    }
}

/// Copies from `piece`, of which `at` bytes were given.
fn give(piece: &[u8], at: &mut usize, out: &mut [u8]) -> usize {
    let rest = piece.get(*at..).unwrap_or_default();
    let count = rest.len().min(out.len());
    if let (Some(target), Some(bytes)) = (out.get_mut(..count), rest.get(..count)) {
        target.copy_from_slice(bytes);
    }
    *at += count;
    count
}

type Sent = io::Result<Vec<u8>>;

struct Sending(SyncSender<Sent>);

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let closed = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.send(Ok(bytes.to_vec())).map_err(closed)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Receiving {
    receiver: Receiver<Sent>,
    current: Vec<u8>,
    at: usize,
}

impl Read for Receiving {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = give(&self.current, &mut self.at, out);
            if count > 0 || out.is_empty() {
                return Ok(count);
            }
            match self.receiver.recv() {
                Ok(piece) => self.current = piece?,
                Err(_) => return Ok(0),
            }
            self.at = 0;
        }
    }
}

/// The bytes of a name, which the library gives as digits only.
fn bytes(id: &Id) -> [u8; 32] {
    crate::id::from_hex(&id.to_hex()).unwrap_or_default()
}

fn nanos(time: i128) -> i64 {
    i64::try_from(time).unwrap_or(if time < 0 { i64::MIN } else { i64::MAX })
}

fn snapshot(file: SnapshotFile) -> ForeignSnapshot {
    let time = nanos(file.time.timestamp().as_nanosecond());
    // The zone a snapshot names is an offset, which says nothing about other days.
    let time_zone = file.time.time_zone().iana_name().map(str::to_owned);
    let duration = file.summary.as_ref().map_or(0, |summary| {
        nanos(summary.backup_end.timestamp().as_nanosecond()).saturating_sub(time).max(0)
    });
    ForeignSnapshot {
        id: file.id.to_hex().as_str().to_owned(),
        time,
        duration,
        time_zone,
        host: file.hostname.clone(),
        user: file.username.clone(),
        tags: file.tags.iter().filter(|tag| !tag.trim().is_empty()).cloned().collect(),
        paths: file.paths.iter().cloned().collect(),
        program: match file.program_version.is_empty() {
            true => "restic".to_owned(),
            false => file.program_version.clone(),
        },
        root: bytes(&file.tree),
    }
}

fn convert(from: &ResticNode, left_out: &mut dyn FnMut(&[u8], &str)) -> Option<ForeignNode> {
    let name = from.name();
    let name = name.as_bytes();
    if let Err(error) = check_name(name) {
        left_out(name, &format!("left out: {error}"));
        return None;
    }
    let (kind, content) = match &from.node_type {
        NodeType::File => {
            let pieces = from.content.iter().flatten().map(|piece| bytes(piece)).collect();
            (NodeKind::File, ForeignContent::File { pieces, size: from.meta.size })
        }
        NodeType::Dir => {
            let Some(tree) = &from.subtree else {
                left_out(name, "left out: a directory without a listing");
                return None;
            };
            (NodeKind::Directory, ForeignContent::Directory(bytes(tree)))
        }
        NodeType::Symlink { .. } => (NodeKind::Symlink, ForeignContent::Nothing),
        NodeType::Dev { .. } => (NodeKind::BlockDevice, ForeignContent::Nothing),
        NodeType::Chardev { .. } => (NodeKind::CharDevice, ForeignContent::Nothing),
        NodeType::Fifo => (NodeKind::Fifo, ForeignContent::Nothing),
        NodeType::Socket => {
            left_out(name, "sockets are not stored");
            return None;
        }
    };
    let mut node = Node::new(name, kind);
    let meta = &from.meta;
    node.mode = permissions(meta.mode.unwrap_or(0));
    (node.uid, node.gid) = (meta.uid.unwrap_or(0), meta.gid.unwrap_or(0));
    node.user = meta.user.clone().filter(|name| !name.is_empty());
    node.group = meta.group.clone().filter(|name| !name.is_empty());
    if let Some(time) = meta.mtime {
        let time = time.as_nanosecond();
        node.mtime = i64::try_from(time.div_euclid(1_000_000_000)).unwrap_or(0);
        node.mtime_nanos = u32::try_from(time.rem_euclid(1_000_000_000)).unwrap_or(0);
    }
    if let NodeType::Symlink { .. } = from.node_type {
        node.link_target = Some(from.node_type.to_link().as_os_str().as_bytes().to_vec());
    }
    if let NodeType::Dev { device } | NodeType::Chardev { device } = &from.node_type {
        let (major, minor) = (rustix::fs::major(*device), rustix::fs::minor(*device));
        node.device = Some(Device { major, minor });
    }
    node.xattrs = meta
        .extended_attributes
        .iter()
        .map(|xattr| Xattr {
            name: xattr.name.clone().into_bytes(),
            value: xattr.value.clone().unwrap_or_default(),
        })
        .collect();
    node.xattrs.sort_by(|one, other| one.name.cmp(&other.name));
    let is_linked = meta.links > 1 && kind != NodeKind::Directory;
    let link = is_linked.then_some((meta.device_id, meta.inode));
    Some(ForeignNode { node, content, link })
}

/// restic writes modes as Go has them: set-user-ID and the like in bits of their own.
fn permissions(mode: u32) -> u32 {
    const GO_SETUID: u32 = 1 << 23;
    const GO_SETGID: u32 = 1 << 22;
    const GO_STICKY: u32 = 1 << 20;
    let bit = |from: u32, to: u32| if mode & from == 0 { 0 } else { to };
    mode & 0o777 | bit(GO_SETUID, 0o4000) | bit(GO_SETGID, 0o2000) | bit(GO_STICKY, 0o1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_of_go_are_modes_of_unix() {
        assert_eq!(permissions(0o644), 0o644);
        assert_eq!(permissions(1 << 31 | 1 << 20 | 0o777), 0o1777);
        assert_eq!(permissions(1 << 23 | 1 << 22 | 0o755), 0o6755);
    }
}
