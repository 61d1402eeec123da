//! What is not a repository of ours, or not all there, is refused: one line that names object and
//! place, the documented exit code, and nothing written.

use std::fs;
use std::path::Path;

use crate::{Rig, contents, flip, object_name, text};

/// One way in which a place is wrong, the exit code, and what the error must name.
struct Case {
    what: &'static str,
    spoil: fn(&Rig),
    code: i32,
    names: &'static [&'static str],
}

fn config(rig: &Rig) -> std::path::PathBuf {
    rig.path("repo/config")
}

fn change_config(rig: &Rig, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(config(rig)).expect("a config");
    change(&mut bytes);
    fs::write(config(rig), bytes).expect("a config");
}

fn change_slot(rig: &Rig, change: impl FnOnce(&mut Vec<u8>)) {
    let slot = &rig.objects("keys")[0];
    let mut bytes = fs::read(slot).expect("a slot");
    change(&mut bytes);
    fs::write(slot, bytes).expect("a slot");
}

fn other(rig: &Rig) -> std::path::PathBuf {
    rig.init(&rig.path("other"));
    rig.path("other")
}

fn only_file(directory: &Path) -> std::path::PathBuf {
    crate::files(directory).pop().expect("a file")
}

const CASES: &[Case] = &[
    Case {
        what: "missing",
        spoil: |rig| fs::remove_dir_all(rig.path("repo")).expect("removed"),
        code: 10,
        names: &["there is no repository at", "/repo", "nothing is there"],
    },
    Case {
        what: "an empty directory",
        spoil: |rig| {
            fs::remove_dir_all(rig.path("repo")).expect("removed");
            fs::create_dir(rig.path("repo")).expect("made");
        },
        code: 10,
        names: &["there is no repository at", "/repo", "empty"],
    },
    Case {
        what: "a file",
        spoil: |rig| {
            fs::remove_dir_all(rig.path("repo")).expect("removed");
            fs::write(rig.path("repo"), "not a directory").expect("written");
        },
        code: 10,
        names: &["there is no repository at", "/repo", "Not a directory"],
    },
    Case {
        what: "a link to nothing",
        spoil: |rig| {
            fs::remove_dir_all(rig.path("repo")).expect("removed");
            std::os::unix::fs::symlink("gone", rig.path("repo")).expect("linked");
        },
        code: 10,
        names: &["there is no repository at", "/repo", "symbolic link"],
    },
    Case {
        what: "no config",
        spoil: |rig| fs::remove_file(config(rig)).expect("removed"),
        code: 10,
        names: &["/repo", "`config` is missing"],
    },
    Case {
        what: "another format version",
        spoil: |rig| change_config(rig, |bytes| bytes[8] = 2),
        code: 1,
        names: &["/repo", "version 2"],
    },
    Case {
        what: "an empty config",
        spoil: |rig| change_config(rig, Vec::clear),
        code: 1,
        names: &["config at ", "/repo", "too short"],
    },
    Case {
        what: "half a config",
        spoil: |rig| change_config(rig, |bytes| bytes.truncate(bytes.len() / 2)),
        code: 1,
        names: &["config at ", "/repo", "length"],
    },
    Case {
        what: "a config that is garbage",
        spoil: |rig| change_config(rig, |bytes| bytes.fill(0xa5)),
        code: 1,
        names: &["config at ", "/repo", "does not begin"],
    },
    Case {
        what: "a config of very many bytes",
        spoil: |rig| change_config(rig, |bytes| bytes.resize(200_000, 0)),
        code: 1,
        names: &["config at ", "/repo", "200000 bytes"],
    },
    Case {
        what: "a flipped bit in the config",
        spoil: |rig| change_config(rig, |bytes| *bytes.last_mut().expect("a byte") ^= 1),
        code: 1,
        names: &["config at ", "/repo", "changed by somebody"],
    },
    Case {
        what: "the config of another repository",
        spoil: |rig| {
            let other = other(rig);
            fs::copy(other.join("config"), config(rig)).expect("copied");
        },
        code: 1,
        names: &["/repo", "keys/", "another repository"],
    },
    Case {
        what: "the keys of another repository",
        spoil: |rig| {
            fs::remove_file(only_file(&rig.path("repo/keys"))).expect("removed");
            let slot = only_file(&other(rig).join("keys"));
            let name = slot.file_name().expect("a name");
            fs::copy(&slot, rig.path("repo/keys").join(name)).expect("copied");
        },
        code: 1,
        names: &["/repo", "keys/", "another repository"],
    },
    Case {
        what: "no key slot",
        spoil: |rig| fs::remove_file(only_file(&rig.path("repo/keys"))).expect("removed"),
        code: 1,
        names: &["/repo", "no usable key slot", "there is none"],
    },
    Case {
        what: "an empty key slot",
        spoil: |rig| change_slot(rig, Vec::clear),
        code: 1,
        names: &["/repo", "no usable key slot", "keys/"],
    },
    Case {
        what: "half a key slot",
        spoil: |rig| change_slot(rig, |bytes| bytes.truncate(bytes.len() / 2)),
        code: 1,
        names: &["/repo", "no usable key slot", "keys/"],
    },
    Case {
        what: "a key slot that is garbage",
        spoil: |rig| change_slot(rig, |bytes| bytes.fill(0xff)),
        code: 1,
        names: &["/repo", "no usable key slot", "keys/"],
    },
    Case {
        what: "a directory in the place of the config",
        spoil: |rig| {
            fs::remove_file(config(rig)).expect("removed");
            fs::create_dir(config(rig)).expect("made");
        },
        code: 10,
        names: &["/repo", "config"],
    },
];

