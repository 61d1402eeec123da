//! WebDAV, and rclone as a child process.

use mrs_backup::store::contract::check_contract;
use mrs_backup::store::{StoreErrorKind, open_store};

use crate::servers::{ENCODED_PASSWORD, RcloneServer};

#[test]
fn webdav_keeps_the_contract() {
    let server = RcloneServer::start("webdav");
    let place = format!("webdav://backup:{ENCODED_PASSWORD}@127.0.0.1:{}", server.port);
    check_contract(&*open_store(&format!("{place}/bucket/not/yet")).unwrap());
    let wrong = place.replace("p%40ss", "hunter2");
    let error = open_store(&format!("{wrong}/bucket")).unwrap().survey().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}
