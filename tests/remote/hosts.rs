//! Commands for other machines, on Debian's sshd: run there, put there, told apart.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::servers::{Running, free_port};

/// A machine to log in to: this one, as root, with a search path of its own.
struct Machine {
    directory: tempfile::TempDir,
    _running: Running,
}

impl Machine {
    fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("host").tempdir_in("/run").unwrap();
        let at = directory.path();
        fs::set_permissions(at, fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["host", "user", "other"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at.join(name));
            assert!(keygen.status().expect("ssh-keygen: apt-get install openssh-client").success());
        }
        fs::create_dir(at.join("bin")).unwrap();
        let (port, shown) = (free_port(), at.display());
        let text = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {shown}/host\nPidFile none\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nStrictModes no\n\
             PermitRootLogin yes\nAllowAgentForwarding yes\nAuthorizedKeysFile {shown}/user.pub\n\
             SetEnv PATH={shown}/bin:/usr/bin:/bin\n"
        );
        fs::write(at.join("sshd_config"), text).unwrap();
        fs::create_dir_all("/run/sshd").unwrap();
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(at.join("sshd_config"));
        let mut running = Running::start(&mut command, at);
        running.wait_for(port);
        let key = |name: &str| fs::read_to_string(at.join(name)).unwrap();
        fs::write(at.join("known"), format!("[127.0.0.1]:{port} {}", key("host.pub"))).unwrap();
        fs::write(at.join("strange"), format!("[127.0.0.1]:{port} {}", key("other.pub"))).unwrap();
        let of = |known: &str| {
            format!(
                " HostName 127.0.0.1\n Port {port}\n IdentityFile {shown}/user\n IdentitiesOnly yes\n \
                 UserKnownHostsFile {shown}/{known}\n GlobalKnownHostsFile /dev/null\n \
                 StrictHostKeyChecking yes\n ForwardAgent yes\n"
            )
        };
        let text = format!("Host one two\n{}Host strange\n{}", of("known"), of("strange"));
        fs::write(at.join("ssh_config"), text).unwrap();
        Self { directory, _running: running }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mrs-backup"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("SSH_AUTH_SOCK", "/nowhere/agent");
        command.arg("--ssh-config").arg(self.path("ssh_config")).args(arguments);
        command.output().unwrap()
    }

    /// Puts something in the program's place there.
    fn put(&self, text: &str) {
        let path = self.path("bin/mrs-backup");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A small repository to ask about.
fn repository(at: &Path) -> (String, String) {
    let (repo, password) = (at.join("it's a repo"), at.join("password"));
    fs::write(&password, "correct horse").unwrap();
    let mut init = Command::new(env!("CARGO_BIN_EXE_mrs-backup"));
    init.env("MRS_BACKUP_STATE_DIR", at.join("state")).args(["init", "--kdf-memory", "8"]);
    init.arg("--repo").arg(&repo).arg("--password-file").arg(&password);
    assert!(init.output().unwrap().status.success());
    (repo.display().to_string(), password.display().to_string())
}

#[test]
fn a_command_is_run_where_it_is_sent() {
    let machine = Machine::start();
    // Not there yet.
    let none = machine.run(&["snapshots", "root@one"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(err(&none).contains("root@one: mrs-backup is not installed there"), "{}", err(&none));
    assert!(err(&none).contains("hint: add --install"), "{}", err(&none));

    // It puts itself there, and from then on is found.
    let bin = machine.path("bin").display().to_string();
    let (repo, password) = repository(machine.directory.path());
    let state = machine.path("there").display().to_string();
    let snapshots =
        ["snapshots", "--repo", &repo, "--password-file", &password, "--state-dir", &state];
    let install = format!("--install={bin}");
    let first = machine.run(&[&snapshots[..], &[&install, "root@one"]].concat());
    assert_eq!(first.status.code(), Some(0), "{}", err(&first));
    assert!(machine.path("bin/mrs-backup").exists());
    let again = machine.run(&[&snapshots[..], &["--json", "root@one"]].concat());
    assert_eq!(again.status.code(), Some(0), "{}", err(&again));
    let last: Value = serde_json::from_str(out(&again).lines().last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["host"]), (&"summary".into(), &"root@one".into()));
    // Its exit code is ours.
    let missing = ["snapshots", "--repo", "/nowhere", "--password-file", &password, "root@one"];
    let missing = machine.run(&missing);
    assert_eq!(missing.status.code(), Some(10), "{}", err(&missing));
    // What is asked wrongly is not even sent.
    assert_eq!(machine.run(&["snapshots", "--nonsense", "root@one"]).status.code(), Some(2));
}

#[test]
fn several_hosts_are_told_apart_and_the_worst_code_counts() {
    let machine = Machine::start();
    // Says what it was given and what came along; fails on request.
    machine.put(
        "#!/bin/sh\nfor word; do echo \"<$word>\"; done\necho \"agent=$SSH_AUTH_SOCK home=${LANG-}\"\n\
         echo warned >&2\n[ \"$1\" = check ] && exit 3\nexit 0\n",
    );
    let tag = "it's $HOME `id` \"x\"";
    let both = machine.run(&["snapshots", "--tag", tag, "root@one", "@two"]);
    assert_eq!(both.status.code(), Some(0), "{}", err(&both));
    for host in ["root@one", "two"] {
        let text = out(&both);
        assert!(text.contains(&format!("{host}: <{tag}>")), "words stay words: {text}");
        assert!(text.contains(&format!("{host}: agent= ")), "no agent goes along: {text}");
        assert!(!text.contains("ssh-config") && !text.contains("<root@one>"), "{text}");
        assert!(err(&both).contains(&format!("{host}: warned")), "{}", err(&both));
    }
    let worst = machine.run(&["check", "root@one", "root@strange", "@two"]);
    assert_eq!(worst.status.code(), Some(1), "one cannot be reached, which is worse than 3");
    assert!(
        err(&worst).contains("error: root@strange: cannot be reached by ssh"),
        "{}",
        err(&worst)
    );
    assert!(err(&worst).contains("hint: compare its key"), "{}", err(&worst));
    assert!(out(&worst).contains("two: <check>"), "the others are asked all the same");
    assert_eq!(machine.run(&["check", "root@one"]).status.code(), Some(3));
    let alone = machine.run(&["check", "--install"]);
    assert_eq!(alone.status.code(), Some(2), "{}", err(&alone));
    assert!(err(&alone).contains("no host is named"), "{}", err(&alone));
}
