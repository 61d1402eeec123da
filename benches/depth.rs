//! How long chains of deltas should be: nights of a dump under the default policy, with every setting beside
//! the others.
//!
//!     cargo build --release --examples
//!     target/release/examples/depth [SCALE [NIGHTS]]          # 0.1 and 31
//!
//! Each night the generator's dump (674 MB at scale 1) changes in 1% of its rows, is stored, and what the policy no longer wants is
//! forgotten and pruned. In the end the last night is restored. Bytes are of all objects.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use mrs_backup::clock::{Clock, FixedClock};
use mrs_backup::ops::retention::History;
use mrs_backup::repository::{DeltaOptions, IngestOptions, Repository};
use mrs_backup::snapshot::retention::RetentionPolicy;
use mrs_backup::store::{ObjectKind, Recording, Verb, list_all};

use nightly::{Outcome, back_up, forget_and_prune, repository, restore_reads};

mod nightly;

const DAY: Duration = Duration::from_secs(86_400);
/// Depth, and how much larger a delta on an ancestor may be in percent; 100 has no levels.
const SETTINGS: [(usize, u64); 10] = [
    (0, 100),
    (1, 100),
    (2, 100),
    (4, 100),
    (6, 100),
    (8, 100),
    (2, 180),
    (4, 180),
    (6, 180),
    (8, 180),
];

struct Series {
    deltas: DeltaOptions,
    clock: Arc<FixedClock>,
    store: Arc<Recording>,
    repository: Repository,
    /// Bytes put in the first night, in later ones, and again by prune.
    first: u64,
    later: u64,
    pruned: u64,
    elapsed: Duration,
}

impl Series {
    fn new((depth, climb): (usize, u64)) -> Outcome<Self> {
        let deltas = DeltaOptions { depth, climb, ..DeltaOptions::default() };
        let clock = Arc::new(FixedClock::new("2024-03-01T22:00:00Z".parse()?));
        let (store, repository) = repository(Arc::clone(&clock) as _)?;
        let (first, later, pruned, elapsed) = (0, 0, 0, Duration::ZERO);
        Ok(Self { deltas, clock, store, repository, first, later, pruned, elapsed })
    }

    /// Bytes put since the last call.
    fn put_bytes(&self) -> u64 {
        let calls = self.store.calls();
        self.store.clear();
        calls.iter().filter(|call| call.verb == Verb::Put).map(|call| call.bytes).sum()
    }

    fn night(&mut self, night: u64, root: &Path) -> Outcome<()> {
        self.clock.advance(DAY);
        self.store.clear();
        let began = Instant::now();
        back_up(
            &self.repository,
            root,
            IngestOptions { deltas: self.deltas, ..IngestOptions::default() },
        )?;
        self.elapsed += began.elapsed();
        let put = self.put_bytes();
        if night == 1 {
            self.first = put;
        } else {
            self.later += put;
        }
        let snapshots = self.repository.snapshots()?.snapshots;
        let history = History { snapshots: &snapshots, receipts: &[], now: self.clock.now() };
        let plan = history.plan("nightly", &RetentionPolicy::production(), &TimeZone::UTC);
        forget_and_prune(&self.repository, &plan.going())?;
        self.pruned += self.put_bytes();
        Ok(())
    }

    /// The longest chain, and the mean over all deltas.
    fn chains(&self) -> Outcome<(usize, f64)> {
        let mut bases = HashMap::new();
        self.repository.index().each_delta(|delta, base| {
            bases.insert(delta, base);
        })?;
        let length = |mut at| {
            let mut length = 0;
            while let Some(base) = bases.get(&at) {
                (length, at) = (length + 1, *base);
            }
            length
        };
        let lengths: Vec<usize> = bases.keys().map(|delta| length(*delta)).collect();
        let sum: usize = lengths.iter().sum();
        Ok((lengths.iter().copied().max().unwrap_or(0), sum as f64 / lengths.len().max(1) as f64))
    }

    fn tell(&self, nights: u64) -> Outcome<()> {
        let began = Instant::now();
        let reads = restore_reads(&self.repository, &self.store)?;
        let restore = began.elapsed();
        let stored: u64 = ObjectKind::ALL
            .iter()
            .map(|kind| {
                list_all(&*self.store, *kind)
                    .map(|all| all.iter().map(|info| info.size).sum::<u64>())
            })
            .sum::<Result<u64, _>>()?;
        let (longest, mean) = self.chains()?;
        println!(
            "| {} | {} | {:.2} | {:.3} | {:.2} | {:.2} | {:.2} | {:.2} | {} of {} packs | {:.1} | {longest} | {mean:.1} |",
            self.deltas.depth,
            if self.deltas.climb > 100 { "yes" } else { "no" },
            self.first as f64 / 1e6,
            self.later as f64 / 1e6 / (nights - 1) as f64,
            self.pruned as f64 / 1e6,
            stored as f64 / 1e6,
            self.elapsed.as_secs_f64(),
            restore.as_secs_f64(),
            reads.reads,
            reads.packs,
            reads.bytes as f64 / 1e6,
        );
        Ok(())
    }
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let scale = arguments.next().unwrap_or_else(|| "0.1".to_owned());
    let nights: u64 = arguments.next().map_or(Ok(31), |text| text.parse())?;
    let generate = std::env::current_exe()?.with_file_name("generate");
    let home = tempfile::tempdir()?;
    let root = home.path().join("data");
    let mut all = SETTINGS.into_iter().map(Series::new).collect::<Outcome<Vec<_>>>()?;
    for night in 1..=nights {
        let number = night.to_string();
        let made = Command::new(&generate)
            .arg(&root)
            .args(["--profile", "dump", "--scale", &scale, "--night", &number])
            .output()?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into());
        }
        for series in &mut all {
            series.night(night, &root)?;
        }
        eprintln!("night {night}");
    }
    println!(
        "| depth | levels | first night MB | MB a night | written again by prune MB | stored MB | backups s | restore s | reads | read MB | longest chain | mean |"
    );
    println!("|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    all.iter().try_for_each(|series| series.tell(nights))
}
