//! The same command on other machines: hosts named last, reached by ssh, with the program that is installed there.
//!
//! What is typed is run there as root, by sudo where somebody else logs in. No agent and no port is forwarded, nothing
//! of our environment goes along, and files in options are those of the other machine.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::report::clean;

use super::Exit;

/// Where the program is put, and looked for besides the search path.
const DIRECTORY: &str = "/usr/local/bin";
/// ssh's own code for a connection that failed.
const NO_CONNECTION: i32 = 255;
/// A shell's code for a program that is not there.
const NOT_FOUND: i32 = 127;
/// How much is kept of what a host says last.
const TOLD: usize = 400;

/// As root, by sudo if need be; the program is the first argument.
const AS_ROOT: &str = "PATH=$PATH:/usr/local/bin:/usr/bin; export PATH; \
     command -v \"$1\" >/dev/null || { echo \"$1 is not there\" >&2; exit 127; }; \
     [ \"$(id -u)\" = 0 ] || set -- sudo -n \"$@\"; exec \"$@\"";
/// Takes the program from standard input and puts it into the directory that is the first argument.
const INSTALL: &str = "PATH=$PATH:/usr/bin:/bin; export PATH; \
     root() { if [ \"$(id -u)\" = 0 ]; then \"$@\"; else sudo -n \"$@\"; fi; }; \
     root mkdir -p \"$1\" && root sh -c 'umask 022; cat >\"$1/.mrs-backup.new\"' sh \"$1\" && \
     root chmod 755 \"$1/.mrs-backup.new\" && \"$1/.mrs-backup.new\" --version >/dev/null && \
     root mv -f \"$1/.mrs-backup.new\" \"$1/mrs-backup\" || { root rm -f \"$1/.mrs-backup.new\"; exit 1; }";

/// A command for other machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What is run there, without the program.
    pub words: Vec<OsString>,
    hosts: Vec<String>,
    /// The directory into which the program is copied first.
    install: Option<String>,
    /// Configuration of ssh.
    ssh_config: Option<PathBuf>,
}

/// `user@host`, `@host`: what ssh connects to.
fn host(word: &OsStr) -> Option<String> {
    let (user, host) = word.to_str()?.split_once('@')?;
    let is_plain = |text: &str, more: &str| {
        text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
            && !text.starts_with('-')
    };
    let is_host = !host.is_empty() && is_plain(host, ".-_:[]") && is_plain(user, ".-_");
    is_host.then(|| if user.is_empty() { host.to_owned() } else { format!("{user}@{host}") })
}

/// The command for other machines, if hosts are named last. `takes_value` tells of the words before a word whether
/// that is an option's value.
pub fn of(arguments: &[OsString], takes_value: impl Fn(&[OsString]) -> bool) -> Option<Call> {
    let mut words: Vec<OsString> = arguments.to_vec();
    // What comes after `--` is another program's.
    if words.iter().any(|word| word == "--") {
        return None;
    }
    let mut hosts = Vec::new();
    while let Some(found) = words.last().and_then(|word| host(word)) {
        if takes_value(words.get(..words.len() - 1).unwrap_or_default()) {
            break;
        }
        hosts.insert(0, found);
        words.pop();
    }
    if hosts.is_empty() {
        return None;
    }
    let mut call = Call { words: Vec::new(), hosts, install: None, ssh_config: None };
    let mut rest = words.into_iter();
    while let Some(word) = rest.next() {
        match word.to_str() {
            Some("--install") => call.install = Some(DIRECTORY.to_owned()),
            Some("--ssh-config") => call.ssh_config = rest.next().map(PathBuf::from),
            Some(text) if text.starts_with("--install=") => {
                call.install = text.split_once('=').map(|(_, directory)| directory.to_owned());
            }
            Some(text) if text.starts_with("--ssh-config=") => {
                call.ssh_config = text.split_once('=').map(|(_, file)| PathBuf::from(file));
            }
            _ => call.words.push(word),
        }
    }
    Some(call)
}

/// A word as a shell takes it for one.
fn quoted(word: &OsStr) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut text = vec![b'\''];
    for byte in word.as_bytes() {
        match byte {
            b'\'' => text.extend(b"'\\''"),
            other => text.push(*other),
        }
    }
    text.push(b'\'');
    OsString::from_vec(text)
}

