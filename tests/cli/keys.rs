//! Ways into a repository.

use super::Place;

#[test]
fn keys_come_and_go() {
    let place = Place::ready();
    place.write("second", b"second password");
    place.write("third", b"third password");
    place.write("key", &[42; 64]);
    let cheap = "--kdf-memory=8";
    place.ok(&["key", "add", "--new-password-file", "second", "--label", "envelope", cheap]);
    place.ok(&["key", "add", "--new-key-file", "key"]);
    let ran = place.ok(&["key", "list"]);
    assert!(ran.stdout.contains("envelope") && ran.stdout.contains("key file"), "{ran:?}");
    let opens = |option: &str, file: &str| {
        place.run_bare(&["snapshots", "--repo", "repo", option, file]).code == Some(0)
    };
    assert!(opens("--password-file", "second") && opens("--key-file", "key"));

    let keys = place.ok(&["key", "list", "--json"]).lines();
    let id = |label: &str| {
        let line = keys.iter().find(|line| line["label"] == label).expect(label);
        line["id"].as_str().unwrap()[..8].to_owned()
    };
    place.run(&["key", "remove", &id("test")]).fails(2, "opened the repository", "another");
    place.run(&["key", "remove", "00000000"]).fails(2, "no key begins", "key list");
    place.ok(&["key", "remove", &id("envelope")]);
    assert!(!opens("--password-file", "second"));

    place.run(&["key", "passwd"]).fails(2, "no new password", "--new-password-file");
    place.ok(&["key", "passwd", "--new-password-file", "third", cheap]);
    assert!(opens("--password-file", "third") && !opens("--password-file", "password"));

    let third = ["--repo", "repo", "--password-file", "third"];
    let rotate = ["key", "rotate", "--new-password-file", "second", cheap];
    place.run_bare(&[&rotate[..], &third].concat()).fails(2, "removed", "--yes");
    let ran = place.run_bare(&[&rotate[..], &third, &["--yes"]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(opens("--password-file", "second") && !opens("--key-file", "key"));
}
