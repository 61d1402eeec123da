//! A snapshot as an archive of `tar`: whatever becomes of this program, that can be read anywhere.
//!
//! The form is the one of POSIX.1-2001 (pax): what does not fit the old header stands in a record before it. Extended attributes are
//! written as GNU tar and bsdtar read them. Holes are written as zeros.

use std::collections::HashMap;
use std::io::{self, Write};

use crate::event::StopFlag;
use crate::repository::{Fetcher, RepositoryError};
use crate::snapshot::{Node, NodeKind, Snapshot};

use super::browse::{Located, TreeWalk, display_path, resolve};
use super::dump::{DumpError, content_of, first_link};

const BLOCK: usize = 512;
/// `tar` writes so many blocks at once, and some readers expect it.
const RECORD: u64 = 20 * BLOCK as u64;
/// Largest number in eleven octal digits, and in seven.
const LARGEST_SIZE: u64 = 0o777_7777_7777;
const LARGEST_ID: u32 = 0o777_7777;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct ArchiveStats {
    /// Entries.
    pub entries: u64,
    /// Bytes of the archive.
    pub bytes: u64,
    /// Files that were not stored whole.
    pub torn: u64,
}

/// Writes what is at and below `path` (empty: everything) as an archive.
pub fn archive(
    fetcher: &Fetcher<'_>,
    snapshot: &Snapshot,
    path: &[u8],
    out: &mut dyn Write,
    stop: &StopFlag,
) -> Result<ArchiveStats, DumpError> {
    let mut writer = TarWriter {
        fetcher,
        snapshot,
        out: Counted { out, written: 0 },
        stop,
        first_names: HashMap::new(),
        stats: ArchiveStats::default(),
    };
    let start = resolve(fetcher, snapshot, path)?;
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    let path = names.collect::<Vec<_>>().join(&b'/');
    if !path.is_empty() {
        writer.entry(&Located { path: path.clone(), node: start.clone() })?;
    }
    if let (NodeKind::Directory, Some(content)) = (start.kind, &start.content) {
        let mut walk = TreeWalk::new(fetcher, &path, content);
        while let Some(entry) = walk.next_entry()? {
            if stop.is_stopped() {
                return Err(RepositoryError::Interrupted.into());
            }
            writer.entry(&entry)?;
            walk.enter(&entry);
        }
    }
    writer.finish()
}

struct Counted<'o> {
    out: &'o mut dyn Write,
    written: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

struct TarWriter<'a, 'r> {
    fetcher: &'a Fetcher<'r>,
    snapshot: &'a Snapshot,
    out: Counted<'a>,
    stop: &'a StopFlag,
    /// Where the first name of each group of hard links is in the archive.
    first_names: HashMap<u64, Vec<u8>>,
    stats: ArchiveStats,
}

impl TarWriter<'_, '_> {
    fn entry(&mut self, located: &Located) -> Result<(), DumpError> {
        let (path, node) = (&located.path, &located.node);
        let linked = node.hard_link.filter(|_| node.kind == NodeKind::File);
        let first = linked.and_then(|group| self.first_names.get(&group).cloned());
        self.stats.entries += 1;
        if let Some(first) = first {
            return self.put(path, &header(path, node, b'1', 0, &first)?, &[]);
        }
        // Of a part of the tree the first name may be elsewhere: then this one has the content.
        let found = match linked.filter(|_| node.is_further_link) {
            Some(group) => Some(first_link(self.fetcher, self.snapshot, group, self.stop)?),
            None => None,
        };
        if let Some(group) = linked {
            self.first_names.insert(group, path.clone());
        }
        let node = found.as_ref().unwrap_or(node);
        let (kind, target): (u8, &[u8]) = match node.kind {
            NodeKind::File => (b'0', b""),
            NodeKind::Directory => (b'5', b""),
            NodeKind::Symlink => (b'2', node.link_target.as_deref().unwrap_or_default()),
            NodeKind::CharDevice => (b'3', b""),
            NodeKind::BlockDevice => (b'4', b""),
            NodeKind::Fifo => (b'6', b""),
        };
        self.stats.torn += u64::from(node.is_torn);
        self.put(path, &header(path, node, kind, node.size(), target)?, &[])?;
        if node.kind == NodeKind::File {
            let written = content_of(self.fetcher, node, path, &mut self.out, self.stop)?;
            self.pad(path, written)?;
        }
        Ok(())
    }

    fn put(&mut self, path: &[u8], one: &[u8], other: &[u8]) -> Result<(), DumpError> {
        let put = self.out.write_all(one).and_then(|()| self.out.write_all(other));
        put.map_err(|error| DumpError::Output { path: display_path(path), error })
    }

    /// Fills the last block up.
    fn pad(&mut self, path: &[u8], written: u64) -> Result<(), DumpError> {
        let rest = usize::try_from(written % BLOCK as u64).unwrap_or(0);
        let zeros = [0; BLOCK];
        match rest {
            0 => Ok(()),
            rest => self.put(path, &zeros[..BLOCK - rest], &[]),
        }
    }

    fn finish(mut self) -> Result<ArchiveStats, DumpError> {
        let end = self.out.written + 2 * BLOCK as u64;
        let zeros = end.next_multiple_of(RECORD) - self.out.written;
        let zeros = vec![0; usize::try_from(zeros).unwrap_or(2 * BLOCK)];
        self.put(b"", &zeros, &[])?;
        let flushed = self.out.flush();
        flushed.map_err(|error| DumpError::Output { path: String::new(), error })?;
        Ok(ArchiveStats { bytes: self.out.written, ..self.stats })
    }
}

