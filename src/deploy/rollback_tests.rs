use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;

use super::*;

fn history(home: &Path, records: &[(Kind, State, Option<&str>)]) -> History {
    let mut history = History::open(home).unwrap();
    for (number, (kind, state, snapshot)) in (1..).zip(records) {
        history.put_compose_file(number, &format!("x: {number}\n")).unwrap();
        let record = Record {
            v: 1,
            number,
            kind: *kind,
            state: *state,
            begun: Timestamp::UNIX_EPOCH,
            ended: None,
            commit: None,
            images: BTreeMap::new(),
            snapshot: snapshot.map(str::to_owned),
            saved: None,
            migrations: None,
            since: 0,
            reason: None,
        };
        history.put(&record).unwrap();
    }
    history
}

#[test]
fn the_way_back_leads_to_the_one_before() {
    const D: Kind = Kind::Deploy;
    let back = |to| Kind::Rollback { to, with_data: false };
    use State as S;
    for (records, expected) in [
        (&[(D, S::Good, None), (D, S::Good, None)][..], Some(1)),
        (&[(D, S::Good, None), (D, S::Good, None), (D, S::Stuck, None)], Some(2)),
        (&[(D, S::Good, None), (D, S::Good, None), (D, S::Replacing, None)], Some(2)),
        // Back twice leads further back, not to and fro.
        (
            &[(D, S::Good, None), (D, S::Good, None), (D, S::Good, None), (back(2), S::Good, None)],
            Some(1),
        ),
        // What was gone back to and replaced again is what ran before.
        (
            &[(D, S::Good, None), (D, S::Good, None), (back(1), S::Good, None), (D, S::Good, None)],
            Some(3),
        ),
        (&[(D, S::Good, None), (D, S::Dropped, None)], None),
        (&[(D, S::Stuck, None)], None),
        (&[], None),
    ] {
        let home = tempfile::tempdir().unwrap();
        let found = plan(&history(home.path(), records), None, false);
        assert_eq!(found.ok().map(|plan| plan.to.number), expected, "{records:?}");
    }
}

#[test]
fn data_is_that_of_the_moment_when_it_was_replaced() {
    const D: Kind = Kind::Deploy;
    let home = tempfile::tempdir().unwrap();
    let records =
        [(D, State::Good, None), (D, State::Stuck, Some("aa")), (D, State::Stuck, Some("bb"))];
    let history = history(home.path(), &records);
    let found = plan(&history, None, true).unwrap();
    assert_eq!((found.to.number, found.data.unwrap().snapshot.as_str()), (1, "aa"));
    for (wanted, told) in [(7, "no deployment 7"), (2, "was not good")] {
        let error = plan(&history, Some(wanted), false).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
    let alone = tempfile::tempdir().unwrap();
    let history = self::history(alone.path(), &records[..1]);
    assert!(plan(&history, Some(1), true).unwrap_err().to_string().contains("no snapshot"));
}