/// What can go wrong with one host.
struct Trouble {
    message: String,
    hint: String,
}

impl Call {
    /// Runs it on each host, one after the other. The worst exit code is that of all.
    pub fn run(&self) -> Exit {
        let mut exit = Exit::Ok;
        for host in &self.hosts {
            let one = match self.on(host) {
                Ok(exit) => exit,
                Err(trouble) => {
                    let text = format!(
                        "error: {host}: {}\n  hint: {}\n",
                        clean(&trouble.message),
                        trouble.hint
                    );
                    // There is nobody to tell that nobody listens.
                    let _ = io::stderr().write_all(text.as_bytes());
                    if self.is_json() {
                        let fields = serde_json::json!({ "v": 1, "type": "error", "host": host,
                            "message": trouble.message, "hint": trouble.hint, "exit_code": Exit::Failed.code() });
                        let _ = io::stdout().write_all(format!("{fields}\n").as_bytes());
                    }
                    Exit::Failed
                }
            };
            exit = exit.and(one);
            if one == Exit::Interrupted {
                break;
            }
        }
        exit
    }

    fn is_json(&self) -> bool {
        self.words.iter().any(|word| word == "--json")
    }

    fn on(&self, host: &str) -> Result<Exit, Trouble> {
        if let Some(directory) = &self.install {
            self.copy_program(host, directory)?;
        }
        let program = match &self.install {
            Some(directory) => Path::new(directory).join("mrs-backup").into_os_string(),
            None => OsString::from("mrs-backup"),
        };
        let words: Vec<&OsStr> = std::iter::once(program.as_os_str())
            .chain(self.words.iter().map(OsString::as_os_str))
            .collect();
        let is_alone =
            self.hosts.len() == 1 && io::stdout().is_terminal() && io::stdin().is_terminal();
        let mut command = self.ssh(host, AS_ROOT, &words, is_alone);
        let (code, said) = if is_alone {
            let status = command.status().map_err(|error| no_ssh(&error))?;
            (status.code(), String::new())
        } else {
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let child = command.spawn().map_err(|error| no_ssh(&error))?;
            self.relay(host, child)?
        };
        match code {
            Some(NO_CONNECTION) => Err(unreachable(host, &said)),
            Some(NOT_FOUND) => Err(Trouble {
                message: "mrs-backup is not installed there".to_owned(),
                hint: "add --install, which copies this program there".to_owned(),
            }),
            Some(code) => Ok(u8::try_from(code).ok().and_then(Exit::of).unwrap_or(Exit::Failed)),
            None => Ok(Exit::Interrupted),
        }
    }

    /// ssh, ready to run `script` with `words` there.
    fn ssh(&self, host: &str, script: &str, words: &[&OsStr], is_alone: bool) -> Command {
        let mut command = Command::new("ssh");
        if let Some(config) = &self.ssh_config {
            command.arg("-F").arg(config);
        }
        // Whoever is root there could use a forwarded agent.
        command.args(["-a", "-x", if is_alone { "-t" } else { "-T" }]);
        for option in ["ForwardAgent=no", "ClearAllForwardings=yes", "ConnectTimeout=15"] {
            command.args(["-o", option]);
        }
        if !is_alone {
            command.args(["-o", "BatchMode=yes"]);
        }
        // The other side's shell makes words of it again.
        let mut text = OsString::from("sh -c ");
        text.push(quoted(OsStr::new(script)));
        text.push(" mrs-backup");
        for word in words {
            text.push(" ");
            text.push(quoted(word));
        }
        command.arg("--").arg(host).arg(text);
        command
    }

    /// Passes on what a host says, each line with its name; gives the code and the last words of its errors.
    fn relay(&self, host: &str, mut child: Child) -> Result<(Option<i32>, String), Trouble> {
        let failed = |error: io::Error| Trouble {
            message: format!("its answer cannot be passed on: {error}"),
            hint: "run it again".to_owned(),
        };
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let is_json = self.is_json();
        let has_name = self.hosts.len() > 1;
        let said = std::thread::scope(|scope| {
            let errors = scope.spawn(move || {
                let mut said = String::new();
                for line in err.into_iter().flat_map(lines) {
                    let text =
                        if has_name { format!("{host}: {line}\n") } else { format!("{line}\n") };
                    let _ = io::stderr().write_all(text.as_bytes());
                    said = line;
                }
                said
            });
            for line in out.into_iter().flat_map(lines) {
                let text = match (is_json, has_name) {
                    (true, _) => named(&line, host),
                    (false, true) => format!("{host}: {line}"),
                    (false, false) => line,
                };
                let _ = io::stdout().write_all(format!("{text}\n").as_bytes());
            }
            errors.join().unwrap_or_default()
        });
        let status = child.wait().map_err(failed)?;
        Ok((status.code(), said))
    }

