//! SFTP on Debian's OpenSSH: by its own programs, a user's keys, and `internal-sftp` in a chroot.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use mrs_backup::id::PackId;
use mrs_backup::store::contract::check_contract;
use mrs_backup::store::{ByteRange, ObjectName, StoreErrorKind, open_store};

use crate::servers::{Running, free_port};

const PACK: ObjectName = ObjectName::Pack(PackId::new([3; 32]));

pub struct SshServer {
    directory: tempfile::TempDir,
    pub port: u16,
    _running: Running,
}

fn keygen(path: &Path) {
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status();
    assert!(made.expect("ssh-keygen: apt-get install openssh-client").success());
}

impl SshServer {
    /// A server whose only user is in `jail`, owned by root, and may write to `jail/files`.
    pub fn start(more: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("ssh").tempdir_in("/run").unwrap();
        let at = directory.path();
        for (path, mode) in [("", 0o755), ("jail", 0o755), ("jail/files", 0o700)] {
            fs::create_dir_all(at.join(path)).unwrap();
            fs::set_permissions(at.join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        for name in ["host", "user", "other"] {
            keygen(&at.join(name));
        }
        let (uid, gid) = user("nobody");
        chown(at.join("jail/files"), Some(uid), Some(gid)).unwrap();
        fs::copy(at.join("user.pub"), at.join("authorized")).unwrap();
        fs::set_permissions(at.join("authorized"), fs::Permissions::from_mode(0o644)).unwrap();
        let port = free_port();
        let shown = at.display();
        let text = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {shown}/host\nPidFile none\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nStrictModes no\n\
             AuthorizedKeysFile {shown}/authorized\nSubsystem sftp internal-sftp\n\
             ForceCommand internal-sftp {more}\nChrootDirectory {shown}/jail\nMaxStartups 100\n"
        );
        fs::write(at.join("sshd_config"), text).unwrap();
        fs::create_dir_all("/run/sshd").unwrap();
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(at.join("sshd_config"));
        let mut running = Running::start(&mut command, at);
        running.wait_for(port);
        let server = Self { directory, port, _running: running };
        server.write_client("config", "user", "host.pub");
        server
    }

    /// Configuration of a client that has the key `key` and believes the host key `host`.
    fn write_client(&self, name: &str, key: &str, host: &str) -> PathBuf {
        self.write_client_to(self.port, name, key, host)
    }

    /// A client that reaches the server by another port than its own.
    pub fn write_client_to(&self, port: u16, name: &str, key: &str, host: &str) -> PathBuf {
        let at = self.directory.path();
        let public = fs::read_to_string(at.join(host)).unwrap();
        let known = at.join(format!("{name}.known"));
        fs::write(&known, format!("[127.0.0.1]:{port} {public}")).unwrap();
        let text = format!(
            "Host backup\n HostName 127.0.0.1\n Port {port}\n User nobody\n IdentityFile {}\n IdentitiesOnly yes\n \
             UserKnownHostsFile {}\n GlobalKnownHostsFile /dev/null\n StrictHostKeyChecking yes\n",
            at.join(key).display(),
            known.display()
        );
        fs::write(at.join(name), text).unwrap();
        at.join(name)
    }

    /// Where what is written to `files` lies.
    pub fn files(&self) -> PathBuf {
        self.directory.path().join("jail/files")
    }

    pub fn location(&self, path: &str, config: &str) -> String {
        let config = self.directory.path().join(config);
        format!("sftp://backup/{path}?timeout=10s&ssh-config={}", config.display())
    }
}

fn user(name: &str) -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
    let fields: Vec<&str> = line.split(':').collect();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}

#[test]
fn openssh_in_a_chroot_keeps_the_contract() {
    let server = SshServer::start("");
    check_contract(&*open_store(&server.location("files/not/yet/made", "config")).unwrap());
}

#[test]
fn wrong_keys_are_told() {
    let server = SshServer::start("");
    server.write_client("wrong-host", "user", "other.pub");
    server.write_client("wrong-user", "other", "host.pub");
    for (config, words) in [("wrong-host", "ssh-keygen -R"), ("wrong-user", "Permission denied")] {
        let error = open_store(&server.location("files", config)).unwrap().survey().unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_read_only_server_is_told() {
    let server = SshServer::start("-R");
    let store = open_store(&server.location("files/x", "config")).unwrap();
    assert_eq!(store.create().unwrap_err().kind, StoreErrorKind::Denied);
}

/// Jobs that remove or rename are refused; what is written stays.
#[test]
fn a_server_that_lets_nothing_be_removed_is_found_out() {
    let server = SshServer::start("-P remove,rmdir");
    let store = open_store(&server.location("files/x", "config")).unwrap();
    store.create().unwrap();
    store.put(&PACK, &[b"stays"]).unwrap();
    assert_eq!(store.delete(&PACK).unwrap_err().kind, StoreErrorKind::Denied);
    assert!(store.refuses_deletes().unwrap());
}

/// Renames are refused, in both ways there are: objects are written in place, and published by hand.
#[test]
fn a_server_that_refuses_to_rename_is_used_all_the_same() {
    let server = SshServer::start("-P rename,posix-rename");
    check_contract(&*open_store(&server.location("files/x", "config")).unwrap());
}

#[test]
fn a_full_server_fails_and_keeps_nothing_of_it() {
    let server = SshServer::start("");
    let full = server.files().join("full");
    fs::create_dir(&full).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=300k,mode=0777", "tmpfs"])
        .arg(&full)
        .status();
    assert!(mounted.unwrap().success(), "this test mounts a tmpfs, as root");
    let store = open_store(&(server.location("files/full", "config") + "&retries=1")).unwrap();
    store.create().unwrap();
    store.put(&PACK, &[&[1; 100_000]]).unwrap();
    let other = ObjectName::Pack(PackId::new([4; 32]));
    let error = store.put(&other, &[&vec![2; 1_000_000]]).unwrap_err();
    let left: Vec<_> = fs::read_dir(full.join("packs/04")).unwrap().collect();
    let whole = store.get(&PACK, ByteRange::Whole { limit: 200_000 }).unwrap();
    drop(store);
    let _ = Command::new("umount").arg("--lazy").arg(&full).status();
    assert!(error.to_string().contains("packs/04"), "{error}");
    assert!(left.is_empty(), "{left:?}");
    assert!(whole == [1; 100_000]);
}
