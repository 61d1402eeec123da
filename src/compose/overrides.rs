//! `compose_SERVICE_KEY=value`: one key of one service, changed on the merged document.
//!
//! `=` replaces, `+=` appends, an empty value removes the key. A value that begins with `[`, `{` or `"` is JSON;
//! `true`, `false` and whole numbers are what they look like; everything else is a text.

use std::fmt;

use super::{ComposeError, Document, Node};

/// Keys whose value is a list, so that a single text means a list of one.
const LISTS: [&str; 24] = [
    "ports",
    "volumes",
    "networks",
    "depends_on",
    "environment",
    "labels",
    "env_file",
    "expose",
    "dns",
    "dns_search",
    "dns_opt",
    "cap_add",
    "cap_drop",
    "devices",
    "extra_hosts",
    "links",
    "external_links",
    "profiles",
    "secrets",
    "configs",
    "security_opt",
    "tmpfs",
    "sysctls",
    "group_add",
];

/// What is done with the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `=`.
    Replace,
    /// `+=`.
    Append,
}

/// One change. Its value may be secret: it is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Override {
    /// `SERVICE_KEY`: where one ends and the other begins only the document tells.
    pub path: String,
    /// What to do.
    pub way: Way,
    /// The value as written.
    pub value: String,
}

impl fmt::Debug for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Override(compose_{}{}***)",
            self.path,
            if self.way == Way::Append { "+=" } else { "=" }
        )
    }
}

impl Override {
    /// `compose_django_image` and the like, with what follows it. `None`: it is no such key.
    pub fn of(key: &str, value: &str) -> Option<Self> {
        let (key, way) = match key.strip_suffix('+') {
            Some(key) => (key, Way::Append),
            None => (key, Way::Replace),
        };
        let path = key.strip_prefix("compose_")?.to_owned();
        Some(Self { path, way, value: value.to_owned() })
    }

    fn error(&self, reason: impl Into<String>) -> ComposeError {
        ComposeError::Override { key: format!("compose_{}", self.path), reason: reason.into() }
    }

    /// The service (the longest name that fits) and the key.
    fn split<'p>(&'p self, document: &Document) -> Result<(String, &'p str), ComposeError> {
        let names = || document.services().iter().map(|(name, _)| name);
        let fitting = names().filter_map(|name| {
            let key = self.path.strip_prefix(name.as_str())?.strip_prefix('_')?;
            (!key.is_empty()).then_some((name.clone(), key))
        });
        fitting.max_by_key(|(name, _)| name.len()).ok_or_else(|| {
            let names: Vec<&str> = names().map(String::as_str).collect();
            self.error(format!(
                "there is no such service; write compose_SERVICE_KEY with one of {}",
                names.join(", ")
            ))
        })
    }
}

/// Changes the document, and declares networks that services were given and nobody declared: they are
/// somebody else's, like the one of a load balancer.
pub fn apply_overrides(
    document: &mut Document,
    overrides: &[Override],
) -> Result<(), ComposeError> {
    for change in overrides {
        let (service, key) = change.split(document)?;
        let Some(place) = document.service_mut(&service) else { continue };
        if change.value.trim().is_empty() {
            place.remove(key);
            continue;
        }
        let value = value(change, key)?;
        let value = match (change.way, place.get(key)) {
            (Way::Replace, _) | (Way::Append, None) => value,
            (Way::Append, Some(before)) => appended(change, key, before, value)?,
        };
        place.set(key, value);
    }
    declare_networks(document);
    Ok(())
}

fn value(change: &Override, key: &str) -> Result<Node, ComposeError> {
    let text = change.value.trim();
    let is_number = text.len() < 16
        && text.trim_start_matches('-').chars().all(|c| c.is_ascii_digit())
        && (text == "0" || !text.trim_start_matches('-').starts_with('0'));
    let node = if text.starts_with(['[', '{', '"']) {
        let read = serde_json::from_str::<serde_json::Value>(text);
        let read = read.map_err(|error| {
            // The error may not repeat the value; serde's says only where it is.
            change.error(format!(
                "its value is not JSON ({error}); in a shell write it in single quotes"
            ))
        })?;
        of_json(&read)
    } else if is_number || matches!(text, "true" | "false" | "null") {
        Node::plain(text)
    } else {
        Node::text(escaped(text))
    };
    match node {
        Node::Scalar { .. } if LISTS.contains(&key) => Ok(Node::Sequence(vec![node])),
        node => Ok(node),
    }
}

/// Nothing that comes from here is to be interpolated.
fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

fn of_json(value: &serde_json::Value) -> Node {
    use serde_json::Value as V;
    match value {
        V::Null => Node::plain("null"),
        V::Bool(flag) => Node::plain(flag.to_string()),
        V::Number(number) => Node::plain(number.to_string()),
        V::String(text) => Node::text(escaped(text)),
        V::Array(items) => Node::Sequence(items.iter().map(of_json).collect()),
        V::Object(entries) => Node::Mapping(
            entries.iter().map(|(key, value)| (key.clone(), of_json(value))).collect(),
        ),
    }
}

