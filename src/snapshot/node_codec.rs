//! Nodes as bytes: records of a directory's stream, read from pieces of any size.

use minicbor::Decoder;
use minicbor::decode::Error;

use super::node::{Device, Extent, Node, NodeError, NodeKind, Xattr};
use super::stream::StreamRef;
use crate::cbor::{Writer, bytes, read_list, read_map, required, text};

/// Most bytes of one node.
const MAX_NODE_LEN: usize = 1 << 24;
/// Most bytes of a name or of a symlink's target. Linux has 255 and 4095.
const MAX_NAME_LEN: usize = 4096;
/// Bytes of one extent's record.
const EXTENT_LEN: usize = 16;

/// Appends a node's record (`u32` length and CBOR) to `out`.
pub fn encode_node(node: &Node, out: &mut Vec<u8>) {
    let mut writer = Writer::default();
    write(node, &mut writer);
    let record = writer.into_bytes();
    // A longer record is refused by every reader; the walker bounds what a node holds.
    let len = u32::try_from(record.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&record);
}

/// As [`encode_node`], but an error, with `out` as it was, if no reader would take the record.
pub fn try_encode_node(node: &Node, out: &mut Vec<u8>) -> Result<(), NodeError> {
    let start = out.len();
    encode_node(node, out);
    let len = out.len() - start - 4;
    if len > MAX_NODE_LEN {
        out.truncate(start);
        return Err(NodeError(format!("a record of {len} bytes is longer than {MAX_NODE_LEN}")));
    }
    Ok(())
}

fn write(node: &Node, writer: &mut Writer) {
    writer.map(|map| {
        map.key(0).bytes(&node.name);
        map.key(1).uint(node.kind as u64);
        map.key(2).uint(node.mode.into());
        map.key(3).uint(node.uid.into());
        map.key(4).uint(node.gid.into());
        if let Some(user) = &node.user {
            map.key(5).text(user);
        }
        if let Some(group) = &node.group {
            map.key(6).text(group);
        }
        map.key(7).int(node.mtime);
        if node.mtime_nanos != 0 {
            map.key(8).uint(node.mtime_nanos.into());
        }
        if let Some(content) = &node.content {
            content.write(map.key(9));
        }
        if let Some(size) = node.sparse_size {
            map.key(10).uint(size);
        }
        if let Some(extents) = &node.extents {
            map.key(11).bytes(&encode_extents(extents));
        }
        if let Some(target) = &node.link_target {
            map.key(12).bytes(target);
        }
        if let Some(device) = node.device {
            map.key(13).array(2).uint(device.major.into()).uint(device.minor.into());
        }
        if !node.xattrs.is_empty() {
            map.key(14).list(&node.xattrs, |w, xattr| {
                w.map(|map| {
                    map.key(0).bytes(&xattr.name);
                    map.key(1).bytes(&xattr.value);
                });
            });
        }
        if let Some(group) = node.hard_link {
            map.key(15).uint(group);
        }
        if node.is_further_link {
            map.key(16).bool(true);
        }
        if node.is_torn {
            map.key(17).bool(true);
        }
    });
}

fn encode_extents(extents: &[Extent]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(extents.len() * EXTENT_LEN);
    for extent in extents {
        bytes.extend_from_slice(&extent.offset.to_le_bytes());
        bytes.extend_from_slice(&extent.len.to_le_bytes());
    }
    bytes
}

fn decode_extents(bytes: &[u8]) -> Result<Vec<Extent>, Error> {
    let (records, rest) = bytes.as_chunks::<EXTENT_LEN>();
    if !rest.is_empty() {
        return Err(Error::message("extents are no whole number of records"));
    }
    let mut extents = Vec::with_capacity(records.len());
    let mut end = 0_u64;
    for record in records {
        let both = u128::from_le_bytes(*record);
        let extent = Extent { offset: both as u64, len: (both >> 64) as u64 };
        if extent.offset < end {
            return Err(Error::message("extents overlap or do not ascend"));
        }
        end = extent
            .offset
            .checked_add(extent.len)
            .ok_or_else(|| Error::message("an extent ends beyond every file"))?;
        extents.push(extent);
    }
    Ok(extents)
}

