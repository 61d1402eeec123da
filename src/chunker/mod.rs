//! Content-defined chunking: cuts a stream where its content says so, so that an insertion moves
//! only the cuts around it.
//!
//! FastCDC (Xia et al., USENIX ATC 2016; the `fastcdc` crate's 2020 variant) with a gear table
//! derived from a secret of the repository, so that chunk lengths tell strangers less about known files.

mod cutter;
mod fill;
mod profile;
mod sample;
mod similarity;
#[cfg(test)]
mod tests;

pub use cutter::{Chunk, Chunker, GearTable};
pub use fill::fill;
pub use profile::{ChunkerProfile, ProfileName};
pub use sample::looks_incompressible;
pub use similarity::Features;
