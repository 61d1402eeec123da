//! Repositories written by somebody who has the keys and means harm, and targets prepared by somebody
//! who waits for a restore: nothing is ever written outside the target, and the program says why.

#[path = "../src/ops/testing.rs"]
#[expect(dead_code, reason = "some of it is for the unit tests only")]
mod testing;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use mrs_backup::crypto::SystemRandom;
use mrs_backup::crypto::slot::KdfCost;
use mrs_backup::id::ChunkId;
use mrs_backup::pack::PackClass;
use mrs_backup::repository::{
    Environment, Grouping, Ingest, InitOptions, Repository, StreamBuilder,
};
use mrs_backup::snapshot::{ChunkRef, Extent, Node, NodeKind, StreamRef, encode_node};
use mrs_backup::store::LocalStore;
use testing::{backup_with, store_content};

/// A repository, a directory that must stay as it is, and a target next to it.
struct Scene {
    home: tempfile::TempDir,
    repository: Repository,
    counter: std::cell::Cell<u64>,
}

#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Scene {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        fs::write(home.path().join("key"), [7; 32]).expect("a key");
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(home.path().join("key"), mode).expect("a mode");
        fs::create_dir(home.path().join("outside")).expect("a directory");
        fs::write(home.path().join("outside/secret"), "secret").expect("a file");
        let environment = Environment {
            clock: Arc::new(mrs_backup::clock::SystemClock),
            random: Arc::new(SystemRandom),
            host: "host".to_owned(),
            state_dir: None,
        };
        let cost = KdfCost::default();
        let options = InitOptions {
            cost,
            label: String::new(),
            pack_len: Some(1 << 20),
            ..InitOptions::default()
        };
        let store = Arc::new(LocalStore::new(home.path().join("repo")));
        let credential = testing::credential();
        let repository =
            Repository::init(store, &credential, &options, environment).expect("a repository");
        Self { home, repository, counter: std::cell::Cell::new(0) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_mrs-backup"))
            .env_clear()
            .env("HOME", self.home.path())
            .env("MRS_BACKUP_REPOSITORY", self.path("repo"))
            .env("MRS_BACKUP_KEY_FILE", self.path("key"))
            .env("MRS_BACKUP_STATE_DIR", self.path("state"))
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .args(args)
            .output()
            .expect("the program runs");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (out, err) = (text(output.stdout), text(output.stderr));
        let ran = Ran { code: output.status.code(), out, err };
        assert!(ran.code.is_some() && !ran.err.contains("panicked"), "{args:?}: {ran:#?}");
        ran
    }

    /// A snapshot whose root is what `make` gives.
    fn snapshot(&self, make: impl FnOnce(&mut Ingest<'_>) -> StreamRef) -> String {
        self.counter.set(self.counter.get() + 1);
        backup_with(&self.repository, self.counter.get(), make).to_hex()
    }

    /// Everything but repository, state and target.
    fn around(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut found = BTreeMap::new();
        let mut pending = vec![self.home.path().to_owned()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(directory).expect("a directory") {
                let path = entry.expect("an entry").path();
                let skipped = ["repo", "state", "target"].map(|name| self.path(name));
                if skipped.contains(&path) {
                    continue;
                }
                if path.is_dir() && !path.is_symlink() {
                    pending.push(path.clone());
                }
                let bytes = fs::read(&path).ok();
                found.insert(path, bytes);
            }
        }
        found
    }

    /// Restores, in every way, into a target that `prepare` makes; nothing outside changes.
    fn restore_in_all_ways(&self, id: &str, prepare: impl Fn(&Path)) -> Vec<Ran> {
        let before = self.around();
        let target = self.path("target");
        let mut all = Vec::new();
        for extra in [
            &["--overwrite", "always", "--verify"][..],
            &["--overwrite", "if-changed", "--sparse"],
            &["--overwrite", "never"],
            &["--overwrite", "always", "--delete"],
        ] {
            let _ = fs::remove_dir_all(&target);
            prepare(&target);
            let place = target.display().to_string();
            let args = [&["restore", id, &place, "--yes"], extra].concat();
            all.push(self.run(&args));
            assert!(self.around() == before, "{extra:?}: something outside changed: {all:#?}");
        }
        all
    }
}

