//! What is answered to a request.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;

use crate::cli::CliError;
use crate::cli::after;
use crate::cli::args::Global;
use crate::cli::settings::Sources;
use crate::cli::status::read;
use crate::instance::config::Language;
use crate::metrics;

use super::guard::Guard;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// What answers are made of.
pub struct Served {
    /// Options that lead to the configuration, which is read for each request.
    pub global: Global,
    /// Who may ask.
    pub guard: Guard,
}

/// Text with its kind.
struct Content {
    kind: &'static str,
    text: String,
}

/// Answers one request.
pub async fn answer(
    State(served): State<Arc<Served>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if !served.guard.lets_in(&headers) {
        let realm = HeaderValue::from_static("Basic realm=\"mrs-backup\", charset=\"UTF-8\"");
        let mut response = text(StatusCode::UNAUTHORIZED, "a password or a token is needed\n");
        response.headers_mut().insert(WWW_AUTHENTICATE, realm);
        return response;
    }
    if !matches!(method, Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let path = uri.path().to_owned();
    let language = match uri.query() {
        Some("lang=fr") => Some(Language::Fr),
        Some("lang=en") => Some(Language::En),
        _ => None,
    };
    // Reading files waits; others are answered meanwhile.
    match tokio::task::spawn_blocking(move || content(&served.global, &path, language)).await {
        Ok(Ok(Some(content))) => respond(StatusCode::OK, content.kind, content.text),
        Ok(Ok(None)) => {
            text(StatusCode::NOT_FOUND, "there is nothing here; look at / and /metrics\n")
        }
        Ok(Err(error)) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{}\n", error.message())),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "this failed; see the log\n"),
    }
}

/// What is at `path`.
fn content(
    global: &Global,
    path: &str,
    language: Option<Language>,
) -> Result<Option<Content>, CliError> {
    match path {
        "/metrics" => {
            let sources = Sources::gather(global)?;
            let overview = read::of_sources(&sources, None, None, read::BACK)?;
            let text = metrics::render(&overview, env!("CARGO_PKG_VERSION"));
            Ok(Some(Content { kind: OPEN_METRICS, text }))
        }
        "/" => {
            let sources = Sources::gather(global)?;
            let text = after::page(&sources, None, language)?;
            Ok(Some(Content { kind: HTML, text }))
        }
        "/healthz" => Ok(Some(Content { kind: TEXT, text: "ok\n".to_owned() })),
        _ => Ok(None),
    }
}

fn text(status: StatusCode, text: &str) -> Response {
    respond(status, TEXT, text.to_owned())
}

fn respond(status: StatusCode, kind: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let policy = format!("{}; frame-ancestors 'none'", crate::page::policy());
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    let fixed: [(HeaderName, &'static str); 5] = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
