use crate::index::{FileState, RowSet, StateWriter};

use super::*;

/// What is remembered of one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DirectoryState {
    generation: i64,
    files: Vec<FileState>,
}

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

fn numbered(count: u32) -> Vec<String> {
    (0..count).map(|n| format!("{n:07}")).collect()
}

fn large_state(generation: i64, count: u32) -> DirectoryState {
    state(generation, &numbered(count).iter().map(String::as_str).collect::<Vec<_>>())
}

fn remembered_of(index: &Index, root: &str, directory: &str) -> Option<DirectoryState> {
    let mut reader = index.read_state(root, directory.as_bytes()).unwrap()?;
    let mut files = Vec::new();
    while let Some(file) = reader.next_file(index).unwrap() {
        files.push(file);
    }
    (!reader.is_damaged()).then_some(DirectoryState { generation: reader.generation, files })
}

fn remembered(index: &Index, directory: &str) -> Option<DirectoryState> {
    remembered_of(index, "root", directory)
}

fn stage_of(index: &Index, root: &str, directory: &str, state: &DirectoryState) {
    let mut writer = StateWriter::new(root, directory.as_bytes());
    state.files.iter().for_each(|file| writer.push(index, file).unwrap());
    writer.finish(index, state.generation).unwrap();
}

fn stage(index: &Index, directory: &str, state: &DirectoryState) {
    stage_of(index, "root", directory, state);
}

fn count(index: &Index, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    index.read("counting", |c| Ok(c.query_row(&sql, [], |row| row.get(0))?)).unwrap()
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
    assert_eq!(remembered_of(&index, "other", "d"), None);
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
    // So long that its first parts are written before it is staged.
    stage(&index, "a", &large_state(2, 100_000));
    let begun = StateWriter::new("root", b"b");
    stage_of(&index, "other", "d", &state(5, &[]));
    drop(begun);
    index.discard_staged("root").unwrap();
    index.commit_state("root").unwrap();
    index.commit_state("other").unwrap();
    assert_eq!(remembered(&index, "x0"), None);
    assert_eq!(remembered(&index, "x299"), None);
    assert_eq!(existing(&index).len(), 7);
    assert_eq!(remembered_of(&index, "other", "d"), Some(state(5, &[])));
}

#[test]
fn directories_that_were_not_met_are_dropped() {
    let index = with_tree();
    stage_of(&index, "other", "a", &state(1, &["f"]));
    index.commit_state("other").unwrap();
    let mut met = RowSet::default();
    for directory in ["", "a", "a.x", "b"] {
        met.insert(index.read_state("root", directory.as_bytes()).unwrap().unwrap().row());
    }
    stage(&index, "a", &state(2, &["g"]));
    stage(&index, "new", &state(2, &["h"]));
    assert_eq!(index.retain_directories("root", &met).unwrap(), 3);
    assert_eq!(index.retain_directories("root", &met).unwrap(), 0);
    assert_eq!(index.retain_directories("nobody", &met).unwrap(), 0);
    index.commit_state("root").unwrap();
    assert_eq!(existing(&index), ["", "a", "a.x", "b"]);
    assert_eq!(remembered(&index, "a"), Some(state(2, &["g"])));
    assert_eq!(remembered(&index, "new"), Some(state(2, &["h"])));
    assert_eq!(remembered_of(&index, "other", "a"), Some(state(1, &["f"])));
    assert_eq!((count(&index, "directory"), count(&index, "part")), (6, 6));
}

#[test]
fn a_directory_of_any_size_takes_bounded_memory() {
    let index = index();
    let files = large_state(1, 200_000).files;
    let mut writer = StateWriter::new("root", b"d");
    for file in &files {
        writer.push(&index, file).unwrap();
        assert!(writer.held_bytes() <= 5 << 20, "{} bytes", writer.held_bytes());
    }
    assert_eq!(remembered(&index, "d"), None, "it counts no sooner than it is whole");
    writer.finish(&index, 1).unwrap();
    index.commit_state("root").unwrap();
    let mut reader = index.read_state("root", b"d").unwrap().unwrap();
    for file in &files {
        assert!(reader.held_files() <= 1024, "{} files", reader.held_files());
        assert_eq!(reader.peek(&index).unwrap(), Some(file));
        assert_eq!(reader.next_file(&index).unwrap().as_ref(), Some(file));
    }
    assert_eq!(reader.next_file(&index).unwrap(), None);
    assert!(!reader.is_damaged());
}

#[test]
fn large_directories_come_back_whole_and_leave_nothing_behind() {
    let index = index();
    let large = large_state(1, 5000);
    stage(&index, "d", &large);
    index.commit_state("root").unwrap();
    assert_eq!(remembered(&index, "d"), Some(large));
    stage(&index, "d", &state(2, &["one"]));
    index.commit_state("root").unwrap();
    assert_eq!((count(&index, "directory"), count(&index, "part")), (1, 1));
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
        stage(&index, "d", &large_state(1, 1500));
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

#[test]
fn what_no_backup_has_used_for_long_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let (index, _) = Index::open(directory.path(), REPOSITORY).unwrap();
    for root in ["gone", "at work"] {
        drop(index.lock_root(root).unwrap().unwrap());
        stage_of(&index, root, "d", &state(1, &["a", "b"]));
        index.commit_state(root).unwrap();
    }
    let at_work = index.lock_root("at work").unwrap().unwrap();
    let day = std::time::Duration::from_hours(24);
    let now = jiff::Timestamp::now();
    assert_eq!(index.drop_idle_roots(now, 90 * day).unwrap(), 0);
    let later = now + 91 * day;
    assert_eq!(index.drop_idle_roots(later, 90 * day).unwrap(), 1);
    assert_eq!(remembered_of(&index, "gone", "d"), None);
    assert!(remembered_of(&index, "at work", "d").is_some(), "somebody reads it");
    assert_eq!(
        (count(&index, "root"), count(&index, "directory"), count(&index, "part")),
        (1, 1, 1)
    );
    drop(at_work);
    // It comes back as if it were new.
    drop(index.lock_root("gone").unwrap().unwrap());
    stage_of(&index, "gone", "d", &state(1, &["a"]));
    index.commit_state("gone").unwrap();
    assert!(remembered_of(&index, "gone", "d").is_some());
}
