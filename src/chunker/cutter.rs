//! The streaming cut loop over the crate's arithmetic.

use std::io::Read;

use fastcdc::v2020::{self, Normalization};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::crypto::SecretKey;

use super::profile::{ChunkerProfile, ProfileName};

/// What the gear key is hashed with; another text gives another table.
const GEAR_CONTEXT: &[u8] = b"mrs-backup gear table v1";
/// How far beyond the largest chunk is read at least, in bytes.
const READ_AHEAD: usize = 1 << 20;
/// How much is read before the buffer gets its full size. Most files are shorter, so most streams
/// never need more than this.
const FIRST_READ: usize = 64 << 10;

/// The secret table that decides where cuts fall: 256 numbers, and the same doubled, as the crate
/// looks at two bytes in a step.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct GearTable {
    gear: [u64; 256],
    doubled: [u64; 256],
}

impl GearTable {
    /// The table of a repository: the first 2048 bytes of BLAKE3's extendable output over
    /// `"mrs-backup gear table v1"`, keyed with `key`, as little-endian numbers.
    pub fn new(key: &SecretKey) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(key.expose());
        hasher.update(GEAR_CONTEXT);
        let mut output = hasher.finalize_xof();
        let mut gear = [0u64; 256];
        for number in &mut gear {
            let mut bytes = [0; 8];
            output.fill(&mut bytes);
            *number = u64::from_le_bytes(bytes);
        }
        let table = Self { gear, doubled: gear.map(|number| number << 1) };
        gear.zeroize();
        hasher.zeroize();
        output.zeroize();
        table
    }

    pub(super) fn gear(&self) -> &[u64; 256] {
        &self.gear
    }
}

impl std::fmt::Debug for GearTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GearTable(..)")
    }
}

/// Cuts one stream. Where it cuts follows from the bytes, the table and the profile alone, however
/// the reader hands the bytes out.
///
/// The buffer holds two of the largest chunks (and 1 MiB ahead at least), and grows to that only
/// when the stream is long enough. Whoever cuts many streams passes the buffer on with
/// [`into_buffer`](Self::into_buffer) and [`with_buffer`](Self::with_buffer).
pub struct Chunker<'a, R> {
    reader: R,
    table: &'a GearTable,
    min: usize,
    avg: usize,
    max: usize,
    /// Strict mask below the average length, loose mask above.
    masks: (u64, u64),
    /// Most bytes the buffer holds.
    room: usize,
    buffer: Vec<u8>,
    /// Where in the buffer the next chunk begins.
    start: usize,
    ended: bool,
}

impl<'a, R: Read> Chunker<'a, R> {
    /// A chunker over `reader` with a buffer of its own.
    pub fn new(table: &'a GearTable, profile: ChunkerProfile, reader: R) -> Self {
        Self::with_buffer(table, profile, reader, Vec::new())
    }

    /// A chunker over `reader` that works in `buffer`; what is in there is dropped.
    ///
    /// A profile that is not [valid](ChunkerProfile::is_valid) is replaced by the one for text: the
    /// crate would panic or never advance with it. The cuts are then others, the content is not.
    pub fn with_buffer(
        table: &'a GearTable,
        profile: ChunkerProfile,
        reader: R,
        mut buffer: Vec<u8>,
    ) -> Self {
        let profile = if profile.is_valid() {
            profile
        } else {
            ChunkerProfile::default_for(ProfileName::Text)
        };
        buffer.clear();
        let max = profile.max as usize;
        Self {
            reader,
            table,
            min: profile.min as usize,
            avg: profile.avg as usize,
            max,
            masks: v2020::select_masks(profile.avg as usize, Normalization::Level2),
            room: max + max.max(READ_AHEAD),
            buffer,
            start: 0,
            ended: false,
        }
    }

    /// The next chunk's bytes, or `None` at the end. Retries interrupted reads. After any other
    /// error it may be called again: what was read by then is kept.
    pub fn next_chunk(&mut self) -> std::io::Result<Option<&[u8]>> {
        if !self.ended && self.buffer.len() - self.start < self.max {
            self.fill()?;
        }
        let window = &self.buffer[self.start..];
        if window.is_empty() {
            return Ok(None);
        }
        let (strict, loose) = self.masks;
        let (_, len) = v2020::cut_gear(
            window,
            self.min,
            self.avg,
            self.max,
            strict,
            loose,
            strict << 1,
            loose << 1,
            &self.table.gear,
            &self.table.doubled,
        );
        self.start += len;
        Ok(Some(&window[..len]))
    }

    /// The buffer, to be used for the next stream.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// Reads until the window holds a chunk of any length, or the stream ends.
    fn fill(&mut self) -> std::io::Result<()> {
        let nothing_left = self.start == self.buffer.len();
        if nothing_left || self.start + self.max > self.room {
            self.buffer.copy_within(self.start.., 0);
            self.buffer.truncate(self.buffer.len() - self.start);
            self.start = 0;
        }
        while !self.ended && self.buffer.len() - self.start < self.max {
            let free = self.room - self.buffer.len();
            let wanted = if self.buffer.len() < FIRST_READ {
                free.min(FIRST_READ)
            } else {
                self.buffer.reserve_exact(free);
                free
            };
            // `read_to_end` retries interrupted reads, writes into the spare room without
            // zeroing it for each stream, and keeps what it got before an error.
            let got = self.reader.by_ref().take(wanted as u64).read_to_end(&mut self.buffer)?;
            self.ended = got < wanted;
        }
        Ok(())
    }
}
