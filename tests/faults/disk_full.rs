//! Full disks, on a file system that really is full.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use mrs_backup::store::{LocalStore, Store};

use crate::{Rig, Tmpfs, support, text, tool};

const PAGE: u64 = 4096;

fn used_pages(disk: &Path) -> u64 {
    let stat = rustix::fs::statvfs(disk).expect("a file system");
    (stat.f_blocks - stat.f_bfree) * stat.f_frsize / PAGE
}

/// A night with so many pages left, from none to enough: it runs out of room at every write, and within
/// each. What was stored stays readable meanwhile, and the next night needs nothing but room.
#[test]
fn wherever_a_night_runs_out_of_room_nothing_is_lost() {
    let home = tempfile::tempdir().expect("a directory");
    let [data, original, disk] = ["data", "original", "disk"].map(|name| home.path().join(name));
    fs::create_dir_all(data.join("sub")).expect("a directory");
    fs::write(data.join("sub/old"), support::text(1, 60_000)).expect("a file");
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(original.clone()));
    let repository = support::init(&store, None).expect("a repository");
    support::backup_of(&repository, &data).expect("the first night");
    drop(repository);
    fs::write(data.join("today"), support::noise(9, 150_000)).expect("a file");

    let mounted = Tmpfs::mount(disk.clone(), "16m");
    let place = disk.join("repo");
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(place.clone()));
    let open = || support::open(&store, None).expect("an open repository");
    let begin = || {
        let _ = fs::remove_dir_all(&place);
        tool("cp", &["-a", &text(&original), &text(&place)]);
        used_pages(&disk)
    };
    let before = begin();
    support::backup_of(&open(), &data).expect("a night with room");
    let needed = used_pages(&disk) - before;
    assert!(needed > 36, "{needed} pages");
    // Few pages: sessions and directories. Many: index object and snapshot. Between them: packs.
    let rooms = (0..10).chain((10..needed - 10).step_by(8)).chain(needed - 10..needed + 4);
    let mut failed = 0;
    for room in rooms {
        mounted.resize("16m");
        let used = begin();
        mounted.resize(&((used + room) * PAGE).to_string());
        let outcome = support::backup_of(&open(), &data);
        let told = format!("{room} of {needed} pages");
        if let Err(error) = &outcome {
            failed += 1;
            let error = error.to_string();
            assert!(
                error.contains("No space left") && error.contains("/disk/repo"),
                "{told}: {error}"
            );
        }
        let left = crate::files(&place);
        assert!(left.iter().all(|path| path.extension().is_none()), "{told}: {left:?}");
        let repository = open();
        support::assert_sound(&repository, home.path(), &told);
        mounted.resize("16m");
        let next = support::backup_of(&repository, &data).expect("the next night");
        assert_eq!(next.snapshot.counter, 2 + u64::from(outcome.is_ok()), "{told}");
        let target = home.path().join("restored");
        support::restore_into(&repository, next.commit.id, &target);
        support::assert_same_tree(&support::tree(&data), &support::tree(&target.join("data")));
        fs::remove_dir_all(&target).expect("removed");
    }
    assert!(failed >= 15, "only {failed} nights ran out of room");
}

