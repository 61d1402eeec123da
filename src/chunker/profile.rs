//! Cut sizes by kind of stream.

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

    /// Whether the chunker can work with it: even, ascending, bounded (64 bytes to 64 MiB).
    pub const fn is_valid(self) -> bool {
        self.min >= 64
            && self.min < self.avg
            && self.avg < self.max
            && self.avg.is_power_of_two()
            && self.min % 2 == 0
            && self.max % 2 == 0
            && self.max <= 64 << 20
    }
}
