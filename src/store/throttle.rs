//! Rate limits: bytes are let through as fast as they may be, counted over all connections of a store.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, SystemClock};

/// Lets bytes through at a rate.
#[derive(Debug)]
pub(super) struct Throttle {
    /// Bytes a second. `None`: all at once.
    rate: Option<u64>,
    /// When what was let through so far is paid for, as [`Clock::elapsed`] counts.
    paid_until: Mutex<Duration>,
}

impl Throttle {
    pub fn new(rate: Option<u64>) -> Self {
        Self { rate, paid_until: Mutex::new(Duration::ZERO) }
    }

    /// How long to wait before `bytes` more may go, at the time `now`.
    fn delay(&self, bytes: usize, now: Duration) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let cost = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let mut paid = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let start = (*paid).max(now);
        *paid = start + cost;
        start - now
    }

    /// Waits until `bytes` more may go.
    pub fn pass(&self, bytes: usize) {
        if self.rate.is_none() {
            return;
        }
        let delay = self.delay(bytes, SystemClock.elapsed());
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
    }
}

/// Both directions of a store.
#[derive(Debug)]
pub(super) struct Limits {
    pub upload: Throttle,
    pub download: Throttle,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_at_once_share_one_rate() {
        let throttle = Throttle::new(Some(1000));
        let at = Duration::from_secs;
        assert_eq!(throttle.delay(500, at(10)), Duration::ZERO);
        assert_eq!(throttle.delay(500, at(10)), Duration::from_millis(500));
        assert_eq!(throttle.delay(1000, at(10)), at(1));
        assert_eq!(throttle.delay(1, at(10)), at(2));
        // Time that passed unused is no credit.
        assert_eq!(throttle.delay(1, at(100)), Duration::ZERO);
        assert_eq!(Throttle::new(None).delay(1 << 30, at(0)), Duration::ZERO);
    }
}
