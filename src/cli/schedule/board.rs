//! The board: every scheduled job with its next time, as the ledger and the clock have it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::calendar::{CronLine, spread};
use crate::cli::context::host_name;
use crate::instance::config::Config;
use crate::schedule::{EXPIRE_LINE, Entry, Ledger, LedgerError, REVIEWS, Slot, Task, due_at};

use super::Scope;

/// A job that is still due after it ended (somebody else had the instance's lock) waits so long.
const HOLD: SignedDuration = SignedDuration::from_mins(5);

/// What the next time of a slot follows from.
struct Rule {
    line: CronLine,
    zone: TimeZone,
    delay: Duration,
    entry: Entry,
}

/// One job, for showing.
pub struct Planned<'a> {
    pub instance: &'a str,
    pub task: Task,
    pub due: Option<Timestamp>,
    pub line: &'a CronLine,
    pub zone: &'a TimeZone,
    pub entry: Entry,
}

/// All scheduled jobs.
pub struct Board {
    slots: Vec<Slot>,
    rules: Vec<Rule>,
    ledger: Ledger,
    /// How many instances are worked on at once.
    pub parallel: usize,
    /// Whether the ledger is told that these jobs are waited for, so that what is missed is caught up.
    pub takes_note: bool,
    state_dir: PathBuf,
}

impl Board {
    /// The jobs of `config` within `scope`; [`Board::look`] fills in their times.
    pub fn new(config: &Config, state_dir: &Path, scope: &Scope) -> Self {
        let (mut slots, mut rules) = (Vec::new(), Vec::new());
        let host = host_name();
        let is_meant = |name: &String| scope.instance.as_ref().is_none_or(|only| only == name);
        for instance in config.instances.values().filter(|instance| is_meant(&instance.name)) {
            let schedule = &instance.schedule.value;
            for (job, line) in &schedule.jobs {
                if scope.job.is_some_and(|only| only != *job) {
                    continue;
                }
                let name = format!("{host}/{}/{}", instance.name, job.name());
                rules.push(Rule {
                    line: line.clone(),
                    zone: instance.timezone.value.clone(),
                    delay: spread(&name, schedule.random_delay),
                    entry: Entry::default(),
                });
                slots.push(Slot {
                    instance: instance.name.clone(),
                    task: (*job).into(),
                    due: None,
                });
            }
        }
        // Of no instance, and so not where one is named.
        let is_all = scope.instance.is_none() && scope.job.is_none();
        let line = EXPIRE_LINE.parse().ok().filter(|_| is_all && config.review.is_configured);
        if let Some(line) = line {
            let entry = Entry::default();
            rules.push(Rule { line, zone: TimeZone::system(), delay: Duration::ZERO, entry });
            slots.push(Slot { instance: REVIEWS.to_owned(), task: Task::Expire, due: None });
        }
        Self {
            slots,
            rules,
            ledger: Ledger::new(state_dir),
            parallel: config.parallel.value,
            takes_note: false,
            state_dir: state_dir.to_owned(),
        }
    }

    /// Whether nothing is scheduled.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Where locks and ledger are.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Jobs with their times, for [`crate::schedule::decide`].
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Reads the whole ledger.
    pub fn look(&mut self, now: Timestamp) -> Result<(), LedgerError> {
        (0..self.slots.len()).try_for_each(|number| self.look_at(number, now))
    }

    /// Reads what the ledger has on one job, which somebody else may have done.
    fn look_at(&mut self, number: usize, now: Timestamp) -> Result<(), LedgerError> {
        let (slot, rule) = (&mut self.slots[number], &mut self.rules[number]);
        rule.entry = match self.takes_note {
            true => self.ledger.first_seen(&slot.instance, slot.task, now)?,
            false => self.ledger.read(&slot.instance, slot.task)?,
        };
        slot.due = due_at(&rule.line, &rule.zone, &rule.entry, rule.delay, now);
        Ok(())
    }

    /// Reads again what is due, for somebody else may have done it.
    pub fn look_at_due(&mut self, now: Timestamp) -> Result<(), LedgerError> {
        let is_due = |slot: &Slot| slot.due.is_some_and(|due| due <= now);
        let due: Vec<usize> =
            (0..self.slots.len()).filter(|number| is_due(&self.slots[*number])).collect();
        due.into_iter().try_for_each(|number| self.look_at(number, now))
    }

    /// A job of this slot has ended. What is due all the same was not done, and waits a little.
    pub fn ended(&mut self, number: usize, now: Timestamp) -> Result<(), LedgerError> {
        self.look_at(number, now)?;
        let slot = &mut self.slots[number];
        if slot.due.is_some_and(|due| due <= now) {
            slot.due = now.checked_add(HOLD).ok();
        }
        Ok(())
    }

    /// Every job, for showing.
    pub fn planned(&self) -> impl Iterator<Item = Planned<'_>> {
        self.slots.iter().zip(&self.rules).map(|(slot, rule)| Planned {
            instance: &slot.instance,
            task: slot.task,
            due: slot.due,
            line: &rule.line,
            zone: &rule.zone,
            entry: rule.entry,
        })
    }

    /// The next job that is not due yet. What comes every quarter of an hour is told only where there is nothing else.
    pub fn next(&self, now: Timestamp) -> Option<Planned<'_>> {
        let later = self.planned().filter(|one| one.due.is_some_and(|due| due > now));
        later.min_by_key(|one| (one.task == Task::Expire, one.due))
    }
}
