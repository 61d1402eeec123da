//! How often a wrong password or token may be given.
//!
//! Each wrong one costs its peer a while, and whoever has spent [`AT_ONCE`] of them is not listened to before one is paid back: what
//! comes meanwhile is not even compared, so that nothing is learned from it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// Wrong ones a peer may give at once: more than a person needs.
pub const AT_ONCE: u32 = 10;
/// What each costs: ten a minute, then, and not one more however many connections a peer has.
pub const EACH: Duration = Duration::from_secs(6);
/// Peers that are remembered, in some 50 kB. Whoever asks from more addresses makes us forget those that have least to pay.
const PEERS: usize = 1024;

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It was right.
    Right,
    /// It was wrong; whether this is the one after which the peer is not listened to, which is told once.
    Wrong {
        /// See there.
        is_last: bool,
    },
    /// It was not looked at; how long that stays so.
    Early(Duration),
}

/// Who gave wrong ones lately.
#[derive(Debug)]
pub struct Attempts {
    clock: Arc<dyn Clock>,
    peers: Mutex<HashMap<IpAddr, Debt>>,
}

#[derive(Debug, Clone, Copy)]
struct Debt {
    /// When all is paid, by [`Clock::elapsed`].
    until: Duration,
    is_told: bool,
}

impl Attempts {
    /// Nobody gave any.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, peers: Mutex::default() }
    }

    /// An attempt of the machine at `address`, compared by `is_right` unless it comes too early.
    pub fn judge(&self, address: IpAddr, is_right: impl FnOnce() -> bool) -> Attempt {
        let (peer, now) = (peer(address), self.clock.elapsed());
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let debt = peers.get(&peer).copied().filter(|debt| debt.until > now);
        let owed = debt.map_or(Duration::ZERO, |debt| debt.until.saturating_sub(now));
        let early = (owed + EACH).saturating_sub(EACH * AT_ONCE);
        if !early.is_zero() {
            return Attempt::Early(early);
        }
        if is_right() {
            return Attempt::Right;
        }
        let is_told = debt.is_some_and(|debt| debt.is_told);
        let is_last = owed + EACH * 2 > EACH * AT_ONCE;
        if debt.is_none() {
            make_room(&mut peers, now);
        }
        let debt = Debt { until: now + owed + EACH, is_told: is_told || is_last };
        peers.insert(peer, debt);
        Attempt::Wrong { is_last: is_last && !is_told }
    }
}

/// Room for one more.
fn make_room(peers: &mut HashMap<IpAddr, Debt>, now: Duration) {
    if peers.len() < PEERS {
        return;
    }
    peers.retain(|_, debt| debt.until > now);
    let least = peers.iter().min_by_key(|(_, debt)| debt.until).map(|(peer, _)| *peer);
    if let Some(least) = least.filter(|_| peers.len() >= PEERS) {
        peers.remove(&least);
    }
}

/// Whose address it is: of version 6 a machine has a whole network.
fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
        version4 => version4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::FixedClock;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn attempts() -> (Arc<FixedClock>, Attempts) {
        let clock = Arc::new(FixedClock::new("2026-11-22T12:00:00Z".parse().unwrap()));
        (Arc::clone(&clock), Attempts::new(clock))
    }

    fn wrong(attempts: &Attempts, from: IpAddr) -> Attempt {
        attempts.judge(from, || false)
    }

    #[test]
    fn after_ten_wrong_ones_nothing_is_compared_for_a_while() {
        let (clock, attempts) = attempts();
        for count in 1..=AT_ONCE {
            let is_last = count == AT_ONCE;
            assert_eq!(wrong(&attempts, ONE), Attempt::Wrong { is_last }, "{count}");
        }
        // Not even the right one, so that nobody learns that it is.
        let early = attempts.judge(ONE, || panic!("compared"));
        assert_eq!(early, Attempt::Early(EACH));
        clock.advance(EACH / 2);
        assert_eq!(wrong(&attempts, ONE), Attempt::Early(EACH / 2));
        // What came too early costs nothing, and it is told once.
        clock.advance(EACH / 2);
        assert_eq!(wrong(&attempts, ONE), Attempt::Wrong { is_last: false });
        assert_eq!(wrong(&attempts, ONE), Attempt::Early(EACH));
        clock.advance(EACH);
        assert_eq!(attempts.judge(ONE, || true), Attempt::Right);
        // Others do not wait for it.
        assert_eq!(attempts.judge("192.0.2.2".parse().unwrap(), || true), Attempt::Right);
        clock.advance(EACH * AT_ONCE);
        assert_eq!(wrong(&attempts, ONE), Attempt::Wrong { is_last: false });
    }

    #[test]
    fn in_a_day_no_more_than_ten_a_minute_are_compared() {
        let (clock, attempts) = attempts();
        let mut compared = 0;
        for _ in 0..24 * 60 * 60 {
            compared += u32::from(matches!(wrong(&attempts, ONE), Attempt::Wrong { .. }));
            clock.advance(Duration::from_secs(1));
        }
        assert_eq!(compared, 24 * 60 * 10 + AT_ONCE - 1);
    }

    #[test]
    fn a_network_is_one_peer_and_so_are_both_ways_to_write_an_address() {
        let (_, attempts) = attempts();
        for host in 0..AT_ONCE {
            let address = format!("2001:db8::{host:x}:1").parse().unwrap();
            assert!(matches!(wrong(&attempts, address), Attempt::Wrong { .. }), "{host}");
        }
        let other = |text: &str| wrong(&attempts, text.parse().unwrap());
        assert_eq!(other("2001:db8::ffff"), Attempt::Early(EACH));
        assert_eq!(other("2001:db8:0:1::1"), Attempt::Wrong { is_last: false });
        for _ in 0..AT_ONCE {
            wrong(&attempts, ONE);
        }
        assert_eq!(other("::ffff:192.0.2.1"), Attempt::Early(EACH));
    }

    #[test]
    fn a_hundred_thousand_addresses_take_no_more_room() {
        let (clock, attempts) = attempts();
        for _ in 0..AT_ONCE {
            wrong(&attempts, ONE);
        }
        for number in 0..100_000_u32 {
            wrong(&attempts, IpAddr::V4((0x0a00_0000 + number).into()));
        }
        let held = || attempts.peers.lock().unwrap().len();
        assert_eq!(held(), PEERS);
        assert_eq!(wrong(&attempts, ONE), Attempt::Early(EACH), "who owes most is not forgotten");
        clock.advance(EACH * AT_ONCE);
        wrong(&attempts, "198.51.100.1".parse().unwrap());
        assert_eq!(held(), 1, "who paid is");
    }
}
