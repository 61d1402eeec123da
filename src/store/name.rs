//! Names of objects and the paths they have in every store.

use std::fmt;

use crate::id::{ObjectId, PackId, SessionId, SnapshotId, from_hex};

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// The one description of the repository.
    Config,
    /// A password's slot with the sealed keys.
    Key,
    /// Sealed segments.
    Pack,
    /// Which chunks are in which packs.
    Index,
    /// One instance at one moment.
    Snapshot,
    /// A writer at work, and what it has staged.
    Session,
    /// A prune's list of packs to delete later.
    Condemned,
    /// What was run, proven or copied.
    Receipt,
}

impl ObjectKind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Config,
        Self::Key,
        Self::Pack,
        Self::Index,
        Self::Snapshot,
        Self::Session,
        Self::Condemned,
        Self::Receipt,
    ];

    /// The directory that holds them (`config` is a file of that name).
    pub const fn directory(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Key => "keys",
            Self::Pack => "packs",
            Self::Index => "index",
            Self::Snapshot => "snapshots",
            Self::Session => "sessions",
            Self::Condemned => "condemned",
            Self::Receipt => "receipts",
        }
    }
}

/// The name of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectName {
    /// `config`
    Config,
    /// `keys/<id>`
    Key(ObjectId),
    /// `packs/<first two digits>/<id>`
    Pack(PackId),
    /// `index/<id>`
    Index(ObjectId),
    /// `snapshots/<id>`
    Snapshot(SnapshotId),
    /// `sessions/<id>/<beat>`
    Session {
        /// Whose session.
        session: SessionId,
        /// 0 for its first object, then one more for each.
        beat: u32,
    },
    /// `sessions/<id>/staged-<snapshot>`
    Staged {
        /// Whose session.
        session: SessionId,
        /// The snapshot about to be published.
        snapshot: SnapshotId,
    },
    /// `condemned/<id>`
    Condemned(ObjectId),
    /// `receipts/<id>`
    Receipt(ObjectId),
}

impl ObjectName {
    /// What it names.
    pub const fn kind(&self) -> ObjectKind {
        match self {
            Self::Config => ObjectKind::Config,
            Self::Key(_) => ObjectKind::Key,
            Self::Pack(_) => ObjectKind::Pack,
            Self::Index(_) => ObjectKind::Index,
            Self::Snapshot(_) => ObjectKind::Snapshot,
            Self::Session { .. } | Self::Staged { .. } => ObjectKind::Session,
            Self::Condemned(_) => ObjectKind::Condemned,
            Self::Receipt(_) => ObjectKind::Receipt,
        }
    }

    /// Its path below the store's location, with `/` between the parts.
    pub fn path(&self) -> String {
        let directory = self.kind().directory();
        match self {
            Self::Config => directory.to_owned(),
            Self::Pack(id) => {
                let digits = id.to_hex();
                format!("{directory}/{}/{digits}", &digits[..2])
            }
            Self::Snapshot(id) => format!("{directory}/{id}"),
            Self::Key(id) | Self::Index(id) | Self::Condemned(id) | Self::Receipt(id) => {
                format!("{directory}/{id}")
            }
            Self::Session { session, beat } => format!("{directory}/{session}/{beat}"),
            Self::Staged { session, snapshot } => {
                format!("{directory}/{session}/staged-{snapshot}")
            }
        }
    }

    /// The name whose path is `path`; `None` for anything that is not exactly such a path.
    pub fn parse(path: &str) -> Option<Self> {
        if path == "config" {
            return Some(Self::Config);
        }
        let (directory, rest) = path.split_once('/')?;
        let name = match directory {
            "keys" => Self::Key(ObjectId::new(from_hex(rest)?)),
            "index" => Self::Index(ObjectId::new(from_hex(rest)?)),
            "snapshots" => Self::Snapshot(SnapshotId::new(from_hex(rest)?)),
            "condemned" => Self::Condemned(ObjectId::new(from_hex(rest)?)),
            "receipts" => Self::Receipt(ObjectId::new(from_hex(rest)?)),
            "packs" => Self::Pack(PackId::new(from_hex(rest.split_once('/')?.1)?)),
            "sessions" => {
                let (session, file) = rest.split_once('/')?;
                let session = SessionId::new(from_hex(session)?);
                match file.strip_prefix("staged-") {
                    Some(digits) => {
                        Self::Staged { session, snapshot: SnapshotId::new(from_hex(digits)?) }
                    }
                    None => Self::Session { session, beat: file.parse().ok()? },
                }
            }
            _ => return None,
        };
        // `packs/00/ff..` and `sessions/../007` would have two paths for one name.
        (name.path() == path).then_some(name)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_from_its_path() {
        let id = ObjectId::new([3; 32]);
        let snapshot = SnapshotId::new([4; 32]);
        let session = SessionId::new([5; 16]);
        for name in [
            ObjectName::Config,
            ObjectName::Key(id),
            ObjectName::Pack(PackId::new([0xab; 32])),
            ObjectName::Index(id),
            ObjectName::Snapshot(snapshot),
            ObjectName::Session { session, beat: 0 },
            ObjectName::Session { session, beat: 17 },
            ObjectName::Staged { session, snapshot },
            ObjectName::Condemned(id),
            ObjectName::Receipt(id),
        ] {
            assert_eq!(ObjectName::parse(&name.path()), Some(name));
        }
    }

    #[test]
    fn paths_that_are_no_names_are_passed_over() {
        let hex = "ab".repeat(32);
        for path in [
            "",
            "config/x",
            "keys",
            "keys/",
            "keys/../config",
            &format!("packs/{hex}"),
            &format!("packs/00/{hex}"),
            &format!("packs/ab/{hex}.tmp"),
            &format!("sessions/{}/007", "ab".repeat(16)),
            &format!("sessions/{}/+7", "ab".repeat(16)),
            &format!("snapshots/{}", "AB".repeat(32)),
        ] {
            assert_eq!(ObjectName::parse(path), None, "{path}");
        }
    }
}
