//! Metrics: what `promtool` says about them, the text file after each run, the server, and what is shipped for those who read them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::Place;
use super::nights::{configured, ok, run, write_config};
use super::standing::invented;

const NIGHTLY: &str = "schedule = { run = \"0 23 * * *\" }";

/// Debian's `promtool`, with this on its standard input.
fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(shipped(""));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool of the package `prometheus`");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(output.status.success(), "promtool {arguments:?}: {told}\n{input}");
}

fn shipped(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring").join(name)
}

/// The value of a series; panics if there is none.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
}

const RUN: &str = "{instance=\"mrs\",job=\"run\"}";

#[test]
fn the_text_file_tells_of_never_of_success_and_of_failure() {
    let place = configured(NIGHTLY);
    let textfile = place.path("node/mrs-backup.prom");
    fs::create_dir(place.path("node")).unwrap();
    let before = ok(&place, &["status", "--metrics"]).stdout;
    promtool(&["check", "metrics"], &before);
    assert_eq!(value(&before, &format!("mrs_backup_last_success_timestamp_seconds{RUN}")), 0.0);
    assert_eq!(value(&before, &format!("mrs_backup_last_run_status{RUN}")), -1.0);
    assert_eq!(value(&before, "mrs_backup_status{instance=\"mrs\"}"), 2.0);
    let lines = format!("{NIGHTLY}\n[metrics]\ntextfile = \"{}\"", textfile.display());
    write_config(&place, &lines);
    ok(&place, &["run"]);
    let good = fs::read_to_string(&textfile).unwrap();
    promtool(&["check", "metrics"], &good);
    let success = value(&good, &format!("mrs_backup_last_success_timestamp_seconds{RUN}"));
    let now = jiff::Timestamp::now().as_second() as f64;
    assert!((now - success).abs() < 120.0, "{success}");
    assert_eq!(value(&good, "mrs_backup_status{instance=\"mrs\"}"), 0.0);
    assert_eq!(value(&good, "mrs_backup_snapshots{instance=\"mrs\"}"), 1.0);
    assert_eq!(value(&good, "mrs_backup_step_status{instance=\"mrs\",step=\"prune\"}"), 0.0);
    assert!(value(&good, "mrs_backup_repository_bytes{instance=\"mrs\"}") > 0.0);
    assert!(value(&good, "mrs_backup_disk_free_bytes{instance=\"mrs\"}") > 0.0);
    assert_eq!(fs::metadata(&textfile).unwrap().permissions().mode() & 0o777, 0o644);
    fs::rename(place.path("src"), place.path("gone")).unwrap();
    run(&place, &["run"]).fails(1, "nothing of instance", "");
    let bad = fs::read_to_string(&textfile).unwrap();
    promtool(&["check", "metrics"], &bad);
    assert_eq!(value(&bad, &format!("mrs_backup_last_run_status{RUN}")), 1.0);
    assert_eq!(
        value(&bad, &format!("mrs_backup_last_success_timestamp_seconds{RUN}")),
        success,
        "the last success stays"
    );
    // A file that cannot be written is told, and fails nothing.
    fs::rename(place.path("gone"), place.path("src")).unwrap();
    fs::remove_dir_all(place.path("node")).unwrap();
    let ran = ok(&place, &["run"]);
    assert!(ran.stderr.contains("cannot write metrics"), "{ran:?}");
}

