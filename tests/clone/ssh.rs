//! Copies between machines, over Debian's sshd: pulled and pushed by keys that can do nothing else, and a line that
//! breaks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::servers::{Running, free_port};
use crate::stage::{Stage, names};

/// Both machines in one: production and staging have a configuration each, and reach each other by ssh alone.
struct Machines {
    stage: Stage,
    at: tempfile::TempDir,
    port: u16,
    _running: Running,
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

impl Machines {
    fn with_persons(persons: u32) -> Self {
        let stage = Stage::with_persons(persons);
        stage.configure_apart("");
        let directory = tempfile::Builder::new().prefix("mrs-cls").tempdir_in("/run").unwrap();
        let at = directory.path();
        fs::set_permissions(at, fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["host", "puller", "pusher"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at.join(name));
            assert!(keygen.status().expect("ssh-keygen: apt-get install openssh-client").success());
        }
        let (port, shown) = (free_port(), at.display());
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {shown}/host\nPidFile none\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nStrictModes no\n\
             PermitRootLogin yes\nAuthorizedKeysFile {shown}/authorized\nSubsystem sftp internal-sftp\n"
        );
        fs::write(at.join("sshd_config"), config).unwrap();
        fs::create_dir_all("/run/sshd").unwrap();
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(at.join("sshd_config"));
        let mut running = Running::start(&mut command, at);
        running.wait_for(port);
        let host = fs::read_to_string(at.join("host.pub")).unwrap();
        fs::write(at.join("known"), format!("[127.0.0.1]:{port} {host}")).unwrap();
        let config = format!(
            "Host other\n HostName 127.0.0.1\n User root\n UserKnownHostsFile {shown}/known\n \
             GlobalKnownHostsFile /dev/null\n StrictHostKeyChecking yes\n"
        );
        fs::write(at.join("ssh_config"), config).unwrap();
        let machines = Self { stage, at: directory, port, _running: running };
        machines.authorize(&[]);
        machines
    }

    fn path(&self, name: &str) -> PathBuf {
        self.at.path().join(name)
    }

    /// Both keys, each with the line that the program tells; `more` options for who receives.
    fn authorize(&self, more: &[&str]) {
        let public = |name: &str| self.path(name).display().to_string();
        let (puller, pusher) = (public("puller.pub"), public("pusher.pub"));
        let receive = [
            &["clone", "receive", "staging", "--from", "production", "--authorize", &pusher],
            more,
        ]
        .concat();
        let mut lines = String::new();
        for mut command in
            [self.serving(&["--authorize", &puller]), self.program("staging.toml", &receive)]
        {
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            let line = text(&output.stdout);
            assert!(line.starts_with("restrict,command=\"") && line.lines().count() == 1, "{line}");
            lines.push_str(&line);
        }
        fs::write(self.path("authorized"), lines).unwrap();
    }

    /// The program on the machine with this configuration.
    fn program(&self, config: &str, words: &[&str]) -> Command {
        let mut command = self.stage.command(words);
        command.env("MRS_BACKUP_CONFIG", self.stage.path(config));
        command
    }

    /// `clone serve`, on the machine of production.
    fn serving(&self, more: &[&str]) -> Command {
        let words = ["clone", "serve", "production", "--to", "staging"];
        self.with_rules(&[&words[..], more].concat())
    }

    /// What production does by its rules and its key.
    fn with_rules(&self, words: &[&str]) -> Command {
        let mut command = self.program("production.toml", words);
        command.arg("--rules").arg(self.stage.path("rules.toml"));
        command.arg("--pseudonym-key").arg(self.stage.path("clone.key"));
        command
    }

    /// Options of ssh, and where the other machine's instance is.
    fn remote(&self, key: &str, instance: &str) -> [String; 5] {
        [
            "--ssh-config".to_owned(),
            self.path("ssh_config").display().to_string(),
            "--identity".to_owned(),
            self.path(key).display().to_string(),
            format!("ssh://other:{}/{instance}", self.port),
        ]
    }

    fn pulling(&self, more: &[&str]) -> Command {
        let [a, b, c, d, place] = self.remote("puller", "production");
        let words = ["clone", &place, "staging", "--yes", &a, &b, &c, &d];
        self.program("staging.toml", &[&words[..], more].concat())
    }

    fn pushing(&self, more: &[&str]) -> Command {
        let [a, b, c, d, place] = self.remote("pusher", "staging");
        let words = ["clone", "production", &place, "--yes", &a, &b, &c, &d];
        self.with_rules(&[&words[..], more].concat())
    }

    /// ssh by hand, with one of the keys.
    fn ssh(&self, key: &str, words: &[&str]) -> Output {
        let mut command = Command::new("ssh");
        command.arg("-F").arg(self.path("ssh_config")).arg("-i").arg(self.path(key));
        command.args([
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "BatchMode=yes",
            "-p",
            &self.port.to_string(),
        ]);
        command.arg("other").args(words).stdin(Stdio::null()).output().unwrap()
    }
}

