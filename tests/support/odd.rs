//! A tree with everything that archives and other programs' repositories handle differently.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, mknodat};

use super::{noise, text};

/// Everything plain tar cannot hold, and everything it can.
pub fn fill_odd(root: &Path) {
    super::fill_small(root);
    let long = root.join("d".repeat(120)).join("e".repeat(200));
    fs::create_dir_all(&long).unwrap();
    fs::write(long.join("f".repeat(250)), b"deep").unwrap();
    symlink("t".repeat(180), root.join("long-link")).unwrap();
    fs::write(root.join("été — 診断"), b"utf-8").unwrap();
    fs::write(root.join(OsString::from_vec(b"not\xffutf8\n".to_vec())), b"bytes").unwrap();
    symlink(OsString::from_vec(b"\xfe".to_vec()), root.join("odd-link")).unwrap();
    fs::write(root.join("first"), text(5, 70_000)).unwrap();
    fs::hard_link(root.join("first"), root.join("log/second")).unwrap();
    symlink("x", root.join("link-a")).unwrap();
    fs::hard_link(root.join("link-a"), root.join("link-b")).unwrap();
    for (name, kind, device) in [
        ("fifo", FileType::Fifo, 0),
        ("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
    ] {
        mknodat(CWD, root.join(name), kind, Mode::from_raw_mode(0o640), device).unwrap();
    }
    // Holes in front, between and behind, and nothing but a hole.
    let sparse = |name: &str, size: u64, parts: &[(u64, usize)]| {
        let file = fs::File::create(root.join(name)).unwrap();
        file.set_len(size).unwrap();
        for (offset, len) in parts {
            std::os::unix::fs::FileExt::write_all_at(&file, &noise(*offset, *len), *offset)
                .unwrap();
        }
    };
    sparse("sparse", 9_000_000, &[(1 << 20, 5000), (5 << 20, 70_000)]);
    sparse("hole", 3_000_000, &[]);
    sparse("data-at-end", 2_000_000 + 4096, &[(2_000_000, 4096)]);
    fs::write(root.join("old"), b"before 1970").unwrap();
    let set = |name: &str, seconds: i64, nanos: i64| {
        let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanos };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, root.join(name), &times, rustix::fs::AtFlags::empty()).unwrap();
    };
    set("old", -100, 250_000_000);
    set("nothing", 1_700_000_000, 123_456_789);
    fs::set_permissions(root.join("upload.bin"), fs::Permissions::from_mode(0o4751)).unwrap();
    std::os::unix::fs::chown(root.join("upload.bin"), Some(3_000_000), Some(12)).unwrap();
    fs::set_permissions(root.join("upload.bin"), fs::Permissions::from_mode(0o4751)).unwrap();
    let name = OsString::from("user.a=b%c");
    lsetxattr(root.join("compose.yml"), &name, b"\0=\n\xff", XattrFlags::empty()).unwrap();
    let acl = Command::new("setfacl").args(["-m", "u:7:rwx"]).arg(root.join("empty")).status();
    assert!(acl.expect("setfacl").success());
}
