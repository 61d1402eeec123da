//! `mount`: a real mount, read by several at once, compared with what was backed up.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Place;
use crate::postgres::TestServer;

/// A mount at work, at `mnt` of its place.
struct Mount {
    child: Option<Child>,
    path: PathBuf,
}

impl Mount {
    fn start(place: &Place, arguments: &[&str]) -> Self {
        Self::with(place, place.command(), arguments)
    }

    fn with(place: &Place, mut command: Command, arguments: &[&str]) -> Self {
        let path = place.path("mnt");
        fs::create_dir_all(&path).unwrap();
        command.arg("mount").arg(&path).args(arguments).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().expect("it tells when it is mounted").unwrap();
        assert!(line.contains("mounted at"), "{line}");
        Self { child: Some(child), path }
    }

    fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Bytes of memory that it has.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        words[1].parse::<u64>().unwrap() << 10
    }

    fn stop(mut self) {
        let pid = i32::try_from(self.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
        let mut child = self.child.take().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert_eq!(fs::read_dir(&self.path).unwrap().count(), 0, "unmounted");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
        }
    }
}

fn same_trees(one: &Path, other: &Path) {
    let mut diff = Command::new("diff");
    let output = diff.args(["-r", "--no-dereference"]).arg(one).arg(other).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_snapshot_is_there_as_it_was() {
    let place = Place::ready();
    let noise: Vec<u8> =
        (0..3_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    place.write("src/large.bin", &noise);
    fs::create_dir_all(place.path("src/many")).unwrap();
    for number in 0..6000 {
        fs::write(place.path(&format!("src/many/{number}")), format!("{number}\n")).unwrap();
    }
    symlink("../a.txt", place.path("src/sub/link")).unwrap();
    fs::hard_link(place.path("src/a.txt"), place.path("src/sub/again.txt")).unwrap();
    let sparse = File::create(place.path("src/sparse")).unwrap();
    sparse.set_len(5_000_000).unwrap();
    sparse.write_all_at(b"in the middle", 2_000_000).unwrap();
    rustix::fs::setxattr(
        place.path("src/a.txt"),
        "user.note",
        b"kept",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    place.backup();
    let mount = Mount::start(&place, &["latest"]);
    let root = mount.path.join(place.tree("").trim_matches('/'));
    same_trees(&place.path("src"), &root);
    for name in ["a.txt", "large.bin", "sub", "sparse", "many/17", "sub/again.txt"] {
        let (is, was) = (
            fs::metadata(root.join(name)).unwrap(),
            fs::metadata(place.path("src").join(name)).unwrap(),
        );
        assert_eq!(
            (is.mode(), is.uid(), is.mtime(), is.mtime_nsec()),
            (was.mode(), was.uid(), was.mtime(), was.mtime_nsec()),
            "{name}"
        );
        assert!(is.is_dir() || is.len() == was.len(), "{name}");
    }
    let mut value = [0; 16];
    let len = rustix::fs::getxattr(root.join("a.txt"), "user.note", &mut value[..]).unwrap();
    assert_eq!(&value[..len], b"kept");
    assert_eq!(fs::read_link(root.join("sub/link")).unwrap(), Path::new("../a.txt"));
    // From anywhere, forwards and backwards, by several at once.
    std::thread::scope(|scope| {
        for reader in 0..4_u64 {
            let (root, noise) = (&root, &noise);
            scope.spawn(move || {
                let mut file = File::open(root.join("large.bin")).unwrap();
                for step in 0..40_u64 {
                    let at =
                        (step * 7_919_777 + reader * 1_299_709) % (noise.len() as u64 - 70_000);
                    file.seek(SeekFrom::Start(at)).unwrap();
                    let mut bytes = vec![0; 65_536];
                    file.read_exact(&mut bytes).unwrap();
                    let at = at as usize;
                    assert!(bytes == noise[at..at + bytes.len()], "at {at}");
                }
            });
        }
    });
    assert!(
        fs::write(root.join("a.txt"), b"x").is_err()
            && fs::remove_file(root.join("a.txt")).is_err()
    );
    assert!(fs::metadata(root.join("many/none")).is_err());
    mount.stop();
}

#[test]
fn all_snapshots_are_there_by_instance_and_time() {
    let place = Place::ready();
    place.ok(&["backup", "src", "--instance", "one"]);
    place.write("src/a.txt", b"changed\n");
    place.ok(&["backup", "src", "--instance", "one"]);
    place.ok(&["backup", "src", "--instance", "two"]);
    let mount = Mount::start(&place, &[]);
    let names = |path: &Path| -> Vec<String> {
        let entries = fs::read_dir(path).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&mount.path), ["one", "two"]);
    let times = names(&mount.path.join("one"));
    assert_eq!(times.len(), 3, "two and the link: {times:?}");
    let tree = place.tree("/a.txt");
    let read =
        |time: &str| fs::read_to_string(mount.path.join("one").join(time).join(&tree)).unwrap();
    assert_eq!((read(&times[0]).as_str(), read("latest").as_str()), ("alpha\n", "changed\n"));
    assert_eq!(fs::read_link(mount.path.join("one/latest")).unwrap(), Path::new(&times[1]));
    // Unmounted by somebody else it ends by itself.
    let mut mount = mount;
    assert!(Command::new("umount").arg(&mount.path).status().unwrap().success());
    assert_eq!(mount.child.take().unwrap().wait().unwrap().code(), Some(0));
    let mount = Mount::start(&place, &["--instance", "two"]);
    assert_eq!(names(&mount.path), ["two"]);
    mount.stop();
    place.run(&["mount", "nowhere"]).fails(2, "is no directory", "mkdir");
    place.run(&["mount", "src"]).fails(2, "src is not empty", "an empty directory");
    place.run(&["mount", "latest", "src"]).fails(
        2,
        "is no directory",
        "mrs-backup mount src latest",
    );
    place.run(&["mount", "mnt", "--instance", "three"]).fails(
        2,
        "no snapshots to mount",
        "snapshots",
    );
}

#[test]
fn a_large_directory_is_listed_at_once_in_little_memory() {
    let place = Place::ready();
    const FILES: usize = 60_000;
    fs::create_dir_all(place.path("src/many")).unwrap();
    for number in 0..FILES {
        File::create(place.path(&format!("src/many/a-rather-long-name-of-a-file-{number:06}")))
            .unwrap();
    }
    place.backup();
    let mount = Mount::start(&place, &["latest"]);
    let directory = mount.path.join(place.tree("/many"));
    let before = mount.memory();
    let begun = Instant::now();
    let first = fs::read_dir(&directory).unwrap().next().unwrap().unwrap();
    let took = begun.elapsed();
    assert!(first.file_name().to_str().unwrap().starts_with("a-rather"), "{first:?}");
    assert!(took < Duration::from_secs(2), "the first names after {took:?}");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), FILES);
    let grown = mount.memory().saturating_sub(before) >> 20;
    println!("first names after {took:?}; {FILES} names took {grown} MiB more");
    assert!(grown < 150, "{grown} MiB more");
    // `ls -l`: the kernel holds on to every one of them, and nothing is kept for it here.
    let listed = mount.memory();
    let begun = Instant::now();
    let sizes =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    assert_eq!(sizes.sum::<u64>(), 0);
    let kept = mount.memory().saturating_sub(listed) >> 20;
    println!("{FILES} looked at took {:?} and {kept} MiB more", begun.elapsed());
    assert!(kept < 8, "{kept} MiB more for {FILES} entries the kernel knows");
    mount.stop();
}