#[track_caller]
fn good(output: &Output) -> String {
    let all = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{all}");
    all
}

#[track_caller]
fn fails(output: &Output, code: i32, words: &[&str]) {
    let all = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{all}");
    for word in words {
        assert!(all.contains(word), "{word}: {all}");
    }
}

/// What must not be seen anywhere but in production.
fn originals(stage: &Stage) -> Vec<String> {
    let query = "SELECT nir FROM person_person UNION SELECT email FROM person_person WHERE email <> '' \
                 UNION SELECT first_name || ' ' || last_name FROM person_person \
                 UNION SELECT iban FROM mrsrequest_mrsrequest WHERE length(iban) > 6 \
                 UNION SELECT attachment_file FROM mrsattachment_mrsattachment";
    stage.production(query).lines().map(str::to_owned).collect()
}

/// Which of `patterns` are below `path`, by grep.
fn found(stage: &Stage, patterns: &[String], path: &Path) -> String {
    stage.write("patterns", &patterns.join("\n"));
    let mut grep = Command::new("grep");
    grep.env("LC_ALL", "C").args(["-r", "-i", "-a", "-o", "-F", "-f"]);
    let output = grep.arg(stage.path("patterns")).arg(path).output().unwrap();
    assert!(output.status.code().is_some_and(|code| code < 2), "{output:?}");
    text(&output.stdout).lines().take(5).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_copy_is_pulled_and_pushed_and_both_are_that_of_one_machine() {
    let machines = Machines::with_persons(300);
    let stage = &machines.stage;
    let rows = "SELECT md5(string_agg(p::text, '|' ORDER BY id)) FROM person_person p";
    let files = || names(&stage.path("staging/mrsattachments"));
    assert_eq!(stage.copy(&[]).code, Some(0));
    let here = (stage.staging(rows), files());
    stage.ok(&["-i", "staging", "undo", "--database", "app", "--yes"]);
    assert_eq!(files(), ["old.pdf"]);

    good(&machines.pulling(&["--plan"]).output().unwrap());
    assert_eq!(stage.staging("SELECT n FROM of_staging"), "1", "a plan replaces nothing");
    let said = good(&machines.pulling(&[]).output().unwrap());
    assert!(said.contains("staging has an anonymized copy"), "{said}");
    assert_eq!((stage.staging(rows), files()), here);
    let joined = "SELECT count(*) FROM mrsrequest_mrsrequest r JOIN person_person p ON p.id = r.insured_id \
                  WHERE r.data->>'nir' = p.nir AND r.data->>'last_name' = p.last_name";
    assert_eq!(stage.staging(joined), "300");
    let report: Vec<String> = names(&stage.path("reports"));
    let report = report.iter().rfind(|name| name.ends_with(".json")).unwrap();
    let report = fs::read_to_string(stage.path("reports").join(report)).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let tables = report["tables"].as_array().unwrap();
    let person = tables.iter().find(|table| table["name"] == "person_person").unwrap();
    assert_eq!((&person["rows"], &report["from"]), (&300.into(), &"production".into()));
    assert!(!report["groups"].as_array().unwrap().is_empty());
    // Without rules on this side the directories are found all the same.
    let mut undo =
        machines.program("staging.toml", &["-i", "staging", "undo", "--database", "app", "--yes"]);
    good(&undo.output().unwrap());
    assert_eq!(
        (stage.staging("SELECT n FROM of_staging"), files()),
        ("1".to_owned(), vec!["old.pdf".to_owned()])
    );

    let said = good(&machines.pushing(&[]).output().unwrap());
    assert!(said.contains("other: staging has an anonymized copy"), "{said}");
    assert_eq!((stage.staging(rows), files()), here);
    stage.write("staging.sql", &stage.dump(&stage.staging));
    assert_eq!(found(stage, &originals(stage), &stage.path("staging.sql")), "");
}

#[test]
fn what_crosses_has_nobody_in_it_and_the_key_stays() {
    let machines = Machines::with_persons(300);
    let stage = &machines.stage;
    // ssh, with an ear on the line.
    let wire = machines.path("wire");
    let script = format!("#!/bin/sh\n/usr/bin/ssh \"$@\" | tee {}\n", wire.display());
    fs::create_dir(machines.path("bin")).unwrap();
    fs::write(machines.path("bin/ssh"), script).unwrap();
    fs::set_permissions(machines.path("bin/ssh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(machines.path("tmp")).unwrap();
    let mut pulling = machines.pulling(&[]);
    pulling.env("PATH", format!("{}:/usr/bin:/bin", machines.path("bin").display()));
    good(&pulling.env("TMPDIR", machines.path("tmp")).output().unwrap());
    assert!(fs::metadata(&wire).unwrap().len() > 300 * 500);
    let mut secrets = originals(stage);
    assert!(secrets.len() > 900);
    secrets.push(fs::read_to_string(stage.path("clone.key")).unwrap());
    stage.write("production.sql", &stage.dump(&stage.production));
    assert_ne!(found(stage, &secrets, &stage.path("production.sql")), "", "grep finds them there");
    for place in [
        wire,
        machines.path("tmp"),
        stage.path("staging"),
        stage.path("staging-state"),
        stage.path("reports"),
    ] {
        assert_eq!(found(stage, &secrets, &place), "", "{}", place.display());
    }
}

#[test]
fn a_key_does_nothing_but_what_its_line_says() {
    let machines = Machines::with_persons(20);
    let stage = &machines.stage;
    let marker = stage.path("marker").display().to_string();
    let touch = format!("touch {marker}");
    let serve = "mrs-backup clone serve production --to staging";
    let receive = "mrs-backup clone receive staging --from production";
    let and = format!("{serve}; {touch}");
    let other = "mrs-backup clone serve production --to elsewhere";
    for (key, words) in [
        ("puller", &[touch.as_str()][..]),
        ("puller", &[&and]),
        ("puller", &[other]),
        ("puller", &[receive]),
        ("puller", &["/usr/lib/openssh/sftp-server"]),
        ("puller", &["-s", "sftp"]),
        ("puller", &[]),
        ("pusher", &[&touch]),
        ("pusher", &[serve]),
        ("pusher", &[]),
    ] {
        let output = machines.ssh(key, words);
        assert_eq!(output.status.code(), Some(32), "{words:?}: {}", text(&output.stderr));
        // Of a subsystem sshd passes no standard error on.
        let is_told = text(&output.stderr).contains("nothing but `mrs-backup clone");
        assert!(is_told || words.contains(&"sftp"), "{words:?}");
        // Not a row; who pulls gets one word why.
        assert!(output.stdout.len() < 500, "{words:?}: {}", text(&output.stdout));
        assert!(!stage.path("marker").exists(), "{words:?}");
    }
    // The right words, but the key of the other direction; another instance; another target.
    let [a, b, c, d, _] = machines.remote("pusher", "production");
    let place = format!("ssh://other:{}/production", machines.port);
    let wrong_key = ["clone", &place, "staging", "--yes", &a, &b, &c, &d];
    fails(&machines.program("staging.toml", &wrong_key).output().unwrap(), 1, &["other: error:"]);
    let [a, b, c, d, place] = machines.remote("puller", "payroll");
    let other = ["clone", &place, "staging", "--yes", &a, &b, &c, &d];
    fails(&machines.program("staging.toml", &other).output().unwrap(), 32, &["nothing but"]);
    stage.is_untouched();
    // No agent, no tunnel, no terminal: `restrict` says so.
    let forward =
        machines.ssh("puller", &["-N", "-o", "ExitOnForwardFailure=yes", "-R", "0:localhost:1"]);
    assert_ne!(forward.status.code(), Some(0), "{}", text(&forward.stderr));

    // By hand nothing comes to a terminal or into JSON.
    fails(&machines.serving(&["--json"]).output().unwrap(), 2, &["--json"]);
    // A private key is no public one.
    let private = machines.path("puller").display().to_string();
    let words = ["clone", "receive", "staging", "--from", "production", "--authorize", &private];
    fails(&machines.program("staging.toml", &words).output().unwrap(), 2, &["stays where it is"]);
}

#[test]
fn rows_are_looked_at_where_they_are_and_nowhere_else() {
    let machines = Machines::with_persons(20);
    // Nobody is asked for anything there: it need not be reachable.
    let away = ["clone", "production", "ssh://nowhere.invalid/staging", "--preview", "2"];
    let said = good(&machines.with_rules(&away).output().unwrap());
    let person = said.split("table ").find(|rows| rows.starts_with("person_person, row 1"));
    let person = person.unwrap_or_else(|| panic!("{said}"));
    assert!(person.contains("@example.invalid") && person.contains("… (9-16)"), "{person}");
    assert!(said.contains("person_person, row 2") && !said.contains("person_person, row 3"));
    for secret in originals(&machines.stage) {
        assert!(!said.contains(&secret), "{secret}: {said}");
    }
    let hint = ["--rules FILE", "--pseudonym-key FILE --preview N", "ssh://HERE/staging"];
    fails(&machines.pulling(&["--preview", "2"]).output().unwrap(), 2, &hint);
    machines.stage.is_untouched();
}

#[test]
fn what_is_wrong_on_either_side_is_told_on_both_before_anything_is_written() {
    let machines = Machines::with_persons(20);
    let stage = &machines.stage;
    // On the side of the originals.
    stage.write(
        "rules.toml",
        &crate::stage::RULES.replace("number = { digits", "numero = { digits"),
    );
    for mut command in [machines.pulling(&[]), machines.pushing(&[])] {
        fails(&command.output().unwrap(), 32, &["column numero", "there is no such column"]);
        stage.is_untouched();
    }
    // A value that slips through, found while rows go.
    stage.write("rules.toml", crate::stage::RULES);
    stage.production("UPDATE caisse_caisse SET name = 'voir ' || (SELECT nir FROM person_person WHERE id = 3) WHERE id = 2");
    stage.backup();
    for mut command in [machines.pulling(&[]), machines.pushing(&[])] {
        let output = command.output().unwrap();
        fails(&output, 32, &["table caisse_caisse, column name"]);
        stage.is_untouched();
    }
    stage.production("UPDATE caisse_caisse SET name = 'x' WHERE id = 2");
    stage.backup();
    // On the side of the target.
    for (extra, words) in [
        ("require = [{ file = \".env\", matches = \"^EMAIL_HOST=mailhog$\" }]", "no line of"),
        ("before_swap = [[\"false\"]]", "before_swap"),
    ] {
        stage.configure_apart(extra);
        for mut command in [machines.pulling(&[]), machines.pushing(&[])] {
            let output = command.output().unwrap();
            assert!(output.status.code().is_some_and(|code| code != 0));
            let all = format!("{}{}", text(&output.stdout), text(&output.stderr));
            assert!(all.contains(words), "{words}: {all}");
            stage.is_untouched();
        }
    }
    // A protected target takes what is pushed only if the line of its key says its name.
    stage.configure_apart("protected = true");
    fails(&machines.pushing(&[]).output().unwrap(), 1, &["staging is protected"]);
    fails(&machines.pulling(&[]).output().unwrap(), 2, &["staging is protected"]);
    stage.is_untouched();
    machines.authorize(&["--confirm", "staging"]);
    good(&machines.pushing(&[]).output().unwrap());
}

/// The ssh that a process started.
fn ssh_of(child: &Child) -> Option<rustix::process::Pid> {
    let list = format!("/proc/{0}/task/{0}/children", child.id());
    let all = fs::read_to_string(list).ok()?;
    let is_ssh = |pid: &&str| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "ssh")
    };
    let found: i32 = all.split_whitespace().find(is_ssh)?.parse().ok()?;
    rustix::process::Pid::from_raw(found)
}

/// Waits until a copy is at its rows: they wait, since somebody holds the table.
fn until_rows(stage: &Stage, child: &mut Child) {
    let began = Instant::now();
    while stage.databases().iter().all(|name| name != "app__new") {
        assert!(child.try_wait().unwrap().is_none(), "the copy ended");
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_line_that_breaks_leaves_the_target_as_it_was() {
    let machines = Machines::with_persons(3000);
    let stage = &machines.stage;
    for is_pushed in [false, true] {
        let mut command = if is_pushed { machines.pushing(&[]) } else { machines.pulling(&[]) };
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until_rows(stage, &mut child);
        let ssh = ssh_of(&child).expect("it started ssh");
        rustix::process::kill_process(ssh, rustix::process::Signal::KILL).unwrap();
        let output = child.wait_with_output().unwrap();
        let all = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{is_pushed}: {all}");
        // Who receives may still be cleaning up.
        let began = Instant::now();
        while stage.databases() != ["app"] && began.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
        stage.is_untouched();
    }
    // Cut at a byte: near the start, in definitions, in rows, right before the last word.
    let served = machines.serving(&[]).output().unwrap();
    assert!(served.status.success(), "{}", text(&served.stderr));
    let whole = served.stdout;
    fs::create_dir(machines.path("bin")).unwrap();
    let fake = machines.path("bin/ssh");
    fs::write(&fake, format!("#!/bin/sh\ncat {}\n", machines.path("cut").display())).unwrap();
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let pull = || {
        let mut command = machines.pulling(&[]);
        command.env("PATH", format!("{}:/usr/bin:/bin", machines.path("bin").display()));
        command.output().unwrap()
    };
    for len in [0, 10, 3000, whole.len() / 2, whole.len() - 21, whole.len() - 1] {
        fs::write(machines.path("cut"), &whole[..len]).unwrap();
        fails(&pull(), 1, &["did not arrive whole"]);
        stage.is_untouched();
    }
    // A byte that changed on its way.
    let mut odd = whole.clone();
    let middle = odd.len() / 2;
    odd[middle] ^= 1;
    fs::write(machines.path("cut"), &odd).unwrap();
    fails(&pull(), 1, &["its BLAKE3 differs"]);
    stage.is_untouched();
    fs::write(machines.path("cut"), &whole).unwrap();
    good(&pull());
}
