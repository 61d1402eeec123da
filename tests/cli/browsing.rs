//! What is in snapshots, for a browser: only for whoever is let in, only to read, and nothing of it is ever run.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::driver::Driver;
use super::metrics::Serving;
use super::nights::{configured, ok, run, write_config};
use super::{PASSWORD, Place};

const SERVE: &str =
    "[serve]\nlisten = [\"127.0.0.1:0\"]\nbrowse = true\ntoken = { env = \"TOKEN\" }";

/// Status, headers and bytes.
pub fn get(server: &Serving, path: &str) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer open sesame\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
    let body = answer.split_off(end + 4);
    let head = String::from_utf8(answer).unwrap().to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, body)
}

pub fn page(server: &Serving, path: &str) -> String {
    let (status, head, body) = get(server, path);
    let text = String::from_utf8(body).unwrap();
    assert_eq!(status, 200, "{path}: {text}");
    assert!(head.contains("content-type: text/html"), "{head}");
    text
}

/// The first link that holds `words`.
pub fn link(page: &str, words: &str) -> String {
    let links = page.split("<a href=\"").skip(1);
    let of = |link: &str| {
        let (place, rest) = link.split_once("\">")?;
        rest.split("</a>").next()?.contains(words).then(|| place.to_owned())
    };
    links.into_iter().find_map(of).unwrap_or_else(|| panic!("no link to {words}: {page}"))
}

/// A body that came in pieces (RFC 9112, 7.1).
pub fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|part| part == b"\r\n").unwrap();
        let len = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        if len == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + len]);
        body = &body[end + 4 + len..];
    }
}

#[test]
fn only_who_is_known_looks_into_snapshots() {
    let place = configured("");
    ok(&place, &["run"]);
    write_config(&place, "[serve]\nlisten = [\"127.0.0.1:0\"]\nbrowse = true");
    run(&place, &["serve"]).fails(2, "`serve.browse` gives away what is in snapshots", "");
    write_config(&place, SERVE);
    assert!(ok(&place, &["config", "show"]).stdout.contains("serve.browse"));
    let server = Serving::start(&place, &["serve"]);
    for path in ["/browse/mrs", "/browse/", "/"] {
        assert_eq!(server.ask(&format!("GET {path} HTTP/1.1")).0, 401, "{path}");
    }
    server.stop();
    // Without the key it is said to be missing, and where it is told nothing else is.
    write_config(&place, SERVE);
    let server = Serving::start(&place, &["serve"]);
    fs::rename(place.path("password"), place.path("away")).unwrap();
    let (status, _, body) = get(&server, "/browse/mrs");
    assert_eq!(status, 503, "{}", String::from_utf8_lossy(&body));
    fs::rename(place.path("away"), place.path("password")).unwrap();
    page(&server, "/browse/mrs");
    server.stop();
    let without = SERVE.replace("browse = true\n", "");
    write_config(&place, &without);
    let server = Serving::start(&place, &["serve"]);
    assert_eq!(get(&server, "/browse/mrs").0, 404);
    assert!(!page(&server, "/").contains("/browse/"));
    // Switched on while it runs: what was not guarded for it shows nothing.
    write_config(&place, SERVE);
    assert_eq!(get(&server, "/browse/mrs").0, 404);
    server.stop();
}

