//! A line to a real server that can be cut, and a gateway on it that answers in the server's stead.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What happens to one request of HTTP (each has a connection of its own), or to one connection of anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The gateway answers with this status and asks nobody.
    Answer(u16),
    /// The line is cut after so many bytes of the request.
    CutRequest(usize),
    /// The server gets all of the request; so many bytes of its reply come back.
    CutReply(usize),
}

/// How a gateway is all the time.
#[derive(Default)]
pub struct Manner {
    /// Requests of such a method, whose first line contains this, are answered with the status.
    pub refused: Vec<(&'static str, &'static str, u16)>,
    /// A create that is asked to fail if the object is there does so, as S3 and Google keep it (`If-None-Match: *`,
    /// `x-goog-if-generation-match: 0`): the server behind does not know how.
    pub keeps_conditions: bool,
    /// So many of the next listings show what the same one showed before, if it was made before.
    pub stale_lists: usize,
    /// Of the next object that is put to a path with this in it the server gets only so many bytes, and says that all is well.
    pub keeps: Option<(&'static str, usize)>,
}

#[derive(Default)]
struct State {
    seen: usize,
    trouble: Option<(usize, Trouble)>,
    manner: Manner,
    /// First lines and headers of all requests.
    heads: Vec<String>,
    /// Paths of objects that were created by this line, and not deleted.
    created: std::collections::HashSet<String>,
    /// What the server answered to each listing.
    lists: std::collections::HashMap<String, Vec<u8>>,
}

impl State {
    /// What is answered in the server's stead to a request with this first line.
    fn answer(&mut self, first: &str, head: &str) -> Option<Vec<u8>> {
        let low = head.to_ascii_lowercase();
        let is_conditional =
            low.contains("if-none-match: *") || low.contains("x-goog-if-generation-match: 0");
        if self.manner.keeps_conditions && is_conditional && self.created.contains(path_of(first)) {
            return Some(nothing_but(412));
        }
        let refusal = self.manner.refused.iter().find(|(method, part, _)| {
            first.starts_with(&format!("{method} ")) && first.contains(part)
        });
        if let Some((_, _, status)) = refusal {
            return Some(nothing_but(*status));
        }
        let old = self.lists.get(&list_of(first, head)?).filter(|_| self.manner.stale_lists > 0)?;
        self.manner.stale_lists -= 1;
        Some(old.clone())
    }

    /// What the server gets of a request.
    fn passed_on(&mut self, first: &str, request: Vec<u8>) -> Vec<u8> {
        let is_put = |part: &str| first.starts_with("PUT ") && path_of(first).contains(part);
        match self.manner.keeps.take_if(|(part, _)| is_put(part)) {
            Some((_, len)) => shortened(&request, len),
            None => request,
        }
    }

    /// Notes what a request did that the server answered.
    fn note(&mut self, first: &str, head: &str, reply: &[u8]) {
        if let Some(list) = list_of(first, head) {
            self.lists.insert(list, reply.to_vec());
        }
        let has_done = reply.starts_with(b"HTTP/1.1 20") || reply.starts_with(b"HTTP/1.0 20");
        let path = path_of(first).to_owned();
        match first.split(' ').next() {
            Some("PUT") if has_done && !first.contains("partNumber=") => {
                self.created.insert(path);
            }
            Some("POST") if has_done && first.contains("uploadId=") => {
                self.created.insert(path);
            }
            Some("DELETE") if has_done && !first.contains("uploadId=") => {
                self.created.remove(&path);
            }
            _ => {}
        }
    }
}

/// One request at a time that creates an object on a condition.
static ONE: Mutex<()> = Mutex::new(());

/// The listing a request asks for, if it asks for one.
fn list_of(first: &str, head: &str) -> Option<String> {
    let is_one = first.starts_with("GET ") && first.contains("list-type=2")
        || first.starts_with("PROPFIND ")
            && !head.to_ascii_lowercase().lines().any(|line| line.trim() == "depth: 0");
    is_one.then(|| first.to_owned())
}

fn path_of(first: &str) -> &str {
    first.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default()
}

/// The request with `len` bytes of its body.
fn shortened(request: &[u8], len: usize) -> Vec<u8> {
    let end = request.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8(request[..end].to_vec()).unwrap();
    let lines = head.split_inclusive("\r\n").map(|line| {
        match line.to_ascii_lowercase().starts_with("content-length:") {
            true => format!("Content-Length: {len}\r\n"),
            false => line.to_owned(),
        }
    });
    [lines.collect::<String>().as_bytes(), &request[end..][..len]].concat()
}

fn nothing_but(status: u16) -> Vec<u8> {
    format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
}

/// A line on a port of its own. It ends with the process, as do the servers behind it.
pub struct Line {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Line {
    /// For HTTP: requests are told apart.
    pub fn of_requests(server: u16) -> Self {
        Self::start(server, serve_request)
    }

    /// For whatever else: connections are.
    pub fn of_connections(server: u16) -> Self {
        Self::start(server, serve_connection)
    }

