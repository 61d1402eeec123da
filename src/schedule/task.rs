//! What is scheduled: jobs of instances, and what is done to the machine as a whole.

use crate::instance::Job;

/// The place of an instance for what is of none. No instance has this name.
pub const REVIEWS: &str = "_reviews";
/// When review stacks are looked at.
pub const EXPIRE_LINE: &str = "*/15 * * * *";

/// What the ledger knows by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Review stacks whose time is over are taken away; the instance is [`REVIEWS`].
    Expire,
    /// A job of an instance.
    #[serde(untagged)]
    Job(Job),
}

impl Task {
    /// Its name in the ledger and in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expire => "expire",
            Self::Job(job) => job.name(),
        }
    }
}

impl From<Job> for Task {
    fn from(job: Job) -> Self {
        Self::Job(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_told_by_their_names() {
        let told = |task: Task| serde_json::to_string(&task).unwrap();
        assert_eq!(told(Task::Expire), "\"expire\"");
        assert_eq!(told(Job::TestRestore.into()), "\"test-restore\"");
        assert_eq!(Task::from(Job::TestRestore).name(), "test-restore");
        assert!(EXPIRE_LINE.parse::<crate::calendar::CronLine>().is_ok());
    }
}
