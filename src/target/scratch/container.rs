//! A server to throw away in a container: of an image, without a network, with its files where we say.
//!
//! The container's first process watches its standard input, which docker closes when we are gone,
//! however that happens: then it ends the server, removes its files, and the container removes itself.
//! Should docker itself have died as well, the next one who comes finds in the lock's file what to remove.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::postgres::Image;

use super::{INITDB, Place, SETTINGS, ScratchError, start_logged};

/// Where the container has our directories.
const DATA: &str = "/mrs-backup-data";
const SOCKETS: &str = "/var/run/postgresql";
/// What makes the cluster and runs it, with the arguments of the server, until standard input ends.
fn entry() -> String {
    format!(
        "exec 3<&0 </dev/null\n\
         umask 077\n\
         initdb {initdb} --pgdata {DATA}/pg >/dev/null 3<&- || exit\n\
         postgres -D {DATA}/pg \"$@\" 3<&- &\n\
         server=$!\n\
         {{ while read -r line <&3; do :; done; kill -QUIT \"$server\"; }} &\n\
         watch=$!\n\
         exec 3<&-\n\
         wait \"$server\"\n\
         status=$?\n\
         {{ kill \"$watch\"; wait \"$watch\"; }} 2>/dev/null\n\
         rm -rf {DATA}/pg\n\
         exit \"$status\"\n",
        initdb = INITDB.join(" "),
    )
}

/// Starts it; the second is what keeps it alive.
pub(super) fn start(
    place: &Place,
    image: &Image,
    log: &File,
) -> Result<(Child, Option<ChildStdin>), ScratchError> {
    let name = place.container();
    // Whoever it runs as in the container may write there; nobody else on this host gets through.
    for (directory, mode) in [("", 0o700), ("data", 0o777), ("s", 0o777)] {
        let path = place.directory.join(directory);
        let done = fs::set_permissions(&path, PermissionsExt::from_mode(mode));
        done.map_err(|error| ScratchError::Io { doing: "set the mode of", path, error })?;
    }
    let told = format!("{}\n{name}\n", image.docker.display());
    let done = (&place.lock).write_all(told.as_bytes()).and_then(|()| place.lock.sync_all());
    done.map_err(|error| ScratchError::Io {
        doing: "write",
        path: place.lock_path.clone(),
        error,
    })?;
    let mount = |directory: &str, to: &str| {
        let mut volume = place.directory.join(directory).into_os_string();
        volume.push(":");
        volume.push(to);
        volume
    };
    let mut command = Command::new(&image.docker);
    command.args(["run", "--rm", "--interactive", "--name", &name]);
    command.args(["--label", "mrs-backup.test-restore", "--log-driver", "none"]);
    command.args(["--network", "none", "--cap-drop", "ALL", "--read-only", "--tmpfs", "/tmp"]);
    command.args(["--security-opt", "no-new-privileges", "--shm-size", "1g"]);
    command.args(["--user", &image.user, "--entrypoint", "sh"]);
    command.arg("--volume").arg(mount("data", DATA)).arg("--volume").arg(mount("s", SOCKETS));
    command.args([&image.id, "-c", &entry(), "mrs-backup", "-k", SOCKETS]);
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    command.stdin(Stdio::piped()).process_group(0);
    let program = || format!("{} run {}", image.docker.display(), image.name);
    let mut child = start_logged(&mut command, log, program)?;
    let lifeline = child.stdin.take();
    Ok((child, lifeline))
}

/// Removes a container, if it is there.
pub(super) fn remove(docker: &Path, name: &str) {
    let mut command = Command::new(docker);
    command.args(["rm", "--force", "--volumes", name]);
    // One that is gone already is no failure, and one that stays is found again by the next.
    let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Removes the container of a maker who is dead, which the file of its lock names.
pub(super) fn remove_of_dead(lock: &str) {
    if let [docker, name] = lock.lines().collect::<Vec<_>>()[..] {
        remove(Path::new(docker), name);
    }
}
