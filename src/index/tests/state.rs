use crate::index::{DirectoryState, FileState};

use super::*;

fn state(generation: i64, names: &[&str]) -> DirectoryState {
    let file = |name: &&str| FileState {
        name: name.as_bytes().to_vec(),
        inode: u64::MAX,
        size: 12,
        mtime: -5,
        ctime: 1_700_000_000_123_456_789,
        node: b"node".to_vec(),
    };
    DirectoryState { generation, files: names.iter().map(file).collect() }
}

fn remembered(index: &Index, directory: &str) -> Option<DirectoryState> {
    index.directory_state("root", directory.as_bytes()).unwrap()
}

fn stage(index: &Index, directory: &str, state: &DirectoryState) {
    index.stage_state("root", directory.as_bytes(), state).unwrap();
}

fn with_tree() -> Index {
    let index = index();
    for directory in ["", "a", "a/b", "a/b/c", "a.x", "a0", "b"] {
        stage(&index, directory, &state(1, &["f"]));
    }
    index.commit_state("root").unwrap();
    index
}

fn existing(index: &Index) -> Vec<&'static str> {
    let all = ["", "a", "a/b", "a/b/c", "a.x", "a0", "b"];
    all.into_iter().filter(|directory| remembered(index, directory).is_some()).collect()
}

#[test]
fn staged_state_counts_after_commit() {
    let index = index();
    let (old, new) = (state(3, &["a", "b"]), state(4, &[]));
    stage(&index, "d", &state(1, &["z"]));
    stage(&index, "d", &old);
    assert_eq!(remembered(&index, "d"), None);
    index.commit_state("other").unwrap();
    assert_eq!(remembered(&index, "d"), None);
    index.commit_state("root").unwrap();
    assert_eq!(remembered(&index, "d"), Some(old));
    assert_eq!(index.directory_state("other", b"d").unwrap(), None);
    stage(&index, "d", &new);
    index.commit_state("root").unwrap();
    assert_eq!(remembered(&index, "d"), Some(new));
}

#[test]
fn what_was_not_staged_stays() {
    let index = with_tree();
    stage(&index, "b", &state(9, &["g"]));
    index.commit_state("root").unwrap();
    assert_eq!(remembered(&index, "b"), Some(state(9, &["g"])));
    assert_eq!(remembered(&index, "a/b"), Some(state(1, &["f"])));
}

#[test]
fn discarded_state_never_counts_whether_written_yet_or_not() {
    let index = with_tree();
    for n in 0..300 {
        stage(&index, &format!("x{n}"), &state(2, &["f"]));
    }
    index.stage_removed("root", b"a").unwrap();
    index.stage_state("other", b"d", &state(5, &[])).unwrap();
    index.discard_staged("root").unwrap();
    index.commit_state("root").unwrap();
    index.commit_state("other").unwrap();
    assert_eq!(remembered(&index, "x0"), None);
    assert_eq!(remembered(&index, "x299"), None);
    assert_eq!(existing(&index).len(), 7);
    assert_eq!(index.directory_state("other", b"d").unwrap(), Some(state(5, &[])));
}

#[test]
fn removed_directories_go_with_everything_below() {
    let index = with_tree();
    index.stage_removed("root", b"a").unwrap();
    assert_eq!(existing(&index).len(), 7);
    index.commit_state("root").unwrap();
    assert_eq!(existing(&index), ["", "a.x", "a0", "b"]);
    index.stage_removed("root", b"").unwrap();
    index.commit_state("root").unwrap();
    assert!(existing(&index).is_empty());
}

#[test]
fn the_last_word_on_a_directory_counts() {
    let index = with_tree();
    stage(&index, "a/b", &state(7, &["gone"]));
    index.stage_removed("root", b"a").unwrap();
    stage(&index, "a/b/c", &state(8, &["new"]));
    index.commit_state("root").unwrap();
    assert_eq!(existing(&index), ["", "a/b/c", "a.x", "a0", "b"]);
    assert_eq!(remembered(&index, "a/b/c"), Some(state(8, &["new"])));
    index.commit_state("root").unwrap();
    assert_eq!(existing(&index).len(), 5, "a removal works once");
}

#[test]
fn large_directories_come_back_whole_and_leave_nothing_behind() {
    let index = index();
    let names: Vec<String> = (0..5000).map(|n| format!("{n:05}")).collect();
    let large = state(1, &names.iter().map(String::as_str).collect::<Vec<_>>());
    stage(&index, "d", &large);
    index.commit_state("root").unwrap();
    assert_eq!(remembered(&index, "d"), Some(large));
    stage(&index, "d", &state(2, &["one"]));
    index.commit_state("root").unwrap();
    let parts: i64 = index
        .read("counting", |c| Ok(c.query_row("SELECT count(*) FROM part", [], |row| row.get(0))?))
        .unwrap();
    assert_eq!(parts, 1);
}

#[test]
fn damaged_rows_are_as_good_as_none() {
    for damage in [
        "UPDATE part SET files = x'00112233445566778899' WHERE no & 1 = 0",
        "UPDATE part SET files = x''",
        "DELETE FROM part WHERE no & 1 = 1",
        "DELETE FROM part",
        "UPDATE directory SET parts = 9",
        "UPDATE directory SET parts = -1",
        "UPDATE directory SET no = 9223372036854775807",
    ] {
        let index = index();
        let names: Vec<String> = (0..1500).map(|n| format!("{n:05}")).collect();
        stage(&index, "d", &state(1, &names.iter().map(String::as_str).collect::<Vec<_>>()));
        index.commit_state("root").unwrap();
        index.write("damaging", |tx| Ok(tx.execute_batch(damage)?)).unwrap();
        assert_eq!(remembered(&index, "d"), None, "{damage}");
    }
}

#[test]
fn state_is_kept_in_the_file_and_staged_state_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Index::open(directory.path(), REPOSITORY).unwrap().0;
    let index = open();
    for n in 0..600 {
        stage(&index, &format!("x{n}"), &state(2, &["f"]));
    }
    index.commit_state("root").unwrap();
    drop(index);
    let index = open();
    assert!((0..600).all(|n| remembered(&index, &format!("x{n}")) == Some(state(2, &["f"]))));
}
