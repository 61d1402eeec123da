//! Snapshots and what they are made of: stream references, nodes, directories, and the small
//! records beside them. Formats only: nothing here touches a store. `docs/format.md` sections 8 to 11.

mod node;
mod node_codec;
pub mod pins;
mod record;
pub mod retention;
mod retention_clock;
mod select;
mod stream;

pub use node::{Device, Extent, Node, NodeError, NodeKind, Xattr};
pub use node_codec::{NodeReader, check_name, encode_node, try_encode_node};
pub use pins::Pin;
pub use record::{CondemnedRecord, ReceiptRecord, SessionRecord};
pub use retention_clock::{Suspicion, suspicions};
pub use select::{SelectError, Selected, Selector};
pub use stream::{ChunkRef, LIST_RECORD_LEN, StreamKey, StreamRef, decode_list, encode_list};

mod manifest;
pub use manifest::{
    ColumnManifest, DatabaseManifest, DatabaseProperties, Snapshot, SourceRecord, TableManifest,
};

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
mod retention_model;
#[cfg(test)]
mod retention_tests;
#[cfg(test)]
mod tests;
