//! Roles and tablespaces, which belong to no database.

use std::sync::Arc;

use crate::event::StopFlag;
use crate::postgres::{Server, conninfo};
use crate::source::error::{SourceError, StreamError};
use crate::source::process::{CaptureError, capture};

/// Largest list of roles; kept in memory, because only the exit tells whether it must be asked again.
const LIMIT: u64 = 64 << 20;

/// The roles as SQL, and what people should know about it.
pub(super) fn read(
    server: &Server,
    database: &str,
    stop: &Arc<StopFlag>,
) -> Result<(Vec<u8>, Option<&'static str>), SourceError> {
    let mut note = None;
    let text = match dump(server, database, true, stop) {
        Err(CaptureError::Stream(StreamError::Failed { message, .. }))
            if message.contains("permission denied") && message.contains("pg_authid") =>
        {
            note = Some("roles are without their passwords: only a superuser may read them");
            dump(server, database, false, stop)
        }
        other => other,
    };
    match text {
        Ok(text) => Ok((text, note)),
        Err(CaptureError::Start(error)) => Err(error),
        Err(CaptureError::Stream(error)) => Err(SourceError::Database {
            verb: "dump the roles by",
            database: database.to_owned(),
            server: server.place(),
            reason: error.to_string(),
            way_out: "see what pg_dumpall says, or set `globals = false`",
        }),
    }
}

fn dump(
    server: &Server,
    database: &str,
    with_passwords: bool,
    stop: &Arc<StopFlag>,
) -> Result<Vec<u8>, CaptureError> {
    let mut command = server.command("pg_dumpall", database);
    command.args(["--globals-only", "--no-password"]);
    if !with_passwords {
        command.arg("--no-role-passwords");
    }
    // The default is to try `postgres`, which the role may not be allowed to enter.
    command.arg("--database").arg(conninfo(database));
    capture(super::start(server, command, "pg_dumpall", stop), LIMIT)
}
