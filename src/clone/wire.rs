//! The form of a copy on its way to another machine: frames, of which each vouches for all before it.
//!
//! ```text
//! "mrs-backup clone 1\n"
//! kind (1 byte), length (4 bytes, big endian), payload, check (16 bytes)    again and again
//! ```
//!
//! `check` is the start of the BLAKE3 of everything up to there, so that nothing can be missing, twice or in another
//! order. The last frame says that it is the last: a line that is cut is never taken for the end. Secrecy is ssh's
//! business; what crosses has nobody in it.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What it begins with.
const MAGIC: &[u8] = b"mrs-backup clone 1\n";
/// Bytes of a check.
const CHECK: usize = 16;
/// Longest payload, in bytes.
pub(super) const PIECE: usize = 256 << 10;
/// Longest payload of what describes a copy.
const LONGEST: usize = 64 << 20;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// What is copied: JSON.
    Header = 1,
    /// A piece of the definitions.
    Definitions = 2,
    /// The rows of a table begin: its number in the header, JSON.
    Table = 3,
    /// Rows.
    Rows = 4,
    /// Files that rows name: JSON.
    Files = 5,
    /// The rows of a table end: what they were, JSON.
    TableEnd = 6,
    /// The archive begins.
    Archive = 7,
    /// The archive ends.
    ArchiveEnd = 8,
    /// What was done: JSON.
    Summary = 9,
    /// It goes wrong: why, JSON.
    Failed = 10,
    /// It is whole.
    End = 11,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        let all = [
            Self::Header,
            Self::Definitions,
            Self::Table,
            Self::Rows,
            Self::Files,
            Self::TableEnd,
            Self::Archive,
            Self::ArchiveEnd,
            Self::Summary,
            Self::Failed,
            Self::End,
        ];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }

    const fn limit(self) -> usize {
        match self {
            Self::Header | Self::Summary => LONGEST,
            _ => PIECE,
        }
    }
}

