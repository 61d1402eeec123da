//! An FTP server that does as it is told, also what no server should: files in memory, plain FTP, on this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What goes wrong, once, at the command of this number (the first being 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends before the command is done.
    CutBefore(usize),
    /// It is done, and the connection ends before the reply.
    CutAfter(usize),
    /// This reply instead of doing it.
    Reply(usize, u16, &'static str),
}

/// How the server is all the time.
#[derive(Debug, Clone, Default)]
pub struct Manner {
    pub fault: Option<Fault>,
    /// Of the next uploads so many bytes are kept each, and whether it says so.
    pub truncate: Vec<(usize, bool)>,
    /// Bytes in all, after which the disk is full.
    pub room: Option<usize>,
    pub lacks_mlsd: bool,
    pub lacks_size: bool,
    /// Downloads are cut after so many bytes, once each.
    pub cut_downloads: Vec<usize>,
    /// Lines that every listing begins with.
    pub junk_lines: Vec<String>,
    /// Listings have no end.
    pub lists_for_ever: bool,
    /// So many of the next listings show what the same one showed before, if it was made before.
    pub stale_lists: usize,
}

#[derive(Debug, Default)]
struct State {
    manner: Manner,
    commands: Vec<String>,
    files: BTreeMap<String, Vec<u8>>,
    directories: BTreeSet<String>,
    /// What each listing showed.
    lists: BTreeMap<String, Vec<String>>,
}

pub struct FaultyFtp {
    pub port: u16,
    state: Arc<Mutex<State>>,
    stops: Arc<AtomicBool>,
}

impl FaultyFtp {
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let directories = ["", "/repo"].map(str::to_owned).into();
        let state = Arc::new(Mutex::new(State { manner, directories, ..State::default() }));
        let stops = Arc::new(AtomicBool::new(false));
        let (shared, stop) = (Arc::clone(&state), Arc::clone(&stops));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    let _ = serve(&socket, &shared);
                    let _ = socket.shutdown(Shutdown::Both);
                });
            }
        });
        Self { port, state, stops }
    }

    pub fn location(&self, options: &str) -> String {
        format!("ftp://u:secret@127.0.0.1:{}/repo?timeout=2s{options}", self.port)
    }

    /// How many commands there were.
    pub fn commands(&self) -> usize {
        self.state.lock().unwrap().commands.len()
    }

    pub fn has_had(&self, verb: &str) -> bool {
        let state = self.state.lock().unwrap();
        state.commands.iter().any(|command| command.split(' ').next() == Some(verb))
    }

    pub fn set(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut self.state.lock().unwrap().manner);
    }

    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.state.lock().unwrap().files.clone()
    }
}

impl Drop for FaultyFtp {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

struct Dialog {
    socket: TcpStream,
    data: Option<TcpListener>,
    restart: usize,
    renamed: Option<String>,
    is_logged_in: bool,
}

fn serve(socket: &TcpStream, shared: &Mutex<State>) -> std::io::Result<()> {
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    socket.set_nodelay(true)?;
    let mut dialog = Dialog {
        socket: socket.try_clone()?,
        data: None,
        restart: 0,
        renamed: None,
        is_logged_in: false,
    };
    dialog.say("220 ready")?;
    for line in BufReader::new(socket).lines() {
        let line = line?;
        let (number, fault) = {
            let mut state = shared.lock().unwrap();
            state.commands.push(line.clone());
            (state.commands.len() - 1, state.manner.fault)
        };
        match fault {
            Some(Fault::CutBefore(at)) if at == number => return Ok(()),
            Some(Fault::Reply(at, code, text)) if at == number => {
                dialog.say(&format!("{code} {text}"))?;
                if code == 421 {
                    return Ok(());
                }
                continue;
            }
            Some(Fault::CutAfter(at)) if at == number => {
                // Done, but nobody hears of it.
                dialog.socket = silent()?;
                let _ = dialog.obey(&line, shared);
                return Ok(());
            }
            _ => {}
        }
        if !dialog.obey(&line, shared)? {
            return Ok(());
        }
    }
    Ok(())
}

/// A socket whose other end nobody reads.
fn silent() -> std::io::Result<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    TcpStream::connect(listener.local_addr()?)
}

impl Dialog {
    fn say(&mut self, text: &str) -> std::io::Result<()> {
        self.socket.write_all(format!("{text}\r\n").as_bytes())
    }

    fn open(&mut self) -> std::io::Result<TcpStream> {
        let listener = self.data.take().ok_or(std::io::ErrorKind::NotConnected)?;
        self.say("150 here it comes")?;
        let (socket, _) = listener.accept()?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(socket)
    }

    /// Does what `line` says; false to end.
    fn obey(&mut self, line: &str, shared: &Mutex<State>) -> std::io::Result<bool> {
        let (verb, path) = line.split_once(' ').unwrap_or((line, ""));
        let path = path.trim_end_matches('/').to_owned();
        if !self.is_logged_in && !matches!(verb, "USER" | "PASS" | "QUIT") {
            self.say("530 log in first")?;
            return Ok(true);
        }
        match verb {
            "USER" => self.say("331 password?")?,
            "PASS" if path == "secret" => {
                self.is_logged_in = true;
                self.say("230 welcome")?;
            }
            "PASS" => self.say("530 wrong")?,
            "TYPE" | "NOOP" => self.say("200 ok")?,
            "PWD" => self.say("257 \"/\" is it")?,
            "REST" => {
                self.restart = path.parse().unwrap_or(0);
                self.say("350 from there")?;
            }
            "EPSV" => {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                let port = listener.local_addr()?.port();
                self.data = Some(listener);
                self.say(&format!("229 Entering Extended Passive Mode (|||{port}|)"))?;
            }
            "STOR" => self.upload(path, shared)?,
            "RETR" => self.download(&path, shared)?,
            "MLSD" | "LIST" => self.list(verb, &path, shared)?,
            "QUIT" => {
                self.say("221 bye")?;
                return Ok(false);
            }
            _ => {
                let reply = self.change(verb, path, &mut shared.lock().unwrap());
                self.say(reply.as_str())?;
            }
        }
        Ok(true)
    }

