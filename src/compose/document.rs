//! A YAML document that loses nothing: a scalar keeps its text and whether it was quoted.
//!
//! YAML's versions disagree about what `yes`, `022` or `5e12345` are. What one program wrote plain is written
//! plain again, so that the next one reads what the first one meant.

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle};

use super::ComposeError;

/// Most nodes of a document, aliases counted as often as they are used.
const MOST_NODES: usize = 50_000;
/// Deepest nesting.
const DEEPEST: usize = 60;

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A single value.
    Scalar {
        /// Its text, without quotes.
        text: String,
        /// Written without quotes: a number, a truth value, or nothing, if it looks like one.
        is_plain: bool,
        /// Where it stands in the text it was read from, in bytes, with its quotes.
        span: Option<(usize, usize)>,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in their order.
    Mapping(Vec<(String, Node)>),
}

impl Node {
    /// A text, whatever it looks like.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Scalar { text: text.into(), is_plain: false, span: None }
    }

    /// A number, a truth value or `null`, as it is written.
    pub fn plain(text: impl Into<String>) -> Self {
        Self::Scalar { text: text.into(), is_plain: true, span: None }
    }

    /// The text of a scalar that is something.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// Whether nothing stands here.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Scalar { text, is_plain: true, .. }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The value of a key. Of several the last one.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Self::Mapping(entries) = self else { return None };
        entries.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let Self::Mapping(entries) = self else { return None };
        entries.iter_mut().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Sets a key of a mapping; of anything else a mapping is made.
    pub fn set(&mut self, key: &str, value: Node) {
        if !matches!(self, Self::Mapping(_)) {
            *self = Self::Mapping(Vec::new());
        }
        match self.get_mut(key) {
            Some(place) => *place = value,
            None => {
                if let Self::Mapping(entries) = self {
                    entries.push((key.to_owned(), value));
                }
            }
        }
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) {
        if let Self::Mapping(entries) = self {
            entries.retain(|(name, _)| name != key);
        }
    }

    /// Keys and values; nothing for anything but a mapping.
    pub fn entries(&self) -> &[(String, Node)] {
        match self {
            Self::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The members of a list; nothing for anything else.
    pub fn items(&self) -> &[Node] {
        match self {
            Self::Sequence(items) => items,
            _ => &[],
        }
    }

    fn count(&self) -> usize {
        1 + match self {
            Self::Scalar { .. } => 0,
            Self::Sequence(items) => items.iter().map(Self::count).sum(),
            Self::Mapping(entries) => entries.iter().map(|(_, value)| 1 + value.count()).sum(),
        }
    }
}

/// A compose document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its top.
    pub root: Node,
}

impl Document {
    /// Reads YAML; `what` names it in errors.
    pub fn parse(text: &str, what: &str) -> Result<Self, ComposeError> {
        let root = Reader::new(text)
            .read()
            .map_err(|reason| ComposeError::Unreadable { what: what.to_owned(), reason })?;
        Ok(Self { root })
    }

    /// The services by name.
    pub fn services(&self) -> &[(String, Node)] {
        self.root.get("services").map_or(&[], Node::entries)
    }

    /// One of them.
    pub fn service(&self, name: &str) -> Option<&Node> {
        self.root.get("services").and_then(|services| services.get(name))
    }

    /// One of them, to be changed.
    pub fn service_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.root.get_mut("services").and_then(|services| services.get_mut(name))
    }

    /// As YAML that every version reads alike.
    pub fn to_yaml(&self) -> String {
        let mut out = String::new();
        write_node(&self.root, 0, &mut out);
        out
    }
}

struct Open {
    node: Node,
    /// Key whose value comes next.
    key: Option<String>,
    anchor: usize,
}

/// Builds nodes of a parser's events.
struct Reader<'t> {
    text: &'t str,
    open: Vec<Open>,
    anchors: Vec<(usize, Node)>,
    nodes: usize,
    root: Option<Node>,
}

impl<'t> Reader<'t> {
    const fn new(text: &'t str) -> Self {
        Self { text, open: Vec::new(), anchors: Vec::new(), nodes: 0, root: None }
    }

