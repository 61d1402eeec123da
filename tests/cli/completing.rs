//! Completion of names in a real bash: of instances, and of snapshots without a password.

use std::fs;
use std::process::Command;

use super::{PROGRAM, Place, Ran};

fn nights() -> Place {
    let place = Place::new();
    let root = place.dir.path().display();
    let config = format!(
        "version = 1\n[defaults]\nkey = {{ file = \"{root}/password\" }}\n\
         [instance.mrs-production]\nhome = \"{root}/src\"\nrepository = \"{root}/repo\"\npaths = [\"a.txt\"]\n\
         [instance.school]\nhome = \"{root}/src\"\nrepository = \"{root}/repo-school\"\npaths = [\"sub\"]\n"
    );
    place.write("config.toml", config.as_bytes());
    for arguments in
        [&["init", "mrs-production", "--kdf-memory", "8"][..], &["run", "mrs-production"]]
    {
        let ran = place.run_bare(&[&["-c", "config.toml"], arguments].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    let ran = place.run_bare(&["completions", "bash"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    place.write("completion.bash", ran.stdout.as_bytes());
    place
}

/// What bash would offer behind these words, the last of which is being typed.
fn offered(place: &Place, words: &[&str]) -> Vec<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "source completion.bash; COMP_WORDS=('{PROGRAM}' {}); COMP_CWORD={}; \
         f=$(complete -p mrs-backup | sed 's/.*-F \\([^ ]*\\).*/\\1/'); \
         \"$f\" '{PROGRAM}' '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words.len(),
        words[words.len() - 1],
        if words.len() > 1 { words[words.len() - 2] } else { "mrs-backup" },
    );
    let mut bash = Command::new("bash");
    let ran = Ran::of(
        bash.args(["--norc", "-c", &script])
            .current_dir(place.dir.path())
            .env("MRS_BACKUP_CONFIG", place.path("config.toml"))
            .env("MRS_BACKUP_STATE_DIR", place.path("state")),
    );
    assert_eq!(ran.stderr, "", "{words:?}");
    ran.stdout.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect()
}

#[test]
fn names_of_instances_and_snapshots_are_offered() {
    let place = nights();
    let contains = |words: &[&str], name: &str| {
        let found = offered(&place, words);
        assert!(found.iter().any(|one| one == name), "{words:?}: {found:?}");
    };
    contains(&["-i", ""], "school");
    contains(&["run", "mrs"], "mrs-production");
    contains(&["restore", ""], "latest");
    contains(&["res"], "restore");
    contains(&["restore", "--dr"], "--dry-run");
    let ran = place.run_bare(&["-c", "config.toml", "-i", "mrs-production", "snapshots", "--json"]);
    let lines = ran.lines();
    let snapshot = lines.iter().find(|line| line["type"] == "snapshot").expect("a snapshot");
    let short = snapshot["short_id"].as_str().expect("an id");
    contains(&["restore", &short[..3]], short);
    contains(&["ls", "-i", "mrs-production", ""], short);
    assert!(!offered(&place, &["ls", "-i", "school", ""]).iter().any(|one| one == short));
    assert_eq!(offered(&place, &["-i", "sch"]), ["school"]);
    // Without a password, a repository, or a configuration.
    fs::remove_file(place.path("password")).unwrap();
    contains(&["dump", ""], short);
    fs::write(place.path("config.toml"), "broken").unwrap();
    assert!(!offered(&place, &["dump", ""]).iter().any(|one| one == short));
}

#[test]
fn other_shells_ask_for_the_same_names() {
    let place = Place::new();
    for (shell, words) in [
        (
            "zsh",
            &["':snapshot -- Snapshot:_mrs_backup_snapshots'", "NAME:_mrs_backup_instances'"][..],
        ),
        ("fish", &["-s i -l instance -x -a '(mrs-backup completions --values instances"]),
        ("elvish", &["mrs-backup"]),
    ] {
        let ran = place.run_bare(&["completions", shell]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        for word in words {
            assert!(ran.stdout.contains(word), "{shell}: {word}");
        }
    }
}
