//! Listings: MLSD, which is made for programs, or LIST as `ls -l` writes it. Bounded, whatever a server sends.

use std::io::{BufRead, BufReader, Read};

use jiff::{Timestamp, ToSpan};
use suppaftp::Status;
use suppaftp::list::{File, ListParser};

use super::super::StoreErrorKind;
use super::super::files::Entry;
use super::connection::Connection;
use super::reply::Trouble;
use crate::clock::{Clock, SystemClock};

/// Longest line that is read.
const LONGEST_LINE: u64 = 4096;
/// Most entries of one directory.
const MOST_ENTRIES: usize = 4 << 20;

/// Runs `command`, and reads its lines with `parse`; lines that are none are passed over.
pub(super) fn read(
    connection: &mut Connection,
    command: &str,
    parse: fn(&str) -> Option<Entry>,
) -> Result<Vec<Entry>, Trouble> {
    let opened = [Status::AboutToSend, Status::AlreadyOpen];
    let stream =
        connection.data(|ftp| ftp.custom_data_command(command, &opened).map(|(_, data)| data));
    let stream = match stream {
        Ok(stream) => stream,
        // "No files found": some servers say so instead of sending nothing.
        Err(trouble) if trouble.keeps_step && trouble.failure.reason.contains(" 450 ") => {
            return Ok(Vec::new());
        }
        Err(trouble) => return Err(trouble),
    };
    let mut lines = BufReader::with_capacity(64 << 10, stream);
    let mut entries = Vec::new();
    let mut line = Vec::new();
    let broken = loop {
        line.clear();
        match (&mut lines).take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) => break None,
            Ok(_) if entries.len() >= MOST_ENTRIES || line.len() as u64 == LONGEST_LINE => {
                let reason = "its listing has no end";
                break Some(Trouble::broken(StoreErrorKind::Permanent, reason));
            }
            Ok(_) => entries.extend(parse(String::from_utf8_lossy(&line).trim_end())),
            Err(error) => break Some(suppaftp::FtpError::ConnectionError(error).into()),
        }
    };
    let finished = lines.into_inner().finish();
    match broken {
        Some(trouble) => Err(trouble),
        None => {
            finished?;
            Ok(entries)
        }
    }
}

/// A line of MLSD.
pub(super) fn of_mlsd(line: &str) -> Option<Entry> {
    let (facts, _) = line.split_once(' ')?;
    let facts = facts.to_ascii_lowercase();
    if facts.contains("type=cdir") || facts.contains("type=pdir") {
        return None;
    }
    entry(&ListParser::parse_mlsd(line).ok()?)
}

/// A line of LIST.
pub(super) fn of_list(line: &str) -> Option<Entry> {
    entry(&ListParser::parse_posix(line).or_else(|_| ListParser::parse_dos(line)).ok()?)
}

fn entry(file: &File) -> Option<Entry> {
    let name = file.name();
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return None;
    }
    if file.is_symlink() {
        return None;
    }
    let modified = Timestamp::try_from(file.modified()).ok().map(|at| {
        // `ls` leaves the year out for files of the last months.
        let now = SystemClock.now();
        if at > now + 48.hours() { at.checked_sub((365 * 24).hours()).unwrap_or(at) } else { at }
    });
    Some(Entry {
        name: name.to_owned(),
        size: file.size() as u64,
        modified,
        is_directory: file.is_directory(),
    })
}
