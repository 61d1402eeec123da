//! Random edits, night after night, against a plain copy: every snapshot restores what was there.

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use mrs_backup::event::StopFlag;
use mrs_backup::ops::backup::backup;
use mrs_backup::store::{MemoryStore, ObjectName, Store};
use proptest::prelude::*;
use support::{assert_same_tree, backup_of, init, plan_for, restore_into, silent, tree};

/// One edit of the tree.
#[derive(Debug, Clone)]
enum Edit {
    Write { file: u8, seed: u64, len: usize, is_noise: bool },
    Append { file: u8, seed: u64, len: usize },
    Insert { file: u8, at: usize, len: usize },
    Remove { file: u8 },
    Rename { from: u8, to: u8 },
    MakeDirectory { directory: u8 },
    RemoveDirectory { directory: u8 },
    Link { file: u8, to: u8 },
    HardLink { file: u8, to: u8 },
    Mode { file: u8, mode: u32 },
}

fn name(file: u8) -> String {
    match file % 3 {
        0 => format!("f{}", file % 12),
        1 => format!("d{}/f{file}", file % 4),
        _ => format!("d{}/sub/f{file}", file % 4),
    }
}

fn edits() -> impl Strategy<Value = Edit> {
    let file = 0u8..24;
    let len = prop_oneof![Just(0usize), 1..2000usize, 30_000..70_000usize, 200_000..600_000usize];
    prop_oneof![
        4 => (file.clone(), any::<u64>(), len.clone(), any::<bool>())
            .prop_map(|(file, seed, len, is_noise)| Edit::Write { file, seed, len, is_noise }),
        2 => (file.clone(), any::<u64>(), len).prop_map(|(file, seed, len)| Edit::Append { file, seed, len }),
        2 => (file.clone(), 0..200_000usize, 1..50usize)
            .prop_map(|(file, at, len)| Edit::Insert { file, at, len }),
        2 => file.clone().prop_map(|file| Edit::Remove { file }),
        1 => (file.clone(), file.clone()).prop_map(|(from, to)| Edit::Rename { from, to }),
        1 => (0u8..8).prop_map(|directory| Edit::MakeDirectory { directory }),
        1 => (0u8..8).prop_map(|directory| Edit::RemoveDirectory { directory }),
        1 => (file.clone(), file.clone()).prop_map(|(file, to)| Edit::Link { file, to }),
        1 => (file.clone(), file.clone()).prop_map(|(file, to)| Edit::HardLink { file, to }),
        1 => (file, 0o400u32..0o7777).prop_map(|(file, mode)| Edit::Mode { file, mode }),
    ]
}

fn apply(root: &Path, edit: &Edit) {
    let place = |file: u8| {
        let path = root.join(name(file));
        if let Some(parent) = path.parent() {
            let _ = fs::create_dir_all(parent);
        }
        path
    };
    // Edits that do not fit the tree as it is (no such file, a link in the way) change nothing.
    match edit {
        Edit::Write { file, seed, len, is_noise } => {
            let path = place(*file);
            let _ = fs::remove_file(&path);
            let bytes =
                if *is_noise { support::noise(*seed, *len) } else { support::text(*seed, *len) };
            let _ = fs::write(path, bytes);
        }
        Edit::Append { file, seed, len } => {
            let path = place(*file);
            if let Ok(mut bytes) = fs::read(&path) {
                bytes.extend(support::text(*seed, *len));
                let _ = fs::write(path, bytes);
            }
        }
        Edit::Insert { file, at, len } => {
            let path = place(*file);
            if let Ok(mut bytes) = fs::read(&path) {
                let at = (*at).min(bytes.len());
                bytes.splice(at..at, support::noise(7, *len));
                let _ = fs::write(path, bytes);
            }
        }
        Edit::Remove { file } => {
            let _ = fs::remove_file(place(*file));
        }
        Edit::Rename { from, to } => {
            let _ = fs::rename(place(*from), place(*to));
        }
        Edit::MakeDirectory { directory } => {
            let _ = fs::create_dir_all(root.join(format!("d{directory}/empty")));
        }
        Edit::RemoveDirectory { directory } => {
            let _ = fs::remove_dir_all(root.join(format!("d{directory}")));
        }
        Edit::Link { file, to } => {
            let _ = std::os::unix::fs::symlink(name(*to), place(*file));
        }
        Edit::HardLink { file, to } => {
            let _ = fs::hard_link(place(*to), place(*file));
        }
        Edit::Mode { file, mode } => {
            use std::os::unix::fs::PermissionsExt;
            let path = place(*file);
            if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
                let _ = fs::set_permissions(path, fs::Permissions::from_mode(*mode));
            }
        }
    }
}

