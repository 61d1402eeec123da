//! Packs: objects holding many sealed segments. `docs/format.md` section 6 draws them byte by byte.
//!
//! A [`RawSegment`] is compressed and sealed by a [`Sealer`] (one a thread), collected by a
//! [`PackBuilder`], comes out as a [`FinishedPack`] ready to be put. A sealed segment does not
//! depend on the pack around it, so it can be moved to another pack as it is.

mod builder;
mod delta;
mod entry;
mod fit;
mod layout;
mod open;
mod reader;
mod sealer;
#[cfg(test)]
mod tests;

pub use builder::{FinishedPack, PackBuilder};
pub use delta::{MAX_DELTA_LEN, compress_delta};
pub use entry::{
    ChunkEntry, MAX_RAW_LEN, PackClass, SegmentEntry, SegmentKind, decode_entries, encode_entries,
};
pub use reader::{
    HEADER_LEN, MAX_PACK_LEN, PackError, PackHeader, TRAILER_LEN, open_segment, parse_directory,
    parse_header, parse_trailer, read_directory, unseal_segment,
};
pub use sealer::{Compression, Delta, Likeness, RawSegment, SealedSegment, Sealer};
