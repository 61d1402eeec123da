//! What goes wrong on the way, at every step of a store's life.

use std::sync::Arc;
use std::time::Duration;

use mrs_backup::id::PackId;
use mrs_backup::store::contract::check_contract;
use mrs_backup::store::{
    ObjectKind, ObjectName, Retrying, Store, StoreErrorKind, list_all, open_store,
};

use crate::faulty_ftp::{Fault, FaultyFtp, Manner};
use crate::life::{KEY, PACK, TARGET, assert_nothing_is_half, bytes, live};

/// Like the stores the program opens, but without pauses.
fn store(server: &FaultyFtp, retries: u32) -> Retrying {
    let inner = open_store(&server.location("&retries=0&connections=1")).unwrap();
    Retrying::new(inner, retries, |_: Duration| {})
}

fn commands_of_a_life() -> usize {
    let server = FaultyFtp::start(Manner::default());
    live(&store(&server, 0)).unwrap();
    assert_eq!(server.files().len(), 2);
    server.commands()
}

/// What must hold after a life in spite of whatever happened.
fn assert_lived(server: &FaultyFtp, what: &str) {
    let files = server.files();
    let objects: Vec<&String> = files.keys().filter(|name| !name.ends_with(".tmp")).collect();
    assert_eq!(objects.len(), 2, "{what}: {objects:?}");
    assert!(files[&format!("/repo/{PACK}")] == bytes(), "{what}");
    assert_eq!(files[&format!("/repo/{TARGET}")], b"snapshot", "{what}");
}

#[test]
fn the_server_of_these_tests_keeps_the_contract() {
    let server = FaultyFtp::start(Manner::default());
    check_contract(&*open_store(&server.location("")).unwrap());
}

#[test]
fn a_connection_cut_at_any_command_is_made_anew() {
    for at in 0..commands_of_a_life() {
        for fault in [Fault::CutBefore(at), Fault::CutAfter(at)] {
            let server = FaultyFtp::start(Manner { fault: Some(fault), ..Manner::default() });
            live(&store(&server, 3)).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
            assert_lived(&server, &format!("{fault:?}"));
        }
    }
}

#[test]
fn refusals_that_pass_are_tried_again_at_any_command() {
    let passing = [(421, "too busy"), (426, "cut"), (451, "local error"), (530, "log in again")];
    for at in 0..commands_of_a_life() {
        for (code, text) in passing {
            // A login that is refused is a wrong password, and what is said to it is for ever.
            if code == 530 && at < 2 {
                continue;
            }
            let fault = Fault::Reply(at, code, text);
            let server = FaultyFtp::start(Manner { fault: Some(fault), ..Manner::default() });
            live(&store(&server, 3)).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
            assert_lived(&server, &format!("{fault:?}"));
        }
    }
}

/// Whatever is refused for good: the call fails or finds another way, and the next life works.
#[test]
fn refusals_for_good_lose_nothing() {
    for at in 0..commands_of_a_life() {
        for code in [500, 550, 552, 553] {
            let fault = Fault::Reply(at, code, "no");
            let server = FaultyFtp::start(Manner { fault: Some(fault), ..Manner::default() });
            let first = live(&store(&server, 0));
            server.set(|manner| manner.fault = None);
            if let Err(error) = first {
                assert!(!error.to_string().contains("secret"), "{error}");
                let store = store(&server, 0);
                assert_nothing_is_half(&store, &format!("{fault:?}"));
                live(&store).unwrap_or_else(|error| panic!("{fault:?}, then {error}"));
            }
            assert_lived(&server, &format!("{fault:?}"));
        }
    }
}

#[test]
fn uploads_that_are_cut_or_kept_in_part_are_sent_again() {
    for kept in [0, 1, 1000, 49_999] {
        for is_told in [true, false] {
            let server = FaultyFtp::start(Manner {
                truncate: vec![(kept, is_told), (kept / 2, is_told)],
                ..Manner::default()
            });
            live(&store(&server, 4)).unwrap_or_else(|error| panic!("{kept} {is_told}: {error}"));
            assert_lived(&server, &format!("{kept} {is_told}"));
        }
    }
    // Not for ever, and nothing is left under the object's name.
    let server = FaultyFtp::start(Manner { truncate: vec![(10, false); 20], ..Manner::default() });
    let store = store(&server, 2);
    store.create().unwrap();
    let error = store.put(&PACK, &[&bytes()]).unwrap_err();
    assert!(error.to_string().contains("kept 10 bytes of 50000"), "{error}");
    assert_eq!(store.size(&PACK).unwrap_err().kind, StoreErrorKind::NotFound);
    assert!(server.files().is_empty(), "{:?}", server.files().keys());
}

#[test]
fn downloads_that_are_cut_are_read_again() {
    for cut in [0, 1, 999, 2001] {
        let server = FaultyFtp::start(Manner { cut_downloads: vec![cut; 2], ..Manner::default() });
        live(&store(&server, 4)).unwrap_or_else(|error| panic!("{cut}: {error}"));
        assert_lived(&server, &format!("{cut}"));
    }
}

#[test]
fn a_full_server_is_told_at_once_and_keeps_nothing_of_it() {
    let server = FaultyFtp::start(Manner { room: Some(60_000), ..Manner::default() });
    let store = store(&server, 5);
    store.create().unwrap();
    store.put(&PACK, &[&bytes()]).unwrap();
    let before = server.commands();
    let other = ObjectName::Pack(PackId::new([0xcd; 32]));
    let error = store.put(&other, &[&bytes()]).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoSpace, "{error}");
    assert!(server.commands() - before < 15, "it is not tried again");
    assert_eq!(server.files().len(), 1);
    store.put(&KEY, &[b"small"]).unwrap();
}

#[test]
fn old_servers_are_understood() {
    let manner = Manner { lacks_mlsd: true, lacks_size: true, ..Manner::default() };
    let server = FaultyFtp::start(manner);
    check_contract(&*open_store(&server.location("")).unwrap());
    assert!(server.has_had("LIST"));
}

#[test]
fn listings_of_a_hostile_server_do_no_harm() {
    let junk = [
        "type=file;size=99999999999999999999999; x",
        "type=file;size=5; ../../etc/passwd",
        "",
        ";;;",
        "type=dir; ..",
    ];
    let server = FaultyFtp::start(Manner {
        junk_lines: junk.map(str::to_owned).to_vec(),
        ..Manner::default()
    });
    live(&store(&server, 0)).unwrap();
    server.set(|manner| manner.lists_for_ever = true);
    let error = list_all(&store(&server, 0), ObjectKind::Key).unwrap_err();
    assert!(error.to_string().contains("no end"), "{error}");
}

/// The retries the program itself has, with their pauses: a server that is away for a moment.
#[test]
fn a_server_that_is_away_for_a_moment_is_waited_for() {
    let fault = Some(Fault::Reply(0, 421, "back soon"));
    let server = FaultyFtp::start(Manner { fault, ..Manner::default() });
    let store: Arc<dyn Store> = open_store(&server.location("")).unwrap();
    live(&*store).unwrap();
}
