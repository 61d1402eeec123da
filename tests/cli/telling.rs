//! Messages: what arrives at servers that take note of everything, what waits for one that is down, what is told once.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::Place;
use super::nights::{configured, ok, run, silent_server, wait_for_client, write_config};

const NIGHTLY: &str = "schedule = { run = \"0 23 * * *\" }";

/// One request that arrived.
#[derive(Debug, Clone)]
struct Arrived {
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Arrived {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

/// A server of HTTP that takes note of everything.
struct Receiver {
    port: u16,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    /// What it answers.
    status: Arc<AtomicU16>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let status = Arc::new(AtomicU16::new(200));
        let receiver = Self { port, arrived: Arc::clone(&arrived), status: Arc::clone(&status) };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (arrived, status) = (Arc::clone(&arrived), Arc::clone(&status));
                std::thread::spawn(move || take(stream.unwrap(), &arrived, &status));
            }
        });
        receiver
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// What arrived since the last call.
    fn arrived(&self) -> Vec<Arrived> {
        std::mem::take(&mut *self.arrived.lock().unwrap())
    }
}

fn take(stream: TcpStream, arrived: &Mutex<Vec<Arrived>>, status: &AtomicU16) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let path = line.split(' ').nth(1).unwrap().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let len = headers.get("content-length").map_or(0, |len| len.parse().unwrap());
    let mut body = vec![0; len];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    arrived.lock().unwrap().push(Arrived { path, headers, body });
    let answer = format!(
        "HTTP/1.1 {} X\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        status.load(Ordering::SeqCst)
    );
    let _ = (&stream).write_all(answer.as_bytes());
}

fn break_it(place: &Place) {
    fs::rename(place.path("src"), place.path("gone")).unwrap();
    assert_eq!(run(place, &["run"]).code, Some(1));
    fs::rename(place.path("gone"), place.path("src")).unwrap();
}

