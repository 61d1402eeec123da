//! What is answered to a request.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;

use crate::cli::CliError;
use crate::cli::after;
use crate::cli::args::Global;
use crate::cli::settings::Sources;
use crate::cli::status::read;
use crate::event::{Event, Observer};
use crate::instance::config::Language;
use crate::metrics;

use super::browse::{self, Browser, Download, Found};
use super::guard::{Guard, Verdict};
use super::server::Peer;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
/// Whatever is in a snapshot, a browser only writes it to a file.
const BYTES: &str = "application/octet-stream";

/// What answers are made of.
pub struct Served {
    /// Options that lead to the configuration, which is read for each request.
    pub global: Global,
    /// Who may ask.
    pub guard: Guard,
    /// Shows what is in snapshots, if that is wanted.
    pub browser: Option<Browser>,
    /// Told who guesses.
    pub observer: Arc<dyn Observer>,
}

/// What is at a path.
enum Content {
    /// Text of a kind.
    Text(&'static str, String),
    /// A file of a snapshot.
    File(Download),
    /// Nothing; what is missing.
    Nothing(String),
    /// Too much at once.
    Busy,
}

/// Answers one request.
pub async fn answer(
    State(served): State<Arc<Served>>,
    ConnectInfo(Peer(address)): ConnectInfo<Peer>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    match served.guard.judge(address, &headers) {
        Verdict::In => {}
        Verdict::Out { is_last } => {
            if is_last {
                let message =
                    format!("wrong passwords or tokens come from {address}; it has to wait");
                served.observer.event(&Event::Warning { item: "serve".to_owned(), message });
            }
            return unknown();
        }
        Verdict::Wait(wait) => return early(wait),
    }
    if !matches!(method, Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    // Reading files waits; others are answered meanwhile.
    match tokio::task::spawn_blocking(move || content(&served, &uri)).await {
        Ok(Ok(Content::Text(kind, text))) => respond(StatusCode::OK, kind, Body::from(text)),
        Ok(Ok(Content::File(download))) => file(download),
        Ok(Ok(Content::Nothing(what))) => {
            let message = format!("there is no {what} here; look at / and /metrics\n");
            text(StatusCode::NOT_FOUND, &message)
        }
        Ok(Ok(Content::Busy)) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many files are on their way; try again when one has arrived\n",
        ),
        Ok(Err(error)) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{}\n", error.message())),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "this failed; see the log\n"),
    }
}

/// To whom did not say who it is.
fn unknown() -> Response {
    let realm = HeaderValue::from_static("Basic realm=\"mrs-backup\", charset=\"UTF-8\"");
    let mut response = text(StatusCode::UNAUTHORIZED, "a password or a token is needed\n");
    response.headers_mut().insert(WWW_AUTHENTICATE, realm);
    response
}

/// To whom was wrong too often.
fn early(wait: Duration) -> Response {
    let seconds = wait.as_secs() + 1;
    let message = format!("too many wrong passwords or tokens; try again in {seconds} s\n");
    let mut response = text(StatusCode::TOO_MANY_REQUESTS, &message);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// What is at `path`.
fn content(served: &Served, uri: &Uri) -> Result<Content, CliError> {
    let (global, path) = (&served.global, uri.path());
    if let Some(browser) = &served.browser {
        browser.close_idle();
    }
    let language = match uri.query() {
        Some("lang=fr") => Some(Language::Fr),
        Some("lang=en") => Some(Language::En),
        _ => None,
    };
    match path {
        "/metrics" => {
            let sources = Sources::gather(global)?;
            let overview = read::of_sources(&sources, None, None, read::BACK)?;
            let text = metrics::render(&overview, env!("CARGO_PKG_VERSION"));
            Ok(Content::Text(OPEN_METRICS, text))
        }
        "/" => {
            let sources = Sources::gather(global)?;
            let text = after::page(&sources, None, language, served.browser.is_some())?;
            Ok(Content::Text(HTML, text))
        }
        "/healthz" => Ok(Content::Text(TEXT, "ok\n".to_owned())),
        _ => match served.browser.as_ref().filter(|_| path.starts_with(browse::PREFIX)) {
            None => Ok(Content::Nothing("such page".to_owned())),
            Some(browser) => Ok(match browser.look(global, path, uri.query())? {
                Found::Page(text) => Content::Text(HTML, text),
                Found::File(download) => Content::File(download),
                Found::Nothing(what) => Content::Nothing(what),
                Found::Busy => Content::Busy,
            }),
        },
    }
}

/// A file of a snapshot, for the browser to write down, never to show.
fn file(download: Download) -> Response {
    let Download { name, len, pieces } = download;
    let name = percent_encoding::percent_encode(&name, percent_encoding::NON_ALPHANUMERIC);
    let place = format!("attachment; filename*=UTF-8''{name}");
    let pieces = futures_util::stream::unfold(pieces, |mut pieces| async {
        let piece = pieces.recv().await?;
        Some((piece, pieces))
    });
    let mut response = respond(StatusCode::OK, BYTES, Body::from_stream(pieces));
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(CONTENT_DISPOSITION, place);
    }
    if let Some(len) = len {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(len));
    }
    response
}

fn text(status: StatusCode, text: &str) -> Response {
    respond(status, TEXT, Body::from(text.to_owned()))
}

fn respond(status: StatusCode, kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
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