#[test]
fn a_full_repository_says_so_and_works_again_with_more_room() {
    let rig = Rig::bare();
    let disk = Tmpfs::mount(rig.path("disk"), "4m");
    let repo = rig.path("disk/repo");
    rig.init(&repo);
    let run = |args: &[&str]| {
        let output = rig.command(args).env("MRS_BACKUP_REPOSITORY", &repo).output();
        crate::Ran::of(output.expect("the program runs"))
    };
    let data = text(&rig.path("data"));
    fs::write(rig.path("data/first"), support::noise(1, 500_000)).expect("a file");
    run(&["backup", &data]).expect(0);
    fs::write(rig.path("data/much"), support::noise(2, 9_000_000)).expect("a file");
    for _ in 0..2 {
        run(&["backup", &data])
            .expect(1)
            .says(&["cannot write", "/disk/repo", "No space left"])
            .mentions(&["free some room"]);
    }
    let left = crate::files(&repo);
    assert!(left.iter().all(|path| path.extension().is_none()), "temporary files: {left:?}");
    // Of what is there already nothing is lost, and looking needs no room.
    run(&["snapshots"]).expect(0).mentions(&["1 snapshot"]);
    run(&["check", "--read-data"]).expect(0);
    run(&["restore", "latest", &text(&rig.path("restored"))]).expect(0);
    assert!(crate::below(&rig.path("restored"), &rig.path("data/first")).exists());

    disk.resize("64m");
    run(&["backup", &data]).expect(0);
    run(&["check", "--read-data"]).expect(0);
    let target = rig.path("again");
    run(&["restore", "latest", &text(&target), "--verify"]).expect(0);
    let restored = crate::below(&target, &rig.path("data"));
    support::assert_same_tree(&support::tree(&rig.path("data")), &support::tree(&restored));
}

/// A store so full that not even a session can be written.
#[test]
fn no_room_at_all_is_told_as_such() {
    let rig = Rig::bare();
    let disk = Tmpfs::mount(rig.path("disk"), "1m");
    let repo = rig.path("disk/repo");
    rig.init(&repo);
    fs::write(rig.path("data/file"), "x").expect("a file");
    let ballast = rig.path("disk/ballast");
    let _ = fs::write(&ballast, vec![0; 2 << 20]);
    let mut command = rig.command(&["backup", &text(&rig.path("data"))]);
    let output = command.env("MRS_BACKUP_REPOSITORY", &repo).output().expect("the program runs");
    crate::Ran::of(output).expect(1).says(&["/disk/repo", "No space left"]);
    fs::remove_file(ballast).expect("removed");
    let output = command.output().expect("the program runs");
    crate::Ran::of(output).expect(0);
    drop(disk);
}

#[test]
fn a_full_state_directory_says_so_and_nothing_is_lost() {
    let rig = Rig::filled();
    let state = rig.path("small");
    let disk = Tmpfs::mount(state.clone(), "600k");
    let run = |args: &[&str]| {
        let output = rig.command(args).env("MRS_BACKUP_STATE_DIR", &state).output();
        crate::Ran::of(output.expect("the program runs"))
    };
    // So many directories that remembering them needs more than there is.
    let data = rig.path("data");
    for number in 0..1500 {
        let directory = data.join(format!("directory-{number}"));
        fs::create_dir(&directory).expect("a directory");
        fs::write(directory.join("x".repeat(200)), number.to_string()).expect("a file");
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        let file = fs::File::options().write(true).open(directory.join("x".repeat(200)));
        file.expect("a file").set_modified(old).expect("a time");
    }
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let ran = run(&["backup", &text(&data)]).expect(1).says(&["the local index", "/small/"]);
    assert!(ran.err.contains("full"), "{ran:#?}");
    assert!(!ran.err.contains("index rebuild"), "that needs room, too: {ran:#?}");
    // With a full disk from the start, too.
    let _ = fs::write(state.join("ballast"), vec![0; 1 << 20]);
    run(&["backup", &text(&data)]).expect(1).says(&["/small"]);
    rig.run(&["snapshots"]).expect(0).mentions(&["1 snapshot"]);
    rig.assert_clean();
    fs::remove_file(state.join("ballast")).expect("removed");
    disk.resize("64m");
    run(&["backup", &text(&data)]).expect(0);
    rig.assert_restores("latest");
    rig.assert_clean();
}

/// Restoring to a disk that is too small is refused before anything is written.
#[test]
fn a_full_target_is_found_before_the_restore() {
    let rig = Rig::empty();
    fs::write(rig.path("data/much"), support::noise(2, 6_000_000)).expect("a file");
    rig.backup();
    let _disk = Tmpfs::mount(rig.path("disk"), "4m");
    let target = text(&rig.path("disk/target"));
    rig.run(&["restore", "latest", &target]).expect(1).says(&["/disk/target", "bytes free"]);
    assert!(!rig.path("disk/target").exists());
}