fn node(name: &[u8], kind: NodeKind) -> Node {
    Node { mode: 0o755, mtime: 1_700_000_000, ..Node::new(name, kind) }
}

fn file(ingest: &mut Ingest<'_>, name: &[u8]) -> Node {
    let content = Some(store_content(ingest, b"written by a hostile tree"));
    Node { content, ..node(name, NodeKind::File) }
}

fn link(name: &[u8], to: &Path) -> Node {
    use std::os::unix::ffi::OsStrExt;
    let link_target = Some(to.as_os_str().as_bytes().to_vec());
    Node { link_target, ..node(name, NodeKind::Symlink) }
}

/// A directory's stream with these nodes, in this order, whatever they are.
fn directory(ingest: &mut Ingest<'_>, nodes: &[Node]) -> StreamRef {
    let mut bytes = Vec::new();
    for node in nodes {
        encode_node(node, &mut bytes);
    }
    stream(ingest, &bytes)
}

fn stream(ingest: &mut Ingest<'_>, bytes: &[u8]) -> StreamRef {
    let mut stream = StreamBuilder::new();
    if !bytes.is_empty() {
        let chunk = ingest.store_chunk(PackClass::Tree, bytes, Grouping::Shared).expect("stored");
        stream.push(ingest, chunk).expect("pushed");
    }
    stream.finish(ingest).expect("a stream")
}

fn folder(ingest: &mut Ingest<'_>, name: &[u8], nodes: &[Node]) -> Node {
    let content = Some(directory(ingest, nodes));
    Node { content, ..node(name, NodeKind::Directory) }
}

