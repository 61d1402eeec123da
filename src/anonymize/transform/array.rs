//! `array = { ... }`: a rule for the elements of an array. NULL in it stays; several dimensions do, too.

use crate::anonymize::rule::Rule;
use crate::anonymize::schema::Kind;

use super::{Building, Class, Injective, Made, Place, Survey, Transformer, Unfit, Verb, verb};

/// The verb.
pub const VERB: Verb = Verb { name: "array", options: &[], has_domain: false, build };

#[derive(Debug)]
struct Array(Box<dyn Transformer>);

fn build(rule: &Rule<'_>, building: &Building<'_>) -> Result<Box<dyn Transformer>, String> {
    let Kind::Array(element) = building.kind else {
        return Err("the column holds no arrays".to_owned());
    };
    let inner = Rule::new(rule.rules("array")?);
    let building = Building { kind: element, ..*building };
    let found = inner.keys().find_map(verb).filter(|verb| verb.name != "array");
    let found = found.ok_or("the rule of the elements has no verb")?;
    let made = (found.build)(&inner, &building)?;
    match inner.unknown().first() {
        Some(key) => Err(format!("`{key}` means nothing beside `{}`", found.name)),
        None => Ok(Box::new(Array(made))),
    }
}

/// An element of an array's text: its start, its end, and its value; `None`: NULL.
type Element = (usize, usize, Option<String>);

/// The elements in `text` (`{a,"b c",NULL,{d}}`); brackets and commas are what lies between them.
fn elements(text: &str) -> Result<Vec<Element>, Unfit> {
    let wrong = || Unfit::from("it is no array");
    let bytes = text.as_bytes();
    // Bounds (`[0:2]={...}`) come before the first bracket.
    let start = text.find('{').ok_or_else(wrong)?;
    let mut found = Vec::new();
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.checked_sub(1).ok_or_else(wrong)?,
            b',' => {}
            b'"' => {
                let begin = at;
                let mut value = Vec::new();
                at += 1;
                loop {
                    match bytes.get(at).ok_or_else(wrong)? {
                        b'"' => break,
                        b'\\' => {
                            at += 1;
                            value.push(*bytes.get(at).ok_or_else(wrong)?);
                        }
                        other => value.push(*other),
                    }
                    at += 1;
                }
                let value = String::from_utf8(value).map_err(|_| wrong())?;
                found.push((begin, at + 1, Some(value)));
            }
            _ => {
                let begin = at;
                while bytes.get(at).is_some_and(|byte| !matches!(byte, b',' | b'}' | b'{' | b'"')) {
                    at += 1;
                }
                let value = text.get(begin..at).ok_or_else(wrong)?;
                let is_null = value.eq_ignore_ascii_case("null");
                found.push((begin, at, (!is_null).then(|| value.to_owned())));
                continue;
            }
        }
        at += 1;
    }
    if depth == 0 { Ok(found) } else { Err(wrong()) }
}

fn quote(value: &str, out: &mut String) {
    out.push('"');
    for letter in value.chars() {
        if letter == '"' || letter == '\\' {
            out.push('\\');
        }
        out.push(letter);
    }
    out.push('"');
}

impl Transformer for Array {
    fn apply(&self, value: &str, place: &Place<'_>, out: &mut String) -> Result<Made, Unfit> {
        let mut done = 0;
        let mut made = String::new();
        for (start, end, element) in elements(value)? {
            out.push_str(value.get(done..start).unwrap_or_default());
            match element.as_deref() {
                None => out.push_str("NULL"),
                Some("") => out.push_str("\"\""),
                Some(element) => {
                    made.clear();
                    match self.0.apply(element, place, &mut made)? {
                        Made::Value => quote(&made, out),
                        Made::Null => out.push_str("NULL"),
                    }
                }
            }
            done = end;
        }
        out.push_str(value.get(done..).unwrap_or_default());
        Ok(Made::Value)
    }

    fn survey(&self, value: &str, survey: &mut Survey<'_>) -> Result<(), Unfit> {
        for (_, _, element) in elements(value)? {
            if let Some(element) = element.filter(|element| !element.is_empty()) {
                self.0.survey(&element, survey)?;
            }
        }
        Ok(())
    }

    fn class(&self) -> Class {
        self.0.class()
    }

    fn injective(&self) -> Injective {
        self.0.injective()
    }

    fn may_stay(&self) -> bool {
        // An empty one.
        true
    }

    fn after(&self) -> Vec<usize> {
        self.0.after()
    }

    fn looks_at(&self) -> Vec<usize> {
        self.0.looks_at()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{applied, contract, made, some, surveyed, try_made};

    const RULE: &str = "array = { email = \"{hmac:16}@x.invalid\" }";

    #[test]
    fn it_keeps_the_contract() {
        contract(RULE, "text[]", &some("\\{[a-z]{3},[a-z]{4}@[a-z]{3}\\}", 100));
        contract(
            "array = { digits = \"same_length\" }",
            "integer[]",
            &some("\\{[1-9]{3},[1-9]{4}\\}", 100),
        );
    }

    #[test]
    fn elements_are_replaced_where_they_stand() {
        let array = made(RULE, "text[]");
        let one = applied(&*array, "{a}").unwrap();
        let email = one.trim_matches(['{', '}', '"']).to_owned();
        assert!(email.ends_with("@x.invalid"));
        let made = applied(&*array, "[0:1]={{a,NULL},{\"a\",\"\"}}").unwrap();
        assert_eq!(made, format!("[0:1]={{{{\"{email}\",NULL}},{{\"{email}\",\"\"}}}}"));
        assert_eq!(applied(&*array, "{}").unwrap(), "{}");
        let quoted = applied(&*array, "{\"a \\\"b\\\\\"}").unwrap();
        assert_eq!(quoted.matches("@x.invalid").count(), 1);
        assert!(surveyed(&*array, &["{jean.dupont@x.fr,b}"]).has_identifier("jean.dupont@x.fr"));
        for wrong in ["", "a", "{", "}", "{\"a", "{a}}"] {
            assert!(applied(&*array, wrong).is_err(), "{wrong}");
        }
        assert!(try_made(RULE, "text", 1).is_err());
        assert!(
            try_made("array = { email = \"{hmac:16}@x.invalid\", by = \"x\" }", "text[]", 1)
                .is_err()
        );
    }
}
