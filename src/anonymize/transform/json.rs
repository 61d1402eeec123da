//! `json = { "path.to.key" = { ... } }`: a rule for each key of JSON. What no rule names stops the copy, or is left out.
//!
//! A path is keys with points between them; `[*]` behind a key means the elements of its array, `*` any key, `$` the whole
//! value. Below a path `keep = "reason"` takes everything as it is, `drop = "reason"` nothing; any other verb needs a text or a
//! number there. `unlisted = "refuse"` (what holds if nothing is said) or `"drop"` is for keys that no path names. Numbers keep
//! their digits, keys their order; `null` stays.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::anonymize::json::{Json, is_number, write_text};
use crate::anonymize::rule::{Missing, Rule};
use crate::anonymize::schema::Kind;

use super::{Building, Class, Made, Place, Survey, Transformer, Unfit, Verb, verb};

/// The verb.
pub const VERB: Verb = Verb { name: "json", options: &["unlisted"], has_domain: false, build };

/// Most unlisted keys of a column that are told.
const TOLD: usize = 100;

/// Paths of keys that no rule names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnlistedKeys(BTreeSet<String>);

impl UnlistedKeys {
    /// The paths, as rules write them.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Takes over what another found.
    pub fn join(&mut self, other: Self) {
        for path in other.0 {
            self.note(path);
        }
    }

    fn note(&mut self, path: String) {
        if self.0.len() < TOLD {
            self.0.insert(path);
        }
    }
}

/// What becomes of what a path names.
#[derive(Debug)]
enum Leaf {
    Keep,
    Drop,
    Transform { transformer: Box<dyn Transformer>, empty: Missing, is_gathered: bool },
}

#[derive(Debug, Default)]
struct Node {
    leaf: Option<Leaf>,
    keys: BTreeMap<String, Node>,
    any: Option<Box<Node>>,
    elements: Option<Box<Node>>,
}

#[derive(Debug)]
struct Paths {
    root: Node,
    is_dropped: bool,
}

fn build(rule: &Rule<'_>, building: &Building<'_>) -> Result<Box<dyn Transformer>, String> {
    match building.kind {
        Kind::Json | Kind::Text(None) | Kind::Other => {}
        _ => return Err("the column holds no JSON".to_owned()),
    }
    let is_dropped = match rule.has("unlisted") {
        true => rule.word("unlisted", &["refuse", "drop"])? == "drop",
        false => false,
    };
    let mut root = Node::default();
    add(&mut root, "", rule.rules("json")?, building)?;
    Ok(Box::new(Paths { root, is_dropped }))
}

/// Whether a table is a rule, and not further keys of a path.
fn is_rule(table: &Table) -> bool {
    table.iter().any(|(key, value)| match value {
        Value::Table(_) => key == "array",
        _ => verb(key).is_some() || ["keep", "drop", "todo"].contains(&key.as_str()),
    })
}

fn add(root: &mut Node, above: &str, table: &Table, building: &Building<'_>) -> Result<(), String> {
    for (key, value) in table {
        let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
        let Value::Table(inner) = value else {
            return Err(format!("`{path}` needs a rule: {{ verb = ... }}"));
        };
        if !is_rule(inner) {
            add(root, &path, inner, building)?;
            continue;
        }
        let leaf = leaf(inner, building).map_err(|reason| format!("`{path}`: {reason}"))?;
        let node = descend(root, &path)?;
        if node.leaf.replace(leaf).is_some() {
            return Err(format!("`{path}` has two rules"));
        }
    }
    Ok(())
}

fn descend<'n>(root: &'n mut Node, path: &str) -> Result<&'n mut Node, String> {
    let mut node = root;
    if path == "$" {
        return Ok(node);
    }
    for segment in path.split('.') {
        let name = segment.trim_end_matches("[*]");
        let elements = (segment.len() - name.len()) / 3;
        node = match name {
            "*" => node.any.get_or_insert_default(),
            "$" | "" if elements > 0 => node,
            "" => return Err(format!("`{path}` has an empty key")),
            name => node.keys.entry(name.to_owned()).or_default(),
        };
        for _ in 0..elements {
            node = node.elements.get_or_insert_default();
        }
    }
    Ok(node)
}

