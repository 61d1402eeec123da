//! Room on the server's disk. PostgreSQL does not tell it; on this host the kernel does.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::postgres::{Client, literal};

use super::cluster::Cluster;
use super::error::DatabaseError;

/// What a restore leaves free for everything else, as a part of what it needs.
const MARGIN_PERCENT: u64 = 10;
/// Least that stays free: some segments of the write-ahead log.
const MARGIN_BYTES: u64 = 128 << 20;

/// Bytes free where the server keeps its databases, if that can be known: the server is on this host,
/// reached by its socket (also out of a container), and we may look at its files.
pub fn free_bytes(cluster: &Cluster, session: &mut Client) -> Option<u64> {
    let socket = cluster.server().socket_path()?;
    let process = peer(&socket)?;
    let directory = session.value("ask for the data directory", "SHOW data_directory").ok()?;
    // The directory as the server's process sees it.
    let root = PathBuf::from(format!("/proc/{}/root", process));
    let path = root.join(directory.trim_start_matches('/'));
    fs::metadata(&path).ok().filter(|found| found.is_dir() && found.nlink() > 0)?;
    let stat = rustix::fs::statvfs(&path).ok()?;
    Some(stat.f_bavail * stat.f_frsize)
}

/// The process that listens at a socket, as it is numbered here.
fn peer(socket: &Path) -> Option<i32> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().ok()?;
    let stream = runtime.block_on(tokio::net::UnixStream::connect(socket)).ok()?;
    stream.peer_cred().ok()?.pid()
}

/// Bytes of a database on disk; `None` if there is none.
pub fn size_of(session: &mut Client, database: &str) -> Result<Option<u64>, DatabaseError> {
    let query = format!(
        "SELECT pg_catalog.pg_database_size(oid) FROM pg_catalog.pg_database WHERE datname = {}",
        literal(database)
    );
    let text = session.value(&format!("ask for the size of database {database}"), &query)?;
    Ok(text.parse().ok())
}

/// Bytes a restore needs, from the size the database had on its server's disk, if known, and the bytes
/// of its streams.
pub const fn needed_bytes(on_disk: u64, streams: u64) -> u64 {
    // Rows as text take about what they take on disk; indexes come on top.
    let estimate = if on_disk > 0 { on_disk } else { streams + streams / 2 };
    estimate + estimate / 100 * MARGIN_PERCENT + MARGIN_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_size_counts_more_than_a_guess() {
        assert_eq!(needed_bytes(1000, 9_000_000), 1000 + 100 + MARGIN_BYTES);
        assert_eq!(needed_bytes(0, 1000), 1500 + 150 + MARGIN_BYTES);
    }
}
