//! What people are told of a deployment.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::stack::{SECRET, Stack};

/// The body of the next request.
pub fn body(listener: &TcpListener) -> String {
    listener.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let stream: TcpStream = loop {
        if let Ok((stream, _)) = listener.accept() {
            break stream;
        }
        assert!(Instant::now() < deadline, "nobody is told");
        std::thread::sleep(Duration::from_millis(20));
    };
    stream.set_nonblocking(false).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut len = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim().to_lowercase();
        if line.is_empty() {
            break;
        }
        len = line.strip_prefix("content-length: ").map_or(len, |text| text.parse().unwrap());
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body).unwrap();
    (&stream)
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .unwrap();
    String::from_utf8(body).unwrap()
}

/// Not even a command of the deployment that prints a secret makes it known.
pub fn without_secrets(stack: &Stack) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    stack.configure(&format!(
        "[notify.hook]\nkind = \"webhook\"\nurl = \"http://127.0.0.1:{port}/\"\non = [\"deploy\"]\n"
    ));
    let heard = std::thread::spawn(move || body(&listener));
    let postdeploy =
        "postdeploy=docker compose exec -T django sh -c 'echo the key is $SECRET_KEY' >&2; exit 9";
    let last = stack.expect(30, &["deploy", "mrs", "compose_django_image=app:v1", postdeploy]);
    assert!(last["reason"].as_str().unwrap().contains("the key is ***"), "{last}");
    let told = heard.join().unwrap();
    let message: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&message["type"], &message["instance"]),
        (&"deploy".into(), &"mrs".into()),
        "{told}"
    );
    assert!(message["text"].as_str().unwrap().contains("rolled-back"), "{told}");
    assert!(!told.contains(SECRET) && !told.contains("s3cret"), "{told}");
    stack.configure("");
}
