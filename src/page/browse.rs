//! Pages that show what is in snapshots: a list of them, and their directories.

use std::borrow::Cow;

use askama::Template;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::id::SnapshotId;
use crate::instance::config::Language;
use crate::ops::browse::display_path;
use crate::report::clean;
use crate::snapshot::{Node, NodeKind, Selected, Snapshot};

use super::view::bytes;
use super::{PageError, STYLE, policy};

/// What stands in a part of a path as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What all these pages have.
#[derive(Debug)]
pub struct Looking<'a> {
    /// Language.
    pub language: Language,
    /// Instance.
    pub instance: &'a str,
    /// In which times are shown.
    pub zone: TimeZone,
}

/// Snapshots, the newest first.
#[derive(Debug)]
pub struct SnapshotList<'a> {
    /// Of which instance.
    pub looking: &'a Looking<'a>,
    /// Those of this page.
    pub snapshots: &'a [Selected],
    /// Whether older ones follow.
    pub is_more: bool,
}

/// A directory of a snapshot.
#[derive(Debug)]
pub struct Folder<'a> {
    /// Of which instance.
    pub looking: &'a Looking<'a>,
    /// Of which snapshot.
    pub snapshot: (&'a SnapshotId, &'a Snapshot),
    /// Where it is in the tree.
    pub path: &'a [u8],
    /// Its entries on this page, names ascending.
    pub entries: &'a [Node],
    /// Whether more follow.
    pub is_more: bool,
}

/// A text that may lead somewhere.
struct Link {
    text: String,
    href: Option<String>,
}

struct Line {
    name: Link,
    /// What stands beside the name.
    remark: String,
    cells: Vec<String>,
}

#[derive(Template)]
#[template(path = "browse.html", config = "src/page/askama.toml")]
struct BrowsePage {
    lang: Language,
    title: String,
    crumbs: Vec<Link>,
    remark: String,
    /// Databases to download.
    databases: Vec<Link>,
    header: Vec<&'static str>,
    lines: Vec<Line>,
    more: Option<String>,
    style: &'static str,
    policy: String,
}

impl BrowsePage {
    fn of(looking: &Looking<'_>) -> Self {
        let lang = looking.language;
        let all = lang.pick("Backups", "Sauvegardes").to_owned();
        Self {
            lang,
            title: looking.instance.to_owned(),
            crumbs: vec![
                Link { text: all, href: Some("/".to_owned()) },
                Link {
                    text: looking.instance.to_owned(),
                    href: Some(format!("/browse/{}", encoded(looking.instance.as_bytes()))),
                },
            ],
            remark: String::new(),
            databases: Vec::new(),
            header: Vec::new(),
            lines: Vec::new(),
            more: None,
            style: STYLE,
            policy: policy(),
        }
    }

    fn text(&self) -> Result<String, PageError> {
        self.render().map_err(|error| PageError::Template(error.to_string()))
    }
}

/// Bytes as a part of a path.
pub(super) fn encoded(bytes: &[u8]) -> String {
    percent_encode(bytes, PLAIN).to_string()
}

fn encoded_path(path: &[u8]) -> String {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
    parts.map(|part| format!("/{}", encoded(part))).collect()
}

