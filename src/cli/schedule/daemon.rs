//! The daemon: begins what is due, as children of its own, and waits for the next.
//!
//! A child is `mrs-backup run INSTANCE --job JOB --due`, or `mrs-backup expire --due`: the same that a timer starts. It
//! takes the lock and asks the ledger once more, so that nothing runs twice whoever else is at work.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::context::Context;
use crate::cli::format::local_time;
use crate::cli::run::child;
use crate::cli::serve;
use crate::cli::{CliError, Done, Exit};
use crate::clock::{Clock, SystemClock};
use crate::event::{StopFlag, counted};
use crate::instance::lock;
use crate::schedule::{Task, decide};
use crate::store::credentials_of;

use super::board::Board;
use super::{Scope, instance_name, load, tell, tell_people};

/// Longest sleep: clocks are set, and machines are suspended.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// A clock that went back by more than this makes us read the ledger anew.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(60);
/// The lock that only one scheduler has. No instance has this name.
const LOCK: &str = "_scheduler";

/// A job at work.
struct Running {
    instance: String,
    task: Task,
    child: Child,
}

/// What somebody asked for.
enum Asked {
    Reload,
    Stop,
}

struct Daemon<'a> {
    context: &'a Context,
    scope: &'a Scope,
    board: Board,
    running: Vec<Running>,
    asked: Receiver<Asked>,
    is_stopping: bool,
    /// What jobs came to, for `--once`.
    exit: Exit,
    begun: usize,
    last_look: Timestamp,
    teller: tell_people::Teller,
}

/// Runs until somebody stops it, or with `is_once` until nothing is due.
pub fn run(
    context: &Context,
    scope: &Scope,
    mut board: Board,
    is_once: bool,
) -> Result<Done, CliError> {
    board.takes_note = !is_once;
    let asked = listen()?;
    // Two at once would do no harm, but nobody means that.
    let _lock = match is_once {
        true => None,
        false => Some(lock_scheduler(board.state_dir())?),
    };
    let _server = if is_once { None } else { serve(context) };
    let now = SystemClock.now();
    let mut daemon = Daemon {
        context,
        scope,
        board,
        running: Vec::new(),
        asked,
        is_stopping: false,
        exit: Exit::Ok,
        begun: 0,
        last_look: now,
        teller: tell_people::Teller::default(),
    };
    daemon.board.look(now)?;
    if !is_once {
        let status = daemon.status(now);
        context.out.note(&status)?;
        context.out.flush()?;
        tell::ready(&status);
    }
    daemon.work(is_once)?;
    let (begun, exit) = (daemon.begun, daemon.exit);
    if is_once {
        if begun == 0 {
            context.out.note(&format!("nothing is due; {}", daemon.status(SystemClock.now())))?;
        }
        return Ok(Done::with(exit, json!({ "jobs": begun })));
    }
    context.out.note("stopped")?;
    Ok(Done::ok(json!({ "jobs": begun })))
}

/// Serves metrics and page, if the configuration says so. That it cannot keeps no job from running.
fn serve(context: &Context) -> Option<serve::Server> {
    let sources = context.sources().ok()?;
    let config = sources.config?.telling.serve?;
    let told = serve::Server::start(context, &config)
        .and_then(|server| serve::tell(context, &server).map(|()| server));
    match told {
        Ok(server) => Some(server),
        Err(error) => {
            let message = format!("nothing is served: {}", error.message());
            context.out.complain(&message, error.hint().as_deref());
            None
        }
    }
}