fn leaf(table: &Table, building: &Building<'_>) -> Result<Leaf, String> {
    let rule = Rule::new(table);
    let leaf = if rule.has("keep") {
        rule.needed("keep")?;
        Leaf::Keep
    } else if rule.has("drop") {
        rule.needed("drop")?;
        Leaf::Drop
    } else if rule.has("todo") {
        return Err("it is still to be decided (`todo`)".to_owned());
    } else {
        let found = rule.keys().find_map(verb).ok_or("the rule has no verb")?;
        let building = Building { kind: &Kind::Text(None), ..*building };
        let transformer = (found.build)(&rule, &building)?;
        let empty = match rule.text("empty")? {
            Some(text) => Missing::of_empty(text)?,
            None => building.defaults.empty.unwrap_or(Missing::Keep),
        };
        Leaf::Transform { transformer, empty, is_gathered: rule.boolean("scan")?.unwrap_or(true) }
    };
    match rule.unknown().first() {
        Some(key) => Err(format!("`{key}` means nothing in this rule")),
        None => Ok(leaf),
    }
}

/// A key as it may be told: one that could be data itself is not.
fn told(key: &str) -> &str {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
    let looks_like_one = key.len() <= 40
        && key.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
        && key.chars().all(is_name)
        && key.bytes().filter(u8::is_ascii_digit).count() < 4;
    if looks_like_one { key } else { "*" }
}

impl Node {
    fn child(&self, key: &str) -> Option<&Self> {
        self.keys.get(key).or(self.any.as_deref())
    }

    /// Whether it says anything of what is in a container.
    fn has_children(&self) -> bool {
        !self.keys.is_empty() || self.any.is_some() || self.elements.is_some()
    }
}

