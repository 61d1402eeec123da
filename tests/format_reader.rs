//! `docs/format.md` is true: a reader written from it alone, in another language, restores what we
//! write.
//!
//! Needs a Python with the modules of `tests/reader/requirements.txt`, named by
//! `MRS_BACKUP_TEST_PYTHON` or in `target/venv` (`make test` makes it).

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use mrs_backup::store::{LocalStore, Store};
use support::{assert_same_tree, backup_of, init, noise, text, tree};

fn python() -> PathBuf {
    let python = std::env::var_os("MRS_BACKUP_TEST_PYTHON").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python"),
        PathBuf::from,
    );
    assert!(
        python.exists(),
        "{} is missing: run `make test`, which installs it, or set MRS_BACKUP_TEST_PYTHON",
        python.display()
    );
    python
}

fn reader(arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reader/reader.py");
    let output = Command::new(python()).arg(script).args(arguments).output().expect("python runs");
    assert!(
        output.status.success(),
        "reader {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

fn fill(data: &Path) {
    support::fill_small(data);
    // Large enough for lists of lists: more chunks than one list holds.
    let mut large = text(77, 3_000_000);
    large.extend(noise(5, 9_000_000));
    fs::write(data.join("large.bin"), large).expect("a file");
    fs::write(data.join("large.sql"), text(78, 40_000_000)).expect("a file");
    let sparse = fs::File::create(data.join("sparse")).expect("a file");
    sparse.set_len(5_000_000).expect("a length");
    std::os::unix::fs::FileExt::write_at(&sparse, b"island", 3_000_000).expect("written");
    fs::hard_link(data.join("compose.yml"), data.join("zz-second-name")).expect("a link");
    fs::set_permissions(data.join("empty"), fs::Permissions::from_mode(0o1770)).expect("a mode");
    let many = data.join("many");
    fs::create_dir(&many).expect("a directory");
    for number in 0..3000 {
        fs::write(many.join(format!("entry-{number}")), text(number, 40)).expect("a file");
    }
}

#[test]
fn the_primitives_fit_published_vectors() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reader/selftest.py");
    let output = Command::new(python()).arg(script).output().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_stranger_restores_from_the_document_alone() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    fill(&data);
    let place = home.path().join("repo");
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(place.clone()));
    let repository = init(&store, None).expect("a repository");
    let first = backup_of(&repository, &data).expect("a backup");
    let before = tree(&data);
    fs::write(data.join("tomorrow.log"), text(79, 500_000)).expect("a file");
    // Rows changed all over it: the second snapshot holds deltas.
    fs::write(data.join("large.sql"), support::changed_rows(&text(78, 40_000_000), 300))
        .expect("a file");
    fs::remove_file(data.join("upload.bin")).expect("removed");
    let second = backup_of(&repository, &data).expect("a backup");
    let secret = home.path().join("password");
    fs::write(&secret, "secret\n").expect("a file");
    let (repo, secret) = (place.display().to_string(), secret.display().to_string());

    let listed = reader(&[&repo, "--password-file", &secret, "list"]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let checked = reader(&[&repo, "--password-file", &secret, "check"]);
    let counts: serde_json::Value = serde_json::from_str(&checked).expect("JSON");
    assert!(counts["deltas"].as_u64().expect("a number") > 50, "{checked}");
    for (verb, id, expected) in [
        ("restore", first.commit.id, &before),
        ("restore", second.commit.id, &tree(&data)),
        ("restore-from-packs", second.commit.id, &tree(&data)),
    ] {
        let target = home.path().join(format!("{verb}-{}", id.short()));
        let (id, place) = (id.to_hex(), target.display().to_string());
        reader(&[&repo, "--password-file", &secret, verb, &id, &place]);
        assert_same_tree(expected, &tree(&target.join("data")));
    }
}