/// A twentieth of the cases that others try, as each is the life of a repository: a dozen, or what `PROPTEST_CASES` says.
fn configuration() -> ProptestConfig {
    let mut configuration = ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::default() };
    configuration.cases = (configuration.cases / 20).max(1);
    configuration
}

proptest! {
    #![proptest_config(configuration())]

    #[test]
    fn every_night_restores_as_it_was(nights in prop::collection::vec(prop::collection::vec(edits(), 1..12), 1..5)) {
        let home = tempfile::tempdir().expect("a directory");
        let data = home.path().join("data");
        fs::create_dir(&data).expect("a directory");
        let state = home.path().join("state");
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let repository = init(&store, Some(&state)).expect("a repository");
        let mut history = Vec::new();
        for night in &nights {
            for edit in night {
                apply(&data, edit);
            }
            let outcome = backup_of(&repository, &data).expect("a backup");
            prop_assert!(outcome.snapshot.is_complete, "{:?}", outcome.incomplete());
            history.push((outcome.commit.id, tree(&data)));
        }
        for (number, (id, expected)) in history.iter().enumerate() {
            let target = home.path().join(format!("restored-{number}"));
            restore_into(&repository, *id, &target);
            assert_same_tree(expected, &tree(&target.join("data")));
        }
    }
}

#[test]
fn an_unchanged_night_reads_no_file_and_stores_a_snapshot_only() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    support::fill_small(&data);
    for name in ["again", "log/again"] {
        fs::hard_link(data.join("upload.bin"), data.join(name)).expect("a link");
    }
    // Files changed within the last two seconds are read again: make these old.
    for (path, _) in tree(&data) {
        let path = data.join(path);
        if path.is_file() && !path.is_symlink() {
            let file = fs::File::options().write(true).open(&path).expect("a file");
            let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
            file.set_modified(old).expect("a time");
        }
    }
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let memory = Arc::new(MemoryStore::new());
    let store: Arc<dyn Store> = Arc::clone(&memory) as _;
    let repository = init(&store, Some(&home.path().join("state"))).expect("a repository");
    // As a whole path is backed up: below directories that exist only in the tree.
    let night = || {
        let mut plan = plan_for(&data);
        plan.files[0].tree_path = b"srv/app/data".to_vec();
        backup(&repository, plan, &StopFlag::new(), &silent()).expect("a backup")
    };
    let first = night();
    assert_eq!(first.counts.unchanged_files, 0);
    let before = memory.objects();
    // The time of the run is in whole seconds there.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let second = night();
    assert_eq!(second.counts.unchanged_files, second.counts.files);
    assert_eq!(second.stats.new_bytes, 0, "nothing new, not even a directory");
    let after = memory.objects();
    let new: Vec<_> = after.keys().filter(|name| !before.contains_key(name)).collect();
    assert_eq!(new, [&ObjectName::Snapshot(second.commit.id)]);
    assert!(before.keys().all(|name| after.contains_key(name)), "and nothing is gone");
    // Another of its names is the first now.
    fs::remove_file(data.join("again")).expect("removed");
    let third = night();
    assert_eq!(third.counts.unchanged_files + 1, third.counts.files);
    let target = home.path().join("restored");
    restore_into(&repository, third.commit.id, &target);
    let restored = target.join("srv/app/data");
    assert_same_tree(&tree(&data), &tree(&restored));
    let inode = |name: &str| {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(restored.join(name)).expect("a file").ino()
    };
    assert_eq!(inode("log/again"), inode("upload.bin"));
}