impl Paths {
    /// Appends `value`, rewritten, to `out`; gives whether it is there at all, or left out.
    fn rewrite(
        &self,
        value: &Json<'_>,
        node: &Node,
        place: &Place<'_>,
        writing: &mut Writing<'_>,
    ) -> Result<bool, Unfit> {
        match (&node.leaf, value) {
            (Some(Leaf::Keep), value) => value.write(writing.out),
            (Some(Leaf::Drop), _) => return Ok(false),
            (_, Json::Null) if node.leaf.is_some() => writing.out.push_str("null"),
            (Some(Leaf::Transform { transformer, empty, .. }), Json::Text(text)) => {
                writing.transformed(&**transformer, *empty, text, false, place)?;
            }
            (Some(Leaf::Transform { transformer, empty, .. }), Json::Number(digits)) => {
                writing.transformed(&**transformer, *empty, digits, true, place)?;
            }
            (Some(Leaf::Transform { .. }), Json::Boolean(_)) => {
                return Err("true or false stands where the rule wants a text".into());
            }
            (_, Json::Object(members)) => {
                let mut list = List::begin('{', writing);
                for (key, value) in members {
                    let Some(child) = node.child(key) else { continue };
                    let before = list.next(writing);
                    write_text(key, writing.out);
                    writing.out.push_str(": ");
                    let is_there = self.rewrite(value, child, place, writing)?;
                    list.settle(is_there, before, writing);
                }
                writing.out.push('}');
            }
            (_, Json::Array(elements)) => {
                let mut list = List::begin('[', writing);
                for (child, element) in node.elements.iter().cycle().zip(elements) {
                    let before = list.next(writing);
                    let is_there = self.rewrite(element, child, place, writing)?;
                    list.settle(is_there, before, writing);
                }
                writing.out.push(']');
            }
            // A plain value that no rule names.
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn look(
        &self,
        value: &Json<'_>,
        node: &Node,
        path: &str,
        survey: &mut Survey<'_>,
    ) -> Result<(), Unfit> {
        match (&node.leaf, value) {
            (Some(Leaf::Keep | Leaf::Drop), _) => Ok(()),
            (Some(Leaf::Transform { transformer, is_gathered, .. }), value) => match value {
                Json::Null => Ok(()),
                Json::Text(text) if text.is_empty() || !is_gathered => Ok(()),
                Json::Text(text) => transformer.survey(text, survey),
                Json::Number(digits) => transformer.survey(digits, survey),
                Json::Boolean(_) => Err("true or false stands where the rule wants a text".into()),
                Json::Array(_) | Json::Object(_) if node.has_children() => {
                    self.look_inside(value, node, path, survey)
                }
                Json::Array(_) | Json::Object(_) => {
                    Err("there is more below a key than its rule says".into())
                }
            },
            (None, _) => self.look_inside(value, node, path, survey),
        }
    }

    fn look_inside(
        &self,
        value: &Json<'_>,
        node: &Node,
        path: &str,
        survey: &mut Survey<'_>,
    ) -> Result<(), Unfit> {
        match value {
            Json::Object(members) => {
                pair(members, node, survey);
                for (key, value) in members {
                    let below = match path {
                        "" => told(key).to_owned(),
                        path => format!("{path}.{}", told(key)),
                    };
                    match node.child(key) {
                        Some(child) => self.look(value, child, &below, survey)?,
                        None => self.unlisted(value, &below, survey),
                    }
                }
                Ok(())
            }
            Json::Array(elements) => {
                let below = format!("{path}[*]");
                for element in elements {
                    match &node.elements {
                        Some(child) => self.look(element, child, &below, survey)?,
                        None => self.unlisted(element, &below, survey),
                    }
                }
                Ok(())
            }
            Json::Null => Ok(()),
            _ => {
                self.unlisted(value, if path.is_empty() { "$" } else { path }, survey);
                Ok(())
            }
        }
    }

    fn unlisted(&self, value: &Json<'_>, path: &str, survey: &mut Survey<'_>) {
        if !self.is_dropped {
            list(value, path, survey.unlisted);
        }
    }
}

/// Notes the path of every plain value in `value`.
fn list(value: &Json<'_>, path: &str, keys: &mut UnlistedKeys) {
    match value {
        Json::Object(members) if !members.is_empty() => {
            for (key, value) in members {
                let point = if path.is_empty() { "" } else { "." };
                list(value, &format!("{path}{point}{}", told(key)), keys);
            }
        }
        Json::Array(elements) if !elements.is_empty() => {
            let below = format!("{path}[*]");
            elements.iter().for_each(|element| list(element, &below, keys));
        }
        _ if path.is_empty() => keys.note("$".to_owned()),
        _ => keys.note(path.to_owned()),
    }
}

/// Notes all paths in a text of JSON; nothing if it is none.
pub fn list_paths(text: &str, keys: &mut UnlistedKeys) {
    if let Ok(value) = Json::parse(text) {
        list(&value, "", keys);
    }
}

/// Takes note of a first name beside a last name.
fn pair(members: &[(Cow<'_, str>, Json<'_>)], node: &Node, survey: &mut Survey<'_>) {
    let of = |wanted: Class| {
        members.iter().find_map(|(key, value)| match (&node.child(key)?.leaf, value) {
            (Some(Leaf::Transform { transformer, .. }), Json::Text(text)) => {
                (transformer.class() == wanted).then_some(text)
            }
            _ => None,
        })
    };
    if let (Some(first), Some(last)) = (of(Class::FirstName), of(Class::LastName)) {
        survey.gatherer.pair(first, last);
    }
}

/// JSON being written.
struct Writing<'o> {
    out: &'o mut String,
    /// What a transformer made, until it is written.
    made: String,
}

/// Members or elements, of which none but the first has a comma before it.
struct List {
    is_empty: bool,
}

impl List {
    fn begin(bracket: char, writing: &mut Writing<'_>) -> Self {
        writing.out.push(bracket);
        Self { is_empty: true }
    }