#[test]
fn databases_are_files_for_pg_restore() {
    let server = TestServer::start();
    server.psql("postgres", "CREATE DATABASE mrs");
    server.psql("mrs", "CREATE TABLE bills AS SELECT n AS id, repeat(md5(n::text), 8) AS text FROM generate_series(1, 20000) n");
    let place = Place::new();
    let root = place.dir.path().display();
    let config = format!(
        "version = 1\n[instance.mrs]\nhome = \"{root}/src\"\nrepository = \"{root}/repo\"\n\
         key = {{ file = \"{root}/password\" }}\npaths = [\"a.txt\"]\n[instance.mrs.postgres]\n\
         host = \"{}\"\nport = {}\nuser = \"postgres\"\ndatabases = [\"mrs\"]\nbin_dir = \"{}\"\n",
        server.socket_dir().display(),
        server.port(),
        server.bin_dir().display(),
    );
    place.write("config.toml", config.as_bytes());
    let run = |args: &[&str]| place.run_bare(&[&["-c", "config.toml"], args].concat());
    assert_eq!(run(&["init", "--kdf-memory", "8"]).code, Some(0));
    assert_eq!(run(&["run"]).code, Some(0));
    assert_eq!(run(&["dump", "latest", "--database", "mrs", "-o", "whole.dump"]).code, Some(0));
    let mut command = place.bare();
    command.args(["-c", "config.toml"]);
    let mount = Mount::with(&place, command, &[]);
    let dump = mount.path.join("mrs/latest/.databases/mrs.dump");
    let bytes = fs::read(&dump).unwrap();
    assert!(bytes == fs::read(place.path("whole.dump")).unwrap(), "{} bytes", bytes.len());
    // Begun again, and twice at once.
    let mut one = File::open(&dump).unwrap();
    let mut other = File::open(&dump).unwrap();
    let (mut first, mut second) = (vec![0; 100_000], vec![0; 50_000]);
    one.read_exact(&mut first).unwrap();
    other.read_exact(&mut second).unwrap();
    assert!(first == bytes[..100_000] && second == bytes[..50_000]);
    one.seek(SeekFrom::Start(10)).unwrap();
    one.read_exact(&mut second).unwrap();
    assert!(second == bytes[10..50_010]);
    drop((one, other));
    server.psql("postgres", "CREATE DATABASE again");
    let mut restore = server.command("pg_restore");
    restore.args(["-d", "again"]).stdin(File::open(&dump).unwrap());
    assert!(restore.status().unwrap().success());
    assert_eq!(server.psql("again", "SELECT count(*) FROM bills").trim(), "20000");
    mount.stop();
}
