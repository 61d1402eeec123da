//! `text = "lorem"`: words that say nothing, as many letters as there were. Lines end where they did. Option: `domain`.

use crate::anonymize::key::DomainKey;
use crate::anonymize::rule::Rule;

use super::{ATTEMPTS, Building, Class, Made, Place, Transformer, Unfit, Verb};

/// The verb.
pub const VERB: Verb = Verb { name: "text", options: &["domain"], has_domain: true, build };

const WORDS: &[&str] = &[
    "lorem",
    "ipsum",
    "dolor",
    "sit",
    "amet",
    "consectetur",
    "adipiscing",
    "elit",
    "sed",
    "do",
    "eiusmod",
    "tempor",
    "incididunt",
    "ut",
    "labore",
    "et",
    "dolore",
    "magna",
    "aliqua",
    "enim",
    "ad",
    "minim",
    "veniam",
    "quis",
    "nostrud",
    "ullamco",
    "laboris",
    "nisi",
    "aliquip",
    "ex",
    "ea",
    "commodo",
    "consequat",
    "duis",
    "aute",
    "irure",
    "in",
    "reprehenderit",
    "voluptate",
    "velit",
    "esse",
    "cillum",
    "fugiat",
    "nulla",
    "pariatur",
];

#[derive(Debug)]
struct Lorem(DomainKey);

fn build(rule: &Rule<'_>, building: &Building<'_>) -> Result<Box<dyn Transformer>, String> {
    rule.word("text", &["lorem"])?;
    building.needs_text(1)?;
    Ok(Box::new(Lorem(building.key.domain(&rule.domain("text")?))))
}

impl Transformer for Lorem {
    fn apply(&self, value: &str, _: &Place<'_>, out: &mut String) -> Result<Made, Unfit> {
        for attempt in 0..ATTEMPTS {
            out.clear();
            let mut draw = self.0.draw(value, attempt);
            let mut word = "".chars();
            let mut is_between = false;
            for letter in value.chars() {
                if letter == '\n' || letter == '\r' {
                    out.push(letter);
                    word = "".chars();
                    is_between = false;
                    continue;
                }
                if let Some(next) = word.next() {
                    out.push(next);
                    is_between = true;
                    continue;
                }
                if is_between {
                    out.push(' ');
                    is_between = false;
                    continue;
                }
                word = draw.pick(WORDS).chars();
                out.push(word.next().unwrap_or('x'));
                is_between = true;
            }
            if out != value {
                return Ok(Made::Value);
            }
        }
        Err("it has no letters to replace".into())
    }

    fn class(&self) -> Class {
        Class::Text
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{applied, contract, made, some};

    #[test]
    fn it_keeps_the_contract() {
        contract("text = \"lorem\"", "text", &some("[A-Za-zé .,]{1,80}", 200));
        contract("text = \"lorem\"", "character varying(9)", &some("[A-Za-zé .,]{9}", 200));
    }

    #[test]
    fn length_and_lines_stay() {
        let lorem = made("text = \"lorem\"", "text");
        let value = "Madame Dupont a appelé.\nElle rappellera\r\ndemain.";
        let made = applied(&*lorem, value).unwrap();
        assert_eq!(made.chars().count(), value.chars().count());
        let ends = |text: &str| text.chars().map(|c| c == '\n').collect::<Vec<_>>();
        assert_eq!(ends(&made), ends(value));
        assert!(made.split_whitespace().count() > 3, "{made}");
    }
}
