//! What is due, and what to start now: pure functions of the ledger and the clock.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::ledger::{Entry, is_ended};
use super::task::Task;
use crate::calendar::CronLine;

/// A job that was killed or stopped is begun again, so long after it was begun
const RETRY_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// and so many times in all.
const MOST_ATTEMPTS: u32 = 3;
/// A ledger further ahead than this was written by a clock that was wrong.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(10);
/// Where nobody knows of any earlier night, one that should have begun within this is tonight's.
const FIRST_NIGHT: SignedDuration = SignedDuration::from_hours(1);

/// When a job has to begin, or had to: its next time after it was begun last, however many it missed, and
/// `delay` later. `None` if there is no such time.
///
/// Nothing is due only because it was never run. A clock that was set back makes it due at once, for
/// the ledger would keep it from running until then.
pub fn due_at(
    line: &CronLine,
    zone: &TimeZone,
    entry: &Entry,
    delay: Duration,
    now: Timestamp,
) -> Option<Timestamp> {
    let earlier = |time: Timestamp, by: SignedDuration| time.saturating_sub(by).unwrap_or(time);
    if let Some(started) = entry.started {
        if earlier(started, CLOCK_TOLERANCE) > now {
            return Some(now);
        }
        if !is_ended(entry) && entry.attempts < MOST_ATTEMPTS {
            return started.checked_add(RETRY_AFTER).ok();
        }
    }
    let delay = SignedDuration::try_from(delay).unwrap_or(SignedDuration::ZERO);
    let known = entry.started.or(entry.since).map(|known| known.min(now));
    let known = known.unwrap_or_else(|| earlier(earlier(now, FIRST_NIGHT), delay));
    line.next_after(known, zone)?.checked_add(delay).ok()
}

/// One job of one instance, with the time at which it has to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Whose.
    pub instance: String,
    /// Which.
    pub task: Task,
    /// `None`: never.
    pub due: Option<Timestamp>,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// Slots to begin, by their number.
    pub start: Vec<usize>,
    /// When the next one comes; `None` if none does.
    pub wake: Option<Timestamp>,
}

