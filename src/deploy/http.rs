//! Asking for a page: the exact status, a limit for every try, a password in a header and nowhere else.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};

use crate::crypto::Secret;
use crate::instance::config::HttpCheckConfig;

use super::{DeployError, Tools};

/// Asks until the page answers as it should, or all tries are used up.
pub fn check(
    tools: &Tools,
    wanted: &HttpCheckConfig,
    login: Option<&Secret>,
) -> Result<(), DeployError> {
    tools.begin("check");
    let failed = |reason: String| DeployError::Step { step: "check", reason };
    let client = client(wanted, login).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(error.to_string()))?;
    let mut last = String::new();
    for attempt in 0..wanted.retries {
        if attempt > 0 {
            tools.pause(wanted.delay)?;
        }
        tools.check_stop()?;
        match runtime.block_on(ask(&client, &wanted.url)) {
            Ok(status) if status == wanted.status => return Ok(()),
            Ok(status) => last = format!("it answers with status {status}"),
            Err(reason) => last = reason,
        }
    }
    Err(failed(format!(
        "{} does not answer with status {} ({} tries): {}",
        wanted.url,
        wanted.status,
        wanted.retries,
        tools.redactor.hide(&last)
    )))
}

async fn ask(client: &Client, url: &str) -> Result<u16, String> {
    let answer = client.get(url).send().await.map_err(|error| told(&error))?;
    Ok(answer.status().as_u16())
}

fn client(wanted: &HttpCheckConfig, login: Option<&Secret>) -> Result<Client, String> {
    // Names the one provider of cryptography; somebody else may have done so.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut headers = HeaderMap::new();
    if let Some(login) = login {
        let mut value =
            HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(login.expose())))
                .map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let mut builder = Client::builder()
        .default_headers(headers)
        .user_agent(concat!("mrs-backup/", env!("CARGO_PKG_VERSION")))
        // A redirect is a status, too; and a password must not follow one.
        .redirect(Policy::none())
        .connect_timeout(wanted.timeout)
        .timeout(wanted.timeout)
        .pool_idle_timeout(Duration::ZERO);
    if let Some(path) = &wanted.ca {
        let bundle = std::fs::read(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let found = Certificate::from_pem_bundle(&bundle);
        let found =
            found.map_err(|error| format!("{} holds no certificate: {error}", path.display()))?;
        for certificate in found {
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder.build().map_err(|error| told(&error))
}

/// An error with its causes, without the address it repeats.
fn told(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = if text.is_empty() { more } else { format!("{text}: {more}") };
        }
        cause = error.source();
    }
    match (error.is_timeout(), text.is_empty()) {
        (true, _) => "no answer in time".to_owned(),
        (false, true) => error.to_string(),
        (false, false) => text,
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