fn kinds(arrived: &[Arrived]) -> Vec<String> {
    arrived.iter().map(|one| one.json()["type"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_webhook_gets_changes_once_and_signed() {
    let receiver = Receiver::start();
    let place = configured(NIGHTLY);
    place.write("key", b"a shared key\n");
    let lines = format!(
        "{NIGHTLY}\n[notify.hook]\nkind = \"webhook\"\nurl = \"{}\"\nsecret = {{ file = \"{}\" }}",
        receiver.url("hook"),
        place.text("key")
    );
    write_config(&place, &lines);
    ok(&place, &["run"]);
    assert!(receiver.arrived().is_empty(), "a good night is no news");
    break_it(&place);
    break_it(&place);
    let arrived = receiver.arrived();
    assert_eq!(kinds(&arrived), ["failure"], "the same failure is told once");
    let message = arrived[0].json();
    assert_eq!(message["instance"], "mrs");
    assert_eq!((message["v"].as_u64(), message["exit_code"].as_u64()), (Some(1), Some(1)));
    assert!(
        message["text"].as_str().unwrap().contains("next: mrs-backup doctor mrs --only paths"),
        "{message}"
    );
    assert!(message["log"].as_str().unwrap().contains("snapshot: failed"), "{message}");
    let signed = format!("{}.{}", arrived[0].headers["x-mrs-backup-timestamp"], arrived[0].body);
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-hmac", "a shared key"]);
    let mut child = openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(signed.as_bytes()).unwrap();
    let told = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let digest = told.split_whitespace().last().unwrap();
    assert_eq!(arrived[0].headers["x-mrs-backup-signature"], format!("sha256={digest}"));
    ok(&place, &["run"]);
    assert_eq!(kinds(&receiver.arrived()), ["recovery"]);
    ok(&place, &["run"]);
    assert!(receiver.arrived().is_empty());
}

#[test]
fn a_restore_is_told_and_the_week_on_mondays() {
    let receiver = Receiver::start();
    let place = configured(NIGHTLY);
    let lines = format!(
        "{NIGHTLY}\n[notify.hook]\nkind = \"webhook\"\nurl = \"{}\"\non = [\"restore\", \"digest\"]",
        receiver.url("hook")
    );
    write_config(&place, &lines);
    ok(&place, &["run"]);
    assert!(receiver.arrived().is_empty(), "nobody asked for that");
    ok(&place, &["restore", "latest", "src", "--yes"]);
    let arrived = receiver.arrived();
    assert_eq!(kinds(&arrived), ["restore"]);
    let message = arrived[0].json();
    assert_eq!((&message["title"], &message["severity"]), (&"mrs: restored".into(), &"ok".into()));
    assert_eq!(message["text"], format!("restore into {}\n", place.text("src")));
    // As if the last week had been told long ago.
    let told = place.path("state/notify/told.json");
    let mut memory: serde_json::Value = serde_json::from_slice(&fs::read(&told).unwrap()).unwrap();
    memory["digest"] = "2026-01-05T08:00:00Z".into();
    fs::write(&told, memory.to_string()).unwrap();
    ok(&place, &["notify", "--due"]);
    let arrived = receiver.arrived();
    assert_eq!(kinds(&arrived), ["digest"]);
    let message = arrived[0].json();
    assert!(message["instance"].is_null(), "it is of all: {message}");
    let text = message["text"].as_str().unwrap();
    assert!(text.starts_with("\u{2713} mrs: ") && text.lines().count() == 1, "{message}");
    ok(&place, &["notify", "--due"]);
    assert!(receiver.arrived().is_empty(), "once a week");
}

#[test]
fn what_cannot_be_delivered_fails_nothing_and_comes_later() {
    let receiver = Receiver::start();
    receiver.status.store(500, Ordering::SeqCst);
    let place = configured(NIGHTLY);
    let lines = format!(
        "{NIGHTLY}\n[notify.hook]\nkind = \"webhook\"\nurl = \"{}\"\n\
         [notify.nobody]\nkind = \"webhook\"\nurl = \"http://127.0.0.1:1/top-secret\"",
        receiver.url("hook")
    );
    write_config(&place, &lines);
    fs::remove_file(place.path("src/a.txt")).unwrap();
    let begun = Instant::now();
    let ran = run(&place, &["run"]);
    assert_eq!(ran.code, Some(3), "the code is that of the night: {ran:?}");
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    assert!(
        ran.stderr.contains("hook was not told, and is the next time: it answers 500"),
        "{ran:?}"
    );
    assert!(
        ran.stderr.contains("nobody was not told") && !ran.stderr.contains("top-secret"),
        "{ran:?}"
    );
    assert_eq!(receiver.arrived().len(), 3, "three tries");
    let listed = ok(&place, &["notify"]).stdout;
    let row = listed.lines().find(|line| line.starts_with("hook")).unwrap();
    assert!(row.contains("http://127.0.0.1") && row.contains(" 1  failure"), "{listed}");
    receiver.status.store(204, Ordering::SeqCst);
    let ran = run(&place, &["notify", "--due"]);
    assert!(ran.stdout.contains("hook: 1 message delivered"), "{ran:?}");
    let arrived = receiver.arrived();
    assert_eq!(kinds(&arrived), ["failure"]);
    assert!(ok(&place, &["notify", "--test", "hook"]).stdout.contains("1 message delivered"));
    assert_eq!(kinds(&receiver.arrived()), ["test"], "what was delivered is gone");
}

#[test]
fn a_message_nobody_takes_holds_up_no_other() {
    let receiver = Receiver::start();
    receiver.status.store(400, Ordering::SeqCst);
    let place = configured(NIGHTLY);
    let lines =
        format!("{NIGHTLY}\n[notify.hook]\nkind = \"webhook\"\nurl = \"{}\"", receiver.url("hook"));
    write_config(&place, &lines);
    fs::rename(place.path("src"), place.path("gone")).unwrap();
    let ran = run(&place, &["run"]);
    assert!(
        ran.stderr.contains("hook was not told: `mrs: the backup FAILED` is not taken"),
        "{ran:?}"
    );
    assert_eq!(receiver.arrived().len(), 1, "what is refused is refused again");
    fs::rename(place.path("gone"), place.path("src")).unwrap();
    receiver.status.store(200, Ordering::SeqCst);
    ok(&place, &["run"]);
    assert_eq!(kinds(&receiver.arrived()), ["recovery"]);
}

#[test]
fn a_disk_without_room_for_messages_keeps_none_from_being_told() {
    let receiver = Receiver::start();
    let place = configured(NIGHTLY);
    let lines =
        format!("{NIGHTLY}\n[notify.hook]\nkind = \"webhook\"\nurl = \"{}\"", receiver.url("hook"));
    write_config(&place, &lines);
    // As good as a full disk: neither messages nor what was told can be written.
    fs::create_dir_all(place.path("state/notify/told.tmp")).unwrap();
    place.write("state/notify/outbox", b"in the way");
    fs::rename(place.path("src"), place.path("gone")).unwrap();
    let ran = run(&place, &["run"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("it is not remembered who was told"), "{ran:?}");
    assert_eq!(kinds(&receiver.arrived()), ["failure"]);
}

#[test]
fn a_night_that_was_killed_is_told_by_whoever_looks_next() {
    let receiver = Receiver::start();
    let (listener, silent) = silent_server();
    let place = configured(&format!("{NIGHTLY}\n{silent}"));
    let mut command = place.bare();
    command.args(["-c", "config.toml", "run"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_for_client(&listener);
    child.kill().unwrap();
    child.wait().unwrap();
    let lines =
        format!("{NIGHTLY}\n[notify.hook]\nkind = \"webhook\"\nurl = \"{}\"", receiver.url("hook"));
    write_config(&place, &lines);
    ok(&place, &["notify", "--due"]);
    let arrived = receiver.arrived();
    assert_eq!(kinds(&arrived), ["failure"]);
    assert!(arrived[0].body.contains("killed"), "{arrived:?}");
    ok(&place, &["notify", "--due"]);
    assert_eq!(kinds(&receiver.arrived()), Vec::<String>::new(), "once");
    ok(&place, &["run"]);
    assert_eq!(kinds(&receiver.arrived()), ["recovery"]);
}

#[test]
fn slack_ntfy_and_healthchecks_get_what_they_understand() {
    let receiver = Receiver::start();
    let place = configured(NIGHTLY);
    let fact = format!(
        "{{\"slack_webhook\": \"{}\", \"slack_channel\": \"tech\"}}",
        receiver.url("services/T/B/x")
    );
    place.write("netdata.fact", fact.as_bytes());
    place.write("token", b"tk_secret");
    let lines = format!(
        "{NIGHTLY}\n[notify.slack]\nkind = \"slack\"\nnetdata = \"{}\"\nlanguage = \"fr\"\n\
         [notify.ntfy]\nkind = \"ntfy\"\nurl = \"{}\"\ntoken = {{ file = \"{}\" }}\nlanguage = \"fr\"\n\
         [notify.watchdog]\nkind = \"healthchecks\"\nurl = \"{}\"",
        place.text("netdata.fact"),
        receiver.url("topic"),
        place.text("token"),
        receiver.url("ping/1234"),
    );
    write_config(&place, &lines);
    ok(&place, &["run"]);
    let arrived = receiver.arrived();
    let paths: Vec<&str> = arrived.iter().map(|one| one.path.split('?').next().unwrap()).collect();
    assert_eq!(paths, ["/ping/1234/start", "/ping/1234"], "{arrived:?}");
    let id = |one: &Arrived| one.path.split("rid=").nth(1).unwrap_or_default().to_owned();
    assert_eq!(id(&arrived[0]), id(&arrived[1]), "one run");
    assert_eq!(id(&arrived[0]).len(), 36, "a UUID: {arrived:?}");
    assert!(arrived[1].body.contains("prune: ok") && arrived[1].body.len() <= 100_000);
    break_it(&place);
    let arrived = receiver.arrived();
    let at = |path: &str| {
        let found = arrived.iter().find(|one| one.path.starts_with(path));
        found.unwrap_or_else(|| panic!("{path}: {arrived:?}"))
    };
    assert!(at("/ping/1234/fail").body.contains("snapshot: failed"));
    let slack = at("/services/T/B/x").json();
    assert_eq!(slack["channel"], "#tech");
    assert_eq!(slack["text"], "mrs: la sauvegarde a ÉCHOUÉ");
    assert_eq!(slack["attachments"][0]["color"], "warning");
    let ntfy = at("/topic");
    assert_eq!(ntfy.headers["authorization"], "Bearer tk_secret");
    assert!(ntfy.headers["title"].starts_with("=?UTF-8?B?"), "{ntfy:?}");
    assert!(ntfy.body.contains("ensuite: mrs-backup doctor mrs --only paths"), "{ntfy:?}");
    let shown = ok(&place, &["config", "show"]).stdout + &ok(&place, &["notify"]).stdout;
    assert!(!shown.contains("ping/1234") && !shown.contains("tk_secret"), "{shown}");
}

/// A real server of SMTP, which prints each letter.
struct MailServer {
    child: Child,
    port: u16,
    letters: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    fn start(place: &Place) -> Self {
        let script = "\
import asyncio, sys
from aiosmtpd.controller import Controller
class Handler:
    async def handle_DATA(self, server, session, envelope):
        text = envelope.content.decode('utf-8', 'replace')
        print('FROM', envelope.mail_from, 'TO', ','.join(envelope.rcpt_tos), repr(text), flush=True)
        return '250 taken'
import socket
s = socket.socket(); s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]; s.close()
controller = Controller(Handler(), hostname='127.0.0.1', port=port)
controller.start()
print('PORT', controller.port, flush=True)
sys.stdin.read()
";
        place.write("mail.py", script.as_bytes());
        let python = std::env::var("MRS_BACKUP_TEST_PYTHON").expect("set by tests/run.sh");
        let mut command = Command::new(python);
        command.arg(place.path("mail.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().expect("aiosmtpd is installed in the venv").unwrap();
        let port = first.strip_prefix("PORT ").unwrap().parse().unwrap();
        let letters = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&letters);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        Self { child, port, letters }
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn mail_arrives_at_a_real_server() {
    let place = configured(NIGHTLY);
    let server = MailServer::start(&place);
    let lines = format!(
        "{NIGHTLY}\n[notify.mail]\nkind = \"mail\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n\
         from = \"Backup <backup@example.org>\"\nto = [\"ops@example.org\", \"chief@example.org\"]\nlanguage = \"fr\"",
        server.port
    );
    write_config(&place, &lines);
    ok(&place, &["notify", "--test"]);
    break_it(&place);
    let begun = Instant::now();
    while server.letters.lock().unwrap().len() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", server.letters.lock().unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
    let letters = server.letters.lock().unwrap().clone();
    assert!(
        letters[0].starts_with("FROM backup@example.org TO ops@example.org,chief@example.org"),
        "{letters:?}"
    );
    assert!(letters[0].contains("Subject: [mrs-backup] "), "{letters:?}");
    assert!(
        letters[1].contains("mrs-backup doctor mrs") && letters[1].contains("snapshot: failed"),
        "{letters:?}"
    );
    // One that wants encryption is not given anything in the clear.
    write_config(&place, &lines.replace("tls = \"none\"", "tls = \"starttls\""));
    run(&place, &["notify", "--test"]).fails(1, "mail: ", "");
    assert_eq!(server.letters.lock().unwrap().len(), 2);
}

#[test]
fn the_scheduler_tells_what_nobody_runs() {
    let receiver = Receiver::start();
    let place = configured(NIGHTLY);
    ok(&place, &["run"]);
    let lines = format!(
        "max_age = \"1s\"\n{NIGHTLY}\n[notify.hook]\nkind = \"webhook\"\nurl = \"{}\"",
        receiver.url("hook")
    );
    write_config(&place, &lines);
    std::thread::sleep(Duration::from_millis(1100));
    let mut command = place.bare();
    command.args(["-c", "config.toml", "schedule"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    let arrived = loop {
        let arrived = receiver.arrived();
        if !arrived.is_empty() || begun.elapsed() > Duration::from_secs(20) {
            break arrived;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    // What was delivered is gone a moment later.
    let is_waiting = || ok(&place, &["notify", "--json"]).lines()[0]["waiting"] != 0;
    while is_waiting() {
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(kinds(&arrived), ["stale"]);
    ok(&place, &["notify", "--due"]);
    assert!(receiver.arrived().is_empty(), "told once, whoever looks");
}

#[test]
fn who_is_told_has_to_make_sense() {
    let place = configured(NIGHTLY);
    run(&place, &["notify"]).fails(2, "names nobody to tell", "[notify.NAME]");
    write_config(&place, "[notify.x]\nkind = \"slack\"\nurl = \"https://hooks.slack.com/secret\"");
    let ran = run(&place, &["notify"]);
    ran.fails(2, "[notify.x]: the address of a webhook of Slack is a secret", "");
    assert!(!ran.stderr.contains("hooks.slack.com/secret"), "{ran:?}");
    let lines = "[notify.x]\nkind = \"webhook\"\nurl = { env = \"NOT_SET_ANYWHERE\" }";
    write_config(&place, lines);
    run(&place, &["notify", "--test"]).fails(1, "NOT_SET_ANYWHERE", "");
    run(&place, &["notify", "--test", "y"]).fails(2, "no channel `y`", "there are: x");
}
