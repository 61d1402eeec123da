//! FTP: three servers of Debian, with TLS as they come.

use std::fs;

use mrs_backup::id::PackId;
use mrs_backup::store::contract::check_contract;
use mrs_backup::store::{ByteRange, ObjectName, StoreErrorKind, Survey, open_store};

use crate::servers::{Authority, FtpServer, Make, PASSWORD};

fn pack(number: u16) -> ObjectName {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&number.to_be_bytes());
    ObjectName::Pack(PackId::new(id))
}

fn told<T: std::fmt::Debug>(
    result: Result<T, mrs_backup::store::StoreError>,
    kind: StoreErrorKind,
    words: &[&str],
) {
    let error = result.expect_err("it should fail");
    let text = error.to_string();
    assert_eq!(error.kind, kind, "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is missing: {text}");
    }
    assert!(!text.contains(PASSWORD) && !text.contains("p%40ss"), "{text}");
}

#[test]
fn vsftpd_keeps_the_contract() {
    let server = FtpServer::start(Make::Vsftpd);
    check_contract(&*open_store(&server.location("not/yet/made")).unwrap());
}

#[test]
fn pure_ftpd_keeps_the_contract() {
    let server = FtpServer::start(Make::PureFtpd);
    check_contract(&*open_store(&server.location("repo")).unwrap());
}

#[test]
fn proftpd_keeps_the_contract() {
    let server = FtpServer::start(Make::ProFtpd);
    check_contract(&*open_store(&(server.location("repo") + "&retries=0")).unwrap());
}

/// vsftpd, as Debian has it, takes only data connections that resume the control connection's session.
#[test]
fn hundreds_of_transfers_resume_their_session() {
    let server = FtpServer::start(Make::Vsftpd);
    for version in ["", "&tls-version=1.2"] {
        let location =
            server.location(&format!("repo{version}")) + "&connections=2&retries=0" + version;
        let store = open_store(&location).unwrap();
        store.create().unwrap();
        std::thread::scope(|scope| {
            for half in 0..2 {
                let store = &store;
                scope.spawn(move || {
                    for number in 0..150 {
                        let name = pack(half * 1000 + number);
                        store.put(&name, &[&[7; 3000]]).unwrap();
                        let range = ByteRange::Exact { offset: 1000, len: 500 };
                        assert_eq!(store.get(&name, range).unwrap(), [7; 500]);
                    }
                });
            }
        });
        drop(store);
        let logins = server.log().matches("OK LOGIN").count();
        assert!(logins <= 8, "connections are used again: {logins} logins\n");
    }
}

#[test]
fn certificates_are_checked() {
    let server = FtpServer::start(Make::Vsftpd);
    let bare = server.bare_location("repo");
    let survey =
        |options: &str| open_store(&format!("{bare}?retries=0{options}")).unwrap().survey();
    told(survey(""), StoreErrorKind::Denied, &["certificate", "?ca=FILE", "?pin="]);
    let pin = format!("&pin={}", server.authority.pin);
    assert_eq!(survey(&pin).unwrap(), Survey::Missing);
    let other = format!("&pin={}", Authority::new().pin);
    told(survey(&other), StoreErrorKind::Denied, &["certificate"]);
    // The right certificate under another name.
    let by_name = server.location("repo").replace("localhost", "127.0.0.2") + "&retries=0";
    told(open_store(&by_name).unwrap().survey(), StoreErrorKind::Temporary, &["127.0.0.2"]);

    for (names, is_expired, word) in
        [(&["elsewhere.example"][..], false, "not valid for"), (&["localhost"][..], true, "xpired")]
    {
        let authority = Authority::with(names, is_expired);
        let server = FtpServer::start_with(Make::Vsftpd, authority, "");
        let store = open_store(&(server.location("repo") + "&retries=0")).unwrap();
        told(store.survey(), StoreErrorKind::Denied, &[word]);
    }
}

#[test]
fn nothing_is_sent_in_clear_unless_asked_for_by_name() {
    let server = FtpServer::start_with(Make::Vsftpd, Authority::new(), "ssl_enable=NO");
    let location = server.location("repo") + "&retries=0";
    told(
        open_store(&location).unwrap().survey(),
        StoreErrorKind::Denied,
        &["does not speak TLS", "?tls=off"],
    );
    assert!(!server.log().contains("\"PASS"), "{}", server.log());
    let store = open_store(&format!("{}?tls=off", server.bare_location("plain"))).unwrap();
    check_contract(&*store);
    // This machine needs no TLS.
    let local = server.bare_location("local").replace("ftpes://", "ftp://");
    assert_eq!(open_store(&local).unwrap().survey().unwrap(), Survey::Missing);
}

