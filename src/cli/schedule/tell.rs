//! What the service manager is told: ready, alive, what is going on.

use std::time::Duration;

use sd_notify::NotifyState;

/// Tells systemd, if it asked to be told. A service manager that does not listen is no reason to stop.
fn tell(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

/// Jobs begin from now on.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read again; [`ready`] says when that is done.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// No more jobs begin.
pub fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// What is going on, and that we live.
pub fn alive(status: &str) {
    tell(&[NotifyState::Watchdog, NotifyState::Status(status)]);
}

/// How often systemd wants to hear that we live: twice in its patience.
pub fn interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|patience| patience / 2)
}