    /// Copies this program there.
    fn copy_program(&self, host: &str, directory: &str) -> Result<(), Trouble> {
        let failed = |reason: String| Trouble {
            message: format!("the program cannot be copied to {directory}: {reason}"),
            hint: "whoever logs in there has to be root, or may use sudo without a password"
                .to_owned(),
        };
        let program = std::env::current_exe().and_then(File::open);
        let program = program.map_err(|error| failed(error.to_string()))?;
        let mut command = self.ssh(host, INSTALL, &[OsStr::new(directory)], false);
        command.stdin(program).stdout(Stdio::null()).stderr(Stdio::piped());
        let output = command.output().map_err(|error| no_ssh(&error))?;
        let said = last_line(&String::from_utf8_lossy(&output.stderr));
        match output.status.code() {
            Some(0) => Ok(()),
            Some(NO_CONNECTION) => Err(unreachable(host, &said)),
            _ => Err(failed(said)),
        }
    }
}

fn no_ssh(error: &io::Error) -> Trouble {
    Trouble {
        message: format!("cannot start ssh: {error}"),
        hint: "apt-get install openssh-client".to_owned(),
    }
}

fn unreachable(host: &str, said: &str) -> Trouble {
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    let hint = match () {
        () if said.contains("Host key verification failed") => {
            format!("compare its key with somebody who knows it, then ssh {host} once")
        }
        () => format!("look whether this works: ssh {host} true"),
    };
    Trouble { message: format!("cannot be reached by ssh{said}"), hint }
}

fn last_line(text: &str) -> String {
    let line =
        text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
    line.chars().take(TOLD).collect()
}

/// The lines of a stream, whatever bytes are in them.
fn lines(stream: impl Read) -> impl Iterator<Item = String> {
    let text = |line: Vec<u8>| String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
    BufReader::new(stream).split(b'\n').map_while(Result::ok).map(text)
}

/// A line of JSON with the name of the host; another line as it is.
fn named(line: &str, host: &str) -> String {
    match serde_json::from_str::<Value>(line) {
        Ok(Value::Object(mut fields)) => {
            fields.insert("host".to_owned(), host.into());
            Value::Object(fields).to_string()
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    fn call(text: &str) -> Option<Call> {
        of(&words(text), |before| before.last().is_some_and(|word| word == "--tag"))
    }

    #[test]
    fn hosts_stand_last() {
        let found = call("run mrs --json root@one.example @two").expect("a call");
        assert_eq!(found.words, words("run mrs --json"));
        assert_eq!(found.hosts, ["root@one.example", "two"]);
        let found = call("--ssh-config x status --install=/opt a@b").expect("a call");
        assert_eq!((found.words, found.install.as_deref()), (words("status"), Some("/opt")));
        assert_eq!(found.ssh_config.as_deref(), Some(Path::new("x")));
        assert_eq!(
            call("status --install a@b").expect("a call").install.as_deref(),
            Some(DIRECTORY)
        );
        for none in [
            "status",
            "run --tag mail@example.org",
            "exec mrs -- mrs sendtestemail me@example.org",
            "init --repo ftp://user@host/x",
            "deploy mail=me@example.org",
            "restore latest ./me@here",
            "status me@",
            "status -oProxyCommand=x@y",
            "a@b status",
        ] {
            assert_eq!(call(none), None, "{none}");
        }
    }

    #[test]
    fn words_stay_words() {
        assert_eq!(quoted(OsStr::new("it's $HOME; `x`")), OsStr::new("'it'\\''s $HOME; `x`'"));
        assert_eq!(named("{\"type\":\"summary\"}", "h"), "{\"host\":\"h\",\"type\":\"summary\"}");
        assert_eq!(named("no json", "h"), "no json");
    }
}