/// Error if `name` cannot be the name of a directory's entry.
pub fn check_name(name: &[u8]) -> Result<(), NodeError> {
    let why = match name {
        b"" => "an empty name",
        b"." | b".." => "the name `.` or `..`",
        _ if name.len() > MAX_NAME_LEN => "a name of more than 4096 bytes",
        _ if name.contains(&b'/') => "a name with `/` in it",
        _ if name.contains(&0) => "a name with a zero byte in it",
        _ => return Ok(()),
    };
    Err(NodeError(format!("{why} is not allowed")))
}

fn kind(number: u64) -> Result<NodeKind, Error> {
    Ok(match number {
        0 => NodeKind::File,
        1 => NodeKind::Directory,
        2 => NodeKind::Symlink,
        3 => NodeKind::Fifo,
        4 => NodeKind::CharDevice,
        5 => NodeKind::BlockDevice,
        _ => return Err(Error::message(format!("{number} is no type of an entry"))),
    })
}

fn read_device(d: &mut Decoder<'_>) -> Result<Device, Error> {
    let numbers = read_list(d, Decoder::u32)?;
    match numbers[..] {
        [major, minor] => Ok(Device { major, minor }),
        _ => Err(Error::message("a device number is not two integers")),
    }
}

fn read_xattr(d: &mut Decoder<'_>) -> Result<Xattr, Error> {
    let (mut name, mut value) = (None, Vec::new());
    read_map(d, |key, d| {
        match key {
            0 => name = Some(bytes(d)?),
            1 => value = bytes(d)?,
            _ => d.skip()?,
        }
        Ok(())
    })?;
    let name = required(name, "the name of an extended attribute")?;
    if name.is_empty() || name.contains(&0) {
        return Err(Error::message(
            "the name of an extended attribute is empty or has a zero byte",
        ));
    }
    Ok(Xattr { name, value })
}

fn read(d: &mut Decoder<'_>) -> Result<Node, Error> {
    let (mut name, mut type_number, mut mode, mut mtime) = (None, None, None, None);
    let (mut uid, mut gid) = (None, None);
    let mut node = Node::new(Vec::new(), NodeKind::File);
    read_map(d, |key, d| {
        match key {
            0 => name = Some(bytes(d)?),
            1 => type_number = Some(d.u64()?),
            2 => mode = Some(d.u32()?),
            3 => uid = Some(d.u32()?),
            4 => gid = Some(d.u32()?),
            5 => node.user = Some(text(d)?),
            6 => node.group = Some(text(d)?),
            7 => mtime = Some(d.i64()?),
            8 => node.mtime_nanos = d.u32()?,
            9 => node.content = Some(StreamRef::read(d)?),
            10 => node.sparse_size = Some(d.u64()?),
            11 => node.extents = Some(decode_extents(d.bytes()?)?),
            12 => node.link_target = Some(bytes(d)?),
            13 => node.device = Some(read_device(d)?),
            14 => node.xattrs = read_list(d, read_xattr)?,
            15 => node.hard_link = Some(d.u64()?),
            16 => node.is_further_link = d.bool()?,
            17 => node.is_torn = d.bool()?,
            _ => d.skip()?,
        }
        Ok(())
    })?;
    node.name = required(name, "the name")?;
    node.kind = kind(required(type_number, "the type")?)?;
    node.mode = required(mode, "the mode")?;
    node.uid = required(uid, "the owner")?;
    node.gid = required(gid, "the group")?;
    node.mtime = required(mtime, "the modification time")?;
    Ok(node)
}