fn moment(time: Timestamp, looking: &Looking<'_>) -> String {
    time.to_zoned(looking.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn start(snapshot: &Snapshot, looking: &Looking<'_>) -> String {
    let time = Timestamp::from_nanosecond(i128::from(snapshot.start));
    moment(time.unwrap_or(Timestamp::UNIX_EPOCH), looking)
}

impl SnapshotList<'_> {
    /// The page.
    pub fn render(&self) -> Result<String, PageError> {
        let (looking, lang) = (self.looking, self.looking.language);
        let mut page = BrowsePage::of(looking);
        page.header = vec![
            lang.pick("begun", "début"),
            lang.pick("size", "taille"),
            lang.pick("added", "ajouté"),
            lang.pick("tags", "étiquettes"),
            "id",
        ];
        let base = format!("/browse/{}", encoded(looking.instance.as_bytes()));
        page.lines = self
            .snapshots
            .iter()
            .map(|(id, snapshot)| {
                let number = |name: &str| snapshot.statistics.get(name).copied().unwrap_or(0);
                let remark =
                    if snapshot.is_complete { "" } else { lang.pick("incomplete", "incomplète") };
                Line {
                    name: Link {
                        text: start(snapshot, looking),
                        href: Some(format!("{base}/{}", id.to_hex())),
                    },
                    remark: remark.to_owned(),
                    cells: vec![
                        bytes(number("bytes"), lang),
                        bytes(number("stored_bytes"), lang),
                        clean(&snapshot.tags.join(", ")),
                        id.short(),
                    ],
                }
            })
            .collect();
        let last = self.snapshots.last().filter(|_| self.is_more);
        page.more = last.map(|(id, _)| format!("{base}?after={}", id.to_hex()));
        page.text()
    }
}

impl Folder<'_> {
    /// The page.
    pub fn render(&self) -> Result<String, PageError> {
        let (looking, lang) = (self.looking, self.looking.language);
        let (id, snapshot) = self.snapshot;
        let mut page = BrowsePage::of(looking);
        let base = format!("/browse/{}/{}", encoded(looking.instance.as_bytes()), id.to_hex());
        let begun = start(snapshot, looking);
        page.title = format!("{}, {begun}", looking.instance);
        page.crumbs.push(Link { text: begun, href: Some(base.clone()) });
        let mut at = base.clone();
        for part in self.path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            at = format!("{at}/{}", encoded(part));
            page.crumbs.push(Link { text: display_path(part), href: Some(at.clone()) });
        }
        if !snapshot.is_complete {
            page.remark = lang
                .pick(
                    "This snapshot is incomplete: something is missing in it, or cut off.",
                    "Cette sauvegarde est incomplète : il y manque quelque chose.",
                )
                .to_owned();
        }
        if self.path.is_empty() {
            let names = snapshot.databases.iter().map(|database| &database.name);
            page.databases = names
                .map(|name| Link {
                    text: format!("{}.dump", clean(name)),
                    href: Some(format!("{base}?database={}", encoded(name.as_bytes()))),
                })
                .collect();
        }
        page.header = vec![
            lang.pick("name", "nom"),
            lang.pick("size", "taille"),
            lang.pick("changed", "modifié"),
            "mode",
            lang.pick("owner", "propriétaire"),
        ];
        let here = format!("{base}{}", encoded_path(self.path));
        page.lines = self.entries.iter().map(|node| self.line(node, &here)).collect();
        let last = self.entries.last().filter(|_| self.is_more);
        page.more = last.map(|node| format!("{here}?after={}", encoded(&node.name)));
        page.text()
    }

    fn line(&self, node: &Node, here: &str) -> Line {
        let lang = self.looking.language;
        let mut name = display_path(&node.name);
        let mut remark = String::new();
        let leads = match node.kind {
            NodeKind::Directory => {
                name.push('/');
                true
            }
            NodeKind::File => true,
            NodeKind::Symlink => {
                let target = node.link_target.as_deref().unwrap_or_default();
                remark = format!("→ {}", display_path(target));
                false
            }
            _ => false,
        };
        if node.is_torn {
            remark = lang.pick("not stored whole", "pas entier").to_owned();
        }
        let size = match node.kind {
            NodeKind::File => bytes(node.size(), lang),
            _ => String::new(),
        };
        let time = Timestamp::from_second(node.mtime).unwrap_or(Timestamp::UNIX_EPOCH);
        let owner = |name: &Option<String>, id: u32| -> String {
            name.as_deref().map_or_else(|| Cow::Owned(id.to_string()), Cow::Borrowed).into_owned()
        };
        let owners = format!("{}:{}", owner(&node.user, node.uid), owner(&node.group, node.gid));
        Line {
            name: Link {
                text: name,
                href: leads.then(|| format!("{here}/{}", encoded(&node.name))),
            },
            remark,
            cells: vec![
                size,
                moment(time, self.looking),
                format!("{:04o}", node.mode & 0o7777),
                clean(&owners),
            ],
        }
    }
}