fn malformed(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Writes frames.
pub(super) struct Sender<W> {
    inner: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Sender<W> {
    /// Says what comes.
    pub fn begin(mut inner: W) -> io::Result<Self> {
        inner.write_all(MAGIC)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(MAGIC);
        Ok(Self { inner, hasher })
    }

    /// One frame.
    pub fn send(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        let len = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= kind.limit());
        let len = len.ok_or_else(|| malformed("more than fits into a frame"))?;
        let [a, b, c, d] = len.to_be_bytes();
        let head = [kind as u8, a, b, c, d];
        self.hasher.update(&head).update(payload);
        self.inner.write_all(&head)?;
        self.inner.write_all(payload)?;
        self.inner.write_all(&check(&self.hasher))
    }

    /// A frame of JSON.
    pub fn say(&mut self, kind: Kind, value: &impl Serialize) -> io::Result<()> {
        self.send(kind, &serde_json::to_vec(value)?)
    }

    /// Everything reaches the other side.
    pub fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn check(hasher: &blake3::Hasher) -> [u8; CHECK] {
    let mut check = [0; CHECK];
    hasher.finalize_xof().fill(&mut check);
    check
}

/// Reads frames.
pub(super) struct Receiver<R> {
    inner: R,
    hasher: blake3::Hasher,
    has_begun: bool,
}

impl<R: Read> Receiver<R> {
    /// Of a stream of which nothing was read.
    pub fn new(inner: R) -> Self {
        Self { inner, hasher: blake3::Hasher::new(), has_begun: false }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => malformed("the line was cut before the end"),
            _ => error,
        })
    }

    fn begin(&mut self) -> io::Result<()> {
        let mut start = [0; MAGIC.len()];
        let mut len = 0;
        // What says something else may be shorter.
        while let Some(rest) = start.get_mut(len..).filter(|rest| !rest.is_empty()) {
            match self.inner.read(rest) {
                Ok(0) if len == 0 => return Err(malformed("nothing came")),
                Ok(0) => break,
                Ok(count) => len += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if start != MAGIC {
            return Err(malformed(
                "what came is no copy that this version reads; both sides need the same version, and the \
                 login there must not print anything",
            ));
        }
        self.hasher.update(MAGIC);
        self.has_begun = true;
        Ok(())
    }

    /// The next frame.
    pub fn frame(&mut self) -> io::Result<(Kind, Vec<u8>)> {
        if !self.has_begun {
            self.begin()?;
        }
        let mut head = [0; 5];
        self.fill(&mut head)?;
        let [kind, len @ ..] = head;
        let kind = Kind::of(kind).ok_or_else(|| malformed("a frame of no known kind"))?;
        let len = u32::from_be_bytes(len) as usize;
        if len > kind.limit() {
            return Err(malformed("a frame that is too long"));
        }
        // It grows with what comes, not with what is said of it.
        let mut payload = Vec::with_capacity(len.min(PIECE));
        self.inner.by_ref().take(len as u64).read_to_end(&mut payload)?;
        if payload.len() < len {
            return Err(malformed("the line was cut before the end"));
        }
        self.hasher.update(&head).update(&payload);
        let mut said = [0; CHECK];
        self.fill(&mut said)?;
        match said == check(&self.hasher) {
            true => Ok((kind, payload)),
            false => Err(malformed("what came is not what was sent (its BLAKE3 differs)")),
        }
    }
}

/// What a frame of JSON says.
pub(super) fn said<T: DeserializeOwned>(payload: &[u8]) -> io::Result<T> {
    serde_json::from_slice(payload)
        .map_err(|error| malformed(format!("a frame that says nothing: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut sender = Sender::begin(&mut bytes).unwrap();
        sender.say(Kind::Header, &vec!["a"]).unwrap();
        sender.send(Kind::Rows, &[7; 1000]).unwrap();
        sender.send(Kind::Rows, b"").unwrap();
        sender.send(Kind::End, b"").unwrap();
        sender.flush().unwrap();
        bytes
    }

    fn received(bytes: &[u8]) -> io::Result<Vec<(Kind, Vec<u8>)>> {
        let mut receiver = Receiver::new(bytes);
        let mut frames = Vec::new();
        loop {
            frames.push(receiver.frame()?);
            if frames.last().is_some_and(|(kind, _)| *kind == Kind::End) {
                return Ok(frames);
            }
        }
    }

    #[test]
    fn what_is_sent_comes() {
        let frames = received(&sent()).unwrap();
        let kinds: Vec<Kind> = frames.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [Kind::Header, Kind::Rows, Kind::Rows, Kind::End]);
        assert_eq!(said::<Vec<String>>(&frames[0].1).unwrap(), ["a"]);
        assert_eq!(frames[1].1, [7; 1000]);
    }

    #[test]
    fn no_cut_is_an_end_and_no_change_goes_by() {
        let bytes = sent();
        for len in 0..bytes.len() {
            assert!(received(&bytes[..len]).is_err(), "cut at {len}");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            assert!(received(&bytes).is_err(), "changed at {at}");
        }
        // A frame twice, one missing, two exchanged.
        let head = MAGIC.len() + 5 + 5 + CHECK;
        let (first, rest) = bytes.split_at(head);
        let (rows, last) = rest.split_at(5 + 1000 + CHECK);
        for odd in [[first, rows, rows, last].concat(), [first, last].concat()] {
            assert!(received(&odd).is_err());
        }
    }

    #[test]
    fn lengths_are_looked_at_before_room_is_made() {
        for kind in [Kind::Rows, Kind::Header] {
            let mut bytes = MAGIC.to_vec();
            bytes.extend([kind as u8, 0xff, 0xff, 0xff, 0xff]);
            assert!(received(&bytes).unwrap_err().to_string().contains("too long"));
        }
        assert!(received(b"Welcome!\n").unwrap_err().to_string().contains("no copy"));
        assert!(received(b"").unwrap_err().to_string().contains("nothing came"));
        let mut sender = Sender::begin(Vec::new()).unwrap();
        assert!(sender.send(Kind::Rows, &vec![0; PIECE + 1]).is_err());
    }
}
