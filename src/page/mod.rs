//! The status page: one file of HTML, which needs nothing else and no network. Its script only adds comfort: all is there without it.
//!
//! It shows what `status` shows, and what the catalogue of each instance adds: snapshots with what will keep them, rows of tables
//! over time, receipts. No secret is on it: names of instances and tables, times and sizes.

mod browse;
mod calendar;
mod file;
mod strip;
mod svg;
mod view;

use std::collections::BTreeMap;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use crate::instance::config::Language;
use crate::status::{Catalogue, Overview};

pub use browse::{Folder, Looking, SnapshotList};
pub use file::{PageError, write_page};
use view::InstanceView;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Hours after which a page that is written every night is old, and a little.
const USUAL_LIMIT: i64 = 26;

#[derive(Template)]
#[template(path = "page.html", config = "src/page/askama.toml")]
struct Page<'a> {
    lang: Language,
    host: &'a str,
    generated: String,
    /// The same for programs.
    moment: String,
    /// Hours after which it is too old to be believed.
    limit: i64,
    /// `ok`, `warning`, `critical`.
    severity: &'static str,
    headline: String,
    instances: Vec<InstanceView>,
    style: &'static str,
    script: &'static str,
    policy: String,
}

/// The page as a text. Instances without a catalogue are shown without what it has. `can_browse`: the server that gives it also
/// shows what is in snapshots.
pub fn render(
    overview: &Overview,
    catalogues: &BTreeMap<String, Catalogue>,
    lang: Language,
    can_browse: bool,
) -> Result<String, PageError> {
    let none = Catalogue::default();
    let instances = overview
        .instances
        .iter()
        .map(|one| {
            let catalogue = catalogues.get(&one.name).unwrap_or(&none);
            InstanceView::new(one, catalogue, overview.now, lang).browsed(can_browse)
        })
        .collect();
    let zone = overview.instances.first().map(|one| one.zone.clone()).unwrap_or(TimeZone::UTC);
    let generated = overview.now.to_zoned(zone).strftime("%Y-%m-%d %H:%M").to_string();
    let page = Page {
        lang,
        host: &overview.host,
        generated,
        moment: overview.now.to_string(),
        limit: overview
            .instances
            .iter()
            .map(|one| one.limit.as_hours())
            .max()
            .unwrap_or(USUAL_LIMIT),
        severity: view::word(overview.severity()),
        headline: view::headline(overview, lang),
        instances,
        style: STYLE,
        script: SCRIPT,
        policy: policy(),
    };
    page.render().map_err(|error| PageError::Template(error.to_string()))
}

/// What a browser may do with the page: nothing but to show it with its own style and script.
pub fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    let (style, script) = (hash(STYLE), hash(SCRIPT));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
}

#[cfg(test)]
mod tests;
