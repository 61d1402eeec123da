//! What runs inside a container for us (`docker exec`): PostgreSQL's programs, and relays for connections.
//!
//! A program started with `docker exec` does not end with the client that started it. So everything
//! here runs below a few lines of shell that watch their standard input: docker closes it when our
//! end of the connection goes away, however that happens, and then the program is ended.
//!
//! The lines wait for everything they start. What they left behind would become a child of the
//! container's first process, which is PostgreSQL's own; and it takes an unknown child that was ended by a signal
//! for a crashed session, ends all others and starts anew.

use std::ffi::OsString;
use std::future::Future;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::pin::Pin;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::process::{ChildStdin, ChildStdout};

use crate::crypto::Secret;

use super::container::Container;

/// How long a relay may take to end by itself.
const END_LIMIT: Duration = Duration::from_secs(2);
/// How much of what a relay says is told.
const TOLD: u64 = 1000;

/// What would change what our programs do. Arguments are never made text of a script.
macro_rules! unset {
    () => {
        "unset PGCLIENTENCODING PGTZ PGDATESTYLE PGHOST PGHOSTADDR PGDATABASE PGSERVICE LC_ALL LANGUAGE\n"
    };
}
/// Runs the program in `$program`'s place and ends it when descriptor 3 ends.
macro_rules! watched {
    () => {
        "program=$!\n\
         { while read -r line <&3; do :; done; kill \"$program\"; } >/dev/null 2>&1 &\n\
         watch=$!\n\
         exec 3<&-\n\
         wait \"$program\"\n\
         status=$?\n\
         { kill \"$watch\"; wait \"$watch\"; } 2>/dev/null\n\
         exit \"$status\"\n"
    };
}
/// For a program that reads nothing: standard input is only what ends it.
const LIFELINE: &str = concat!(unset!(), "exec 3<&0\n", "\"$@\" 3<&- </dev/null &\n", watched!());
/// For a program that jumps about in a file: the first bytes (their number is the first argument) become one
/// that has no name and lies in memory, if the container has room there; then as before.
const WITH_FILE: &str = concat!(
    unset!(),
    "umask 077\n\
     file=$(TMPDIR=/dev/shm mktemp 2>/dev/null || mktemp) || exit\n\
     exec 3<&0\n\
     head -c \"$1\" <&3 >\"$file\" && exec 4<\"$file\"\n\
     status=$?\n\
     rm -f \"$file\"\n\
     [ \"$status\" = 0 ] || exit \"$status\"\n\
     shift\n\
     \"$@\" <&4 3<&- 4<&- &\n\
     exec 4<&-\n",
    watched!()
);
/// For a program that reads a stream: it ends with it, and finds it cut if we died.
const STREAM: &str = concat!(unset!(), "exec \"$@\"\n");
/// Carries one connection between standard input and output and the server's port, until either ends. Not with
/// `cat`: that of busybox hands over to the kernel (`sendfile`), which tells nobody of an answer before there
/// is more of it.
const RELAY: &str = "\
command -v bash >/dev/null 2>&1 || { echo 'there is no bash in it to carry a connection' >&2; exit 127; }
exec bash -c '
exec 4<&0 </dev/null
exec 3<>\"/dev/tcp/127.0.0.1/$1\" || exit
dd bs=65536 <&3 3>&- 4<&- 2>/dev/null & down=$!
dd bs=65536 <&4 >&3 3>&- 4<&- 2>/dev/null & up=$!
exec 3>&- 4<&- >/dev/null
wait -n
kill \"$down\" \"$up\" 2>/dev/null
wait
' mrs-backup \"$1\"
";

/// What a program reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// Nothing.
    Nothing,
    /// So many bytes, as a file it may jump about in, called `/dev/stdin`.
    File(usize),
    /// A stream.
    Stream,
}

impl Container {
    fn exec(&self, variables: &[(&str, String)], password: Option<&Secret>) -> Command {
        let mut command = Command::new(&self.docker);
        // Never a terminal: it would change bytes.
        command.args(["exec", "--interactive"]);
        for (name, value) in variables {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        if let Some(password) = password {
            // Only the name: docker takes the value from its own environment.
            command.args(["--env", "PGPASSWORD"]);
            command.env("PGPASSWORD", OsString::from_vec(password.expose().to_vec()));
        }
        command.arg(&self.id);
        command
    }

    /// A program in the container. Its standard input must stay open while it runs, and ends it
    /// when it is closed; only of a [`Feed::Stream`] it is the end and no more.
    pub fn command(
        &self,
        program: &str,
        variables: &[(&str, String)],
        password: Option<&Secret>,
        feed: Feed,
    ) -> Command {
        let mut command = self.exec(variables, password);
        command.args(["sh", "-c"]);
        match feed {
            Feed::Nothing => command.args([LIFELINE, "mrs-backup"]),
            Feed::File(len) => command.args([WITH_FILE, "mrs-backup", &len.to_string()]),
            Feed::Stream => command.args([STREAM, "mrs-backup"]),
        };
        command.arg(program);
        command
    }

    /// A way to the port of the server, as it is reached from inside.
    pub fn relay(&self, port: u16) -> io::Result<(Pipes, Relay)> {
        let mut command = self.exec(&[], None);
        command.args(["sh", "-c", RELAY, "mrs-backup", &port.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // What ends us from a terminal must not end it first.
        let mut child = command.process_group(0).spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stderr = child.stderr.take();
        let relay = Relay { child, stderr };
        let missing = || io::Error::other("it has no pipes");
        let stdin = ChildStdin::from_std(stdin.ok_or_else(missing)?)?;
        let stdout = ChildStdout::from_std(stdout.ok_or_else(missing)?)?;
        Ok((tokio::io::join(stdout, stdin), relay))
    }
}

/// The bytes of a relayed connection.
pub type Pipes = tokio::io::Join<ChildStdout, ChildStdin>;

/// The program that carries a connection. It ends when the pipes are closed; dropping it waits for that.
#[derive(Debug)]
pub struct Relay {
    child: Child,
    stderr: Option<ChildStderr>,
}

impl Relay {
    fn end(&mut self) {
        let beats = END_LIMIT.as_millis() / 10;
        for _ in 0..beats {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Why there was no connection, in the program's words. The pipes are closed already.
    pub fn said(mut self) -> String {
        self.end();
        let mut text = Vec::new();
        if let Some(stderr) = self.stderr.take() {
            let _ = stderr.take(TOLD).read_to_end(&mut text);
        }
        let text = String::from_utf8_lossy(&text);
        let text: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        text.join(" / ").chars().filter(|c| !c.is_control()).collect()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.end();
    }
}

/// A connection over a relay. Its pipes are closed before the relay is waited for.
pub struct Relayed<F> {
    connection: Pin<Box<F>>,
    _relay: Relay,
}

impl<F> Relayed<F> {
    /// `connection` moves the bytes that `relay` carries.
    pub fn new(connection: F, relay: Relay) -> Self {
        Self { connection: Box::pin(connection), _relay: relay }
    }
}

impl<F: Future> Future for Relayed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.connection.as_mut().poll(context)
    }
}
