//! Entries of a tar archive in the form of POSIX.1-2001 (pax): what the old header has no room for stands in
//! records before it. Sparse files are stored in GNU tar's format 1.0, attributes as `SCHILY.xattr` records.
//! Every tar reads the plain parts; GNU tar, bsdtar and star read all of it.

use std::io::{self, Write};

/// Archives consist of blocks of this size.
const BLOCK: usize = 512;
/// tar writes records of so many blocks.
const RECORD_BLOCKS: u64 = 20;
/// Longest name and link in the old header.
const NAME: usize = 100;
/// Largest number in 7 and in 11 octal digits.
const MOST_ID: u64 = 0o777_7777;
const MOST_SIZE: u64 = 0o777_7777_7777;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file with so many bytes of data.
    File,
    /// A file of which only parts are stored.
    Sparse {
        /// Its size with holes.
        size: u64,
        /// Offset and length of each part.
        parts: Vec<(u64, u64)>,
    },
    /// A further name of an entry before it.
    Link(Vec<u8>),
    /// A symbolic link to this.
    Symlink(Vec<u8>),
    Directory,
    Fifo,
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
}

/// One entry without its data.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Path without a slash at either end.
    pub path: Vec<u8>,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub user: String,
    pub group: String,
    /// Seconds since 1970, and nanoseconds.
    pub mtime: (i64, u32),
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes of data that follow (of all parts together).
    pub len: u64,
}

/// Writes an archive.
pub(super) struct TarWriter<W> {
    out: W,
    written: u64,
}

impl<W: Write> TarWriter<W> {
    pub fn new(out: W) -> Self {
        Self { out, written: 0 }
    }

    /// Begins an entry: its `len` bytes of data are to be written next, then [`end_entry`](Self::end_entry).
    pub fn begin(&mut self, entry: &Entry) -> io::Result<()> {
        let map = match &entry.kind {
            Kind::Sparse { parts, .. } => sparse_map(parts),
            _ => Vec::new(),
        };
        let size = entry.len + map.len() as u64;
        let records = records(entry, size);
        if !records.is_empty() {
            // Whoever does not know the records sees a small file of this name.
            let header = Header {
                kind: b'x',
                name: b"././@PaxHeader",
                size: records.len() as u64,
                ..Header::default()
            };
            self.write(&header.block())?;
            self.write(&records)?;
            self.end_entry()?;
        }
        let name = name_of(entry);
        let (kind, link, device) = match &entry.kind {
            Kind::File | Kind::Sparse { .. } => (b'0', &[][..], (0, 0)),
            Kind::Link(target) => (b'1', target.as_slice(), (0, 0)),
            Kind::Symlink(target) => (b'2', target.as_slice(), (0, 0)),
            Kind::CharDevice(major, minor) => (b'3', &[][..], (*major, *minor)),
            Kind::BlockDevice(major, minor) => (b'4', &[][..], (*major, *minor)),
            Kind::Directory => (b'5', &[][..], (0, 0)),
            Kind::Fifo => (b'6', &[][..], (0, 0)),
        };
        let header = Header {
            kind,
            name: &name,
            link,
            size,
            mode: entry.mode,
            ids: (entry.uid, entry.gid),
            names: (&entry.user, &entry.group),
            mtime: entry.mtime.0,
            device,
        };
        self.write(&header.block())?;
        self.write(&map)
    }

    /// Writes zeros up to the end of a block.
    pub fn end_entry(&mut self) -> io::Result<()> {
        let over = usize::try_from(self.written % BLOCK as u64).unwrap_or(0);
        if over > 0 { self.write(&[0; BLOCK][over..]) } else { Ok(()) }
    }

    /// Writes the end of the archive.
    pub fn finish(&mut self) -> io::Result<u64> {
        self.write(&[0; BLOCK])?;
        self.write(&[0; BLOCK])?;
        while !(self.written / BLOCK as u64).is_multiple_of(RECORD_BLOCKS) {
            self.write(&[0; BLOCK])?;
        }
        self.out.flush()?;
        Ok(self.written)
    }
}

impl<W: Write> Write for TarWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> TarWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        Write::write(self, bytes).map(|_| ())
    }
}

/// The name for the header: directories end in a slash, and sparse files hide behind another name from a tar that
/// does not know them.
fn name_of(entry: &Entry) -> Vec<u8> {
    let mut name = match entry.kind {
        Kind::Sparse { .. } => b"GNUSparseFile.0/".to_vec(),
        _ => Vec::new(),
    };
    name.extend_from_slice(&entry.path);
    if entry.kind == Kind::Directory {
        name.push(b'/');
    }
    name
}

