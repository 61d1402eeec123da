//! Who may ask: a name with a password, or a token.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cli::CliError;
use crate::event::StopFlag;
use crate::instance::config::{KeyReader, ServeConfig, process_environment};

/// What has to be given, as hashes: comparing those takes the same time whatever is given.
#[derive(Debug, Default)]
pub struct Guard {
    login: Option<blake3::Hash>,
    token: Option<blake3::Hash>,
}

impl Guard {
    /// Reads the secrets of the configuration.
    pub fn new(config: &ServeConfig, stop: &Arc<StopFlag>) -> Result<Self, CliError> {
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
        Ok(Self { login, token })
    }

    /// Whether whoever sent these headers may see anything.
    pub fn lets_in(&self, headers: &HeaderMap) -> bool {
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

    #[test]
    fn only_who_knows_is_let_in() {
        assert!(Guard::default().lets_in(&HeaderMap::new()), "nothing is asked for");
        let guard =
            Guard { login: Some(blake3::hash(b"me:secret")), token: Some(blake3::hash(b"token")) };
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
        let only_login = Guard { login: Some(blake3::hash(b"me:secret")), token: None };
        assert!(!only_login.lets_in(&with("Bearer token")));
    }
}
