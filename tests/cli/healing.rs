//! What is damaged or missing here is read from a copy, and stored anew.

use std::fs;
use std::path::PathBuf;

use super::nights::{configured, ok, run, write_config};
use super::{Place, names};

fn copied() -> Place {
    let place = configured("");
    let lines = format!("[instance.mrs.copy.cellar]\nlocation = \"{}\"", place.text("cellar"));
    write_config(&place, &lines);
    ok(&place, &["run"]);
    place
}

fn packs(place: &Place) -> Vec<PathBuf> {
    names(&place.path("repo/packs")).into_iter().filter(|path| path.is_file()).collect()
}

fn without_copy(place: &Place) {
    fs::rename(place.path("cellar"), place.path("cellar-away")).unwrap();
}

fn restored(place: &Place, target: &str) -> bool {
    let back = place.text(target);
    let ran = run(place, &["restore", "latest", &back]);
    let is_back = |name: &str| {
        fs::read(place.path(&format!("{target}/{name}"))).ok()
            == fs::read(place.path(&format!("src/{name}"))).ok()
    };
    ran.code == Some(0) && is_back("a.txt") && is_back("sub/b.txt")
}

#[test]
fn a_restore_goes_on_from_the_copy_and_heals() {
    for act in [
        |path: &PathBuf| fs::remove_file(path).unwrap(),
        |path: &PathBuf| {
            let mut bytes = fs::read(path).unwrap();
            bytes[40] ^= 1;
            fs::write(path, bytes).unwrap();
        },
    ] {
        let place = copied();
        packs(&place).iter().for_each(act);
        let back = place.text("back");
        let ran = run(&place, &["restore", "latest", &back, "--json"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(fs::read(place.path("back/a.txt")).unwrap(), b"alpha\n");
        let healed = &ran.summary()["healed"]["report"];
        assert_eq!((&healed["lost_chunks"], &healed["healed_chunks"]), (&0.into(), &0.into()));
        assert!(healed["salvaged_chunks"].as_u64() > Some(0), "{ran:?}");
        // Now it stands by itself.
        without_copy(&place);
        assert!(restored(&place, "again"));
    }
}

#[test]
fn without_a_copy_nothing_is_made_up() {
    let place = copied();
    without_copy(&place);
    packs(&place).iter().for_each(|path| fs::remove_file(path).unwrap());
    assert!(!restored(&place, "back"));
}

#[test]
fn a_dump_reads_from_the_copy() {
    let place = copied();
    packs(&place).iter().for_each(|path| fs::remove_file(path).unwrap());
    let ran = ok(&place, &["dump", "latest", "a.txt"]);
    assert_eq!(ran.stdout, "alpha\n");
    assert!(ran.stderr.contains("what a copy has of it is used"), "{ran:?}");
    assert!(ran.stderr.contains("stored anew"), "{ran:?}");
    without_copy(&place);
    assert_eq!(ok(&place, &["dump", "latest", "a.txt"]).stdout, "alpha\n");
}

#[test]
fn a_check_tells_the_damage_and_mends_it() {
    let place = copied();
    fs::remove_file(&packs(&place)[0]).unwrap();
    let ran = run(&place, &["check", "--read-data", "--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ran.summary()["healed"]["report"]["lost_chunks"], 0, "{ran:?}");
    without_copy(&place);
    assert!(restored(&place, "back"));
    let ran = run(&place, &["check", "--read-data", "--json"]);
    assert_eq!(ran.summary()["errors"], 0, "{ran:?}");
}

#[test]
fn a_copy_that_is_read_by_its_place_is_not_written_to() {
    let place = copied();
    let in_cellar = names(&place.path("cellar/packs"));
    let pack = in_cellar.iter().find(|path| path.is_file()).unwrap();
    fs::remove_file(pack).unwrap();
    let before = names(&place.path("cellar"));
    let cellar = place.text("cellar");
    let ran = run(&place, &["check", "--instance", "mrs", "--repo", &cellar]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(names(&place.path("cellar")), before);
}
