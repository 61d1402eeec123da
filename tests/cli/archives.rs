//! `dump --archive tar`: what the system's `tar` makes of it is what was backed up.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use super::Place;

fn extract(archive: &Path, target: &Path) {
    fs::create_dir_all(target).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--xattrs", "--xattrs-include=*", "-xpf"]).arg(archive).arg("-C").arg(target);
    let output = tar.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.is_empty(), "{told}");
}

/// Everything `find` and `getfattr` tell of a tree.
fn told(root: &Path) -> String {
    let mut find = Command::new("find");
    find.args([".", "-printf", "%P %y %m %U %G %T@ %l %n %s\n"]).current_dir(root);
    let found = String::from_utf8_lossy(&find.output().unwrap().stdout).into_owned();
    // Sizes of directories are the file system's.
    let mut lines: Vec<String> = found
        .lines()
        .map(|line| match line.split(' ').nth(1) {
            Some("d") => line.rsplit_once(' ').unwrap().0.to_owned(),
            _ => line.to_owned(),
        })
        .filter(|line| !line.starts_with(" d"))
        .collect();
    lines.sort();
    lines.join("\n")
}

#[test]
fn tar_reads_what_was_backed_up() {
    let place = Place::ready();
    let deep = format!("src/{0}/{0}", "long-name-".repeat(15));
    fs::create_dir_all(place.path(&deep)).unwrap();
    fs::write(place.path(&format!("{deep}/{}", "é".repeat(90))), b"deep").unwrap();
    symlink("x".repeat(150), place.path("src/far")).unwrap();
    fs::hard_link(place.path("src/a.txt"), place.path("src/sub/again.txt")).unwrap();
    let sparse = File::create(place.path("src/sparse")).unwrap();
    sparse.set_len(1_000_000).unwrap();
    sparse.write_all_at(b"in the middle", 500_000).unwrap();
    File::create(place.path("src/empty")).unwrap();
    for (name, kind) in [("src/pipe", "p"), ("src/null", "c")] {
        let mut mknod = Command::new("mknod");
        mknod.arg(place.path(name)).arg(kind);
        if kind == "c" {
            mknod.args(["1", "3"]);
        }
        assert!(mknod.status().unwrap().success());
    }
    std::os::unix::fs::chown(place.path("src/sub/b.txt"), Some(3_000_000), Some(123)).unwrap();
    assert!(
        Command::new("touch")
            .args(["-d", "1969-07-20 20:17:40.25 UTC"])
            .arg(place.path("src/empty"))
            .status()
            .unwrap()
            .success()
    );
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(place.path("src/sub/b.txt"), "user.note", b"a = b\n", flags).unwrap();
    place.backup();
    place.ok(&["dump", "latest", "--archive", "tar", "-o", "all.tar"]);
    extract(&place.path("all.tar"), &place.path("out"));
    let root = place.path("out").join(place.tree("").trim_matches('/'));
    let mut diff = Command::new("diff");
    // A pipe cannot be read, and a device has no end.
    diff.args(["-r", "--no-dereference", "-x", "pipe", "-x", "null"]);
    assert!(diff.arg(place.path("src")).arg(&root).status().unwrap().success());
    assert_eq!(told(&place.path("src")), told(&root));
    let mut value = [0; 16];
    let len = rustix::fs::getxattr(root.join("sub/b.txt"), "user.note", &mut value[..]).unwrap();
    assert_eq!(&value[..len], b"a = b\n");
    let inode = |name: &str| fs::metadata(root.join(name)).unwrap().ino();
    assert_eq!(inode("a.txt"), inode("sub/again.txt"));
    // A part of it: the further name has the content there. Written to a pipe.
    let mut dump = place.command();
    dump.args(["dump", "latest", &place.tree("/sub"), "--archive", "tar"]).stdout(Stdio::piped());
    let mut dump = dump.spawn().unwrap();
    fs::create_dir(place.path("part")).unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-xC").arg(place.path("part")).stdin(dump.stdout.take().unwrap());
    assert!(tar.status().unwrap().success() && dump.wait().unwrap().success());
    let sub = place.path("part").join(place.tree("/sub").trim_matches('/'));
    assert_eq!(fs::read(sub.join("again.txt")).unwrap(), b"alpha\n");
    assert_eq!(fs::read(sub.join("b.txt")).unwrap(), vec![b'b'; 300_000]);
    place.run(&["dump", "latest", "none", "--archive", "tar", "-o", "x"]).fails(
        1,
        "not in the snapshot",
        "",
    );
    assert!(!place.path("x").exists());
    place.run(&["dump", "latest"]).fails(2, "PATH", "");
    place.run(&["dump", "latest", "--archive", "zip"]).fails(2, "zip", "");
}