    /// Where it ended before the next.
    fn next(&self, writing: &mut Writing<'_>) -> usize {
        let before = writing.out.len();
        if !self.is_empty {
            writing.out.push_str(", ");
        }
        before
    }

    /// What is left out leaves nothing behind.
    fn settle(&mut self, is_there: bool, before: usize, writing: &mut Writing<'_>) {
        match is_there {
            true => self.is_empty = false,
            false => writing.out.truncate(before),
        }
    }
}

impl Writing<'_> {
    fn transformed(
        &mut self,
        transformer: &dyn Transformer,
        empty: Missing,
        text: &str,
        is_digits: bool,
        place: &Place<'_>,
    ) -> Result<(), Unfit> {
        if text.is_empty() {
            match empty {
                Missing::Keep | Missing::Empty => {
                    self.out.push_str("\"\"");
                    return Ok(());
                }
                Missing::Null => {
                    self.out.push_str("null");
                    return Ok(());
                }
                Missing::Refuse => return Err("an empty text must not be there".into()),
                Missing::Transform => {}
            }
        }
        self.made.clear();
        match transformer.apply(text, place, &mut self.made)? {
            Made::Null => self.out.push_str("null"),
            // A number that gets a zero in front is none any more.
            Made::Value if is_digits && is_number(&self.made) => self.out.push_str(&self.made),
            Made::Value => write_text(&self.made, self.out),
        }
        Ok(())
    }
}

impl Transformer for Paths {
    fn apply(&self, value: &str, place: &Place<'_>, out: &mut String) -> Result<Made, Unfit> {
        let read = Json::parse(value).map_err(|_| "it is no JSON")?;
        let mut writing = Writing { out, made: String::new() };
        if !self.rewrite(&read, &self.root, place, &mut writing)? {
            writing.out.push_str("null");
        }
        Ok(Made::Value)
    }

    fn survey(&self, value: &str, survey: &mut Survey<'_>) -> Result<(), Unfit> {
        let read = Json::parse(value).map_err(|_| "it is no JSON")?;
        self.look(&read, &self.root, "", survey)
    }

    fn class(&self) -> Class {
        Class::Nothing
    }

    fn may_stay(&self) -> bool {
        // What holds nothing but what is kept.
        true
    }

    fn after(&self) -> Vec<usize> {
        columns(&self.root, &|transformer| transformer.after())
    }

    fn looks_at(&self) -> Vec<usize> {
        columns(&self.root, &|transformer| transformer.looks_at())
    }
}

