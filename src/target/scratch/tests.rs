use super::*;

fn base() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::Builder::new().prefix("mrs-scratch-").tempdir_in("/tmp").unwrap();
    let base = directory.path().join("b");
    (directory, base)
}

#[test]
fn a_place_is_removed_with_its_lock() {
    let (_directory, base) = base();
    let place = Place::make(&base, "0123", None).unwrap();
    assert!(base.join("test-restore-0123/data").is_dir());
    assert!(base.join("test-restore-0123.lock").is_file());
    assert_eq!(destroy_dead(&base).unwrap(), [] as [PathBuf; 0], "its maker lives");
    drop(place);
    assert_eq!(fs::read_dir(&base).unwrap().count(), 0);
}

#[test]
fn only_what_the_dead_left_is_destroyed() {
    let (_directory, base) = base();
    let living = Place::make(&base, "living", None).unwrap();
    let mut dead = Place::make(&base, "dead", None).unwrap();
    fs::write(dead.directory.join("data/row"), "secret").unwrap();
    // As the kernel does it when the maker is killed: the lock goes, the files stay.
    dead.lock = File::open("/dev/null").unwrap();
    std::mem::forget(dead);
    fs::create_dir(base.join("test-restore-unknown")).unwrap();
    fs::write(base.join("notes.lock"), "").unwrap();
    assert_eq!(destroy_dead(&base).unwrap(), [base.join("test-restore-dead")]);
    let mut left: Vec<String> = fs::read_dir(&base)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    left.sort();
    let wanted =
        ["notes.lock", "test-restore-living", "test-restore-living.lock", "test-restore-unknown"];
    assert_eq!(left, wanted);
    drop(living);
}

#[test]
fn a_directory_others_may_write_to_is_refused() {
    let (_directory, base) = base();
    fs::create_dir(&base).unwrap();
    fs::set_permissions(&base, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let error = Place::make(&base, "x", None).unwrap_err().to_string();
    assert!(error.contains("others may write"), "{error}");
    let long = base.with_file_name("x".repeat(90));
    let error = Place::make(&long, "x", None).unwrap_err().to_string();
    assert!(error.contains("too long"), "{error}");
}

#[test]
fn programs_have_to_be_new_enough() {
    let error = find_programs(&[PathBuf::from("/nowhere")], 999).unwrap_err().to_string();
    assert!(error.contains("999") && error.contains("/nowhere"), "{error}");
}
