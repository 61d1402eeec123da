//! Jobs: what is done to an instance by itself, at hours of the configuration; and the steps they are made of.
//!
//! A job is a list of steps, done in one go under the instance's lock. This is the one place that
//! says who forgets and prunes: the nightly `run`, unless the schedule has a `prune` job of its own.

use super::config::Instance;

/// What can be scheduled.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Job {
    /// The whole night.
    Run,
    /// Copies, away from the night.
    Copy,
    /// Forget and prune, away from the night.
    Prune,
    /// A look at everything stored.
    Check,
    /// The newest snapshot restored and looked at.
    TestRestore,
}

impl Job {
    /// All of them, in the order in which they are done if several are due.
    pub const ALL: [Self; 5] = [Self::Run, Self::Copy, Self::Prune, Self::Check, Self::TestRestore];

    /// Its name on the command line and in units.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Copy => "copy",
            Self::Prune => "prune",
            Self::Check => "check",
            Self::TestRestore => "test-restore",
        }
    }

    /// The job of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|job| job.name() == name)
    }

    /// What it does to `instance`, in order.
    pub fn steps(self, instance: &Instance) -> Vec<Step> {
        match self {
            Self::Run => {
                let mut steps = vec![Step::Snapshot];
                let has_own_hour = |job| instance.schedule.value.jobs.contains_key(&job);
                if !instance.copies.is_empty() && !has_own_hour(Self::Copy) {
                    steps.push(Step::Copy);
                }
                if !has_own_hour(Self::Prune) {
                    steps.extend([Step::Forget, Step::Prune]);
                }
                if instance.check_subset.is_some() {
                    steps.push(Step::Check);
                }
                steps
            }
            Self::Copy => vec![Step::Copy],
            Self::Prune => vec![Step::Forget, Step::Prune],
            Self::Check => vec![Step::Check],
            Self::TestRestore => vec![Step::TestRestore],
        }
    }
}

/// One thing done to an instance.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Files and databases are stored.
    Snapshot,
    /// What is stored is brought to the copies.
    Copy,
    /// Snapshots are dropped by the retention policy.
    Forget,
    /// What no snapshot needs is freed: announced tonight, deleted in a later night.
    Prune,
    /// What is stored is looked at.
    Check,
    /// The newest snapshot is restored and looked at.
    TestRestore,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Went {
    /// As it should.
    Well,
    /// It was done, but what it made lacks something.
    Incomplete,
    /// It was not done.
    Badly,
    /// It was not tried, because of another step.
    NotTried,
}

impl Step {
    /// All of them, in the order in which they are done.
    pub const ALL: [Self; 6] =
        [Self::Snapshot, Self::Copy, Self::Forget, Self::Prune, Self::Check, Self::TestRestore];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Copy => "copy",
            Self::Forget => "forget",
            Self::Prune => "prune",
            Self::Check => "check",
            Self::TestRestore => "test-restore",
        }
    }

    /// The step of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }

    /// Why it is not to be tried after what went before, if so.
    pub fn blocked_by(self, before: &[(Self, Went)]) -> Option<&'static str> {
        let went = |step| before.iter().find(|(done, _)| *done == step).map(|(_, went)| *went);
        match self {
            // Old snapshots are worth most when the new one is not whole.
            Self::Forget => match went(Self::Snapshot) {
                Some(Went::Badly | Went::NotTried) => Some("there is no snapshot of tonight"),
                Some(Went::Incomplete) => Some("the snapshot of tonight is incomplete"),
                Some(Went::Well) | None => None,
            },
            // What was dropped earlier may be freed whatever tonight was like, and a full disk needs it;
            // but not while something is odd about the snapshots.
            Self::Prune => match went(Self::Forget) {
                Some(Went::Badly) => Some("forget failed"),
                _ => None,
            },
            Self::TestRestore => match went(Self::Snapshot) {
                Some(Went::Badly) => Some("there is no snapshot of tonight"),
                _ => None,
            },
            // What earlier nights stored may still be missing at a copy.
            Self::Snapshot | Self::Copy | Self::Check => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for job in Job::ALL {
            assert_eq!(Job::named(job.name()), Some(job));
        }
        for step in Step::ALL {
            assert_eq!(Step::named(step.name()), Some(step));
        }
        assert_eq!(Job::named("Run"), None);
    }

    #[test]
    fn nothing_is_dropped_after_a_bad_night() {
        let after = |went| Step::Forget.blocked_by(&[(Step::Snapshot, went)]);
        assert_eq!(after(Went::Well), None);
        assert!(after(Went::Incomplete).is_some_and(|why| why.contains("incomplete")));
        assert!(after(Went::Badly).is_some());
        assert_eq!(Step::Forget.blocked_by(&[]), None, "a night of its own");
        // A full disk has to be freed.
        let full = [(Step::Snapshot, Went::Badly), (Step::Forget, Went::NotTried)];
        assert_eq!(Step::Prune.blocked_by(&full), None);
        assert!(Step::Prune.blocked_by(&[(Step::Forget, Went::Badly)]).is_some());
        assert_eq!(Step::Check.blocked_by(&full), None);
    }
}
