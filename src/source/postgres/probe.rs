//! The version of PostgreSQL's programs.

use std::sync::Arc;

use crate::event::StopFlag;
use crate::postgres::Server;
use crate::source::error::{SourceError, StreamError};
use crate::source::process::{CaptureError, capture};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Client {
    pub text: String,
    pub major: u32,
}

/// Asks `pg_dump` for its version.
pub(super) fn client_version(server: &Server, stop: &Arc<StopFlag>) -> Result<Client, SourceError> {
    let mut command = server.command("pg_dump", "");
    command.arg("--version");
    let process = super::start(server, command, "pg_dump", stop)
        .map(|process| process.within(super::QUESTION_LIMIT));
    let program = server.program_name("pg_dump");
    let output = match capture(process, 4096) {
        Ok(output) => output,
        Err(CaptureError::Start(error)) => return Err(error),
        Err(CaptureError::Stream(StreamError::Stopped { .. })) => {
            return Err(SourceError::Stopped { program });
        }
        Err(CaptureError::Stream(error)) => {
            return Err(SourceError::Start {
                program,
                reason: error.to_string(),
                way_out: server.install_hint().to_owned(),
            });
        }
    };
    parse_client(&output).ok_or_else(|| SourceError::Start {
        program,
        reason: format!(
            "`--version` says {:?}, which is no version",
            String::from_utf8_lossy(&output).trim()
        ),
        way_out: server.install_hint().to_owned(),
    })
}

/// `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `... 18beta1`.
pub(super) fn parse_client(output: &[u8]) -> Option<Client> {
    let text = std::str::from_utf8(output).ok()?;
    let (_, rest) = text.lines().next()?.split_once("(PostgreSQL) ")?;
    let version = rest.split_whitespace().next()?;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    Some(Client { text: version.to_owned(), major: digits.parse().ok()? })
}