fn appended(
    change: &Override,
    key: &str,
    before: &Node,
    value: Node,
) -> Result<Node, ComposeError> {
    let mut all = before.clone();
    match (&mut all, value) {
        (Node::Sequence(items), Node::Sequence(more)) => items.extend(more),
        (Node::Sequence(items), one) => items.push(one),
        (Node::Mapping(_), Node::Mapping(more)) => {
            for (name, value) in more {
                all.set(&name, value);
            }
        }
        (Node::Mapping(_), Node::Sequence(more)) => {
            for item in more {
                let Some(text) = item.as_str() else {
                    return Err(change
                        .error(format!("`{key}` has names here; append texts like NAME=VALUE")));
                };
                let (name, value) = entry(key, text);
                all.set(&name, value);
            }
        }
        (Node::Mapping(_) | Node::Scalar { .. }, _) => {
            return Err(change.error(format!("`{key}` is a single value; replace it with `=`")));
        }
    }
    Ok(all)
}

/// One item of a list, where the merged document has names.
fn entry(key: &str, text: &str) -> (String, Node) {
    match (key, text.split_once('=')) {
        ("depends_on", _) => {
            let condition = ("condition".to_owned(), Node::text("service_started"));
            (text.to_owned(), Node::Mapping(vec![condition]))
        }
        ("networks", _) | (_, None) => (text.to_owned(), Node::plain("null")),
        (_, Some((name, value))) => (name.to_owned(), Node::text(value)),
    }
}

fn declare_networks(document: &mut Document) {
    let mut used: Vec<String> = Vec::new();
    for (_, service) in document.services() {
        let Some(networks) = service.get("networks") else { continue };
        used.extend(networks.items().iter().filter_map(Node::as_str).map(str::to_owned));
        used.extend(networks.entries().iter().map(|(name, _)| name.clone()));
    }
    for name in used.into_iter().filter(|name| name != "default") {
        let is_known =
            document.root.get("networks").is_some_and(|networks| networks.get(&name).is_some());
        if is_known {
            continue;
        }
        if document.root.get("networks").is_none() {
            document.root.set("networks", Node::Mapping(Vec::new()));
        }
        if let Some(networks) = document.root.get_mut("networks") {
            networks.set(&name, Node::Mapping(vec![("external".to_owned(), Node::plain("true"))]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "services:\n  django:\n    build: {context: /src}\n    image: a\n    environment: {A: b}\n    ports: ['1:1']\n  django_worker:\n    image: w\n    networks: {default: null}\n";

    fn apply(pairs: &[(&str, &str)]) -> Result<String, ComposeError> {
        let mut document = Document::parse(TEXT, "the test").unwrap();
        let all: Vec<Override> =
            pairs.iter().filter_map(|(key, value)| Override::of(key, value)).collect();
        assert_eq!(all.len(), pairs.len());
        apply_overrides(&mut document, &all).map(|()| document.to_yaml())
    }

    #[test]
    fn keys_are_replaced_appended_and_removed() {
        let text = apply(&[
            ("compose_django_build", ""),
            ("compose_django_image", "betagouv/mrs:master"),
            ("compose_django_ports", "[\"8000:8000\"]"),
            ("compose_django_environment+", "[\"B=x$y\", \"A=c\"]"),
            ("compose_django_privileged", "true"),
            ("compose_django_volumes+", "./log:/log"),
            ("compose_django_worker_networks+", "web"),
            ("compose_django_worker_labels", "{\"x\": \"1\"}"),
        ])
        .unwrap();
        let expected = "services:\n  django:\n    image: \"betagouv/mrs:master\"\n    environment:\n      A: \"c\"\n      B: \"x$$y\"\n    ports:\n      - \"8000:8000\"\n    privileged: true\n    volumes:\n      - \"./log:/log\"\n  django_worker:\n    image: w\n    networks:\n      default: null\n      web: null\n    labels:\n      x: \"1\"\nnetworks:\n  web:\n    external: true\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_does_not_fit_is_said_without_its_value() {
        for (key, value, told) in [
            ("compose_djangoimage", "hunter2", "one of django, django_worker"),
            ("compose_django_", "hunter2", "one of"),
            ("compose_django_environment", "{hunter2}", "not JSON"),
            ("compose_django_image+", "hunter2", "replace it"),
            ("compose_django_environment+", "[[\"hunter2\"]]", "NAME=VALUE"),
        ] {
            let error = apply(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains("hunter2"), "{error}");
        }
        assert_eq!(Override::of("home", "/x"), None);
        let shown = format!("{:?}", Override::of("compose_a_b", "hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