#[test]
fn what_is_no_whole_repository_is_refused_and_left_alone() {
    for case in CASES {
        let rig = Rig::filled();
        (case.spoil)(&rig);
        let before = contents(&rig.path("repo"));
        let existed = rig.path("repo").symlink_metadata().is_ok();
        let data = text(&rig.path("data"));
        for args in [&["backup", &data][..], &["snapshots"], &["check"]] {
            println!("{}: {args:?}", case.what);
            rig.run(args).expect(case.code).says(case.names);
        }
        assert!(before == contents(&rig.path("repo")), "{}: something was written", case.what);
        assert_eq!(existed, rig.path("repo").symlink_metadata().is_ok(), "{}", case.what);
    }
}

/// `init` must not "repair" what merely lost its config.
#[test]
fn init_leaves_a_damaged_repository_alone() {
    for case in CASES.iter().filter(|case| !["missing", "an empty directory"].contains(&case.what))
    {
        let rig = Rig::filled();
        (case.spoil)(&rig);
        let before = contents(&rig.path("repo"));
        println!("{}", case.what);
        let ran = rig.run(&["init", "--kdf-memory", "8"]);
        assert_ne!(ran.code, Some(0), "{}: {ran:#?}", case.what);
        let ran = ran.says(&["/repo"]);
        assert!(before == contents(&rig.path("repo")), "{}: {ran:#?}", case.what);
    }
}

#[test]
fn a_damaged_index_object_is_named_and_what_it_said_is_stored_again() {
    let rig = Rig::filled();
    let object = rig.objects("index").pop().expect("an index object");
    let name = object_name(&rig, &object);
    let damages: [fn(&mut Vec<u8>); 3] =
        [Vec::clear, |bytes| bytes.truncate(bytes.len() / 2), |bytes| bytes.fill(7)];
    let whole = fs::read(&object).expect("an object");
    for damage in damages {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(&object, bytes).expect("an object");
        fs::remove_dir_all(rig.path("state")).expect("removed");
        rig.run(&["check"]).expect(1).mentions(&[&name]);
        let target = text(&rig.path("nowhere"));
        let ran = rig.run(&["restore", "latest", &target]);
        assert!(matches!(ran.code, Some(1 | 3)), "{ran:#?}");
        ran.mentions(&[&name]);
    }
    rig.backup();
    rig.assert_restores("latest");
    rig.run(&["check"]).expect(1).mentions(&[&name]);
    // Removing it is asked for by name.
    rig.run(&["index", "rebuild", "--from-packs"]).expect(1).mentions(&[&name]);
    assert!(object.exists());
    rig.run(&["index", "rebuild", "--from-packs", "--delete-damaged"]);
    assert!(!object.exists());
    rig.assert_clean();
}

#[test]
fn a_damaged_snapshot_is_named_and_hides_no_other() {
    let rig = Rig::filled();
    let first = rig.objects("snapshots").pop().expect("a snapshot");
    rig.backup();
    flip(&first);
    let name = object_name(&rig, &first);
    let id = name.rsplit('/').next().expect("an id");
    let ran = rig.run(&["snapshots"]).expect(0).mentions(&["1 snapshot", &name]);
    assert!(!ran.out.contains(&id[..8]), "{ran:#?}");
    rig.assert_restores("latest");
    let target = text(&rig.path("nowhere"));
    rig.run(&["restore", id, &target]).expect(1).says(&[id]).mentions(&[&name]);
    assert!(!rig.path("nowhere").exists());
}

#[test]
fn a_damaged_pack_costs_only_what_is_in_it() {
    let rig = Rig::filled();
    fs::remove_dir_all(rig.path("state")).expect("removed");
    let packs = rig.objects("packs");
    assert!(packs.len() >= 2, "{packs:?}");
    for pack in packs {
        let whole = fs::read(&pack).expect("a pack");
        for damaged in [Vec::new(), whole[..whole.len() / 2].to_vec(), vec![9; whole.len()]] {
            fs::write(&pack, damaged).expect("a pack");
            let name = object_name(&rig, &pack);
            let target = rig.path("restored");
            let ran = rig.run(&["restore", "latest", &text(&target)]);
            assert!(matches!(ran.code, Some(1 | 3)), "{name}: {ran:#?}");
            let _ = fs::remove_dir_all(&target);
            rig.run(&["check"]).mentions(&[&name]);
        }
        fs::write(&pack, whole).expect("a pack");
    }
    rig.assert_restores("latest");
    rig.assert_clean();
}
