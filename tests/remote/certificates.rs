//! Certificates of servers that speak HTTP, and names that lead nowhere, for every kind of place.

use mrs_backup::store::contract::check_contract;
use mrs_backup::store::{StoreErrorKind, open_store};

use crate::servers::{Authority, ENCODED_PASSWORD, PASSWORD, RcloneServer};

/// Where a server over HTTPS is, by `host`; whom to believe follows.
fn location(kind: &str, server: &RcloneServer, host: &str) -> String {
    let port = server.port;
    if kind == "webdav" {
        return format!("webdavs://backup:{ENCODED_PASSWORD}@{host}:{port}/bucket/x?retries=0");
    }
    let keys = server.directory().join("keys");
    let text = format!("AWS_ACCESS_KEY_ID=backup\nAWS_SECRET_ACCESS_KEY={PASSWORD}\n");
    std::fs::write(&keys, text).unwrap();
    format!("s3:https://{host}:{port}/bucket/x?retries=0&password-file={}", keys.display())
}

#[test]
fn https_is_checked() {
    for kind in ["s3", "webdav"] {
        let good = Authority::new();
        let server = RcloneServer::start_with(kind, Some(&good));
        let ca = format!("&ca={}", server.directory().join("ca.pem").display());
        // Tried again: this server now and then fails when several make one directory.
        let place = location(kind, &server, "localhost").replace("retries=0", "retries=3");
        check_contract(&*open_store(&(place + &ca)).unwrap());
        // Nobody vouches for it; somebody else does; it is for another name; it is too old.
        let other = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(other.path(), Authority::new().ca).unwrap();
        let elsewhere = Authority::with(&["elsewhere.example"], false);
        let expired = Authority::with(&["localhost"], true);
        let refused = |server: &RcloneServer, ca: &str| {
            let store = open_store(&(location(kind, server, "localhost") + ca)).unwrap();
            let error = store.survey().unwrap_err();
            let text = error.to_string();
            assert_eq!(error.kind, StoreErrorKind::Denied, "{kind}: {text}");
            assert!(text.contains("certificate"), "{kind}: {text}");
            assert!(!text.contains(PASSWORD) && !text.contains(ENCODED_PASSWORD), "{text}");
        };
        refused(&server, "");
        refused(&server, &format!("&ca={}", other.path().display()));
        for authority in [elsewhere, expired] {
            let server = RcloneServer::start_with(kind, Some(&authority));
            refused(&server, &format!("&ca={}", server.directory().join("ca.pem").display()));
        }
    }
}

#[test]
fn a_name_without_an_address_is_told() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b\n").unwrap();
    let password = format!("&password-file={}", keys.path().display());
    for (location, more) in [
        ("ftpes://u@no-such-host.invalid/x?retries=0", password.as_str()),
        ("sftp://u@no-such-host.invalid/x?retries=0", ""),
        ("s3:https://no-such-host.invalid/bucket/x?retries=0", &password),
        ("webdavs://u@no-such-host.invalid/x?retries=0", &password),
    ] {
        let error = open_store(&format!("{location}{more}")).unwrap().survey().unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::NoAddress, "{error}");
        assert!(error.to_string().contains("no-such-host.invalid"), "{error}");
    }
}