    fn change(&mut self, verb: &str, path: String, state: &mut State) -> String {
        let missing = "550 no such file".to_owned();
        match verb {
            "SIZE" if state.manner.lacks_size => "502 what?".to_owned(),
            "SIZE" => state.files.get(&path).map_or(missing, |file| format!("213 {}", file.len())),
            "CWD" if state.directories.contains(&path) => "250 there".to_owned(),
            "CWD" => missing,
            "MKD" if state.directories.insert(path.clone()) => format!("257 \"{path}\" made"),
            "MKD" => "550 it exists".to_owned(),
            "RMD" => {
                state.directories.remove(&path);
                "250 removed".to_owned()
            }
            "DELE" => state.files.remove(&path).map_or(missing, |_| "250 gone".to_owned()),
            "RNFR" if state.files.contains_key(&path) => {
                self.renamed = Some(path);
                "350 to what?".to_owned()
            }
            "RNTO" => match self.renamed.take().and_then(|from| state.files.remove(&from)) {
                Some(file) => {
                    state.files.insert(path, file);
                    "250 renamed".to_owned()
                }
                None => missing,
            },
            "RNFR" => missing,
            _ => "502 what?".to_owned(),
        }
    }

    fn upload(&mut self, path: String, shared: &Mutex<State>) -> std::io::Result<()> {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
        if !shared.lock().unwrap().directories.contains(&parent) {
            return self.say("553 no such directory");
        }
        let mut data = self.open()?;
        let truncate = shared.lock().unwrap().manner.truncate.pop();
        let mut bytes = Vec::new();
        match truncate {
            Some((kept, _)) => {
                (&mut data).take(kept as u64).read_to_end(&mut bytes)?;
                drop(data);
            }
            None => {
                data.read_to_end(&mut bytes)?;
            }
        }
        let is_full = {
            let mut state = shared.lock().unwrap();
            let used: usize = state.files.values().map(Vec::len).sum();
            let is_full = state.manner.room.is_some_and(|room| used + bytes.len() > room);
            if is_full {
                bytes.truncate(bytes.len() / 2);
            }
            state.files.insert(path, bytes);
            is_full
        };
        match (is_full, truncate) {
            (true, _) => self.say("552 Quota exceeded"),
            (_, Some((_, true))) => self.say("426 cut"),
            _ => self.say("226 kept"),
        }
    }

    fn download(&mut self, path: &str, shared: &Mutex<State>) -> std::io::Result<()> {
        let found = shared.lock().unwrap().files.get(path).cloned();
        let Some(bytes) = found else { return self.say("550 no such file") };
        let mut data = self.open()?;
        let from = std::mem::take(&mut self.restart).min(bytes.len());
        let cut = shared.lock().unwrap().manner.cut_downloads.pop();
        let end = cut.map_or(bytes.len(), |cut| bytes.len().min(from + cut));
        let sent = data.write_all(&bytes[from..end]);
        drop(data);
        match sent {
            Ok(()) if cut.is_none() => self.say("226 sent"),
            _ => self.say("426 cut"),
        }
    }

    fn list(&mut self, verb: &str, path: &str, shared: &Mutex<State>) -> std::io::Result<()> {
        let (text, for_ever) = {
            let mut state = shared.lock().unwrap();
            if verb == "MLSD" && state.manner.lacks_mlsd {
                drop(state);
                return self.say("502 what?");
            }
            let child = |name: &str| {
                name.strip_prefix(path)?
                    .strip_prefix('/')
                    .filter(|rest| !rest.contains('/'))
                    .map(str::to_owned)
            };
            let mut lines = state.manner.junk_lines.clone();
            for (name, size, is_directory) in (state.files.iter().map(|(n, f)| (n, f.len(), false)))
                .chain(state.directories.iter().map(|name| (name, 0, true)))
            {
                let Some(name) = child(name).filter(|name| !name.is_empty()) else { continue };
                lines.push(match (verb, is_directory) {
                    ("MLSD", true) => format!("type=dir;modify=20260102030405; {name}"),
                    ("MLSD", false) => {
                        format!("type=file;size={size};modify=20260102030405; {name}")
                    }
                    (_, true) => format!("drwx------ 2 ftp ftp 4096 Jan 02 2026 {name}"),
                    (_, false) => format!("-rw------- 1 ftp ftp {size} Jan 02 2026 {name}"),
                });
            }
            let shown = state.lists.get(path).filter(|_| state.manner.stale_lists > 0).cloned();
            state.manner.stale_lists -= usize::from(shown.is_some());
            let lines = shown.unwrap_or(lines);
            state.lists.insert(path.to_owned(), lines.clone());
            (lines.join("\r\n") + "\r\n", state.manner.lists_for_ever)
        };
        let mut data = self.open()?;
        data.write_all(text.as_bytes())?;
        if for_ever {
            loop {
                data.write_all(&[b'x'; 4096])?;
            }
        }
        drop(data);
        self.say("226 listed")
    }
}