fn columns(node: &Node, of: &dyn Fn(&dyn Transformer) -> Vec<usize>) -> Vec<usize> {
    let mut found = match &node.leaf {
        Some(Leaf::Transform { transformer, .. }) => of(&**transformer),
        _ => Vec::new(),
    };
    let below = node.keys.values().chain(node.any.as_deref()).chain(node.elements.as_deref());
    below.for_each(|child| found.extend(columns(child, of)));
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use crate::anonymize::key::test_key;
    use crate::anonymize::originals::{Classes, FingerprintKey, Gatherer};
    use crate::crypto::random::SeededRandom;

    use super::super::testing::{applied, contract, made, some, surveyed, try_made};
    use super::*;

    const RULE: &str = r#"
[json]
nir = { nir = "fpe" }
first_name = { fake = "first_name" }
last_name = { fake = "last_name" }
"changed.nir[*]" = { nir = "fpe" }
"contacts[*].email" = { email = "{hmac:16}@x.invalid" }
distance = { keep = "a number of kilometres" }
secret = { drop = "nobody needs it" }
code = { digits = "same_length" }
"#;

    fn unlisted(rule: &str, value: &str) -> Vec<String> {
        let _ = test_key(1);
        let key = FingerprintKey::new(&SeededRandom::new(1));
        let mut gatherer = Gatherer::new(key, Classes { identifiers: true, names: true });
        let mut unlisted = UnlistedKeys::default();
        let mut survey = Survey { gatherer: &mut gatherer, unlisted: &mut unlisted };
        made(rule, "jsonb").survey(value, &mut survey).unwrap();
        unlisted.paths().map(str::to_owned).collect()
    }

    #[test]
    fn it_keeps_the_contract() {
        contract(
            RULE,
            "jsonb",
            &some("\\{\"first_name\": \"[A-Z][a-z]{3,8}\", \"code\": [1-9][0-9]{3}\\}", 100),
        );
    }

    #[test]
    fn what_is_named_is_rewritten_and_the_rest_is_left_out() {
        let json = made(RULE, "jsonb");
        let nir = applied(&*made("nir = \"fpe\"", "text"), "1850578006084").unwrap();
        let value = "{\"nir\": \"1850578006084\", \"changed\": {\"nir\": [\"1850578006084\", null], \"by\": 5}, \
                     \"distance\": 12.50, \"secret\": {\"a\": 1}, \"new\": \"x\"}";
        assert_eq!(
            applied(&*json, value).unwrap(),
            format!(
                "{{\"nir\": \"{nir}\", \"changed\": {{\"nir\": [\"{nir}\", null]}}, \"distance\": 12.50}}"
            )
        );
        let made =
            applied(&*json, "{\"contacts\": [{\"email\": \"a@b.fr\", \"x\": 1}, {}]}").unwrap();
        assert_eq!(made.matches("@x.invalid").count(), 1);
        assert!(made.ends_with("}, {}]}") && !made.contains("\"x\":"), "{made}");
        assert_eq!(applied(&*json, "\"just a text\"").unwrap(), "null");
    }

    #[test]
    fn keys_that_no_rule_names_are_told_and_what_could_be_data_is_not() {
        assert_eq!(
            unlisted(
                RULE,
                "{\"new\": 1, \"changed\": {\"nir\": [], \"name\": [\"a\", \"b\"]}, \"jean@x.fr\": {\"a\": 1}}"
            ),
            ["*.a", "changed.name[*]", "new"]
        );
        assert_eq!(unlisted(RULE, "[{\"a\": 1}]"), ["[*].a"]);
        assert_eq!(unlisted(RULE, "{\"secret\": {\"a\": 1}, \"distance\": [1]}"), [""; 0]);
        assert_eq!(unlisted(&format!("unlisted = \"drop\"\n{RULE}"), "{\"new\": 1}"), [""; 0]);
        assert_eq!(unlisted(RULE, "5"), ["$"]);
    }

    #[test]
    fn what_was_removed_is_looked_for() {
        let json = made(RULE, "jsonb");
        let found = surveyed(
            &*json,
            &[
                "{\"nir\": \"1850578006084\", \"first_name\": \"Jean\", \"last_name\": \"Quincampoix\"}",
            ],
        );
        assert!(found.has_identifier("1 85 05 78 006 084"));
        assert_eq!(found.pairs.len(), 2);
        assert!(found.has_name("quincampoix"));
    }

    #[test]
    fn wrong_rules_and_values_are_told() {
        for (rule, why) in [
            ("json = { a = { todo = \"?\" } }", "still to be decided"),
            ("json = { a = { keep = \"\" } }", "not empty"),
            ("json = { a = { nir = \"fpe\", by = \"x\" } }", "`by` means nothing"),
            ("json = { a = 5 }", "needs a rule"),
            ("json = { a = { b = 5 } }", "needs a rule"),
            ("json = {}", "table of rules"),
            ("unlisted = \"keep\"\njson = { a = { drop = \"x\" } }", "not known"),
        ] {
            let error = try_made(rule, "jsonb", 1).unwrap_err();
            assert!(error.contains(why), "{rule}: {error}");
        }
        assert!(try_made(RULE, "integer", 1).is_err());
        let json = made(RULE, "jsonb");
        assert!(applied(&*json, "{").is_err());
        assert!(applied(&*json, "{\"nir\": true}").is_err());
        assert!(applied(&*json, "{\"nir\": \"no number\"}").is_err());
    }
}