    fn read(mut self) -> Result<Node, String> {
        for event in Parser::new_from_str(self.text) {
            let (event, span) = event.map_err(|error| error.to_string())?;
            match event {
                Event::Scalar(text, style, anchor, _) => {
                    let span = span.byte_range().map(|range| (range.start, range.end));
                    let is_plain = style == ScalarStyle::Plain;
                    self.put(Node::Scalar { text: text.into_owned(), is_plain, span }, anchor)?;
                }
                Event::Alias(anchor) => {
                    let found = self.anchors.iter().rev().find(|(id, _)| *id == anchor);
                    let node = found.map(|(_, node)| node.clone());
                    self.put(node.ok_or("an alias of nothing")?, 0)?;
                }
                Event::SequenceStart(_, anchor, _) => {
                    self.begin(Node::Sequence(Vec::new()), anchor)?
                }
                Event::MappingStart(_, anchor, _) => {
                    self.begin(Node::Mapping(Vec::new()), anchor)?
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    let Open { node, anchor, .. } = self.open.pop().ok_or("an end of nothing")?;
                    self.nodes = self.nodes.saturating_sub(node.count());
                    self.put(node, anchor)?;
                }
                Event::DocumentStart(..) if self.root.is_some() => {
                    return Err("it holds several documents".to_owned());
                }
                _ => {}
            }
        }
        Ok(self.root.unwrap_or(Node::Mapping(Vec::new())))
    }

    fn begin(&mut self, node: Node, anchor: usize) -> Result<(), String> {
        if self.open.len() >= DEEPEST {
            return Err(format!("it is nested deeper than {DEEPEST} levels"));
        }
        self.open.push(Open { node, key: None, anchor });
        Ok(())
    }

    fn put(&mut self, node: Node, anchor: usize) -> Result<(), String> {
        self.nodes = self.nodes.saturating_add(node.count());
        if self.nodes > MOST_NODES {
            return Err(format!("it has more than {MOST_NODES} values"));
        }
        if anchor > 0 {
            self.anchors.push((anchor, node.clone()));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut open.node, open.key.take()) {
            (Node::Sequence(items), _) => items.push(node),
            (Node::Mapping(entries), Some(key)) => entries.push((key, node)),
            (Node::Mapping(_), None) => match node {
                Node::Scalar { text, .. } => open.key = Some(text),
                _ => return Err("a key is no text".to_owned()),
            },
            (Node::Scalar { .. }, _) => return Err("a value in a value".to_owned()),
        }
        Ok(())
    }
}

fn write_node(node: &Node, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match node {
        Node::Scalar { .. } => out.push_str(&format!("{}\n", scalar(node))),
        Node::Sequence(items) if items.is_empty() => out.push_str("[]\n"),
        Node::Mapping(entries) if entries.is_empty() => out.push_str("{}\n"),
        Node::Sequence(items) => {
            for item in items {
                out.push_str(&format!("{indent}-"));
                write_value(item, depth + 1, out);
            }
        }
        Node::Mapping(entries) => {
            for (key, value) in entries {
                out.push_str(&format!("{indent}{}:", key_text(key)));
                write_value(value, depth + 1, out);
            }
        }
    }
}

fn write_value(value: &Node, depth: usize, out: &mut String) {
    let is_block = match value {
        Node::Scalar { .. } => false,
        Node::Sequence(items) => !items.is_empty(),
        Node::Mapping(entries) => !entries.is_empty(),
    };
    out.push(if is_block { '\n' } else { ' ' });
    write_node(value, depth, out);
}

fn scalar(node: &Node) -> String {
    match node {
        Node::Scalar { .. } if node.is_null() => "null".to_owned(),
        Node::Scalar { text, is_plain: true, .. } if can_stand_plain(text) => text.clone(),
        Node::Scalar { text, .. } => quoted(text),
        _ => String::new(),
    }
}

/// Whether a text that was plain in one place is so in block style, too.
fn can_stand_plain(text: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || "+-_./@:=,$()%~^ ".contains(c);
    let first = |c: char| c.is_alphanumeric() || "+-./_$~".contains(c);
    text.starts_with(first)
        && !text.starts_with("- ")
        && text != "-"
        && text.chars().all(is_plain)
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
}

fn key_text(key: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let words = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let is_word = words.contains(&key.to_ascii_lowercase().as_str());
    match key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(is_plain)
        && !is_word
    {
        true => key.to_owned(),
        false => quoted(key),
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') =>
            {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