/// Number of parts, then offset and length of each, a number a line, filled up to a block. A hole at the end is a
/// part without length.
fn sparse_map(parts: &[(u64, u64)]) -> Vec<u8> {
    let mut map = format!("{}\n", parts.len());
    for (offset, len) in parts {
        map.push_str(&format!("{offset}\n{len}\n"));
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

/// The records of what the header cannot hold.
fn records(entry: &Entry, size: u64) -> Vec<u8> {
    let mut records = Vec::new();
    let mut add = |key: &[u8], value: &[u8]| records.extend(record(key, value));
    let name = name_of(entry);
    let link = match &entry.kind {
        Kind::Link(target) | Kind::Symlink(target) => target.as_slice(),
        _ => &[],
    };
    let is_text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
    if !is_text(&name) || !is_text(link) {
        add(b"hdrcharset", b"BINARY");
    }
    if let Kind::Sparse { size, .. } = &entry.kind {
        add(b"GNU.sparse.major", b"1");
        add(b"GNU.sparse.minor", b"0");
        add(b"GNU.sparse.name", &entry.path);
        add(b"GNU.sparse.realsize", size.to_string().as_bytes());
    }
    // Names are compared as bytes by some, as text by others: a record says which bytes are meant.
    if name.len() > NAME || !name.is_ascii() {
        add(b"path", &name);
    }
    if link.len() > NAME || !link.is_ascii() {
        add(b"linkpath", link);
    }
    for (key, text) in [(&b"uname"[..], &entry.user), (b"gname", &entry.group)] {
        if text.len() > 31 || !text.is_ascii() {
            add(key, text.as_bytes());
        }
    }
    for (key, id) in [(&b"uid"[..], entry.uid), (b"gid", entry.gid)] {
        if u64::from(id) > MOST_ID {
            add(key, id.to_string().as_bytes());
        }
    }
    if size > MOST_SIZE {
        add(b"size", size.to_string().as_bytes());
    }
    let (seconds, nanos) = entry.mtime;
    if nanos != 0 || !(0..=MOST_SIZE.cast_signed()).contains(&seconds) {
        add(b"mtime", decimal(seconds, nanos).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        let mut key = b"SCHILY.xattr.".to_vec();
        for byte in name {
            match byte {
                b'=' => key.extend_from_slice(b"%3D"),
                b'%' => key.extend_from_slice(b"%25"),
                _ => key.push(*byte),
            }
        }
        add(&key, value);
    }
    records
}

/// Seconds with a fraction. Before 1970 the nanoseconds count forward from the second before.
fn decimal(seconds: i64, nanos: u32) -> String {
    if seconds >= 0 || nanos == 0 {
        return match nanos {
            0 => seconds.to_string(),
            _ => format!("{seconds}.{nanos:09}"),
        };
    }
    format!("-{}.{:09}", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanos)
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    let mut record = format!("{len} ").into_bytes();
    record.extend_from_slice(key);
    record.push(b'=');
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

/// The old header.
#[derive(Default)]
struct Header<'h> {
    kind: u8,
    name: &'h [u8],
    link: &'h [u8],
    size: u64,
    mode: u32,
    ids: (u32, u32),
    names: (&'h str, &'h str),
    mtime: i64,
    device: (u32, u32),
}

impl Header<'_> {
    fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, len: usize, bytes: &[u8]| {
            let len = bytes.len().min(len);
            if let (Some(field), Some(bytes)) = (block.get_mut(at..at + len), bytes.get(..len)) {
                field.copy_from_slice(bytes);
            }
        };
        let id = |id: u32| octal(u64::from(id).min(MOST_ID), 7);
        put(0, NAME, self.name);
        put(100, 8, &octal(u64::from(self.mode & 0o7777), 7));
        put(108, 8, &id(self.ids.0));
        put(116, 8, &id(self.ids.1));
        put(124, 12, &octal(self.size.min(MOST_SIZE), 11));
        let seconds = u64::try_from(self.mtime).unwrap_or(0).min(MOST_SIZE);
        put(136, 12, &octal(seconds, 11));
        // The sum counts its own field as blanks.
        put(148, 8, b"        ");
        put(156, 1, &[self.kind]);
        put(157, NAME, self.link);
        put(257, 8, b"ustar\x0000");
        put(265, 31, self.names.0.as_bytes());
        put(297, 31, self.names.1.as_bytes());
        put(329, 8, &octal(u64::from(self.device.0).min(MOST_ID), 7));
        put(337, 8, &octal(u64::from(self.device.1).min(MOST_ID), 7));
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        let mut text = octal(sum, 6);
        text.extend_from_slice(b"\0 ");
        if let (Some(field), Some(text)) = (block.get_mut(148..156), text.get(..8)) {
            field.copy_from_slice(text);
        }
        block
    }
}

/// So many octal digits.
fn octal(number: u64, digits: usize) -> Vec<u8> {
    format!("{number:0digits$o}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_records_count_themselves() {
        for len in (0..200).chain([980, 985, 990, 9985, 9990, 9995]) {
            let record = record(b"key", &vec![b'v'; len]);
            let text = String::from_utf8(record.clone()).expect("text");
            let (said, _) = text.split_once(' ').expect("a blank");
            assert_eq!(said.parse(), Ok(record.len()), "{text}");
        }
    }

    #[test]
    fn times_before_1970_have_their_fraction() {
        assert_eq!(decimal(7, 0), "7");
        assert_eq!(decimal(7, 5), "7.000000005");
        assert_eq!(decimal(-1, 0), "-1");
        assert_eq!(decimal(-1, 250_000_000), "-0.750000000");
        assert_eq!(decimal(-2, 250_000_000), "-1.750000000");
    }
}
