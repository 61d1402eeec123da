//! Writes the tree of an invented instance, the same bytes for the same seed, and ages it by a night.
//!
//! ```text
//! cargo run --release --example generate -- DIR              # night 1: a new tree of 2 GB
//! cargo run --release --example generate -- DIR --night 2    # what changes until the next night
//! ```
//!
//! | part              | night 1 at scale 1                      | every later night                              |
//! |-------------------|-----------------------------------------|------------------------------------------------|
//! | `db/claims.sql`   | 675 MB, 2.5 million rows in four tables | 1 % updated, 0.5 % inserted, 0.2 % deleted     |
//! | `log/`            | 361 MB plain, 69 MB gzipped             | one log rotated, one appended to               |
//! | `mrsattachments/` | 800 files, 830 MB, incompressible       | 8 more                                         |
//! | `app/`            | 20,000 small files, 57 MB               | 200 more, 113 changed or only touched          |
//! | `spooler/`        | 300 queued jobs                         | 12 done, 12 new                                |
//!
//! Changes are spread evenly over the rows: the hardest case for a deduplicating backup. Sizes grow
//! with `--scale`, memory does not. `--digest` hashes names, times and contents of the whole tree,
//! so that two machines can tell whether they measured the same data.

#[path = "generate/dump.rs"]
mod dump;
#[path = "generate/files.rs"]
mod files;
#[path = "generate/text.rs"]
mod text;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{Parser, ValueEnum};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

/// Evening of the first night: 2024-03-01 22:00 UTC. Every time in the tree is counted from here.
const FIRST_NIGHT_S: u64 = 1_709_330_400;
const DAY_S: u64 = 86_400;

#[derive(Parser)]
#[command(about = "Write the tree of an invented instance, or age it by a night")]
struct Options {
    /// Where the tree is, or shall be
    dir: PathBuf,
    /// 1 makes the tree; each later night changes the tree the night before left
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    night: u64,
    /// Size of everything, 1 for 2 GB
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, value_enum, default_value_t = Profile::Full)]
    profile: Profile,
    /// Only this many files of 0.5 to 3.5 KB, instead of a profile
    #[arg(long, value_name = "N")]
    small_files: Option<u64>,
    /// Print the BLAKE3 of the whole tree at the end
    #[arg(long)]
    digest: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Profile {
    Full,
    /// Everything but the dump, the logs and the attachments
    Small,
    /// Only `db/claims.sql`
    Dump,
}

/// One night of one tree: what every part needs to know, and where all its randomness comes from.
#[derive(Clone)]
pub struct Night {
    pub dir: PathBuf,
    pub number: u64,
    pub scale: f64,
    pub seed: u64,
}

impl Night {
    /// A generator of its own for everything that has a name, so that parts can be written in any
    /// order and by any thread.
    pub fn random(&self, label: &str) -> ChaCha8Rng {
        let name = format!("seed {} night {} {label}", self.seed, self.number);
        ChaCha8Rng::from_seed(*blake3::hash(name.as_bytes()).as_bytes())
    }

    /// `count` at this scale, never less than one.
    pub fn scaled(&self, count: u64) -> u64 {
        ((count as f64 * self.scale).round() as u64).max(1)
    }

    pub fn is_first(&self) -> bool {
        self.number == 1
    }

    /// The evening of this night, in seconds since 1970.
    pub fn evening_s(&self) -> u64 {
        FIRST_NIGHT_S + (self.number - 1) * DAY_S
    }

    pub fn evening(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.evening_s())
    }
}

/// What a part wrote this night.
#[derive(Default, Clone, Copy)]
pub struct Written {
    pub files: u64,
    pub bytes: u64,
}

