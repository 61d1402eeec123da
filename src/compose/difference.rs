//! What changes between two documents, value by value, without secrets.

use std::collections::BTreeMap;

use super::{Document, Node, Redactor};

/// One value that differs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// Where: `services.django.image`.
    pub path: String,
    /// What it was, fit to be shown. `None`: it was not there.
    pub before: Option<String>,
    /// What it becomes. `None`: it goes.
    pub after: Option<String>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.before, &self.after) {
            (None, Some(after)) => write!(f, "+ {}: {after}", self.path),
            (Some(before), None) => write!(f, "- {}: {before}", self.path),
            // Both are hidden, or the same but for their quotes.
            (Some(before), Some(after)) if before == after => {
                write!(f, "~ {}: {after} (changed)", self.path)
            }
            (before, after) => {
                let text = |value: &Option<String>| value.clone().unwrap_or_default();
                write!(f, "~ {}: {} -> {}", self.path, text(before), text(after))
            }
        }
    }
}

/// What differs, in order of the paths.
pub fn difference(before: Option<&Document>, after: &Document, redactor: &Redactor) -> Vec<Change> {
    let old = before.map(flat).unwrap_or_default();
    let new = flat(after);
    let mut paths: Vec<&Vec<String>> = old.keys().chain(new.keys()).collect();
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        .filter(|path| old.get(*path) != new.get(*path))
        .map(|path| {
            let words: Vec<&str> = path.iter().map(String::as_str).collect();
            let show = |values: &BTreeMap<Vec<String>, String>| {
                values.get(path).map(|value| redactor.show(&words, value))
            };
            Change { path: path.join("."), before: show(&old), after: show(&new) }
        })
        .collect()
}

/// Every single value with its path.
fn flat(document: &Document) -> BTreeMap<Vec<String>, String> {
    let mut found = BTreeMap::new();
    walk(&document.root, &mut Vec::new(), &mut found);
    found
}

fn walk(node: &Node, path: &mut Vec<String>, found: &mut BTreeMap<Vec<String>, String>) {
    match node {
        Node::Scalar { text, .. } => {
            found.insert(
                path.clone(),
                if node.is_null() { "null".to_owned() } else { text.clone() },
            );
        }
        Node::Sequence(items) if items.is_empty() => {
            found.insert(path.clone(), "[]".to_owned());
        }
        Node::Mapping(entries) if entries.is_empty() => {
            found.insert(path.clone(), "{}".to_owned());
        }
        Node::Sequence(items) => {
            // `NAME=VALUE` of an environment is a name and its value.
            let is_pairs = path
                .last()
                .is_some_and(|last| matches!(last.as_str(), "environment" | "labels" | "args"));
            for (number, item) in items.iter().enumerate() {
                match item.as_str().filter(|_| is_pairs).and_then(|text| text.split_once('=')) {
                    Some((name, value)) => step(name, &Node::text(value), path, found),
                    None => step(&format!("{number:03}"), item, path, found),
                }
            }
        }
        Node::Mapping(entries) => {
            for (name, value) in entries {
                step(name, value, path, found);
            }
        }
    }
}

fn step(
    name: &str,
    value: &Node,
    path: &mut Vec<String>,
    found: &mut BTreeMap<Vec<String>, String>,
) {
    path.push(name.to_owned());
    walk(value, path, found);
    path.pop();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_without_secrets() {
        let read = |text: &str| Document::parse(text, "the test").unwrap();
        let before = read(
            "services:\n  d:\n    image: a\n    environment: {KEY: hunter22, HOST: a.example}\n    ports: ['1:1']\n",
        );
        let after = read(
            "services:\n  d:\n    image: b\n    environment: [KEY=hunter33, HOST=b.example, NEW=secretive]\n",
        );
        let mut redactor = Redactor::new();
        redactor.learn_document(&before);
        redactor.learn_document(&after);
        let lines: Vec<String> =
            difference(Some(&before), &after, &redactor).iter().map(ToString::to_string).collect();
        let expected = [
            "~ services.d.environment.HOST: a.example -> b.example",
            "~ services.d.environment.KEY: *** (changed)",
            "+ services.d.environment.NEW: ***",
            "~ services.d.image: a -> b",
            "- services.d.ports.000: 1:1",
        ];
        assert_eq!(lines, expected);
        assert!(difference(Some(&after), &after, &redactor).is_empty());
        assert_eq!(difference(None, &before, &redactor).len(), 4);
    }
}
