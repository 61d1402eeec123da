use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use jiff::Timestamp;

use super::*;
use crate::deploy::{ImageUse, Kind};

fn record(number: u32, state: State) -> Record {
    let image = ImageUse {
        name: "a".into(),
        id: "sha256:1".into(),
        reference: format!("p-d:deploy-{number}"),
    };
    Record {
        v: 1,
        number,
        kind: Kind::Deploy,
        state,
        begun: Timestamp::UNIX_EPOCH,
        ended: None,
        commit: None,
        images: BTreeMap::from([("d".to_owned(), image)]),
        snapshot: None,
        saved: None,
        migrations: None,
        since: 0,
        reason: None,
    }
}

fn history(home: &Path, states: &[State]) -> History {
    let mut history = History::open(home).unwrap();
    for (number, state) in (1..).zip(states) {
        history.put_compose_file(number, &format!("x: {number}\n")).unwrap();
        history.put(&record(number, *state)).unwrap();
    }
    History::open(home).unwrap()
}

#[test]
fn the_good_one_is_known_and_what_came_after_it() {
    use State as S;
    for (states, good, open, unfinished) in [
        (&[][..], None, &[][..], None),
        (&[S::Good, S::Good], Some(2), &[], None),
        (&[S::Good, S::Good, S::RolledBack { to: 2 }], Some(2), &[], None),
        (&[S::Good, S::Stuck, S::Replacing], Some(1), &[2, 3], Some(3)),
        (&[S::Good, S::Begun], Some(1), &[], Some(2)),
        (&[S::Good, S::Good, S::RollingBack { to: 1 }], Some(2), &[3], Some(3)),
        (&[S::Stuck], None, &[1], None),
    ] {
        let home = tempfile::tempdir().unwrap();
        let history = history(home.path(), states);
        assert_eq!(history.good().map(|record| record.number), good, "{states:?}");
        let numbers: Vec<u32> = history.open_ends().iter().map(|record| record.number).collect();
        assert_eq!(
            (numbers.as_slice(), history.unfinished().map(|r| r.number)),
            (open, unfinished),
            "{states:?}"
        );
    }
}

#[test]
fn only_its_owner_reads_it() {
    let home = tempfile::tempdir().unwrap();
    let history = history(home.path(), &[State::Good]);
    let place = home.path().join(".mrs-backup/deploys/000001");
    for (path, mode) in [
        (place.clone(), 0o700),
        (place.join("record.json"), 0o600),
        (place.join("docker-compose.yml"), 0o600),
    ] {
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, mode, "{}", path.display());
    }
    assert_eq!(history.compose_file(1).unwrap(), "x: 1\n");
    assert!(history.compose_file(2).is_err());
}

#[test]
fn what_cannot_be_read_is_told_and_its_number_not_used_again() {
    let home = tempfile::tempdir().unwrap();
    history(home.path(), &[State::Good, State::Good]);
    let directory = home.path().join(".mrs-backup/deploys");
    for (number, text) in [(3, "{"), (4, "")] {
        fs::create_dir(directory.join(format!("{number:06}"))).unwrap();
        fs::write(directory.join(format!("{number:06}/record.json")), text).unwrap();
    }
    fs::create_dir(directory.join("000005")).unwrap();
    fs::write(directory.join("note"), "").unwrap();
    let history = History::open(home.path()).unwrap();
    assert_eq!((history.records().len(), history.damaged.len(), history.next_number()), (2, 2, 6));
}

#[test]
fn old_ones_go_with_their_images_but_not_what_a_way_back_needs() {
    let home = tempfile::tempdir().unwrap();
    let mut history = history(home.path(), &[State::Good; 6]);
    let mut back = record(7, State::Good);
    back.kind = Kind::Rollback { to: 2, with_data: false };
    back.images = history.find(2).unwrap().images.clone();
    history.put(&back).unwrap();
    assert_eq!(
        history.prune(2).unwrap(),
        ["p-d:deploy-1", "p-d:deploy-3", "p-d:deploy-4", "p-d:deploy-5"]
    );
    let numbers: Vec<u32> =
        History::open(home.path()).unwrap().records().iter().map(|r| r.number).collect();
    assert_eq!(numbers, [2, 6, 7]);
}
