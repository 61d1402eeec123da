//! One bit, or one object in the place of another, seen through the program.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Rig, flip, object_name, support, text};

/// Several packs of data, and one of trees.
fn rig() -> Rig {
    let rig = Rig::empty();
    support::fill_small(&rig.path("data"));
    for number in 0..4 {
        let bytes = support::noise(40 + number, 700_000);
        fs::write(rig.path(&format!("data/big-{number}")), bytes).expect("a file");
    }
    rig.backup();
    fs::create_dir(rig.path("data/later")).expect("a directory");
    fs::write(rig.path("data/later/file"), support::noise(90, 200_000)).expect("a file");
    rig.backup();
    rig
}

/// Files of the last snapshot whose content came back as it was.
fn restored(rig: &Rig, target: &Path) -> BTreeSet<PathBuf> {
    let data = rig.path("data");
    let found = crate::below(target, &data);
    crate::files(&data)
        .into_iter()
        .filter(|path| {
            let name = path.strip_prefix(&data).expect("below");
            match fs::read(found.join(name)) {
                Ok(bytes) => {
                    assert!(bytes == fs::read(path).expect("a file"), "{name:?} is wrong");
                    true
                }
                Err(_) => false,
            }
        })
        .collect()
}

/// Checks and restores; gives how many of the files came back.
fn judge(rig: &Rig, names: &[&str], is_needed: bool) -> usize {
    fs::remove_dir_all(rig.path("state")).expect("removed");
    rig.run(&["check", "--read-data"]).expect(1).mentions(names);
    let target = rig.path("restored");
    let ran = rig.run(&["restore", "latest", &text(&target)]);
    let all = crate::files(&rig.path("data")).len();
    let good = restored(rig, &target).len();
    if is_needed {
        assert!(matches!(ran.code, Some(1 | 3)), "{names:?}: {ran:#?}");
        assert!(good < all || ran.code == Some(3), "{names:?}: {ran:#?}");
        if ran.code == Some(3) {
            let failed = ran.err.lines().filter(|line| line.starts_with("failed: ")).count();
            assert!(failed > 0, "{names:?}: nothing is named: {ran:#?}");
            let named = crate::files(&rig.path("data")).into_iter().filter(|path| {
                let name = path.strip_prefix("/").expect("absolute").display().to_string();
                ran.err.contains(&name)
            });
            let is_tree = ran.err.contains("failed: tmp") && named.count() >= all - good;
            assert!(is_tree || good + failed <= all + 1, "{names:?}: {ran:#?}");
        }
    }
    let _ = fs::remove_dir_all(&target);
    good
}

#[test]
fn a_flipped_bit_is_found_and_costs_only_what_it_hits() {
    let rig = rig();
    let all = crate::files(&rig.path("data")).len();
    let mut partly = 0;
    for kind in ["packs", "index", "snapshots"] {
        for object in rig.objects(kind) {
            let whole = fs::read(&object).expect("an object");
            flip(&object);
            let good = judge(&rig, &[&object_name(&rig, &object)], kind == "packs");
            partly += usize::from(kind == "packs" && good > 0 && good < all);
            fs::write(&object, whole).expect("an object");
        }
    }
    assert!(partly >= 4, "only {partly} damaged packs left other files whole");
    rig.assert_clean();
    rig.assert_restores("latest");
}

#[test]
fn an_object_in_the_place_of_another_is_found() {
    let rig = rig();
    for kind in ["packs", "index", "snapshots"] {
        let objects = rig.objects(kind);
        assert!(objects.len() >= 2, "{kind}");
        let (first, last) = (&objects[0], &objects[objects.len() - 1]);
        let [one, two] = [first, last].map(|path| fs::read(path).expect("an object"));
        fs::write(first, &two).expect("an object");
        fs::write(last, &one).expect("an object");
        let names = [first, last].map(|path| object_name(&rig, path));
        judge(&rig, &[&names[0], &names[1]], kind == "packs");
        fs::write(first, one).expect("an object");
        fs::write(last, two).expect("an object");
    }
    rig.assert_clean();
}

/// A session and a receipt are no snapshot's business, but a check tells.
#[test]
fn a_damaged_session_is_told_and_blocks_nobody() {
    let rig = Rig::filled();
    let directory = rig.path("repo/sessions").join("ab".repeat(16));
    fs::create_dir_all(&directory).expect("a directory");
    fs::write(directory.join("0"), "garbage").expect("a file");
    rig.run(&["check"]).mentions(&["sessions/abab"]);
    rig.backup();
    rig.assert_restores("latest");
}

/// A file that was stored whole is missing from the target if its pack is gone, and is named.
#[test]
fn a_deleted_pack_is_named_and_the_next_backup_stores_it_again() {
    let rig = rig();
    let pack = rig.objects("packs").remove(0);
    fs::remove_file(&pack).expect("removed");
    rig.run(&["check"]).expect(1).mentions(&[&object_name(&rig, &pack)]);
    let summary = rig.backup();
    assert_ne!(summary["new_bytes"], 0, "what is gone is stored again");
    rig.assert_restores("latest");
}