    fn start(
        server: u16,
        serve: fn(TcpStream, TcpStream, Option<Trouble>, &Mutex<State>) -> std::io::Result<()>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let trouble = {
                    let mut state = shared.lock().unwrap();
                    state.seen += 1;
                    let number = state.seen - 1;
                    state.trouble.filter(|(at, _)| *at == number).map(|(_, trouble)| trouble)
                };
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    // A client that goes away is no trouble of the line's.
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", server)) {
                        let _ = serve(client, server, trouble, &shared);
                    }
                });
            }
        });
        Self { port, state }
    }

    /// From now on counts from 0, and what has the number `at` meets `trouble`.
    pub fn trouble(&self, trouble: Option<(usize, Trouble)>) {
        let mut state = self.state.lock().unwrap();
        (state.seen, state.trouble) = (0, trouble);
    }

    /// How it is from now on.
    pub fn set(&self, manner: Manner) {
        self.state.lock().unwrap().manner = manner;
    }

    /// Whether an object was cut short, as asked for.
    pub fn has_kept_half(&self) -> bool {
        self.state.lock().unwrap().manner.keeps.is_none()
    }

    /// First lines and headers of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.state.lock().unwrap().heads.clone()
    }

    /// Requests or connections since then.
    pub fn seen(&self) -> usize {
        self.state.lock().unwrap().seen
    }
}

fn serve_request(
    client: TcpStream,
    mut server: TcpStream,
    trouble: Option<Trouble>,
    state: &Mutex<State>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let request = read_request(&mut reader, &client)?;
    let mut client = client;
    let head = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let first = String::from_utf8_lossy(head).into_owned();
    let end = request.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&request[..end]).into_owned();
    let is_alone = first.starts_with("PUT ") && state.lock().unwrap().manner.keeps_conditions;
    let _alone = is_alone.then(|| ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    let answer = {
        let mut state = state.lock().unwrap();
        let answer = state.answer(&first, &head);
        state.heads.push(head.clone());
        answer
    };
    if let Some(reply) = answer {
        client.write_all(&reply)?;
        return client.shutdown(Shutdown::Write);
    }
    let request = state.lock().unwrap().passed_on(&first, request);
    match trouble {
        Some(Trouble::Answer(status)) => {
            client.write_all(&nothing_but(status))?;
            return client.shutdown(Shutdown::Write);
        }
        Some(Trouble::CutRequest(after)) => {
            return server.write_all(&request[..after.min(request.len())]);
        }
        Some(Trouble::CutReply(_)) | None => drop(server.write_all(&request)),
    }
    let mut reply = Vec::new();
    // A server that refuses without reading the body answers and cuts.
    let _ = server.read_to_end(&mut reply);
    state.lock().unwrap().note(&first, &head, &reply);
    if let Some(Trouble::CutReply(after)) = trouble {
        reply.truncate(after);
    }
    client.write_all(&reply)?;
    client.shutdown(Shutdown::Write)
}

/// One request with its body, asking for a connection of its own.
fn read_request(reader: &mut impl BufRead, mut client: &TcpStream) -> std::io::Result<Vec<u8>> {
    let mut request = Vec::new();
    let (mut len, mut is_chunked) = (0, false);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        match name.to_ascii_lowercase().as_str() {
            "connection" => continue,
            "expect" => {
                client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                continue;
            }
            "content-length" => len = value.trim().parse().unwrap(),
            "transfer-encoding" => is_chunked = true,
            _ => {}
        }
        if line == "\r\n" {
            break;
        }
        request.extend(line.bytes());
    }
    request.extend(b"Connection: close\r\n\r\n");
    if !is_chunked {
        std::io::copy(&mut reader.take(len), &mut request)?;
    }
    while is_chunked {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let len = u64::from_str_radix(line.trim(), 16).unwrap();
        request.extend(line.bytes());
        std::io::copy(&mut reader.by_ref().take(len + 2), &mut request)?;
        is_chunked = len > 0;
    }
    Ok(request)
}

fn serve_connection(
    client: TcpStream,
    server: TcpStream,
    trouble: Option<Trouble>,
    _: &Mutex<State>,
) -> std::io::Result<()> {
    let (up, down) = match trouble {
        None => (usize::MAX, usize::MAX),
        Some(Trouble::CutRequest(after)) => (after, usize::MAX),
        Some(Trouble::CutReply(after)) => (usize::MAX, after),
        Some(Trouble::Answer(status)) => panic!("{status} says something in HTTP alone"),
    };
    let (from, to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || pass(from, to, up));
    pass(server, client, down);
    Ok(())
}

/// Passes on up to `limit` bytes, then cuts both ways.
fn pass(mut from: TcpStream, mut to: TcpStream, mut limit: usize) {
    let mut buffer = [0; 16 << 10];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        let now = len.min(limit);
        if to.write_all(&buffer[..now]).is_err() || now < len {
            break;
        }
        limit -= now;
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