fn listen() -> Result<Receiver<Asked>, CliError> {
    let failed = |error: io::Error| CliError::io("wait for signals", &error);
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(failed)?;
    let (sender, receiver) = unbounded();
    let listen = move || {
        for signal in signals.forever() {
            let asked = if signal == SIGHUP { Asked::Reload } else { Asked::Stop };
            if sender.send(asked).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("schedule".to_owned()).spawn(listen).map_err(failed)?;
    Ok(receiver)
}

fn lock_scheduler(state_dir: &std::path::Path) -> Result<crate::instance::InstanceLock, CliError> {
    use crate::instance::LockError;
    let never = StopFlag::new();
    lock(state_dir, LOCK, Duration::ZERO, &SystemClock, &never).map_err(|error| match error {
        LockError::Held { process, .. } => {
            let who = process.map_or_else(String::new, |process| format!(" (process {process})"));
            CliError::SchedulerRuns(who)
        }
        error => error.into(),
    })
}

/// A task for people.
fn named(task: Task, instance: &str) -> String {
    format!("{} of {}", task.name(), instance_name(instance))
}

impl Daemon<'_> {
    fn work(&mut self, is_once: bool) -> Result<(), CliError> {
        loop {
            let now = SystemClock.now();
            self.reap(now)?;
            if self.is_stopping && self.running.is_empty() {
                return Ok(());
            }
            let wake = if self.is_stopping { None } else { self.begin_due(now)? };
            if is_once && self.running.is_empty() {
                return Ok(());
            }
            let status = self.status(now);
            if !is_once {
                tell::alive(&status);
                self.teller.look(self.context, now);
            }
            let until = |wake: Timestamp| {
                Duration::try_from(wake.duration_since(SystemClock.now())).unwrap_or(Duration::ZERO)
            };
            let mut sleep = wake.map_or(LONGEST_SLEEP, until).min(LONGEST_SLEEP);
            sleep = sleep.min(tell::interval().unwrap_or(sleep));
            if !self.running.is_empty() {
                sleep = sleep.min(child::PATIENCE);
            }
            match self.asked.recv_timeout(sleep) {
                Ok(Asked::Stop) => self.stop(),
                Ok(Asked::Reload) if !self.is_stopping => self.reload()?,
                Ok(Asked::Reload) | Err(RecvTimeoutError::Timeout) => {}
                // The listener does not end before us; without it nobody could stop us.
                Err(RecvTimeoutError::Disconnected) => self.stop(),
            }
        }
    }

    /// Begins what is due; gives when the next one is.
    fn begin_due(&mut self, now: Timestamp) -> Result<Option<Timestamp>, CliError> {
        if self.last_look.duration_since(now) > CLOCK_TOLERANCE {
            self.board.look(now)?;
        }
        self.last_look = now;
        let busy: BTreeSet<String> = self.running.iter().map(|one| one.instance.clone()).collect();
        let parallel = self.board.parallel;
        if decide(self.board.slots(), &busy, parallel, now).start.is_empty() {
            return Ok(decide(self.board.slots(), &busy, parallel, now).wake);
        }
        self.board.look_at_due(now)?;
        let decision = decide(self.board.slots(), &busy, parallel, now);
        for number in decision.start {
            self.begin(number, now)?;
        }
        Ok(decision.wake)
    }

    fn begin(&mut self, number: usize, now: Timestamp) -> Result<(), CliError> {
        let slot = &self.board.slots()[number];
        let (instance, task) = (slot.instance.clone(), slot.task);
        let words = match task {
            Task::Expire => vec!["expire", "--due"],
            Task::Job(job) => vec!["run", &instance, "--job", job.name(), "--due"],
        };
        let started = child::command(self.context, &words).and_then(|mut command| {
            let directory = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
            command.envs(directory.map(|directory| credentials_of(&directory, &instance)));
            command.spawn()
        });
        match started {
            Ok(child) => {
                self.begun += 1;
                let fields = json!({ "scheduled_instance": instance, "job": task });
                self.context.out.record("begun", &fields)?;
                self.running.push(Running { instance, task, child });
            }
            // No memory, no process left: later perhaps.
            Err(error) => {
                let message = format!("cannot begin {}: {error}", named(task, &instance));
                self.context.out.complain(&message, None);
                self.exit = self.exit.and(Exit::Failed);
                self.board.ended(number, now)?;
            }
        }
        Ok(())
    }

    /// Takes note of the children that have ended.
    fn reap(&mut self, now: Timestamp) -> Result<(), CliError> {
        let mut at = 0;
        while at < self.running.len() {
            let one = &mut self.running[at];
            let failed = |error: io::Error| CliError::io("wait for a job", &error);
            let Some(status) = one.child.try_wait().map_err(failed)? else {
                at += 1;
                continue;
            };
            let exit = child::exit_of(status);
            let Running { instance, task, .. } = self.running.swap_remove(at);
            self.exit = self.exit.and(exit);
            if exit != Exit::Ok {
                let message = format!("{} ended with {status}", named(task, &instance));
                self.context.out.complain(&message, None);
            }
            let fields = json!({
                "scheduled_instance": instance,
                "job": task,
                "result": exit.word(),
                "exit_code": exit.code(),
            });
            self.context.out.record("ended", &fields)?;
            let is_it =
                |slot: &crate::schedule::Slot| slot.instance == instance && slot.task == task;
            // A new configuration may not know it any more.
            if let Some(number) = self.board.slots().iter().position(is_it) {
                self.board.ended(number, now)?;
            }
        }
        Ok(())
    }

    fn stop(&mut self) {
        if !self.is_stopping {
            self.is_stopping = true;
            tell::stopping("stopping");
        }
        for one in &self.running {
            child::ask_to_stop(&one.child);
        }
    }

    /// Reads the configuration again; one that is wrong changes nothing.
    fn reload(&mut self) -> Result<(), CliError> {
        tell::reloading();
        let now = SystemClock.now();
        match load(self.context, self.scope) {
            Ok(board) => {
                self.board = board;
                self.board.takes_note = true;
                self.board.look(now)?;
            }
            Err(error) => {
                let message = format!("the old configuration still holds: {}", error.message());
                self.context.out.complain(&message, error.hint().as_deref());
            }
        }
        let status = self.status(now);
        self.context.out.note(&format!("configuration read again: {status}"))?;
        self.context.out.flush()?;
        tell::ready(&status);
        Ok(())
    }

    /// One line on what goes on.
    fn status(&self, now: Timestamp) -> String {
        let at_work: Vec<String> =
            self.running.iter().map(|one| named(one.task, &one.instance)).collect();
        let next = self.board.next(now).map(|next| {
            let nanos = next.due.map_or(0, |due| i64::try_from(due.as_nanosecond()).unwrap_or(0));
            let time = local_time(nanos, next.zone);
            format!("next is {} at {time}", named(next.task, next.instance))
        });
        let count = counted(self.board.slots().len(), "job");
        let next = next.unwrap_or_else(|| format!("{count} scheduled"));
        match at_work.is_empty() {
            true => next,
            false => format!("at work: {}; {next}", at_work.join(", ")),
        }
    }
}
