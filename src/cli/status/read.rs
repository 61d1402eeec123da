//! Reads local state for an overview.

use jiff::{SignedDuration, Timestamp};

use crate::calendar::spread;
use crate::cli::CliError;
use crate::cli::context::{Context, host_name};
use crate::cli::settings::Sources;
use crate::clock::{Clock, SystemClock};
use crate::history::{History, assemble};
use crate::instance::config::Instance;
use crate::schedule::{Ledger, due_at};
use crate::status::{NextRun, Overview, Reading, Store, overview as of_instance};

/// How far back histories are read.
pub const BACK: SignedDuration = SignedDuration::from_hours(35 * 24);

/// The instances of the configuration, or the one that is named.
pub fn overview(context: &Context, limit: Option<SignedDuration>) -> Result<Overview, CliError> {
    of_sources(&context.sources()?, context.global.instance.as_deref(), limit, BACK)
}

/// The same with histories of another length.
pub fn of_sources(
    sources: &Sources,
    named: Option<&str>,
    limit: Option<SignedDuration>,
    back: SignedDuration,
) -> Result<Overview, CliError> {
    let Some(config) = &sources.config else {
        return Err(CliError::usage_hint(
            "there is no configuration, and `status` tells of its instances",
            "name it with --config FILE; of a repository without one, mrs-backup snapshots --repo LOCATION tells",
        ));
    };
    let named = match named {
        Some(name) => vec![config.instance(name)?],
        None => config.instances.values().collect(),
    };
    if named.is_empty() {
        return Err(CliError::usage_hint(
            format!("{} has no instance", config.path.display()),
            "add [instance.NAME]",
        ));
    }
    let now = SystemClock.now();
    let state_dir = sources.state_dir()?;
    let places = Places {
        history: History::new(&state_dir),
        known: Store::new(&state_dir),
        ledger: Ledger::new(&state_dir),
        host: host_name(),
    };
    let mut instances = Vec::new();
    for instance in named {
        instances.push(of_instance(places.reading(instance, limit, back, now)?, now));
    }
    Ok(Overview { now, host: places.host, instances })
}

struct Places {
    history: History,
    known: Store,
    ledger: Ledger,
    host: String,
}

impl Places {
    fn reading<'i>(
        &self,
        instance: &'i Instance,
        limit: Option<SignedDuration>,
        back: SignedDuration,
        now: Timestamp,
    ) -> Result<Reading<'i>, CliError> {
        let (name, schedule) = (&instance.name, &instance.schedule.value);
        let since = now.saturating_sub(back).unwrap_or(now);
        let mut jobs = Vec::new();
        for (job, line) in &schedule.jobs {
            let entry = self.ledger.read(name, *job)?;
            let whose = format!("{}/{name}/{}", self.host, job.name());
            let delay = spread(&whose, schedule.random_delay);
            let due = due_at(line, &instance.timezone.value, &entry, delay, now);
            jobs.push((NextRun { job: *job, due, last: entry }, entry.since.or(entry.started)));
        }
        Ok(Reading {
            instance,
            told: assemble(self.history.read(name, since)?),
            known: self.known.summary(name)?,
            jobs,
            limit,
        })
    }
}
