//! Cut sizes by kind of stream.

use fastcdc::v2020::{AVERAGE_MAX, AVERAGE_MIN, MAXIMUM_MAX, MINIMUM_MAX, MINIMUM_MIN};

/// The kinds of stream that are cut differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProfileName {
    /// Text-like: databases, logs, sources. Each chunk is its own segment.
    Text,
    /// What does not compress: images, PDF, archives.
    Opaque,
    /// Nodes of directories.
    Tree,
    /// Lists of chunks.
    List,
}

impl ProfileName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Text, Self::Opaque, Self::Tree, Self::List];

    /// Its name in the config object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Opaque => "opaque",
            Self::Tree => "tree",
            Self::List => "list",
        }
    }
}

/// Least, average and largest chunk, in bytes; the average is a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkerProfile {
    /// No cut before this.
    pub min: u32,
    /// Expected length.
    pub avg: u32,
    /// A cut here at the latest.
    pub max: u32,
}

impl ChunkerProfile {
    /// The default of each kind (measured; see docs/benchmarks.md).
    pub const fn default_for(name: ProfileName) -> Self {
        match name {
            ProfileName::Text => Self { min: 64 << 10, avg: 256 << 10, max: 1 << 20 },
            ProfileName::Opaque => Self { min: 256 << 10, avg: 1 << 20, max: 4 << 20 },
            ProfileName::Tree => Self { min: 16 << 10, avg: 64 << 10, max: 256 << 10 },
            ProfileName::List => Self { min: 8 << 10, avg: 32 << 10, max: 128 << 10 },
        }
    }

    /// Whether the chunker can work with it: even, ascending, and within the bounds of the
    /// `fastcdc` crate (least 64 bytes to 1 MiB, average 256 bytes to 4 MiB, largest up to 16 MiB;
    /// beyond them its table of masks ends).
    pub const fn is_valid(self) -> bool {
        let (min, avg, max) = (self.min as usize, self.avg as usize, self.max as usize);
        min >= MINIMUM_MIN
            && min <= MINIMUM_MAX
            && min < avg
            && avg >= AVERAGE_MIN
            && avg <= AVERAGE_MAX
            && avg < max
            && max <= MAXIMUM_MAX
            && avg.is_power_of_two()
            && min % 2 == 0
            && max % 2 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_valid_and_extremes_are_not() {
        for name in ProfileName::ALL {
            assert!(ChunkerProfile::default_for(name).is_valid(), "{name:?}");
        }
        for (min, avg, max) in [
            (0, 0, 0),
            (64, 64, 128),
            (65, 256, 1024),
            (64, 256, 1025),
            (64, 300, 1024),
            (2 << 20, 4 << 20, 8 << 20),
            (1 << 20, 8 << 20, 16 << 20),
            (1 << 20, 4 << 20, 32 << 20),
            (64, 256, u32::MAX),
        ] {
            assert!(!ChunkerProfile { min, avg, max }.is_valid(), "{min} {avg} {max}");
        }
    }
}
