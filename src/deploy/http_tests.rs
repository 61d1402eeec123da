use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::*;
use crate::deploy::testing::tools;

/// Answers every question with `answer`; gives its address and what it was asked.
fn server(answer: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/page", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            heard.lock().unwrap().push(head(&stream));
            let mut stream = stream;
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (address, asked)
}

fn head(stream: &TcpStream) -> String {
    let lines =
        BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

fn wanted(url: &str) -> HttpCheckConfig {
    let quick = Duration::from_millis(50);
    HttpCheckConfig {
        retries: 2,
        delay: quick,
        timeout: Duration::from_millis(500),
        ..HttpCheckConfig::of(url.to_owned())
    }
}

fn error_of(url: &str) -> String {
    check(&tools(), &wanted(url), None).unwrap_err().to_string()
}

#[test]
fn only_the_exact_status_is_good() {
    let (url, asked) = server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    check(&tools(), &wanted(&url), None).unwrap();
    assert_eq!(asked.lock().unwrap().len(), 1, "no more than needed");
    // It is not enough that 200 stands somewhere.
    let (url, asked) = server("HTTP/1.1 500 Internal\r\nContent-Length: 200\r\nX: 200\r\n\r\n");
    let error = error_of(&url);
    assert!(error.contains("status 500") && error.contains("2 tries"), "{error}");
    assert_eq!(asked.lock().unwrap().len(), 2);
    let (url, _) = server("HTTP/1.1 204 No Content\r\n\r\n");
    check(&tools(), &HttpCheckConfig { status: 204, ..wanted(&url) }, None).unwrap();
}

#[test]
fn a_redirect_is_a_status_and_a_password_does_not_follow_it() {
    let (elsewhere, asked) = server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let answer =
        format!("HTTP/1.1 302 Found\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n");
    let (url, first) = server(answer.leak());
    let login = Secret::new(b"dev:hunter2".to_vec());
    let error = check(&tools(), &wanted(&url), Some(&login)).unwrap_err().to_string();
    assert!(error.contains("status 302") && !error.contains("hunter2"), "{error}");
    assert!(asked.lock().unwrap().is_empty());
    let heard = first.lock().unwrap()[0].to_lowercase();
    assert!(heard.contains("authorization: basic zgv2omh1bnrlcji="), "{heard}");
    assert!(heard.starts_with("get /page "), "{heard}");
}

#[test]
fn a_server_that_hangs_costs_its_time_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let begun = Instant::now();
    let error = error_of(&format!("http://{}/", listener.local_addr().unwrap()));
    assert!(error.contains("no answer in time"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    drop(listener);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(error_of(&format!("http://{closed}/")).contains("refused"));
}

#[test]
fn a_certificate_has_to_be_trusted() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![made.cert.der().clone()], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(session, stream);
            let mut line = String::new();
            if BufReader::new(&mut stream).read_line(&mut line).is_ok() {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        }
    });
    let url = format!("https://localhost:{port}/");
    let error = error_of(&url);
    assert!(error.contains("certificate"), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, made.cert.pem()).unwrap();
    check(&tools(), &HttpCheckConfig { ca: Some(ca.clone()), ..wanted(&url) }, None).unwrap();
    std::fs::write(&ca, "no certificate").unwrap();
    assert!(
        check(
            &tools(),
            &HttpCheckConfig { ca: Some(directory.path().join("none")), ..wanted(&url) },
            None
        )
        .is_err()
    );
}
