//! Time, passed in: nothing below the command line asks the system for the hour by itself.

use std::sync::Mutex;
use std::time::Duration;

use jiff::{Timestamp, Zoned, tz::TimeZone};

/// Tells the time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Now, as the wall clock says.
    fn now(&self) -> Timestamp;

    /// The zone in which people here read the clock.
    fn zone(&self) -> TimeZone;

    /// Now, in [`Clock::zone`].
    fn zoned(&self) -> Zoned {
        self.now().to_zoned(self.zone())
    }

    /// Time since an arbitrary moment, never running backwards, counting suspended time.
    fn elapsed(&self) -> Duration;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn zone(&self) -> TimeZone {
        TimeZone::system()
    }

    fn elapsed(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        )
    }
}

/// The system's clock, read in a zone of its own.
#[derive(Debug, Clone)]
pub struct LocalClock(TimeZone);

impl LocalClock {
    /// The system's clock in `zone`.
    pub const fn new(zone: TimeZone) -> Self {
        Self(zone)
    }
}

impl Clock for LocalClock {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn zone(&self) -> TimeZone {
        self.0.clone()
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed()
    }
}

/// A clock that stands still until it is told otherwise, for tests.
#[derive(Debug)]
pub struct FixedClock {
    now: Mutex<Timestamp>,
    start: Timestamp,
    zone: TimeZone,
}

impl FixedClock {
    /// A clock showing `now` in UTC.
    pub fn new(now: Timestamp) -> Self {
        Self { now: Mutex::new(now), start: now, zone: TimeZone::UTC }
    }

    /// Moves on.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *now = now.saturating_add(by).unwrap_or(*now);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn zone(&self) -> TimeZone {
        self.zone.clone()
    }

    fn elapsed(&self) -> Duration {
        self.now().duration_since(self.start).unsigned_abs()
    }
}
