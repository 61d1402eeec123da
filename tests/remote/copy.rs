//! A copy on a real FTP server, as people and timers make it: over TLS, in the night, with the server gone, and back again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::servers::{FtpServer, Make, PASSWORD};

/// An instance whose copy is elsewhere.
pub struct Site {
    dir: tempfile::TempDir,
    location: String,
}

impl Site {
    /// One whose copy is at `location`.
    pub fn new(location: String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let site = Self { dir, location };
        fs::create_dir(site.path("src")).unwrap();
        site.write("password", "correct horse battery");
        site.write("src/a.txt", "first");
        fs::write(site.path("src/big"), vec![7; 300_000]).unwrap();
        let root = site.dir.path().display();
        let config = format!(
            "version = 1\n[instance.app]\nhome = \"{root}/src\"\nrepository = \"{root}/repo\"\n\
             key = {{ file = \"{root}/password\" }}\npaths = [\"a.txt\", \"big\"]\ntimezone = \"UTC\"\n\
             [instance.app.copy.off]\nlocation = \"{}\"\nsample = \"100%\"\n",
            site.location
        );
        site.write("config.toml", &config);
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Exit code, and all that was told.
    pub fn run(
        &self,
        state: &str,
        args: &[&str],
        repository: Option<&str>,
    ) -> (Option<i32>, String) {
        let password = self.path("password").display().to_string();
        match repository {
            Some(repository) => {
                let variables = [
                    ("MRS_BACKUP_REPOSITORY", repository),
                    ("MRS_BACKUP_PASSWORD_FILE", &password),
                ];
                self.run_with(&variables, state, args)
            }
            None => self.run_with(&[], state, args),
        }
    }

    /// The same, with these variables.
    pub fn run_with(
        &self,
        variables: &[(&str, &str)],
        state: &str,
        args: &[&str],
    ) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mrs-backup"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.path("home"))
            .env("MRS_BACKUP_STATE_DIR", self.path(state))
            .current_dir(self.dir.path())
            .args(args);
        command.envs(variables.iter().copied());
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert!(!text.contains(PASSWORD) && !text.contains("p%40ss"), "{text}");
        (output.status.code(), text)
    }

    pub fn night(&self) -> (Option<i32>, String) {
        self.run("state", &["-c", "config.toml", "run"], None)
    }

    /// Makes the repository.
    pub fn init(&self) {
        let (code, text) =
            self.run("state", &["-c", "config.toml", "init", "--kdf-memory", "8"], None);
        assert_eq!(code, Some(0), "{text}");
    }

    /// What is at home is lost, but for the sources.
    pub fn burn(&self) {
        for name in ["repo", "state"] {
            fs::remove_dir_all(self.path(name)).unwrap();
        }
        fs::remove_file(self.path("config.toml")).unwrap();
    }
}

#[test]
fn nights_over_ftps_and_the_day_the_server_is_gone() {
    let server = FtpServer::start(Make::Vsftpd);
    let site = Site::new(server.location("copy") + "&retries=1");
    site.init();
    for content in ["first", "second"] {
        site.write("src/a.txt", content);
        let (code, text) = site.night();
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("copy off: 1 snapshot put"), "{text}");
    }
    let (_, text) = site.run("state", &["-c", "config.toml", "snapshots"], None);
    assert!(text.contains("up to date"), "{text}");
    // What the server returns is not what was stored: found, named and mended.
    let packs: Vec<PathBuf> = fs::read_dir(server.files().join("copy/packs"))
        .unwrap()
        .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    let mut bytes = fs::read(&packs[0]).unwrap();
    bytes[50] ^= 1;
    fs::write(&packs[0], bytes).unwrap();
    let (code, text) = site.run("state", &["-c", "config.toml", "copy"], None);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("returns other bytes") && text.contains("1 object put right"), "{text}");
    // A new machine: the copy and the password.
    site.burn();
    let restore = ["restore", "latest:app", "back"];
    let (code, text) = site.run("other", &restore, Some(&site.location));
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(fs::read(site.path("back/a.txt")).unwrap(), b"second");
    assert_eq!(fs::read(site.path("back/big")).unwrap(), vec![7; 300_000]);
    let check = ["check", "--read-data"];
    let (code, text) = site.run("other", &check, Some(&site.location));
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_server_that_is_gone_is_exit_code_20_and_the_night_is_safe() {
    let server = FtpServer::start(Make::Vsftpd);
    let site = Site::new(server.location("copy") + "&retries=1");
    site.init();
    drop(server);
    let (code, text) = site.night();
    assert_eq!(code, Some(20), "{text}");
    assert!(text.contains("is complete") && text.contains("copy off: "), "{text}");
    let (_, text) = site.run("state", &["-c", "config.toml", "snapshots"], None);
    assert!(text.contains("1 snapshot") && text.contains("nothing was copied there yet"), "{text}");
}