type Make = fn(&mut Ingest<'_>, &Path) -> Vec<Node>;

/// Trees that no honest writer writes.
const TREES: &[(&str, Make)] = &[
    ("a file above", |ingest, _| vec![file(ingest, b"../escaped")]),
    ("a directory above", |ingest, _| {
        let escaped = file(ingest, b"escaped");
        vec![folder(ingest, b"..", &[escaped])]
    }),
    ("above, further down", |ingest, _| {
        let escaped = file(ingest, b"escaped");
        let up = folder(ingest, b"..", &[escaped]);
        let up = folder(ingest, b"..", &[up]);
        vec![folder(ingest, b"down", &[up])]
    }),
    ("a slash", |ingest, _| vec![file(ingest, b"outside/escaped")]),
    ("an absolute name", |ingest, outside| {
        use std::os::unix::ffi::OsStrExt;
        vec![file(ingest, outside.join("escaped").as_os_str().as_bytes())]
    }),
    ("no name", |ingest, _| vec![file(ingest, b"")]),
    ("the directory itself", |ingest, _| vec![file(ingest, b".")]),
    ("a zero byte", |ingest, _| vec![file(ingest, b"x\0y")]),
    ("a link and a directory of one name", |ingest, outside| {
        let escaped = file(ingest, b"escaped");
        vec![link(b"x", outside), folder(ingest, b"x", &[escaped])]
    }),
    ("a link and a file of one name", |ingest, outside| {
        vec![link(b"x", &outside.join("secret")), file(ingest, b"x")]
    }),
    ("names that descend", |ingest, outside| {
        let escaped = file(ingest, b"escaped");
        vec![link(b"y", outside), file(ingest, b"x"), folder(ingest, b"y", &[escaped])]
    }),
];

#[test]
fn hostile_names_are_refused_and_nothing_is_written_outside() {
    let scene = Scene::new();
    let outside = scene.path("outside");
    for (what, make) in TREES {
        // Next to something good, which is restored or not, but never hides that something is wrong.
        let id = scene.snapshot(|ingest| {
            let good = file(ingest, b"a-good-file");
            let evil = make(ingest, &outside);
            let evil = folder(ingest, b"evil", &evil);
            directory(ingest, &[good, evil])
        });
        for ran in scene.restore_in_all_ways(&id, |_| {}) {
            println!("{what}: {ran:?}");
            assert_eq!(ran.code, Some(3), "{what}: {ran:#?}");
            assert!(ran.err.contains("failed: evil"), "{what}: {ran:#?}");
            assert!(scene.path("target/a-good-file").exists(), "{what}");
        }
        for args in [&["ls", &id, "-r"][..], &["find", "*", "-s", &id], &["diff", &id, &id]] {
            let ran = scene.run(args);
            assert!(ran.code != Some(0) || args[0] == "diff", "{what}: {args:?} {ran:#?}");
            assert!(!ran.out.contains("escaped"), "{what}: {args:?} {ran:#?}");
        }
        let ran = scene.run(&["check"]);
        assert_eq!(ran.code, Some(1), "{what}: {ran:#?}");
    }
}

/// Each snapshot is honest; one after the other into the same target they are not.
#[test]
fn a_link_of_one_snapshot_is_not_followed_by_the_next() {
    let scene = Scene::new();
    let outside = scene.path("outside");
    let first = scene.snapshot(|ingest| directory(ingest, &[link(b"x", &outside)]));
    let second = scene.snapshot(|ingest| {
        let inside = file(ingest, b"escaped");
        let x = folder(ingest, b"x", &[inside]);
        directory(ingest, &[x])
    });
    let target = scene.path("target").display().to_string();
    let all = scene.restore_in_all_ways(&second, |_| {
        assert_eq!(scene.run(&["restore", &first, &target]).code, Some(0));
        assert!(scene.path("target/x").is_symlink());
    });
    // Only who asked for it gets the link replaced.
    let codes: Vec<_> = all.iter().map(|ran| ran.code).collect();
    assert_eq!(codes, [Some(0), Some(3), Some(3), Some(0)], "{all:#?}");
}

#[test]
fn links_planted_in_the_target_are_not_followed() {
    let scene = Scene::new();
    let outside = scene.path("outside");
    let id = scene.snapshot(|ingest| {
        let inner = file(ingest, b"secret");
        let deep = folder(ingest, b"deep", &[inner]);
        let files = [file(ingest, b"fifo"), file(ingest, b"secret")];
        let top = folder(ingest, b"directory", &[deep]);
        let [fifo, secret] = files;
        directory(ingest, &[top, fifo, secret])
    });
    let all = scene.restore_in_all_ways(&id, |target| {
        fs::create_dir_all(target.join("directory")).expect("a directory");
        symlink(&outside, target.join("directory/deep")).expect("a link");
        symlink(outside.join("secret"), target.join("secret")).expect("a link");
        let made = Command::new("mkfifo").arg(target.join("fifo")).status();
        assert!(made.expect("this test needs `mkfifo`").success());
    });
    assert!(all.iter().all(|ran| matches!(ran.code, Some(0 | 3))), "{all:#?}");
    assert_eq!(all[0].code, Some(0), "{all:#?}");
    let all = scene.restore_in_all_ways(&id, |target| {
        fs::create_dir_all(target).expect("a directory");
        symlink(&outside, target.join("directory")).expect("a link");
    });
    assert_eq!(all[0].code, Some(0), "{all:#?}");
    assert_eq!(all[1].code, Some(3), "{all:#?}");
}

fn lying(content: StreamRef, size: Option<u64>, extents: Option<Vec<Extent>>) -> Node {
    let content = Some(content);
    Node { content, sparse_size: size, extents, ..node(b"liar", NodeKind::File) }
}

type Lie = fn(&mut Ingest<'_>) -> Node;

/// Files that say something else of themselves than they are.
const LIES: &[(&str, Lie)] = &[
    ("a longer stream", |ingest| {
        let content = store_content(ingest, &testing::noise(1, 1000));
        lying(StreamRef { len: 1 << 50, ..content }, None, None)
    }),
    ("a shorter stream", |ingest| {
        let content = store_content(ingest, &testing::noise(2, 1000));
        lying(StreamRef { len: 10, ..content }, None, None)
    }),
    ("a longer chunk", |ingest| {
        let mut content = store_content(ingest, &testing::noise(3, 1000));
        content.chunks[0].len = u32::MAX;
        content.len = u32::MAX.into();
        lying(content, None, None)
    }),
    ("a chunk nobody has", |_| {
        let chunk = ChunkRef { id: ChunkId::new([9; 32]), len: 100 };
        lying(StreamRef { len: 100, depth: 0, chunks: vec![chunk] }, None, None)
    }),
    ("content that is a list", |ingest| {
        let content = store_content(ingest, &testing::noise(4, 36 * 30));
        lying(StreamRef { depth: 3, ..content }, None, None)
    }),
    ("deeper lists than there can be", |ingest| {
        let content = store_content(ingest, &testing::noise(5, 1000));
        lying(StreamRef { depth: 200, ..content }, None, None)
    }),
    ("a hole of all bytes there are", |ingest| {
        let content = store_content(ingest, b"x");
        let extents = vec![Extent { offset: u64::MAX - 1, len: 1 }];
        lying(content, Some(u64::MAX), Some(extents))
    }),
    ("an extent behind the end", |ingest| {
        let content = store_content(ingest, b"four");
        lying(content, Some(10), Some(vec![Extent { offset: 8, len: 4 }]))
    }),
    ("less room than content", |ingest| {
        let content = store_content(ingest, b"four");
        lying(content, Some(10), Some(vec![Extent { offset: 0, len: 2 }]))
    }),
];

#[test]
fn files_that_lie_are_named_and_cost_no_other_file() {
    let scene = Scene::new();
    for (what, lie) in LIES {
        let id = scene.snapshot(|ingest| {
            let good = file(ingest, b"good");
            let liar = lie(ingest);
            directory(ingest, &[good, liar])
        });
        let started = std::time::Instant::now();
        let target = scene.path("target");
        let _ = fs::remove_dir_all(&target);
        let ran = scene.run(&["restore", &id, &target.display().to_string()]);
        println!("{what}: {ran:?}");
        assert!(matches!(ran.code, Some(1 | 3)), "{what}: {ran:#?}");
        if ran.code == Some(3) {
            // A directory that cannot be decoded cannot give its good files either.
            let is_named = ran.err.contains("failed: liar: ") || ran.err.contains("failed: /: ");
            assert!(is_named, "{what}: {ran:#?}");
            assert!(ran.err.contains("failed: /: ") || target.join("good").exists(), "{what}");
        } else {
            assert!(ran.err.starts_with("error: "), "{what}: {ran:#?}");
        }
        assert!(!target.join("liar").exists(), "{what}");
        // How large a file may be is the file system's business, not the repository's; and its zeros
        // have no end.
        if *what != "a hole of all bytes there are" {
            assert_eq!(scene.run(&["check", "--read-data"]).code, Some(1), "{what}");
            assert_ne!(scene.run(&["dump", &id, "liar"]).code, Some(0), "{what}");
        }
        assert!(started.elapsed().as_secs() < 20, "{what}: {:?}", started.elapsed());
        fs::remove_file(scene.path("repo/snapshots").join(&id)).expect("removed");
    }
}

/// A record that claims to be longer than memory, garbage instead of one, a further link to nothing.
#[test]
fn directories_that_lie_are_named() {
    let scene = Scene::new();
    let streams: [(&str, Vec<u8>); 3] = [
        ("a record of 4 GiB", vec![0xff; 64]),
        ("garbage", testing::noise(8, 5000)),
        ("half a record", vec![100, 0, 0, 0, 1, 2, 3]),
    ];
    for (what, bytes) in streams {
        let id = scene.snapshot(|ingest| {
            let content = Some(stream(ingest, &bytes));
            let good = file(ingest, b"a-good-file");
            let evil = Node { content, ..node(b"evil", NodeKind::Directory) };
            directory(ingest, &[good, evil])
        });
        for ran in scene.restore_in_all_ways(&id, |_| {}) {
            assert_eq!(ran.code, Some(3), "{what}: {ran:#?}");
            assert!(ran.err.contains("failed: evil: "), "{what}: {ran:#?}");
            assert!(scene.path("target/a-good-file").exists(), "{what}");
        }
    }
    let id = scene.snapshot(|ingest| {
        let further =
            Node { hard_link: Some(5), is_further_link: true, ..node(b"x", NodeKind::File) };
        directory(ingest, &[further])
    });
    for ran in scene.restore_in_all_ways(&id, |_| {}) {
        assert_eq!(ran.code, Some(3), "{ran:#?}");
        assert!(ran.err.contains("failed: x: "), "{ran:#?}");
    }
}
