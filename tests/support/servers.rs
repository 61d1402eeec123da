//! Real servers to throw away: FTP of three makes, SFTP, and what rclone serves. Each has own ports and
//! directories, believes a password of its own, and is stopped when dropped.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// What a location has to percent-encode.
pub const PASSWORD: &str = "p@ss/w:rd%1";
pub const ENCODED_PASSWORD: &str = "p%40ss%2Fw%3Ard%251";

/// Where `make test` puts servers that Debian's packages would fight over.
fn unpacked() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ftp-servers/usr")
}

/// Where `make test` puts rclone.
pub fn rclone() -> PathBuf {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/rclone/rclone");
    assert!(program.exists(), "this test needs {}, which tests/run.sh makes", program.display());
    program
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A running child process; stopped when dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub fn start(command: &mut Command, directory: &Path) -> Self {
        let log = directory.join("server.log");
        let file = fs::File::create(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot start {command:?}: {error}; tests/run.sh installs it")
            });
        Self { child, log }
    }

    /// Waits until somebody listens.
    pub fn wait_for(&mut self, port: u16) {
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = self.child.try_wait().unwrap();
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            assert!(ended.is_none(), "the server ended: {ended:?}\n{log}");
            assert!(began.elapsed() < Duration::from_secs(30), "nobody listens on {port}\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(3) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An authority, and a certificate of it for this machine.
pub struct Authority {
    pub certificate: String,
    pub key: String,
    pub ca: String,
    /// The certificate's SHA-256, as `?pin=` wants it.
    pub pin: String,
}

impl Authority {
    pub fn new() -> Self {
        Self::with(&["localhost", "127.0.0.1"], false)
    }

    pub fn with(names: &[&str], is_expired: bool) -> Self {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
        use sha2::Digest;
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(params, ca_key);
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        if is_expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let digest = sha2::Sha256::digest(certificate.der());
        let pin: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            ca: ca.pem(),
            pin: format!("sha256:{pin}"),
        }
    }

    pub fn write_to(&self, directory: &Path) {
        fs::write(directory.join("ca.pem"), &self.ca).unwrap();
        fs::write(directory.join("server.pem"), &self.certificate).unwrap();
        fs::write(directory.join("server.key"), &self.key).unwrap();
        fs::write(directory.join("both.pem"), format!("{}{}", self.key, self.certificate)).unwrap();
        for name in ["server.key", "both.pem"] {
            let mode = fs::Permissions::from_mode(0o600);
            fs::set_permissions(directory.join(name), mode).unwrap();
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    Vsftpd,
    PureFtpd,
    ProFtpd,
}

/// A running FTP server with one user, whose files are in `files`.
pub struct FtpServer {
    pub port: u16,
    pub authority: Authority,
    pub make: Make,
    directory: TempDir,
    running: Running,
}

/// The user whose files they are: `ftp`, which comes with vsftpd.
fn ftp_user() -> (u32, u32) {
    assert!(rustix::process::geteuid().is_root(), "FTP servers need root to be tested");
    let passwd = fs::read_to_string("/etc/passwd").expect("cannot read /etc/passwd");
    let line = passwd.lines().find(|line| line.starts_with("ftp:"));
    let fields: Vec<&str> =
        line.expect("no user `ftp`: apt-get install vsftpd").split(':').collect();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}

impl FtpServer {
    pub fn start(make: Make) -> Self {
        Self::start_with(make, Authority::new(), "")
    }

    /// With further lines of configuration (vsftpd, proftpd) or options (pure-ftpd).
    pub fn start_with(make: Make, authority: Authority, more: &str) -> Self {
        let (uid, gid) = ftp_user();
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        fs::set_permissions(place, fs::Permissions::from_mode(0o755)).unwrap();
        authority.write_to(place);
        let files = place.join("home/files");
        fs::create_dir_all(&files).unwrap();
        chown(&files, Some(uid), Some(gid)).unwrap();
        let port = free_port();
        let mut command = match make {
            Make::Vsftpd => vsftpd(place, port, more),
            Make::PureFtpd => pure_ftpd(place, port, more, (uid, gid)),
            Make::ProFtpd => proftpd(place, port, more, (uid, gid)),
        };
        let mut running = Running::start(&mut command, place);
        running.wait_for(port);
        Self { port, authority, make, directory, running }
    }

    pub fn user(&self) -> &'static str {
        if self.make == Make::Vsftpd { "anonymous" } else { "backup" }
    }

    /// Location of `path` below the files, TLS from the first command on.
    pub fn location(&self, path: &str) -> String {
        let ca = self.directory.path().join("ca.pem");
        self.bare_location(path) + &format!("?timeout=10s&ca={}", ca.display())
    }

    /// Without saying whom to believe.
    pub fn bare_location(&self, path: &str) -> String {
        let (user, port) = (self.user(), self.port);
        format!("ftpes://{user}:{ENCODED_PASSWORD}@localhost:{port}/files/{path}")
    }

    pub fn files(&self) -> PathBuf {
        self.directory.path().join("home/files")
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What the server wrote down.
    pub fn log(&self) -> String {
        let own = fs::read_to_string(self.directory.path().join("ftp.log")).unwrap_or_default();
        own + &self.running.log()
    }
}

fn vsftpd(place: &Path, port: u16, more: &str) -> Command {
    let at = place.display();
    fs::create_dir(place.join("empty")).unwrap();
    fs::write(place.join("passwords"), format!("{PASSWORD}\n")).unwrap();
    let text = format!(
        "listen=YES\nlisten_address=127.0.0.1\nlisten_port={port}\nbackground=NO\nseccomp_sandbox=NO\n\
         anonymous_enable=YES\nlocal_enable=NO\nwrite_enable=YES\nanon_upload_enable=YES\n\
         anon_mkdir_write_enable=YES\nanon_other_write_enable=YES\nanon_world_readable_only=NO\n\
         anon_umask=077\nanon_root={at}/home\nsecure_email_list_enable=YES\n\
         email_password_file={at}/passwords\nsecure_chroot_dir={at}/empty\nssl_enable=YES\n\
         allow_anon_ssl=YES\nforce_anon_data_ssl=YES\nforce_anon_logins_ssl=YES\nssl_ciphers=HIGH\n\
         require_ssl_reuse=YES\nrsa_cert_file={at}/server.pem\nrsa_private_key_file={at}/server.key\n\
         xferlog_enable=YES\nlog_ftp_protocol=YES\nvsftpd_log_file={at}/ftp.log\n{more}\n"
    );
    fs::write(place.join("vsftpd.conf"), text).unwrap();
    let mut command = Command::new("/usr/sbin/vsftpd");
    command.arg(place.join("vsftpd.conf"));
    command
}

fn libraries() -> PathBuf {
    unpacked().join("lib/x86_64-linux-gnu")
}

fn pure_ftpd(place: &Path, port: u16, more: &str, (uid, gid): (u32, u32)) -> Command {
    let mut add = Command::new(unpacked().join("bin/pure-pw"))
        .args(["useradd", "backup", "-u", &uid.to_string(), "-g", &gid.to_string(), "-m"])
        .arg("-d")
        .arg(place.join("home"))
        .arg("-f")
        .arg(place.join("users"))
        .arg("-F")
        .arg(place.join("users.pdb"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("pure-pw, which tests/run.sh unpacks");
    write!(add.stdin.take().unwrap(), "{PASSWORD}\n{PASSWORD}\n").unwrap();
    assert!(add.wait().unwrap().success());
    let mut command = Command::new(unpacked().join("sbin/pure-ftpd"));
    command
        .env("LD_LIBRARY_PATH", libraries())
        .args(["-S", &format!("127.0.0.1,{port}"), "-A", "-E", "-u", "1", "-H", "-Y", "2"])
        .arg("-l")
        .arg(format!("puredb:{}", place.join("users.pdb").display()))
        .arg("-2")
        .arg(place.join("both.pem"))
        .arg("-g")
        .arg(place.join("pid"))
        .args(more.split_whitespace());
    command
}

fn proftpd(place: &Path, port: u16, more: &str, (uid, gid): (u32, u32)) -> Command {
    let at = place.display();
    let hashed = Command::new("openssl").args(["passwd", "-6", PASSWORD]).output().unwrap();
    let hashed = String::from_utf8(hashed.stdout).unwrap();
    let user = format!("backup:{}:{uid}:{gid}::{at}/home:/bin/sh\n", hashed.trim());
    fs::write(place.join("users"), user).unwrap();
    fs::set_permissions(place.join("users"), fs::Permissions::from_mode(0o600)).unwrap();
    let modules = unpacked().join("lib/proftpd");
    let text = format!(
        "ModulePath {}\nLoadModule mod_tls.c\nServerType standalone\nServerName test\n\
         DefaultAddress 127.0.0.1\nPort {port}\nUseIPv6 off\nUseReverseDNS off\nUser nobody\n\
         Group nogroup\nUmask 077\nAuthOrder mod_auth_file.c\nAuthUserFile {at}/users\n\
         RequireValidShell off\nDefaultRoot ~\nAllowOverwrite on\nAllowStoreRestart on\n\
         PidFile {at}/pid\nScoreboardFile {at}/scoreboard\nWtmpLog off\nTransferLog none\n\
         SystemLog {at}/ftp.log\nTLSEngine on\nTLSRequired on\nTLSProtocol TLSv1.2 TLSv1.3\n\
         TLSRSACertificateFile {at}/server.pem\nTLSRSACertificateKeyFile {at}/server.key\n\
         TLSECCertificateFile {at}/server.pem\nTLSECCertificateKeyFile {at}/server.key\n\
         TLSVerifyClient off\nTLSRenegotiate none\n{more}\n",
        modules.display()
    )
    .replace(
        &format!(
            "TLSRSACertificateFile {at}/server.pem\nTLSRSACertificateKeyFile {at}/server.key\n"
        ),
        "",
    );
    fs::write(place.join("proftpd.conf"), text).unwrap();
    let mut command = Command::new(unpacked().join("sbin/proftpd"));
    command
        .env("LD_LIBRARY_PATH", libraries())
        .arg("--nodaemon")
        .arg("-q")
        .arg("-c")
        .arg(place.join("proftpd.conf"));
    command
}

/// What rclone serves out of a directory: `s3`, `webdav`, or `open-s3`, which asks nobody for keys.
pub struct RcloneServer {
    pub port: u16,
    kind: String,
    directory: TempDir,
    running: RefCell<Option<Running>>,
}

/// Starts rclone, over HTTPS if its directory holds a certificate.
fn serve(kind: &str, directory: &Path, port: u16) -> Running {
    let mut command = Command::new(rclone());
    command
        .args(["serve", if kind == "open-s3" { "s3" } else { kind }])
        .args(["--addr", &format!("127.0.0.1:{port}")])
        .arg("--config")
        .arg(directory.join("none.conf"))
        .env("RCLONE_CACHE_DIR", directory.join("cache"));
    match kind {
        "s3" => command.args(["--auth-key", &format!("backup,{PASSWORD}")]),
        "open-s3" => &mut command,
        _ => command.env("RCLONE_USER", "backup").env("RCLONE_PASS", PASSWORD),
    };
    let certificate = directory.join("server.pem");
    if certificate.exists() {
        command.arg("--cert").arg(certificate).arg("--key").arg(directory.join("server.key"));
    }
    let mut running = Running::start(command.arg(directory.join("files")), directory);
    running.wait_for(port);
    running
}

impl RcloneServer {
    pub fn start(kind: &str) -> Self {
        Self::start_with(kind, None)
    }

    /// Over HTTPS, if there is a certificate.
    pub fn start_with(kind: &str, authority: Option<&Authority>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("files/bucket")).unwrap();
        if let Some(authority) = authority {
            authority.write_to(directory.path());
        }
        let port = free_port();
        let running = RefCell::new(Some(serve(kind, directory.path(), port)));
        Self { port, kind: kind.to_owned(), directory, running }
    }

    /// As after a start of the machine: what it remembered of its files is forgotten. (Told to remember nothing from the
    /// begin, rclone now and then forgets one directory for ever and answers nobody.)
    pub fn restart(&self) {
        // Ended before the next one takes its port.
        drop(self.running.take());
        self.running.replace(Some(serve(&self.kind, self.directory.path(), self.port)));
    }

    pub fn files(&self) -> PathBuf {
        self.directory.path().join("files")
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// Reads lines of `reader` until one holds `text`.
pub fn wait_for_line(reader: impl std::io::Read, text: &str) -> String {
    let mut lines = BufReader::new(reader).lines();
    lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(text))).unwrap().unwrap()
}
