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

#[derive(Default)]
struct State {
    seen: usize,
    trouble: Option<(usize, Trouble)>,
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
        serve: fn(TcpStream, TcpStream, Option<Trouble>) -> std::io::Result<()>,
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
                std::thread::spawn(move || {
                    // A client that goes away is no trouble of the line's.
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", server)) {
                        let _ = serve(client, server, trouble);
                    }
                });
            }
        });
        Self { port, state }
    }

    /// From now on counts from 0, and what has the number `at` meets `trouble`.
    pub fn trouble(&self, trouble: Option<(usize, Trouble)>) {
        *self.state.lock().unwrap() = State { seen: 0, trouble };
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
) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let request = read_request(&mut reader, &client)?;
    let mut client = client;
    match trouble {
        Some(Trouble::Answer(status)) => {
            let reply =
                format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            client.write_all(reply.as_bytes())?;
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
