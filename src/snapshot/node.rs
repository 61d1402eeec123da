//! A directory's entries: names are bytes, metadata is everything a node keeps.

use super::stream::StreamRef;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NodeKind {
    /// A regular file.
    File = 0,
    /// A directory.
    Directory = 1,
    /// A symbolic link.
    Symlink = 2,
    /// A named pipe.
    Fifo = 3,
    /// A character device.
    CharDevice = 4,
    /// A block device.
    BlockDevice = 5,
}

/// A device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// A range of a sparse file that holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattr {
    /// Full name (`user.comment`).
    pub name: Vec<u8>,
    /// Value.
    pub value: Vec<u8>,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Name within its directory.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: NodeKind,
    /// The 12 permission bits.
    pub mode: u32,
    /// Owner's id.
    pub uid: u32,
    /// Group's id.
    pub gid: u32,
    /// Owner's name.
    pub user: Option<String>,
    /// Group's name.
    pub group: Option<String>,
    /// Modification time, seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds of it.
    pub mtime_nanos: u32,
    /// Content of a file, nodes of a directory.
    pub content: Option<StreamRef>,
    /// Size of a sparse file in bytes.
    pub sparse_size: Option<u64>,
    /// Where a sparse file has data.
    pub extents: Option<Vec<Extent>>,
    /// Target of a symlink.
    pub link_target: Option<Vec<u8>>,
    /// Number of a device.
    pub device: Option<Device>,
    /// Extended attributes, ACLs among them.
    pub xattrs: Vec<Xattr>,
    /// Files with the same group number are one file.
    pub hard_link: Option<u64>,
    /// A further name of its group: content is at the first.
    pub is_further_link: bool,
    /// The content is torn or cut short.
    pub is_torn: bool,
}

impl Node {
    /// A node with nothing but a name and a kind (mode 0, time 0).
    pub fn new(name: impl Into<Vec<u8>>, kind: NodeKind) -> Self {
        Self {
            name: name.into(),
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            user: None,
            group: None,
            mtime: 0,
            mtime_nanos: 0,
            content: None,
            sparse_size: None,
            extents: None,
            link_target: None,
            device: None,
            xattrs: Vec::new(),
            hard_link: None,
            is_further_link: false,
            is_torn: false,
        }
    }

    /// Size of the file in bytes as `stat` gives it; 0 for anything else.
    pub fn size(&self) -> u64 {
        match self.kind {
            NodeKind::File => {
                self.sparse_size.or(self.content.as_ref().map(|content| content.len)).unwrap_or(0)
            }
            _ => 0,
        }
    }
}

/// Why bytes are not a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a directory entry cannot be read: {0}")]
pub struct NodeError(pub String);