/// Which slots begin now: one job an instance at a time, not more than `parallel` instances at once, the
/// longest due first. `running` are instances somebody is at.
pub fn decide(
    slots: &[Slot],
    running: &BTreeSet<String>,
    parallel: usize,
    now: Timestamp,
) -> Decision {
    let mut due: Vec<(Timestamp, Task, usize)> = Vec::new();
    let mut wake: Option<Timestamp> = None;
    for (number, slot) in slots.iter().enumerate() {
        match slot.due {
            Some(time) if time <= now => due.push((time, slot.task, number)),
            Some(time) => wake = Some(wake.map_or(time, |wake| wake.min(time))),
            None => {}
        }
    }
    due.sort_unstable();
    let mut busy: BTreeSet<&str> = running.iter().map(String::as_str).collect();
    let mut start = Vec::new();
    for (_, _, number) in due {
        if busy.len() >= parallel.max(1) {
            break;
        }
        if busy.insert(&slots[number].instance) {
            start.push(number);
        }
    }
    Decision { start, wake }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::spread;
    use crate::instance::Job;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn nightly() -> CronLine {
        "0 23 * * *".parse().expect("a line")
    }

    fn begun(started: &str, exit_code: Option<u8>, attempts: u32) -> Entry {
        let finished = exit_code.map(|_| at(started));
        Entry { started: Some(at(started)), finished, exit_code, attempts, since: None }
    }

    fn due(entry: &Entry, now: &str) -> Option<Timestamp> {
        due_at(&nightly(), &TimeZone::UTC, entry, Duration::ZERO, at(now))
    }

    #[test]
    fn a_night_is_due_once() {
        let ran = begun("2026-11-24T23:00:05Z", Some(0), 1);
        assert_eq!(due(&ran, "2026-11-25T12:00Z"), Some(at("2026-11-25T23:00Z")));
        // Three nights without power are caught up once.
        assert_eq!(due(&ran, "2026-11-28T08:00Z"), Some(at("2026-11-25T23:00Z")));
        let caught_up = begun("2026-11-28T08:00:01Z", Some(0), 1);
        assert_eq!(due(&caught_up, "2026-11-28T08:10Z"), Some(at("2026-11-28T23:00Z")));
        // Also a failed one waits for its next time.
        let failed = begun("2026-11-25T23:00:05Z", Some(1), 1);
        assert_eq!(due(&failed, "2026-11-26T00:00Z"), Some(at("2026-11-26T23:00Z")));
    }

    #[test]
    fn what_was_installed_at_noon_waits_for_the_night() {
        let seen = Entry { since: Some(at("2026-11-25T12:00Z")), ..Entry::default() };
        assert_eq!(due(&seen, "2026-11-25T12:00Z"), Some(at("2026-11-25T23:00Z")));
        assert_eq!(due(&seen, "2026-11-27T12:00Z"), Some(at("2026-11-25T23:00Z")), "missed");
        let nothing = Entry::default();
        assert_eq!(due(&nothing, "2026-11-25T12:00Z"), Some(at("2026-11-25T23:00Z")));
        // A timer that fires at eleven without anybody having seen it before is right.
        assert_eq!(due(&nothing, "2026-11-25T23:00:30Z"), Some(at("2026-11-25T23:00Z")));
    }

    #[test]
    fn what_was_killed_is_begun_again_but_not_for_ever() {
        let killed = |attempts| begun("2026-11-25T23:00Z", None, attempts);
        assert_eq!(due(&killed(1), "2026-11-25T23:05Z"), Some(at("2026-11-25T23:10Z")));
        assert_eq!(due(&killed(2), "2026-11-26T08:00Z"), Some(at("2026-11-25T23:10Z")));
        assert_eq!(due(&killed(3), "2026-11-26T08:00Z"), Some(at("2026-11-26T23:00Z")));
        let stopped = begun("2026-11-25T23:00Z", Some(130), 1);
        assert_eq!(due(&stopped, "2026-11-26T08:00Z"), Some(at("2026-11-25T23:10Z")));
    }

    #[test]
    fn a_clock_set_back_does_not_stop_the_nights() {
        let future = begun("2031-01-01T00:00Z", Some(0), 1);
        assert_eq!(due(&future, "2026-11-25T12:00Z"), Some(at("2026-11-25T12:00Z")));
        let seen = Entry { since: Some(at("2031-01-01T00:00Z")), ..Entry::default() };
        assert_eq!(due(&seen, "2026-11-25T12:00Z"), Some(at("2026-11-25T23:00Z")));
    }

    #[test]
    fn delays_move_the_beginning_and_nothing_else() {
        let ran = begun("2026-11-24T23:07Z", Some(0), 1);
        let delay = Duration::from_secs(420);
        let due = |entry, now: &str| due_at(&nightly(), &TimeZone::UTC, entry, delay, at(now));
        assert_eq!(due(&ran, "2026-11-25T23:01Z"), Some(at("2026-11-25T23:07Z")));
        assert_eq!(due(&Entry::default(), "2026-11-26T00:05Z"), Some(at("2026-11-25T23:07Z")));
    }

    #[test]
    fn jobs_of_one_instance_come_one_by_one() {
        let slot = |instance: &str, job: Job, due: &str| Slot {
            instance: instance.to_owned(),
            task: job.into(),
            due: (!due.is_empty()).then(|| at(due)),
        };
        let slots = [
            slot("a", Job::Prune, "2026-11-25T04:00Z"),
            slot("a", Job::Run, "2026-11-24T23:00Z"),
            slot("b", Job::Run, "2026-11-24T23:00Z"),
            slot("c", Job::Run, "2026-11-24T22:00Z"),
            slot("d", Job::Run, "2026-11-26T23:00Z"),
            slot("e", Job::Run, ""),
        ];
        let now = at("2026-11-25T12:00Z");
        let nobody = BTreeSet::new();
        let found = decide(&slots, &nobody, 2, now);
        assert_eq!(found.start, [3, 1], "the longest due first, two at once");
        assert_eq!(found.wake, Some(at("2026-11-26T23:00Z")));
        assert_eq!(decide(&slots, &nobody, 9, now).start, [3, 1, 2]);
        let running = BTreeSet::from(["a".to_owned()]);
        assert_eq!(decide(&slots, &running, 2, now).start, [3], "one place is left");
        assert_eq!(decide(&slots, &running, 1, now).start, [0; 0]);
        assert_eq!(decide(&[], &nobody, 2, now), Decision::default());
    }

    #[test]
    fn ten_thousand_instances_are_asked_once_each() {
        let (line, zone) = (nightly(), TimeZone::get("Europe/Paris").expect("a zone"));
        let now = at("2026-11-25T12:00Z");
        let slot = |number: usize| {
            let instance = format!("i{number}");
            let delay = spread(&instance, Duration::from_secs(3600));
            let due = due_at(&line, &zone, &Entry::default(), delay, now);
            Slot { instance, task: Job::Run.into(), due }
        };
        let slots: Vec<Slot> = (0..10_000).map(slot).collect();
        let found = decide(&slots, &BTreeSet::new(), 2, now);
        assert_eq!(found.start, [0; 0]);
        let wake = found.wake.expect("a next one");
        let night = at("2026-11-25T22:00Z");
        assert!(wake >= night && wake < night + SignedDuration::from_mins(1), "{wake}");
    }

    proptest! {
        #[test]
        fn whoever_runs_what_is_due_runs_every_night_once(
            wakes in prop::collection::vec(1_u32..200_000, 1..60),
            delay in 0_u64..3600,
        ) {
            // Somebody looks at odd times, and runs what is due.
            let line = nightly();
            let zone = TimeZone::get("Europe/Paris").expect("a zone");
            let delay = Duration::from_secs(delay);
            let start = at("2027-03-20T12:00Z");
            let (mut now, mut entry) = (start, Entry { since: Some(start), ..Entry::default() });
            let mut runs: Vec<Timestamp> = Vec::new();
            for wake in wakes {
                now += SignedDuration::from_secs(wake.into());
                if due_at(&line, &zone, &entry, delay, now).is_some_and(|due| due <= now) {
                    runs.push(now);
                    entry = Entry { started: Some(now), finished: Some(now), exit_code: Some(0), attempts: 1, ..entry };
                }
                let due = due_at(&line, &zone, &entry, delay, now).expect("a next one");
                prop_assert!(due > now, "never twice in a row");
            }
            for pair in runs.windows(2) {
                let between = line.next_after(pair[0], &zone).expect("a night");
                prop_assert!(between <= pair[1], "two runs of one night: {:?}", pair);
            }
        }
    }
}
