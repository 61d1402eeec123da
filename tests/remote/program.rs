//! The program with a primary repository elsewhere: a whole life of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::buckets;
use crate::servers::{ENCODED_PASSWORD, FtpServer, Make, PASSWORD, RcloneServer, rclone};

struct Home {
    directory: tempfile::TempDir,
    location: String,
    more: Vec<(&'static str, String)>,
}

impl Home {
    fn new(location: String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("src/sub")).unwrap();
        fs::write(directory.path().join("src/a.txt"), "alpha\n").unwrap();
        let noise: Vec<u8> = (0..3_000_000_u32)
            .map(|at| (at.wrapping_mul(2_654_435_761).rotate_left(at % 31) >> 11) as u8)
            .collect();
        fs::write(directory.path().join("src/sub/noise"), noise).unwrap();
        fs::write(directory.path().join("password"), "correct horse battery").unwrap();
        Self { directory, location, more: Vec::new() }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let done = Command::new(env!("CARGO_BIN_EXE_mrs-backup"))
            .args(arguments)
            .env_remove("MRS_BACKUP_CONFIG")
            .env("MRS_BACKUP_REPOSITORY", &self.location)
            .env("MRS_BACKUP_PASSWORD_FILE", self.path("password"))
            .env("MRS_BACKUP_STATE_DIR", self.path("state"))
            .envs(self.more.iter().map(|(name, value)| (*name, value.as_str())))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
        assert!(!text.contains(PASSWORD) && !text.contains(ENCODED_PASSWORD), "{text}");
        (done.status.code(), text.into_owned())
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let (code, text) = self.run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {text}");
        text
    }

    /// From `init` to `prune`, and restored on a machine that knows nothing.
    fn lives_through(&self) {
        self.ok(&["init", "--kdf-memory", "8"]);
        let source = self.path("src");
        self.ok(&["backup", &source]);
        fs::write(Path::new(&source).join("b.txt"), "beta\n").unwrap();
        self.ok(&["backup", &source]);
        assert_eq!(self.ok(&["snapshots"]).matches("complete").count(), 2);
        self.ok(&["check", "--read-data"]);
        self.ok(&["forget", "--keep-last", "1", "--apply"]);
        self.ok(&["prune", "--now", "--yes"]);
        fs::remove_dir_all(self.path("state")).unwrap();
        let target = self.path("back");
        self.ok(&["restore", "latest", &target, "--verify"]);
        let restored = Path::new(&target).join(source.trim_start_matches('/'));
        for name in ["a.txt", "b.txt", "sub/noise"] {
            let (one, other) = (Path::new(&source).join(name), restored.join(name));
            assert!(fs::read(one).unwrap() == fs::read(other).unwrap(), "{name}");
        }
        self.ok(&["check", "--read-data"]);
    }
}

#[test]
fn a_repository_lives_on_an_ftp_server() {
    let server = FtpServer::start(Make::Vsftpd);
    let mut home = Home::new("env:LFTP_DSN".to_owned());
    home.more.push(("LFTP_DSN", server.location("production/repo")));
    home.lives_through();
}

#[test]
fn a_repository_lives_in_a_bucket() {
    let server = RcloneServer::start("s3");
    Home::new(buckets::location(&server, "bucket/production")).lives_through();
}

#[test]
fn a_repository_lives_wherever_rclone_puts_it() {
    let place = tempfile::tempdir().unwrap();
    let mut home = Home::new(format!("rclone::local:{}", place.path().join("repo").display()));
    home.more.push(("RCLONE", rclone().display().to_string()));
    home.more.push(("RCLONE_CONFIG", place.path().join("none").display().to_string()));
    home.lives_through();
}

#[test]
fn a_password_in_the_arguments_is_refused() {
    let home = Home::new(String::new());
    let (code, text) = home.run(&["--repo", "ftps://bob:hunter2@h.example/x", "snapshots"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("password-file") && !text.contains("hunter2"), "{text}");
}

#[test]
fn a_place_is_tried_out_and_left_as_it_was() {
    let server = FtpServer::start(Make::Vsftpd);
    let home = Home::new(String::new());
    let place = tempfile::NamedTempFile::new().unwrap();
    fs::write(place.path(), format!("{PASSWORD}\n")).unwrap();
    let ca = server.directory().join("ca.pem");
    let location = format!(
        "ftpes://anonymous@localhost:{}/files?ca={}&password-file={}",
        server.port,
        ca.display(),
        place.path().display()
    );
    let text = home.ok(&["store", "test", &location]);
    for words in ["contract of stores is kept", "by one rename", "allowed", "s from this machine's"]
    {
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(fs::read_dir(server.files()).unwrap().count(), 0, "nothing is left");
    let server = RcloneServer::start("s3");
    let text = home.ok(&["store", "test", &buckets::location(&server, "bucket/x")]);
    assert!(text.contains("contract of stores is kept"), "{text}");
    let left: Vec<_> = fs::read_dir(server.files().join("bucket")).unwrap().collect();
    assert!(left.len() <= 1, "{left:?}");
    let (code, text) = home.run(&["store", "test", "ftp://bob:hunter2@h.example/x"]);
    assert_eq!(code, Some(2), "{text}");
}

/// 3 MB through 1 MiB a second take their time; and nobody else is held up.
#[test]
fn transfers_keep_to_their_limit() {
    let server = RcloneServer::start("s3");
    let home = Home::new(buckets::location(&server, "bucket/slow"));
    home.ok(&["init", "--kdf-memory", "8"]);
    let began = std::time::Instant::now();
    home.ok(&["backup", &home.path("src"), "--limit-upload", "1MiB"]);
    // The first MiB or so may go at once: what was sent is paid for before the next.
    let seconds = began.elapsed().as_secs_f64();
    assert!(seconds > 0.9, "{seconds} s");
    // And back; also by a timetable, which holds from the hour that was last.
    for limit in ["1MiB", "00:00,1MiB 12:00,1MiB"] {
        let began = std::time::Instant::now();
        let target = home.path(&format!("back {}", limit.len()));
        home.ok(&["restore", "latest", &target, "--limit-download", limit]);
        let seconds = began.elapsed().as_secs_f64();
        assert!(seconds > 0.9, "{limit}: {seconds} s");
    }
}