#[test]
fn files_are_found_and_taken_as_they_were() {
    let place = configured(SERVE);
    let odd = std::ffi::OsStr::from_bytes(b"we ird&<b>\xff.html");
    let evil = b"<script>document.title='evil'</script>";
    fs::write(place.path("src/sub").join(odd), evil).unwrap();
    fs::hard_link(place.path("src/sub/b.txt"), place.path("src/sub/z.txt")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", place.path("src/sub/link")).unwrap();
    let large: Vec<u8> = (0..3_000_000_u32)
        .flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 16).to_le_bytes())
        .collect();
    fs::write(place.path("src/sub/large"), &large).unwrap();
    fs::create_dir(place.path("src/sub/many")).unwrap();
    for number in 0..1005 {
        fs::write(place.path(&format!("src/sub/many/{number:04}")), "").unwrap();
    }
    ok(&place, &["run"]);
    let server = Serving::start(&place, &["serve"]);
    let all = link(&page(&server, "/"), "What is in its snapshots");
    let list = page(&server, &all);
    let snapshot = link(&list, "20");
    let top = page(&server, &snapshot);
    assert!(top.contains("<title>mrs, 20"), "{top}");
    let (status, head, body) = get(&server, &link(&top, "a.txt"));
    assert_eq!((status, body.as_slice()), (200, &b"alpha\n"[..]));
    for words in [
        "content-disposition: attachment; filename*=utf-8''a%2etxt",
        "content-type: application/octet-stream",
        "content-length: 6",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
    ] {
        assert!(head.contains(words), "{words}: {head}");
    }
    let sub = page(&server, &link(&top, "sub/"));
    assert!(!sub.contains("<b>"), "names are text: {sub}");
    let (_, head, body) = get(&server, &link(&sub, "we ird"));
    assert_eq!(body, evil);
    assert!(head.contains("attachment; filename*=utf-8''we%20ird%26%3cb%3e%ff%2ehtml"), "{head}");
    assert!(get(&server, &link(&sub, "large")).2 == large);
    let further = unchunked(&get(&server, &link(&sub, "z.txt")).2);
    assert!(further == vec![b'b'; 300_000], "a further name: {} bytes", further.len());
    assert!(sub.contains("→ /etc/passwd") && !sub.contains(">link</a>"), "{sub}");
    let many = page(&server, &link(&sub, "many/"));
    assert_eq!(many.matches("<td>0000").count() + many.matches("<td><a href").count(), 1000);
    let rest = page(&server, &link(&many, "more"));
    assert!(
        rest.contains(">1004</a>") && !rest.contains(">0999</a>") && !rest.contains("?after="),
        "{rest}"
    );
    nothing_else_is_there(&server, &snapshot);
    assert!(page(&server, &format!("{snapshot}?lang=fr")).contains("propriétaire"));
    let request = format!("POST {snapshot} HTTP/1.1\r\nAuthorization: Bearer open sesame");
    assert_eq!(server.ask(&request).0, 405);
    // A second run is seen at once, and a snapshot that was forgotten is gone.
    ok(&place, &["run"]);
    assert_eq!(page(&server, &all).matches("<tr><td><a").count(), 2);
    in_a_browser(&place, &server, &snapshot);
    server.stop();
}

/// Neither what is in no snapshot nor what is no file.
fn nothing_else_is_there(server: &Serving, snapshot: &str) {
    for (path, what) in [
        (format!("{snapshot}/nothing"), "nothing"),
        (format!("{snapshot}/../../etc/passwd"), "etc/passwd"),
        (format!("{snapshot}/a.txt/x"), "a.txt"),
        (format!("{snapshot}/sub/link"), "link"),
        (format!("{snapshot}?database=x"), "database x"),
        (format!("/browse/mrs/{}", "0".repeat(64)), "snapshot 0000"),
        ("/browse/mrs/latest".to_owned(), "snapshot latest"),
        (snapshot.replace("/mrs/", "/other/"), "instance other"),
        ("/browse/%00".to_owned(), "instance"),
    ] {
        let (status, _, body) = get(server, &path);
        let body = String::from_utf8(body).unwrap();
        assert!(status == 404 && body.contains(what), "{path}: {status} {body}");
    }
}

/// Without a name and password a browser would ask; its address may have them.
fn in_a_browser(place: &Place, server: &Serving, snapshot: &str) {
    let login =
        format!("{SERVE}\nuser = \"me\"\npassword = {{ file = \"{}\" }}", place.text("password"));
    write_config(place, &login);
    let asking = Serving::start(place, &["serve"]);
    let driver = Driver::start(place);
    let word = PASSWORD.replace(' ', "%20");
    driver.open(&format!("http://me:{word}@{}/", asking.address));
    driver.run("document.querySelector('a[href^=\"/browse/\"]').click()");
    driver.open(&format!("http://{}{snapshot}/sub", asking.address));
    let title = driver.run("return document.title");
    assert!(title.as_str().unwrap().starts_with("mrs, 20"), "{title}");
    let dark = driver.run("return getComputedStyle(document.querySelector('th')).textAlign");
    assert_eq!(dark, "left", "its style is let in");
    let complaints = driver.complaints();
    assert!(!complaints.iter().any(|line| line.contains("Security Policy")), "{complaints:?}");
    drop(driver);
    asking.stop();
    assert_eq!(get(server, snapshot).0, 200);
}