/// What a node must have, and what it must not, by its kind.
fn check(node: &Node) -> Result<(), &'static str> {
    if node.mode > 0o7777 {
        return Err("its mode has more than the 12 permission bits");
    }
    if node.mtime_nanos >= 1_000_000_000 {
        return Err("its modification time has more than 999999999 nanoseconds");
    }
    if node.is_further_link && node.hard_link.is_none() {
        return Err("it is a further link of no group");
    }
    let is_device = matches!(node.kind, NodeKind::CharDevice | NodeKind::BlockDevice);
    match node.kind {
        NodeKind::Directory if node.hard_link.is_some() => {
            return Err("it is a directory with hard links");
        }
        NodeKind::File | NodeKind::Directory if node.content.is_none() && !node.is_further_link => {
            return Err("its content is missing");
        }
        NodeKind::Symlink => match node.link_target.as_deref() {
            None | Some(b"") => return Err("the target of the symlink is missing"),
            Some(target) if target.contains(&0) || target.len() > MAX_NAME_LEN => {
                return Err("the target of the symlink has a zero byte or is too long");
            }
            Some(_) => {}
        },
        _ if is_device && node.device.is_none() && !node.is_further_link => {
            return Err("its device number is missing");
        }
        _ => {}
    }
    check_extents(node)
}

fn check_extents(node: &Node) -> Result<(), &'static str> {
    let len = node.content.as_ref().map_or(0, |content| content.len);
    let Some(extents) = &node.extents else {
        return match node.sparse_size {
            Some(size) if size != len && !node.is_further_link => {
                Err("its size is not that of its content, and it has no extents")
            }
            _ => Ok(()),
        };
    };
    // They ascend and do not overlap: the sum is at most the end of the last.
    let sum: u64 = extents.iter().map(|extent| extent.len).sum();
    if sum != len {
        return Err("its extents do not add up to the length of its content");
    }
    let end = extents.last().map_or(0, |extent| extent.offset + extent.len);
    if end > node.size() {
        return Err("an extent ends after the end of the file");
    }
    Ok(())
}

/// Reads nodes from a directory's bytes, which may come in pieces.
#[derive(Debug, Default)]
pub struct NodeReader {
    buffer: Vec<u8>,
    /// Bytes of `buffer` already read.
    done: usize,
    last_name: Option<Vec<u8>>,
}

impl NodeReader {
    /// Takes more bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.done);
        self.done = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole node, `None` if more bytes are needed. Names are checked (format.md key 0)
    /// and must ascend.
    pub fn next_node(&mut self) -> Result<Option<Node>, NodeError> {
        let Some((head, rest)) = self.buffer[self.done..].split_first_chunk::<4>() else {
            return Ok(None);
        };
        let len = u32::from_le_bytes(*head) as usize;
        if len > MAX_NODE_LEN {
            return Err(NodeError(format!("a record of {len} bytes is longer than 16777216")));
        }
        let Some(record) = rest.get(..len) else {
            return Ok(None);
        };
        let mut decoder = Decoder::new(record);
        let node = read(&mut decoder).map_err(|error| NodeError(error.to_string()))?;
        check_name(&node.name)?;
        let shown = || node.name.escape_ascii();
        if decoder.position() != record.len() {
            return Err(NodeError(format!("there is something after the map of `{}`", shown())));
        }
        check(&node).map_err(|why| NodeError(format!("`{}`: {why}", shown())))?;
        if self.last_name.as_ref().is_some_and(|last| *last >= node.name) {
            return Err(NodeError(format!("`{}` is not in order", shown())));
        }
        self.done += 4 + len;
        self.last_name = Some(node.name.clone());
        Ok(Some(node))
    }

    /// Error if bytes of an unfinished node are left.
    pub fn finish(self) -> Result<(), NodeError> {
        match self.buffer.len() - self.done {
            0 => Ok(()),
            left => Err(NodeError(format!("the directory ends {left} bytes into an entry"))),
        }
    }
}