impl Written {
    pub fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

type Part = (&'static str, fn(&Night) -> io::Result<Written>);

const DUMP: &[Part] = &[("dump", dump::write)];
const BULK: &[Part] = &[("attachments", files::attachments), ("logs", files::logs)];
const SMALL: &[Part] =
    &[("small", files::application), ("spooler", files::spooler), ("compose", files::compose)];

fn main() -> io::Result<()> {
    let options = Options::parse();
    let (started, clock) = (SystemTime::now() - Duration::from_secs(1), Instant::now());
    let night = Night {
        dir: options.dir.clone(),
        number: options.night,
        scale: options.scale,
        seed: options.seed,
    };
    prepare(&night)?;

    let written = match options.small_files {
        Some(count) => vec![("small", files::only_small(&night, count)?)],
        // Two halves of about equal work, for two cores.
        None => {
            let (one, other) = match options.profile {
                Profile::Full => (DUMP.to_vec(), [BULK, SMALL].concat()),
                Profile::Small => (vec![], SMALL.to_vec()),
                Profile::Dump => (DUMP.to_vec(), vec![]),
            };
            in_two_threads(&night, &one, &other)?
        }
    };
    date_directories(&night.dir, started, night.evening())?;

    print_summary(&night, &written, clock.elapsed());
    if options.digest {
        let (total, digest) = digest(&night.dir)?;
        println!("tree: {} files, {} bytes, blake3 {digest}", total.files, total.bytes);
    }
    Ok(())
}

fn prepare(night: &Night) -> io::Result<()> {
    if night.is_first() {
        fs::create_dir_all(&night.dir)?;
        if fs::read_dir(&night.dir)?.next().is_some() {
            let what = format!("{} is not empty", night.dir.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        return Ok(());
    }
    fs::metadata(&night.dir).map(drop)
}

fn in_two_threads(
    night: &Night,
    one: &[Part],
    other: &[Part],
) -> io::Result<Vec<(&'static str, Written)>> {
    let write = |parts: &[Part]| -> io::Result<Vec<(&'static str, Written)>> {
        parts.iter().map(|(name, part)| Ok((*name, part(night)?))).collect()
    };
    thread::scope(|scope| {
        let one = scope.spawn(|| write(one));
        let mut other = write(other)?;
        let mut written = one.join().expect("a part panicked")?;
        written.append(&mut other);
        Ok(written)
    })
}

/// Gives every directory that was changed since `started` the time of the night instead.
fn date_directories(dir: &Path, started: SystemTime, evening: SystemTime) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            date_directories(&entry.path(), started, evening)?;
        }
    }
    if fs::metadata(dir)?.modified()? >= started {
        File::open(dir)?.set_modified(evening)?;
    }
    Ok(())
}

fn print_summary(night: &Night, written: &[(&str, Written)], elapsed: Duration) {
    let parts: Vec<String> = written
        .iter()
        .map(|(name, part)| format!("{name} {} files {} bytes", part.files, part.bytes))
        .collect();
    let bytes: u64 = written.iter().map(|(_, part)| part.bytes).sum();
    println!(
        "night {}: {}; written {} MB in {:.1} s",
        night.number,
        parts.join(", "),
        bytes / 1_000_000,
        elapsed.as_secs_f64()
    );
}

/// Names, times and contents of everything below `dir`, in the order of the names' bytes.
fn digest(dir: &Path) -> io::Result<(Written, blake3::Hash)> {
    fn visit(dir: &Path, hasher: &mut blake3::Hasher, total: &mut Written) -> io::Result<()> {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        paths.sort();
        for path in paths {
            let metadata = fs::symlink_metadata(&path)?;
            let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            hasher.update(path.file_name().unwrap_or_default().as_encoded_bytes());
            hasher.update(&modified.as_nanos().to_le_bytes());
            if metadata.is_dir() {
                visit(&path, hasher, total)?;
            } else {
                hasher.update(&metadata.len().to_le_bytes());
                hasher.update_reader(File::open(&path)?)?;
                total.add(metadata.len());
            }
        }
        Ok(())
    }
    let (mut hasher, mut total) = (blake3::Hasher::new(), Written::default());
    visit(dir, &mut hasher, &mut total)?;
    Ok((total, hasher.finalize()))
}
