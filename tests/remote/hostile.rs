//! A server that changes, drops, replays and renames what it holds: found, named, and put right from here.

use std::fs;
use std::path::{Path, PathBuf};

use crate::buckets;
use crate::copy::Site;
use crate::line::{Line, Manner};
use crate::servers::{ENCODED_PASSWORD, FtpServer, Make, RcloneServer};
use crate::sftp::SshServer;

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Nights of a site whose copy is at `location`; the server keeps it in `files`, and looks there again once told to.
fn lies_are_found(location: String, files: &Path, look_again: impl Fn()) {
    let site = Site::new(location.clone());
    site.init();
    for content in ["first", "second", "third"] {
        site.write("src/a.txt", content);
        let (code, text) = site.night();
        assert_eq!(code, Some(0), "{text}");
    }
    let packs = files_below(&files.join("packs"));
    let snapshots = files_below(&files.join("snapshots"));
    assert!(packs.len() >= 4 && snapshots.len() == 3, "{packs:?} {snapshots:?}");
    let before: Vec<Vec<u8>> = packs.iter().map(|path| fs::read(path).unwrap()).collect();

    // Changed; shorter than it was; two under each other's name; gone.
    for (path, bytes) in packs.iter().zip(&before) {
        let mut changed = bytes.clone();
        changed[60] ^= 1;
        fs::write(path, changed).unwrap();
    }
    fs::write(&packs[1], &before[1][..before[1].len() / 2]).unwrap();
    fs::write(&packs[2], &before[3]).unwrap();
    fs::write(&packs[3], &before[2]).unwrap();
    fs::remove_file(&snapshots[2]).unwrap();
    look_again();
    let state = site.path("elsewhere").display().to_string();
    let check = ["check", "--read-data"];
    let (code, text) = site.run(&state, &check, Some(&location));
    assert_eq!(code, Some(1), "{text}");
    for pack in &packs {
        assert!(text.contains(&name(pack)[..8]), "{} is not named: {text}", pack.display());
    }
    // What it says is believed by nobody: a restore of what is damaged fails, and says so.
    let (code, text) = site.run(&state, &["restore", "latest:app", "wrong"], Some(&location));
    assert!(code != Some(0) && !site.path("wrong/big").exists(), "{code:?} {text}");
    // The repository here is whole; the copy is told to be wrong, and put right.
    let copy = ["-c", "config.toml", "copy", "--audit", "--sample", "100%"];
    let (code, text) = site.run("state", &copy, None);
    assert_eq!(code, Some(0), "{text}");
    for words in ["returns other bytes", "another length", "lists it no more"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    for (path, bytes) in packs.iter().zip(&before) {
        assert!(fs::read(path).unwrap() == *bytes, "{} is still wrong", path.display());
    }
    let (code, text) = site.run("state", &["-c", "config.toml", "check", "--read-data"], None);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = site.run(&state, &check, Some(&location));
    assert_eq!(code, Some(0), "{text}");

    // An older state of everything is whole in itself: only who saw the newer one can tell.
    let newest = files_below(&files.join("snapshots"));
    let (code, _) = site.run(&state, &["snapshots"], Some(&location));
    assert_eq!(code, Some(0));
    for path in &newest[1..] {
        fs::remove_file(path).unwrap();
    }
    look_again();
    let (code, text) = site.run(&state, &["check"], Some(&location));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("the store hides or lost this snapshot"), "{text}");
}

#[test]
fn lies_of_an_ftp_server() {
    let server = FtpServer::start(Make::Vsftpd);
    lies_are_found(server.location("copy") + "&retries=1", &server.files().join("copy"), || {});
}

#[test]
fn lies_of_an_sftp_server() {
    let server = SshServer::start("");
    let location = server.location("files/copy", "config");
    lies_are_found(location, &server.files().join("copy"), || {});
}

#[test]
fn lies_of_a_bucket() {
    let server = RcloneServer::start("s3");
    let location = buckets::location(&server, "bucket/copy");
    lies_are_found(location, &server.files().join("bucket/copy"), || server.restart());
}

#[test]
fn lies_of_a_webdav_server() {
    let server = RcloneServer::start("webdav");
    let location =
        format!("webdav://backup:{ENCODED_PASSWORD}@127.0.0.1:{}/bucket/copy", server.port);
    lies_are_found(location, &server.files().join("bucket/copy"), || server.restart());
}

/// What a copy put there is looked at before it counts.
#[test]
fn half_an_object_is_none() {
    for kind in ["s3", "webdav"] {
        let server = RcloneServer::start(kind);
        let line = Line::of_requests(server.port);
        let location = match kind {
            "s3" => buckets::location_by(&server, line.port, "bucket/copy"),
            _ => format!("webdav://backup:{ENCODED_PASSWORD}@127.0.0.1:{}/bucket/copy", line.port),
        };
        let site = Site::new(location.clone());
        site.init();
        line.set(Manner { keeps: Some(("/packs/", 100)), ..Manner::default() });
        let (code, text) = site.night();
        assert_eq!(code, Some(0), "{kind}: {text}");
        assert!(line.has_kept_half(), "{kind}");
        let state = site.path("elsewhere").display().to_string();
        let (code, text) = site.run(&state, &["check", "--read-data"], Some(&location));
        assert_eq!(code, Some(0), "{kind}: {text}");
    }
}
