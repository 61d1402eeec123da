//! A server whose disk gets full.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::site::{Site, assert_same};
use crate::support::postgres::{TestServer, installations, run};

/// A file system of `mebibytes` at a directory, for as long as this lives.
struct SmallDisk(PathBuf, #[expect(dead_code, reason = "removed with it")] tempfile::TempDir);

impl SmallDisk {
    fn new(mebibytes: u32) -> Self {
        let place = tempfile::Builder::new().prefix("mrs-full-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let path = place.path().join("disk");
        fs::create_dir(&path).unwrap();
        let options = format!("size={mebibytes}m,mode=0755");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path);
        run(&mut command);
        Self(path, place)
    }

    fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    /// Others write until so much is free: what fits is written, piece by piece.
    fn fill(&self, left: u64) {
        let mut file = fs::File::create(self.filler()).unwrap();
        for size in [256 << 10, 4 << 10] {
            let piece = vec![0; size];
            while self.free() > left && file.write_all(&piece).is_ok() {}
        }
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// They are gone.
    fn relieve(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_server_without_room_refuses_and_one_that_gets_full_keeps_the_live_database() {
    let disk = SmallDisk::new(420);
    {
        let server = TestServer::start_on(&installations()[0], &disk.0);
        let site = Site::on(server);
        site.server.psql("postgres", "CREATE DATABASE app");
        crate::site::fill(&site);
        site.sql(
            "CREATE TABLE public.large AS SELECT g, repeat(md5(g::text), 20) AS a \
             FROM generate_series(1, 30000) g",
        );
        site.backup();
        let before = site.contents("app");
        // A database that was made just now is written out by the first checkpoint only, and takes room then.
        site.sql("CHECKPOINT");
        // Known beforehand: nothing is begun.
        disk.fill(20 << 20);
        site.restore(&[]).fails(1, "bytes free, but database `app` needs");
        assert_eq!(site.databases(), ["app"]);
        disk.relieve();
        // Found out on the way.
        let args = ["restore", "latest", "--database", "app", "--yes", "--json"];
        let mut child = site.spawn(&args);
        let pid = rustix::process::Pid::from_child(&child);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let is_filled = lines.any(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            let is_it = line["type"] == "progress" && line["step"] == "definitions";
            if is_it {
                let signal = |signal| rustix::process::kill_process(pid, signal).unwrap();
                signal(rustix::process::Signal::STOP);
                disk.fill(4 << 20);
                signal(rustix::process::Signal::CONT);
            }
            is_it
        });
        assert!(is_filled);
        let rest: Vec<String> = lines.map(|line| line.unwrap()).collect();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr} {rest:?}");
        assert!(stderr.contains("could not extend file"), "{stderr}");
        assert!(stderr.contains("database `app` is as it was"), "{stderr}");
        // Still full: the server has not fallen over, and what was half made is gone.
        assert_eq!(site.databases(), ["app"]);
        assert_same(&site.contents("app"), &before);
        disk.relieve();
        assert_eq!(site.restore(&[]).code, Some(0), "with room it works");
        assert_eq!(site.databases().len(), 2);
    }
    drop(disk);
}

#[test]
fn a_backup_of_a_server_whose_disk_is_full_is_told_and_harms_nothing() {
    let disk = SmallDisk::new(200);
    {
        let site = Site::on(TestServer::start_on(&installations()[0], &disk.0));
        site.server.psql("postgres", "CREATE DATABASE app");
        crate::site::fill(&site);
        site.sql("CHECKPOINT");
        let before = site.contents("app");
        disk.fill(0);
        let ran = site.run(&["run", "--json"]);
        // To let other sessions see what one sees, the server writes a small file. The roles are there.
        assert_eq!(ran.code, Some(3), "{ran:?}");
        let reason = ran.summary()["incomplete"][0].to_string();
        assert!(reason.contains("export the snapshot"), "{reason}");
        assert!(reason.contains("No space left on device"), "{reason}");
        // A night that lacks something drops nothing.
        let steps = ran.summary()["steps"].as_array().unwrap().clone();
        let forget = steps.iter().find(|step| step["step"] == "forget").unwrap();
        assert_eq!(forget["result"], "not-tried", "{forget}");
        site.restore(&[]).fails(2, "has no database");
        assert_same(&site.contents("app"), &before);
        disk.relieve();
        site.backup();
    }
    drop(disk);
}