#[test]
fn shipped_rules_hold_and_speak_of_what_there_is() {
    promtool(&["check", "rules", "alerts.yml"], "");
    promtool(&["test", "rules", "alerts-test.yml"], "");
    let place = configured(
        "schedule = { run = \"0 23 * * *\", test_restore = \"0 5 * * 0\" }\n\
         [instance.mrs.copy.cellar]\nlocation = \"cellar\"",
    );
    ok(&place, &["run"]);
    let mut metrics = ok(&place, &["status", "--metrics"]).stdout;
    // Some are only there where a disk fills up.
    let other = Place::new();
    invented(&other, 1, 30);
    metrics.push_str(&ok(&other, &["status", "--metrics"]).stdout);
    let known: BTreeSet<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    assert!(known.len() > 20, "{known:?}");
    for file in ["alerts.yml", "grafana.json", "netdata-health.conf", "../monitoring.md"] {
        let text = fs::read_to_string(shipped(file)).unwrap();
        let named: BTreeSet<&str> = text
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .filter(|word| word.starts_with("mrs_backup_") && *word != "mrs_backup_at_risk")
            .collect();
        assert!(!named.is_empty(), "{file}");
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{file} speaks of {unknown:?}");
    }
    let dashboard = fs::read_to_string(shipped("grafana.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        // A rule with the same expression shows that Prometheus can read it.
        let expression = panel["targets"][0]["expr"].as_str().unwrap().replace("$instance", ".*");
        let rules = serde_json::json!({ "groups": [{ "name": "x", "rules": [
            { "alert": "X", "expr": expression } ] }] });
        let file = place.path("rules.yml");
        fs::write(&file, rules.to_string()).unwrap();
        promtool(&["check", "rules", &file.display().to_string()], "");
    }
}

/// A server at work, with the address it told.
pub struct Serving {
    child: Child,
    pub address: String,
}

impl Serving {
    pub fn start(place: &Place, arguments: &[&str]) -> Self {
        let mut command = place.bare();
        command.args(["-c", "config.toml"]).args(arguments).env("TOKEN", "open sesame");
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("it tells where it serves").unwrap();
            if let Some(rest) = line.strip_prefix("serving at http://") {
                break rest.trim_end_matches('/').to_owned();
            }
        };
        // Whatever else it says has a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    /// Status, headers and body of an answer.
    pub fn ask(&self, request: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let text = format!("{request}\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        (status.unwrap_or_else(|| panic!("{answer:?}")), head.to_lowercase(), body.to_owned())
    }

    pub fn stop(mut self) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn prometheus_can_ask_for_them() {
    let place = configured(NIGHTLY);
    ok(&place, &["run"]);
    let server = Serving::start(&place, &["serve", "--listen", "127.0.0.1:0"]);
    let (status, head, body) = server.ask("GET /metrics HTTP/1.1");
    assert_eq!(status, 200, "{body}");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    promtool(&["check", "metrics"], &body);
    assert_eq!(value(&body, "mrs_backup_status{instance=\"mrs\"}"), 0.0);
    let (status, _, body) = server.ask("HEAD /metrics HTTP/1.1");
    assert_eq!((status, body.as_str()), (200, ""));
    for (request, expected) in [
        ("GET /nothing HTTP/1.1", 404),
        ("GET /../etc/passwd HTTP/1.1", 404),
        ("POST /metrics HTTP/1.1", 405),
        ("DELETE / HTTP/1.1", 405),
    ] {
        assert_eq!(server.ask(request).0, expected, "{request}");
    }
    // A wrong configuration is told; put right, it goes on.
    place.write("config.toml", b"version = 1\nnonsense = 1\n");
    let (status, _, body) = server.ask("GET /metrics HTTP/1.1");
    assert!(status == 503 && body.contains("nonsense"), "{status} {body}");
    write_config(&place, NIGHTLY);
    assert_eq!(server.ask("GET /metrics HTTP/1.1").0, 200);
    // Connections that say nothing hold nobody up.
    let silent: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    assert_eq!(server.ask("GET /metrics HTTP/1.1").0, 200);
    drop(silent);
    server.stop();
}

#[test]
fn who_has_to_be_known_is_asked() {
    let place = configured(&format!(
        "{NIGHTLY}\n[serve]\nlisten = [\"127.0.0.1:0\"]\nuser = \"me\"\npassword = {{ file = \"{}\" }}\ntoken = {{ env = \"TOKEN\" }}",
        "/PASSWORD"
    ));
    let config = fs::read_to_string(place.path("config.toml")).unwrap();
    let config = config.replace("/PASSWORD", &place.text("password"));
    place.write("config.toml", config.as_bytes());
    let server = Serving::start(&place, &["schedule"]);
    let (status, head, _) = server.ask("GET /metrics HTTP/1.1");
    assert!(status == 401 && head.contains("www-authenticate: basic"), "{head}");
    assert_eq!(server.ask("GET /metrics HTTP/1.1\r\nAuthorization: Bearer wrong").0, 401);
    assert_eq!(server.ask("GET /metrics HTTP/1.1\r\nAuthorization: Bearer open sesame").0, 200);
    use base64::Engine;
    let login = base64::engine::general_purpose::STANDARD.encode(format!("me:{}", super::PASSWORD));
    let request = format!("GET /metrics HTTP/1.1\r\nAuthorization: Basic {login}");
    assert_eq!(server.ask(&request).0, 200, "the scheduler serves as well");
    // Whoever guesses is soon not listened to, whatever it says.
    let guess = "GET / HTTP/1.1\r\nAuthorization: Bearer ";
    let guesses: Vec<u16> =
        (0..20).map(|number| server.ask(&format!("{guess}{number}")).0).collect();
    let compared = guesses.iter().take_while(|status| **status == 401).count();
    assert!((9..15).contains(&compared) && guesses.ends_with(&[429; 4]), "{guesses:?}");
    let (status, head, body) = server.ask(&request);
    assert!(status == 429 && head.contains("retry-after: "), "{head}");
    assert!(body.contains("try again in"), "{body}");
    assert_eq!(server.ask("GET / HTTP/1.1").0, 401, "nothing given is no guess");
    server.stop();
    let shown = ok(&place, &["config", "show"]).stdout;
    assert!(shown.contains("serve.user") && !shown.contains(super::PASSWORD), "{shown}");
}

#[test]
fn nobody_outside_is_served_unasked() {
    let place = configured(NIGHTLY);
    run(&place, &["serve", "--listen", "0.0.0.0:0"]).fails(2, "other machines can reach", "token");
    run(&place, &["serve", "--listen", "nowhere0:0"]).fails(2, "other machines can reach", "");
    run(&place, &["serve", "--listen", "docker9:0"]).fails(1, "no such interface", "");
    run(&place, &["serve", "--listen", "x"]).fails(2, "no address to listen at", "");
    // A scheduler whose port is taken says so, and schedules.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    write_config(&place, &format!("{NIGHTLY}\n[serve]\nlisten = [\"127.0.0.1:{port}\"]"));
    run(&place, &["serve"]).fails(1, "listen at 127.0.0.1", "");
    let mut child = place.bare();
    child.args(["-c", "config.toml", "schedule"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("next is run of mrs"));
    let pid = i32::try_from(child.id()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("nothing is served"), "{told}");
}
