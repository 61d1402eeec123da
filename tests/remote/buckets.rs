//! Object stores, on the S3 that rclone serves.

use std::sync::Arc;

use mrs_backup::id::{SessionId, SnapshotId};
use mrs_backup::store::contract::check_contract;
use mrs_backup::store::{ObjectName, Store, StoreErrorKind, Survey, open_store};

use crate::line::{Line, Manner};
use crate::servers::{PASSWORD, RcloneServer};

/// Where the bucket is; the keys lie in a file.
pub fn location(server: &RcloneServer, path: &str) -> String {
    location_by(server, server.port, path)
}

/// Reached by another port than the server's own.
pub fn location_by(server: &RcloneServer, port: u16, path: &str) -> String {
    let keys = server.directory().join("keys");
    let text = format!("AWS_ACCESS_KEY_ID=backup\nAWS_SECRET_ACCESS_KEY={PASSWORD}\n");
    std::fs::write(&keys, text).unwrap();
    format!("s3:127.0.0.1:{port}/{path}?password-file={}", keys.display())
}

#[test]
fn s3_keeps_the_contract() {
    let server = RcloneServer::start("s3");
    check_contract(&*open_store(&location(&server, "bucket/prefix/of/ours")).unwrap());
}

#[test]
fn a_whole_bucket_keeps_the_contract() {
    let server = RcloneServer::start("s3");
    check_contract(&*open_store(&location(&server, "bucket")).unwrap());
}

#[test]
fn what_is_wrong_with_a_bucket_is_told() {
    let server = RcloneServer::start("s3");
    let store = open_store(&(location(&server, "elsewhere/x") + "&retries=0")).unwrap();
    let error = store.create().unwrap_err();
    assert!(error.to_string().contains("bucket"), "{error}");
    std::fs::write(
        server.directory().join("wrong"),
        "AWS_ACCESS_KEY_ID=backup\nAWS_SECRET_ACCESS_KEY=hunter2\n",
    )
    .unwrap();
    let wrong = server.directory().join("wrong");
    let place = format!("s3:127.0.0.1:{}/bucket/x?password-file={}", server.port, wrong.display());
    let error = open_store(&place).unwrap().survey().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let store = open_store(&location(&server, "bucket/x")).unwrap();
    assert_eq!(store.survey().unwrap(), Survey::Empty);
}

/// As the providers themselves do: of two who create an object only one succeeds.
#[test]
fn a_bucket_that_keeps_conditions_keeps_the_contract() {
    let server = RcloneServer::start("s3");
    let line = Line::of_requests(server.port);
    line.set(Manner { keeps_conditions: true, ..Manner::default() });
    let store = open_store(&location_by(&server, line.port, "bucket/x")).unwrap();
    check_contract(&*store);
    assert!(store.publishing().contains("conditional create"), "{}", store.publishing());
    removed_before_it_is_published(|| {
        open_store(&location_by(&server, line.port, "bucket/y")).unwrap()
    });
}

/// Google's own way to say things, which is S3's but for its headers, to a server of the latter. That is not Google; it
/// shows that the client is set up as it should be, and that conditions are understood.
#[test]
fn what_google_would_be_asked_keeps_the_contract() {
    let server = RcloneServer::start("open-s3");
    let line = Line::of_requests(server.port);
    line.set(Manner { keeps_conditions: true, ..Manner::default() });
    let account = server.directory().join("account.json");
    let text =
        r#"{"disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""}"#;
    std::fs::write(&account, text).unwrap();
    let place = format!(
        "gs:bucket:/of/ours?endpoint=http://127.0.0.1:{}&password-file={}",
        line.port,
        account.display()
    );
    let store = open_store(&place).unwrap();
    check_contract(&*store);
    assert!(store.publishing().contains("conditional create"), "{}", store.publishing());
    let asked = line.heads().iter().any(|head| head.contains("x-goog-if-generation-match: 0"));
    assert!(asked, "no create had Google's condition");
}

/// Whoever takes a writer for dead removes what it has staged: then it cannot be published any more.
#[test]
fn a_snapshot_removed_before_it_is_published_stays_unpublished() {
    let server = RcloneServer::start("s3");
    removed_before_it_is_published(|| open_store(&location(&server, "bucket/x")).unwrap());
}

fn removed_before_it_is_published(open: impl Fn() -> Arc<dyn Store>) {
    let (ours, theirs) = (open(), open());
    let snapshot = SnapshotId::new([7; 32]);
    let staged = ObjectName::Staged { session: SessionId::new([1; 16]), snapshot };
    let target = ObjectName::Snapshot(snapshot);
    ours.put(&staged, &[b"snapshot"]).unwrap();
    theirs.delete(&staged).unwrap();
    assert_eq!(ours.publish(&staged, &target).unwrap_err().kind, StoreErrorKind::NotFound);
    assert_eq!(ours.size(&target).unwrap_err().kind, StoreErrorKind::NotFound);
    ours.put(&staged, &[b"snapshot"]).unwrap();
    ours.publish(&staged, &target).unwrap();
    theirs.delete(&staged).unwrap();
    assert_eq!(ours.size(&target).unwrap(), 8);
}
