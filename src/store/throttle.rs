//! Rate limits: bytes are let through as fast as they may be, counted over all connections of a store.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::rate::Rate;
use crate::clock::{Clock, SystemClock};

/// Lets bytes through at a rate.
#[derive(Debug)]
pub(super) struct Throttle {
    /// `None`: all at once.
    rate: Option<Rate>,
    /// When what was let through so far is paid for, as [`Clock::elapsed`] counts.
    paid_until: Mutex<Duration>,
}

impl Throttle {
    pub fn new(rate: Option<Rate>) -> Self {
        Self { rate, paid_until: Mutex::new(Duration::ZERO) }
    }

    /// How long to wait before `bytes` more may go at `rate` bytes a second, at the time `now`.
    fn delay(&self, bytes: usize, rate: u64, now: Duration) -> Duration {
        let cost = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let mut paid = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let start = (*paid).max(now);
        *paid = start + cost;
        start - now
    }

    fn delay_now(&self, bytes: usize) -> Duration {
        let rate = self.rate.as_ref().and_then(Rate::now);
        rate.map_or(Duration::ZERO, |rate| self.delay(bytes, rate, SystemClock.elapsed()))
    }

    /// Waits until `bytes` more may go.
    pub fn pass(&self, bytes: usize) {
        let delay = self.delay_now(bytes);
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
    }

    /// The same, for what runs asynchronously.
    pub async fn pass_async(&self, bytes: usize) {
        let delay = self.delay_now(bytes);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }
}

/// What holds for all stores of this process together: they share one line.
static PROCESS: OnceLock<Pair> = OnceLock::new();

#[derive(Debug)]
struct Pair {
    upload: Throttle,
    download: Throttle,
}

/// Limits all stores elsewhere together; the first call counts.
pub fn limit_process(upload: Option<Rate>, download: Option<Rate>) {
    PROCESS
        .get_or_init(|| Pair { upload: Throttle::new(upload), download: Throttle::new(download) });
}

/// Both directions of a store.
#[derive(Debug)]
pub(super) struct Limits {
    own: Pair,
}

impl Limits {
    pub fn new(upload: Option<Rate>, download: Option<Rate>) -> Self {
        Self { own: Pair { upload: Throttle::new(upload), download: Throttle::new(download) } }
    }

    /// Waits until `bytes` may be sent.
    pub fn send(&self, bytes: usize) {
        self.own.upload.pass(bytes);
        if let Some(all) = PROCESS.get() {
            all.upload.pass(bytes);
        }
    }

    /// Waits until `bytes` may be received.
    pub fn receive(&self, bytes: usize) {
        self.own.download.pass(bytes);
        if let Some(all) = PROCESS.get() {
            all.download.pass(bytes);
        }
    }

    /// The same as [`send`](Self::send), for what runs asynchronously.
    pub async fn send_async(&self, bytes: usize) {
        self.own.upload.pass_async(bytes).await;
        if let Some(all) = PROCESS.get() {
            all.upload.pass_async(bytes).await;
        }
    }

    /// The same as [`receive`](Self::receive), for what runs asynchronously.
    pub async fn receive_async(&self, bytes: usize) {
        self.own.download.pass_async(bytes).await;
        if let Some(all) = PROCESS.get() {
            all.download.pass_async(bytes).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_at_once_share_one_rate() {
        let throttle = Throttle::new(None);
        let at = Duration::from_secs;
        assert_eq!(throttle.delay(500, 1000, at(10)), Duration::ZERO);
        assert_eq!(throttle.delay(500, 1000, at(10)), Duration::from_millis(500));
        assert_eq!(throttle.delay(1000, 1000, at(10)), at(1));
        assert_eq!(throttle.delay(1, 1000, at(10)), at(2));
        // Time that passed unused is no credit.
        assert_eq!(throttle.delay(1, 1000, at(100)), Duration::ZERO);
        assert_eq!(throttle.delay_now(1 << 30), Duration::ZERO);
    }
}
