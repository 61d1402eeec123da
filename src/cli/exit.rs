//! Exit codes: restic's, extended.

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// Everything was done.
    Ok,
    /// It was not done; or a check found damage.
    Failed,
    /// It was asked wrongly: options, configuration.
    Usage,
    /// A snapshot was made but lacks something; or some items were not restored.
    Incomplete,
    /// There is no repository (of ours).
    NoRepository,
    /// Somebody else works on the instance.
    Locked,
    /// The password or key file opens nothing.
    WrongPassword,
    /// What is stored here is safe, but a copy of it could not be brought up to date.
    CopyFailed,
    /// A snapshot's databases do not restore.
    ProofFailed,
    /// An anonymized copy was refused or stopped: rules, target or data do not allow it.
    CloneRefused,
    /// A deployment failed, and the earlier one is back.
    RolledBack,
    /// A deployment failed and was left as it is.
    HandsNeeded,
    /// Somebody asked to stop.
    Interrupted,
}

impl Exit {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Ok,
        Self::Failed,
        Self::Usage,
        Self::Incomplete,
        Self::NoRepository,
        Self::Locked,
        Self::WrongPassword,
        Self::CopyFailed,
        Self::ProofFailed,
        Self::CloneRefused,
        Self::RolledBack,
        Self::HandsNeeded,
        Self::Interrupted,
    ];

    /// The number for the shell.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Incomplete => 3,
            Self::NoRepository => 10,
            Self::Locked => 11,
            Self::WrongPassword => 12,
            Self::CopyFailed => 20,
            Self::ProofFailed => 21,
            Self::CloneRefused => 32,
            Self::RolledBack => 30,
            Self::HandsNeeded => 31,
            Self::Interrupted => 130,
        }
    }

    /// The word in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Incomplete => "incomplete",
            Self::Interrupted => "interrupted",
            Self::Failed
            | Self::Usage
            | Self::NoRepository
            | Self::Locked
            | Self::WrongPassword
            | Self::CopyFailed
            | Self::ProofFailed
            | Self::CloneRefused
            | Self::RolledBack
            | Self::HandsNeeded => "failed",
        }
    }

    /// The one of this number.
    pub fn of(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|exit| exit.code() == code)
    }

    /// How bad it is, from the best. What was asked for and not done is worse than what was done with
    /// something missing; that somebody wanted it to stop is told whatever else happened.
    const fn rank(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Incomplete => 1,
            Self::CopyFailed => 2,
            Self::Locked => 3,
            Self::ProofFailed => 4,
            Self::CloneRefused => 5,
            Self::WrongPassword => 6,
            Self::NoRepository => 7,
            Self::Usage => 8,
            Self::Failed => 9,
            Self::RolledBack => 10,
            Self::HandsNeeded => 11,
            Self::Interrupted => 12,
        }
    }

    /// The worse one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self.rank() >= other.rank() { self } else { other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart() {
        let mut codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes, [0, 1, 2, 3, 10, 11, 12, 20, 21, 30, 31, 32, 130]);
    }

    #[test]
    fn the_worse_one_stands_for_both() {
        for one in Exit::ALL {
            assert_eq!(one.and(one), one);
            assert_eq!(one.and(Exit::Ok), one);
            assert_eq!(Exit::of(one.code()), Some(one));
            for two in Exit::ALL {
                assert_eq!(one.and(two), two.and(one));
            }
        }
        assert_eq!(Exit::Incomplete.and(Exit::Locked), Exit::Locked);
        assert_eq!(Exit::NoRepository.and(Exit::Locked), Exit::NoRepository);
        assert_eq!(Exit::Failed.and(Exit::Interrupted), Exit::Interrupted);
    }
}