/// The header of an entry, with a record before it for what does not fit.
fn header(
    path: &[u8],
    node: &Node,
    kind: u8,
    size: u64,
    target: &[u8],
) -> Result<Vec<u8>, DumpError> {
    let mut name = path.to_vec();
    if node.kind == NodeKind::Directory {
        name.push(b'/');
    }
    let mut records = Vec::new();
    let mut record = |key: &[u8], value: &[u8]| records.extend(pax_record(key, value));
    if name.len() > 100 {
        record(b"path", &name);
    }
    if target.len() > 100 {
        record(b"linkpath", target);
    }
    if size > LARGEST_SIZE {
        record(b"size", size.to_string().as_bytes());
    }
    for (key, id) in [(b"uid", node.uid), (b"gid", node.gid)] {
        if id > LARGEST_ID {
            record(key, id.to_string().as_bytes());
        }
    }
    if node.mtime < 0 || node.mtime_nanos > 0 || node.mtime.unsigned_abs() > LARGEST_SIZE {
        record(b"mtime", time_text(node.mtime, node.mtime_nanos).as_bytes());
    }
    for (key, text) in [(&b"uname"[..], &node.user), (&b"gname"[..], &node.group)] {
        if let Some(text) = text.as_ref().filter(|text| text.len() > 31 || !text.is_ascii()) {
            record(key, text.as_bytes());
        }
    }
    for xattr in &node.xattrs {
        record(&[b"SCHILY.xattr.", &xattr.name[..]].concat(), &xattr.value);
    }
    let mut bytes = Vec::new();
    if !records.is_empty() {
        let mut plain = Node::new("", NodeKind::File);
        plain.mode = 0o644;
        bytes.extend(ustar(b"././@PaxHeader", &plain, b'x', records.len() as u64, b"", path)?);
        let len = records.len().next_multiple_of(BLOCK);
        records.resize(len, 0);
        bytes.extend(records);
    }
    bytes.extend(ustar(&name, node, kind, size, target, path)?);
    Ok(bytes)
}

/// `LENGTH key=value\n`, of which the length counts itself.
fn pax_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    // A further digit may make it longer once more.
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    [format!("{len} ").as_bytes(), key, b"=", value, b"\n"].concat()
}

fn time_text(seconds: i64, nanos: u32) -> String {
    match (seconds, nanos) {
        (seconds, 0) => seconds.to_string(),
        (seconds @ 0.., nanos) => format!("{seconds}.{nanos:09}"),
        // Nanoseconds count forwards from the second before.
        (seconds, nanos) => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos),
    }
}

/// A header of 1988.
fn ustar(
    name: &[u8],
    node: &Node,
    kind: u8,
    size: u64,
    target: &[u8],
    path: &[u8],
) -> Result<Vec<u8>, DumpError> {
    let mut block = [0_u8; BLOCK];
    let mut put = |at: usize, most: usize, bytes: &[u8]| {
        let len = bytes.len().min(most);
        if let (Some(place), Some(bytes)) = (block.get_mut(at..at + len), bytes.get(..len)) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, 100, name);
    put(100, 7, format!("{:07o}", node.mode & 0o7777).as_bytes());
    put(108, 7, format!("{:07o}", node.uid.min(LARGEST_ID)).as_bytes());
    put(116, 7, format!("{:07o}", node.gid.min(LARGEST_ID)).as_bytes());
    put(124, 11, format!("{:011o}", size.min(LARGEST_SIZE)).as_bytes());
    let mtime = u64::try_from(node.mtime).unwrap_or(0).min(LARGEST_SIZE);
    put(136, 11, format!("{mtime:011o}").as_bytes());
    // While the sum is made its own place counts as spaces.
    put(148, 8, b"        ");
    put(156, 1, &[kind]);
    put(157, 100, target);
    put(257, 8, b"ustar\x0000");
    put(265, 31, node.user.as_deref().unwrap_or_default().as_bytes());
    put(297, 31, node.group.as_deref().unwrap_or_default().as_bytes());
    let device = node.device.filter(|_| matches!(kind, b'3' | b'4'));
    if let Some(device) = device {
        if device.major.max(device.minor) > LARGEST_ID {
            return Err(too_large(path));
        }
        put(329, 7, format!("{:07o}", device.major).as_bytes());
        put(337, 7, format!("{:07o}", device.minor).as_bytes());
    }
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    if let Some(place) = block.get_mut(148..156) {
        place.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    Ok(block.to_vec())
}

fn too_large(path: &[u8]) -> DumpError {
    let reason = io::Error::other("its device number does not fit an archive");
    DumpError::Output { path: display_path(path), error: reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_themselves() {
        for (value, expected) in [("x", "8 k=x\n"), ("", "7 k=\n")] {
            let record = pax_record(b"k", value.as_bytes());
            assert_eq!(
                String::from_utf8(record).unwrap().split_once(' ').unwrap().1,
                expected.split_once(' ').unwrap().1
            );
        }
        for len in 0..1200 {
            let record = pax_record(b"path", &vec![b'x'; len]);
            let told: usize = String::from_utf8(record.clone())
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
                .parse()
                .unwrap();
            assert_eq!(told, record.len(), "{len}");
        }
    }

    #[test]
    fn times_before_1970_are_told() {
        assert_eq!(time_text(5, 0), "5");
        assert_eq!(time_text(5, 7), "5.000000007");
        assert_eq!(time_text(-1, 500_000_000), "-0.500000000");
        assert_eq!(time_text(-2, 250_000_000), "-1.750000000");
        assert_eq!(time_text(-3, 0), "-3");
    }
}