#[test]
fn implicit_tls_works() {
    let server = FtpServer::start_with(Make::Vsftpd, Authority::new(), "implicit_ssl=YES");
    let location = server.location("repo").replace("ftpes://", "ftps://");
    check_contract(&*open_store(&location).unwrap());
}

#[test]
fn a_wrong_password_is_told_and_not_tried_again() {
    let server = FtpServer::start(Make::ProFtpd);
    let location = server.location("repo").replace("p%40ss", "wrong");
    told(open_store(&location).unwrap().survey(), StoreErrorKind::Denied, &["530", "user backup"]);
}

/// Behind NAT a server gives an address nobody can reach; and some know no EPSV at all.
#[test]
fn wrong_passive_addresses_do_no_harm() {
    let more = "pasv_address=10.255.255.1\ncmds_denied=EPSV";
    let server = FtpServer::start_with(Make::Vsftpd, Authority::new(), more);
    let store = open_store(&server.location("repo")).unwrap();
    store.create().unwrap();
    store.put(&pack(1), &[b"through PASV"]).unwrap();
    let whole = ByteRange::Whole { limit: 100 };
    assert_eq!(store.get(&pack(1), whole).unwrap(), b"through PASV");
}

#[test]
fn places_that_may_not_be_written_or_deleted_are_told() {
    let read_only = FtpServer::start_with(Make::Vsftpd, Authority::new(), "write_enable=NO");
    let store = open_store(&read_only.location("")).unwrap();
    told(store.create(), StoreErrorKind::Denied, &["550"]);
    told(store.put(&pack(1), &[b"x"]), StoreErrorKind::Denied, &["550"]);

    // May be written, but nothing deleted or renamed.
    let more = "cmds_denied=DELE,RMD";
    let server = FtpServer::start_with(Make::Vsftpd, Authority::new(), more);
    let store = open_store(&server.location("repo")).unwrap();
    store.create().unwrap();
    store.put(&pack(1), &[b"stays"]).unwrap();
    told(store.delete(&pack(1)), StoreErrorKind::Denied, &["550"]);
    assert!(store.refuses_deletes().unwrap());
    store.delete(&pack(2)).unwrap();
    let server = FtpServer::start(Make::Vsftpd);
    let store = open_store(&server.location("repo")).unwrap();
    store.create().unwrap();
    assert!(!store.refuses_deletes().unwrap());
}

/// Written in place then, and published by hand.
#[test]
fn a_server_that_refuses_to_rename_is_used_all_the_same() {
    let more = "cmds_denied=RNFR,RNTO";
    let server = FtpServer::start_with(Make::Vsftpd, Authority::new(), more);
    check_contract(&*open_store(&server.location("repo")).unwrap());
}

#[test]
fn idle_connections_that_were_closed_are_opened_anew() {
    let more = "idle_session_timeout=1\ndata_connection_timeout=1";
    let server = FtpServer::start_with(Make::Vsftpd, Authority::new(), more);
    let store = open_store(&(server.location("repo") + "&retries=1")).unwrap();
    store.create().unwrap();
    store.put(&pack(1), &[b"x"]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(store.size(&pack(1)).unwrap(), 1);
}

#[test]
fn fewer_connections_than_wanted_are_enough() {
    let server = FtpServer::start_with(Make::Vsftpd, Authority::new(), "max_per_ip=2");
    let store = open_store(&(server.location("repo") + "&connections=8")).unwrap();
    store.create().unwrap();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let store = &store;
            scope.spawn(move || store.put(&pack(number), &[&[1; 10_000]]).unwrap());
        }
    });
    assert_eq!(fs::read_dir(server.files().join("repo/packs/00")).unwrap().count(), 8);
}

#[test]
fn a_name_that_has_no_address_is_told() {
    let store = open_store("ftp://anonymous:x@no-such-host.invalid/x?retries=1").unwrap();
    let error = store.survey().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoAddress);
    let text = error.to_string();
    assert!(
        text.contains("no-such-host.invalid has no address") && text.contains("tried 2"),
        "{text}"
    );
}
