//! JSON lines, for programs.

use super::Place;

#[test]
fn every_line_is_an_object_and_the_last_one_a_summary() {
    let place = Place::ready();
    place.backup();
    let ls = ["ls", "latest", "-r"];
    let all: [&[&str]; 11] = [
        &["backup", "src"],
        &["snapshots"],
        &ls,
        &["find", "a.txt"],
        &["diff", "latest", "latest"],
        &["stats"],
        &["check"],
        &["key", "list"],
        &["index", "rebuild"],
        &["restore", "latest", "out"],
        &["config", "schema"],
    ];
    for args in all {
        let ran = place.run(&[args, &["--json"]].concat());
        assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
        let lines = ran.lines();
        let run_id = lines[0]["run_id"].as_str().unwrap();
        assert!(!run_id.is_empty());
        for line in &lines {
            assert_eq!((&line["v"], &line["run_id"]), (&1.into(), &run_id.into()), "{args:?}");
            assert!(line["type"].is_string(), "{line}");
        }
        assert_eq!(ran.summary()["result"], "ok", "{args:?}");
        assert_eq!(lines.iter().filter(|line| line["type"] == "summary").count(), 1);
    }
}

#[test]
fn failures_are_objects_too() {
    let place = Place::ready();
    place.write("wrong", b"wrong");
    let wrong = ["snapshots", "--json", "--repo", "repo", "--password-file", "wrong"];
    let no_config = ["run", "--json", "-c", "missing.toml"];
    for (ran, code) in [
        (place.run(&["ls", "latest", "--json"]), 1),
        (place.run(&["ls", "--json"]), 2),
        (place.run(&["dump", "latest", "x", "--json"]), 2),
        (place.run_bare(&["snapshots", "--json", "--repo", "none"]), 10),
        (place.run_bare(&wrong), 12),
        (place.run_bare(&no_config), 2),
    ] {
        assert_eq!(ran.code, Some(code), "{ran:?}");
        let summary = ran.summary();
        assert_eq!((&summary["result"], &summary["exit_code"]), (&"failed".into(), &code.into()));
        let lines = ran.lines();
        let error = lines.iter().find(|line| line["type"] == "error").expect("an error");
        assert!(!error["message"].as_str().unwrap().is_empty(), "{error}");
    }
    let ran = place.run(&["backup", "src", "missing", "--json"]);
    assert_eq!(ran.summary()["result"], "incomplete");
    assert!(ran.lines().iter().any(|line| line["type"] == "item"), "{ran:?}");
}

#[test]
fn secrets_are_nowhere() {
    let place = Place::ready();
    let mut command = place.bare();
    command.env("MRS_BACKUP_PASSWORD", super::PASSWORD);
    command.args(["--repo", "repo", "--json", "-v", "--password-command"]);
    // A command with a secret in it is not told either.
    let ran = super::Ran::of(command.args(["echo hunter2", "snapshots"]));
    assert_eq!(ran.code, Some(12), "{ran:?}");
    let ran = place.run(&["backup", "src", "--json", "-v"]);
    for text in [&ran.stdout, &ran.stderr] {
        assert!(!text.contains(super::PASSWORD) && !text.contains("hunter2"), "{text}");
    }
    let help = place.run_bare(&["--help"]).stdout;
    assert!(!help.contains("--password "), "no password is ever an argument");
    let mut command = place.command();
    command.args(["backup", "--command", "x", "--", "sh", "-c", "cat /proc/$PPID/cmdline"]);
    let ran = super::Ran::of(&mut command);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let arguments = place.ok(&["dump", "latest", "x"]).stdout;
    assert!(arguments.contains("backup") && !arguments.contains(super::PASSWORD), "{arguments:?}");
}
