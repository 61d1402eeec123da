//! The day the server is gone, with nothing but the program, a place elsewhere, and the recovery sheet; and what leads
//! from place to place: a copy under other keys.

use std::fs;

use crate::buckets;
use crate::copy::Site;
use crate::servers::{ENCODED_PASSWORD, FtpServer, Make, PASSWORD, RcloneServer};

/// What stands behind `word` at the begin of a line of the sheet.
fn on_the_sheet(sheet: &str, word: &str) -> String {
    let line =
        sheet.lines().find(|line| line.starts_with(word)).unwrap_or_else(|| panic!("{sheet}"));
    line[word.len()..].trim().to_owned()
}

fn ok(site: &Site, args: &[&str]) -> String {
    let (code, text) = site.run("fresh", args, None);
    assert_eq!(code, Some(0), "{args:?}: {text}");
    text
}

/// Two nights, a sheet, a fire; then all of it back from `location`, which becomes a copy again. The sheet prints no
/// password of the place: `place` is where it is on the new machine, secret included.
fn drill(location: String, place: &str) {
    let site = Site::new(location);
    site.init();
    let sheet =
        ["-c", "config.toml", "key", "sheet", "sheet.txt", "--recovery-key", "--kdf-memory", "8"];
    let (code, text) = site.run("state", &sheet, None);
    assert_eq!(code, Some(0), "{text}");
    for content in ["first", "second"] {
        site.write("src/a.txt", content);
        let (code, text) = site.night();
        assert_eq!(code, Some(0), "{text}");
    }
    site.burn();
    let sheet = fs::read_to_string(site.path("sheet.txt")).unwrap();
    fs::remove_file(site.path("password")).unwrap();
    site.write("typed", &on_the_sheet(&sheet, "recovery key"));
    let printed = on_the_sheet(&sheet, "off");
    let bare =
        |text: &str| text.split(['?', '@']).find(|part| part.contains('/')).unwrap().len() > 3;
    assert!(bare(&printed) && sheet.contains(&format!("--repo {printed} latest:app")), "{sheet}");

    let with = ["--password-file", "typed"];
    let listed = ok(&site, &[&["snapshots", "--repo", place][..], &with].concat());
    assert_eq!(listed.matches("complete").count(), 2, "{listed}");
    ok(&site, &[&["restore", "--repo", place, "latest:app", "back"][..], &with].concat());
    assert_eq!(fs::read(site.path("back/a.txt")).unwrap(), b"second");
    assert_eq!(fs::read(site.path("back/big")).unwrap(), vec![7; 300_000]);
    // The place may be gone tomorrow: everything comes home, and the place stays a copy.
    let adopt = ["init", "--adopt", place, "--repo", "repo", "--write-config", "new.toml"];
    let text = ok(&site, &[&adopt[..], &with].concat());
    assert!(text.contains("2 snapshots"), "{text}");
    ok(&site, &[&["check", "--read-data", "--repo", "repo"][..], &with].concat());
    let config = fs::read_to_string(site.path("new.toml")).unwrap();
    assert!(config.contains(".copy.adopted]"), "{config}");
    // And once more, without a copy of the copy.
    let in_place = ["init", "--adopt", place, "--in-place", "--write-config", "other.toml"];
    ok(&site, &[&in_place[..], &with].concat());
    let text = ok(&site, &[&["backup", "src", "--repo", place][..], &with].concat());
    assert!(text.contains("snapshot"), "{text}");
    let listed = ok(&site, &[&["snapshots", "--repo", place][..], &with].concat());
    assert_eq!(listed.matches("complete").count(), 3, "{listed}");
}

#[test]
fn all_comes_back_from_ftps() {
    let server = FtpServer::start(Make::Vsftpd);
    let location = server.location("copy") + "&retries=1";
    let secret = server.directory().join("secret");
    fs::write(&secret, PASSWORD).unwrap();
    let place = location.replace(&format!(":{ENCODED_PASSWORD}"), "");
    let place = format!("{place}&password-file={}", secret.display());
    drill(location, &place);
}

#[test]
fn all_comes_back_from_a_bucket() {
    let server = RcloneServer::start("s3");
    let location = buckets::location(&server, "bucket/copy");
    drill(location.clone(), &location);
}

/// Under other keys, with packs of another size: from here to a place elsewhere, and from there to another one.
#[test]
fn other_keys_at_another_place() {
    let (ftp, s3) = (FtpServer::start(Make::Vsftpd), RcloneServer::start("s3"));
    let site = Site::new(ftp.location("copy"));
    site.init();
    let (code, text) = site.night();
    assert_eq!(code, Some(0), "{text}");
    site.write("other", "another password");
    let with = ["--to-password-file", "other"];
    let mut from: Option<String> = None;
    for (place, cost) in [
        (ftp.location("other"), "--kdf-memory"),
        (buckets::location(&s3, "bucket/other"), "--kdf-memory"),
    ] {
        site.write("place", &place);
        let variables = [("PLACE", place.as_str())];
        let made = [&[
            "init",
            "--repo",
            "env:PLACE",
            "--password-file",
            "other",
            cost,
            "8",
            "--pack-size",
            "4MiB",
        ][..]]
        .concat();
        let (code, text) = site.run_with(&variables, "state", &made);
        assert_eq!(code, Some(0), "{text}");
        // The first time from the repository here, then from the copy on the FTP server.
        let mut copy = vec!["-c", "config.toml", "copy", "--re-encrypt", "--to", "env:PLACE"];
        copy.extend(with);
        if let Some(name) = &from {
            copy.extend(["--from", name]);
        }
        let (code, text) = site.run_with(&variables, "state", &copy);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("1 snapshot copied"), "{text}");
        let (code, text) = site.run_with(&variables, "state", &copy);
        assert!(code == Some(0) && text.contains("0 snapshots copied"), "{text}");
        let back = site.path(if from.is_some() { "two" } else { "one" }).display().to_string();
        let restore =
            ["restore", "--repo", "env:PLACE", "latest:app", &back, "--password-file", "other"];
        let (code, text) = site.run_with(&variables, "state", &restore);
        assert_eq!(code, Some(0), "{text}");
        assert_eq!(fs::read(format!("{back}/big")).unwrap(), vec![7; 300_000]);
        let old = ["snapshots", "--repo", "env:PLACE", "--password-file", "password"];
        assert_ne!(
            site.run_with(&variables, "state", &old).0,
            Some(0),
            "the old password opens it"
        );
        from = Some("off".to_owned());
    }
}
