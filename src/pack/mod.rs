//! Packs: objects holding many sealed segments. `docs/format.md` section 6 draws them byte by byte.
//!
//! A [`RawSegment`] is compressed and sealed by a [`Sealer`] (one a thread), collected by a
//! [`PackBuilder`] and comes out as a [`FinishedPack`], ready to be put. A sealed segment does not
//! depend on the pack around it, so it can be moved to another pack as it is.

mod builder;
mod entry;
mod reader;
mod sealer;

pub use builder::{FinishedPack, PackBuilder};
pub use entry::{ChunkEntry, PackClass, SegmentEntry, SegmentKind};
pub use reader::{
    HEADER_LEN, PackError, PackHeader, TRAILER_LEN, open_segment, parse_directory, parse_header,
    parse_trailer, read_directory,
};
pub use sealer::{Compression, RawSegment, SealedSegment, Sealer};
