//! From the old scripts of a home to a configuration that runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{PASSWORD, Place, Ran, names};

/// A home as the older role left it, with its timers, and a systemctl that writes down what it is told.
fn old_home() -> Place {
    let place = Place::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/old-homes");
    let filled = |text: String| {
        text.replace("@HOME@", &place.text("mrs-production")).replace("@DISK@", &place.text("disk"))
    };
    for directory in ["mrs-production/log", "mrs-production/mrsattachments", "units"] {
        fs::create_dir_all(place.path(directory)).unwrap();
    }
    place.write("mrs-production/log/django.log", b"GET /\n");
    for entry in fs::read_dir(fixtures.join("role")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = filled(fs::read_to_string(&path).unwrap());
        place.write(&format!("mrs-production/{name}"), text.as_bytes());
    }
    for (name, calendar) in [("backup", "*-*-* 23:00:00"), ("prune", "*-*-* 04:00:00")] {
        for kind in ["timer", "service"] {
            let text = filled(fs::read_to_string(fixtures.join("units").join(kind)).unwrap())
                .replace("@NAME@", name)
                .replace("@CALENDAR@", calendar)
                .replace("@COMMAND@", &place.text(&format!("mrs-production/{name}.sh")));
            place.write(&format!("units/mrs-production-{name}.{kind}"), text.as_bytes());
        }
    }
    let log = place.text("systemctl.log");
    place.write("systemctl", format!("#!/bin/sh\necho \"$*\" >>{log}\n").as_bytes());
    fs::set_permissions(place.path("systemctl"), fs::Permissions::from_mode(0o700)).unwrap();
    place
}

fn migrate(place: &Place, more: &[&str]) -> Ran {
    let (config, units) = (place.text("etc/config.toml"), place.text("units"));
    let systemctl = place.text("systemctl");
    let first = ["-c", &config, "migrate", "scripts", "mrs-production", "--units", &units];
    place.run_bare(&[&first[..], &["--systemctl", &systemctl], more].concat())
}

fn calls(place: &Place) -> String {
    fs::read_to_string(place.path("systemctl.log")).unwrap_or_default()
}

#[test]
fn the_plan_changes_nothing_and_tells_no_secret() {
    let place = old_home();
    let before = names(place.dir.path());
    let ran = migrate(&place, &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(names(place.dir.path()), before);
    for words in [
        "[instance.mrs-production]",
        "databases = [\"mrs\"]",
        "would switch off mrs-production-backup.timer",
        "would switch off mrs-production-prune.timer",
        "note: the old script uploaded",
        "nothing was changed; the same command with --apply does it",
    ] {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
    let json = migrate(&place, &["--json"]);
    assert_eq!(json.summary()["instance"], "mrs-production");
    assert_eq!(json.summary()["applied"], false);
    for secret in ["s3cr", "old horse"] {
        let told = format!("{ran:?} {json:?}");
        assert!(!told.contains(secret), "{secret}");
    }
    assert_eq!(calls(&place), "");
}

#[test]
fn applied_it_writes_the_configuration_and_retires_the_old_timers() {
    let place = old_home();
    let ran = migrate(&place, &["--apply", "--keep-timers"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(calls(&place), "", "both run for a while");
    let mode = |name: &str| fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
    for name in ["config.toml", "mrs-production.password", "mrs-production.offsite.password"] {
        assert_eq!(mode(&format!("etc/{name}")), 0o600, "{name}");
    }
    assert_eq!(mode("etc"), 0o700);
    let config = fs::read_to_string(place.path("etc/config.toml")).unwrap();
    assert!(!config.contains("s3cr") && !config.contains("old horse"), "{config}");
    let offsite = fs::read(place.path("etc/mrs-production.offsite.password")).unwrap();
    assert_eq!(offsite, b"s3cr@t");
    let text = place.text("etc/config.toml");
    let ran = place.run_bare(&["-c", &text, "config", "validate"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");

    // The second call finds the instance, and does the rest.
    let ran = migrate(&place, &["--apply"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(fs::read_to_string(place.path("etc/config.toml")).unwrap(), config);
    assert_eq!(
        calls(&place),
        "disable --now mrs-production-backup.timer\ndisable mrs-production-backup.service\n\
         disable --now mrs-production-prune.timer\ndisable mrs-production-prune.service\ndaemon-reload\n"
    );
    assert!(!place.path("units/mrs-production-backup.timer").exists());
    let aside = "mrs-production/backup.sh.before-mrs-backup";
    assert_eq!(mode(aside), 0o600);
    assert!(!place.path("mrs-production/backup.sh").exists());

    // What the old scripts saved is saved, but for the database server, which is not there.
    let ran = place.run_bare(&["-c", &text, "init", "mrs-production", "--kdf-memory", "8"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = place.run_bare(&["-c", &text, "run", "mrs-production", "--skip", "copy"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let ran = place.run_bare(&["-c", &text, "ls", "latest", "-r"]);
    assert!(ran.stdout.contains("log/django.log"), "{ran:?}");
}

#[test]
fn what_is_there_is_not_overwritten() {
    let place = old_home();
    fs::create_dir(place.path("etc")).unwrap();
    place.write("etc/mrs-production.password", PASSWORD.as_bytes());
    migrate(&place, &["--apply"]).fails(2, "something else in it", "move it away");
    assert!(!place.path("etc/config.toml").exists());
    assert_eq!(calls(&place), "");
    fs::remove_file(place.path("etc/mrs-production.password")).unwrap();

    let other = "version = 1\n# a remark\n[instance.other]\nhome = \"/srv/other\"\n";
    place.write("etc/config.toml", other.as_bytes());
    assert_eq!(migrate(&place, &["--apply", "--keep-timers"]).code, Some(0));
    let config = fs::read_to_string(place.path("etc/config.toml")).unwrap();
    assert!(config.starts_with(other), "{config}");
    assert!(config.contains("[instance.mrs-production]"), "{config}");

    let taken = config.replace(&place.text("mrs-production"), "/srv/else");
    place.write("etc/config.toml", taken.as_bytes());
    migrate(&place, &["--apply"]).fails(2, "with another home", "--instance NAME");
    place.write("etc/config.toml", b"version = 1\nbroken\n");
    migrate(&place, &["--apply"]).fails(2, "config.toml:2", "correct the file");
}

#[test]
fn a_home_without_old_scripts_is_told() {
    let place = Place::new();
    let run = |home: &str| place.run_bare(&["-c", "config.toml", "migrate", "scripts", home]);
    run("src").fails(2, "has no old scripts", "by hand");
    run("missing").fails(2, "is not a directory", "backup.sh");
}
