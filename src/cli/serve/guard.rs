//! Who may ask: a name with a password, or a token.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cli::CliError;
use crate::clock::Clock;
use crate::event::StopFlag;
use crate::instance::config::{KeyReader, ServeConfig, process_environment};

use super::attempts::{Attempt, Attempts};

/// What has to be given, as hashes: comparing those takes the same time whatever is given.
#[derive(Debug)]
pub struct Guard {
    login: Option<blake3::Hash>,
    token: Option<blake3::Hash>,
    attempts: Attempts,
}

/// Whether somebody may see anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    In,
    /// Nothing was given, or something wrong; whether it was the last wrong one for now.
    Out {
        /// See there.
        is_last: bool,
    },
    /// So much was wrong that nothing is looked at, for so long.
    Wait(Duration),
}

impl Guard {
    /// Reads the secrets of the configuration.
    pub fn new(
        config: &ServeConfig,
        stop: &Arc<StopFlag>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CliError> {
        let reader = KeyReader { environment: &process_environment, stop: Arc::clone(stop) };
        let login = match &config.login {
            Some((user, password)) => {
                let password = reader.read(password)?.secret;
                let mut hasher = blake3::Hasher::new();
                hasher.update(user.as_bytes()).update(b":").update(password.expose());
                Some(hasher.finalize())
            }
            None => None,
        };
        let token = match &config.token {
            Some(token) => Some(blake3::hash(reader.read(token)?.secret.expose())),
            None => None,
        };
        Ok(Self { login, token, attempts: Attempts::new(clock) })
    }

    /// Whether whoever sent these headers from `address` may see anything.
    pub fn judge(&self, address: IpAddr, headers: &HeaderMap) -> Verdict {
        // A browser asks without a password first, which is no guess.
        let is_guess = headers.contains_key(AUTHORIZATION);
        if !is_guess || (self.login.is_none() && self.token.is_none()) {
            return match self.lets_in(headers) {
                true => Verdict::In,
                false => Verdict::Out { is_last: false },
            };
        }
        match self.attempts.judge(address, || self.lets_in(headers)) {
            Attempt::Right => Verdict::In,
            Attempt::Wrong { is_last } => Verdict::Out { is_last },
            Attempt::Early(wait) => Verdict::Wait(wait),
        }
    }

    /// Whether whoever sent these headers may see anything.
    fn lets_in(&self, headers: &HeaderMap) -> bool {
        if self.login.is_none() && self.token.is_none() {
            return true;
        }
        let Some(given) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) else {
            return false;
        };
        let Some((scheme, rest)) = given.split_once(' ') else { return false };
        let rest = rest.trim();
        match scheme.to_ascii_lowercase().as_str() {
            "basic" => {
                let Ok(login) = STANDARD.decode(rest) else { return false };
                self.login == Some(blake3::hash(&login))
            }
            "bearer" => self.token == Some(blake3::hash(rest.as_bytes())),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        headers
    }

    fn guard(login: Option<&[u8]>, token: Option<&[u8]>) -> Guard {
        let clock = crate::clock::FixedClock::new("2026-11-22T12:00:00Z".parse().unwrap());
        let attempts = Attempts::new(Arc::new(clock));
        Guard { login: login.map(blake3::hash), token: token.map(blake3::hash), attempts }
    }

    #[test]
    fn only_guesses_are_counted() {
        let address = [192, 0, 2, 1].into();
        let guard = guard(None, Some(b"token"));
        let (none, right, wrong) = (HeaderMap::new(), with("Bearer token"), with("Bearer x"));
        for _ in 0..100 {
            assert_eq!(guard.judge(address, &none), Verdict::Out { is_last: false });
            assert_eq!(guard.judge(address, &right), Verdict::In);
        }
        let told = (0..100).map(|_| guard.judge(address, &wrong));
        let told = told.filter(|verdict| *verdict == Verdict::Out { is_last: true }).count();
        assert_eq!(told, 1);
        assert!(matches!(guard.judge(address, &right), Verdict::Wait(_)));
        assert_eq!(guard.judge(address, &none), Verdict::Out { is_last: false });
        // Where nothing is asked for, whatever is given is let in.
        let open = super::tests::guard(None, None);
        for _ in 0..100 {
            assert_eq!(open.judge(address, &wrong), Verdict::In);
        }
    }

    #[test]
    fn only_who_knows_is_let_in() {
        assert!(guard(None, None).lets_in(&HeaderMap::new()), "nothing is asked for");
        let only_login = guard(Some(b"me:secret"), None);
        let guard = guard(Some(b"me:secret"), Some(b"token"));
        assert!(!guard.lets_in(&HeaderMap::new()));
        let basic = |text: &str| with(&format!("Basic {}", STANDARD.encode(text)));
        assert!(guard.lets_in(&basic("me:secret")));
        assert!(guard.lets_in(&with("bearer token")));
        for wrong in ["me:", "me:secret2", "you:secret", ":", "token", ""] {
            assert!(!guard.lets_in(&basic(wrong)), "{wrong}");
            assert!(!guard.lets_in(&with(&format!("Bearer {wrong}x"))), "{wrong}");
        }
        assert!(!guard.lets_in(&with("Basic !!!")));
        assert!(!guard.lets_in(&with("Digest token")));
        assert!(!only_login.lets_in(&with("Bearer token")));
    }
}
