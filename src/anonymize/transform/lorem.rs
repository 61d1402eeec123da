//! `text = "lorem"`: words that say nothing, as many letters as there were. Lines end where they did. Option: `domain`.

use crate::anonymize::key::{DomainKey, Draw};
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

/// Words with spaces between them, of so many letters together.
fn words(draw: &mut Draw<'_>, letters: usize, out: &mut String) {
    let mut left = letters;
    while left > 0 {
        let word = draw.pick(WORDS);
        let word = word.get(..left).unwrap_or(word);
        out.push_str(word);
        left -= word.len();
        if left > 0 {
            out.push(' ');
            left -= 1;
        }
    }
}

impl Transformer for Lorem {
    fn apply(&self, value: &str, _: &Place<'_>, out: &mut String) -> Result<Made, Unfit> {
        for attempt in 0..ATTEMPTS {
            out.clear();
            let mut draw = self.0.draw(value, attempt);
            for line in value.split_inclusive(['\n', '\r']) {
                let text = line.trim_end_matches(['\n', '\r']);
                words(&mut draw, text.chars().count(), out);
                out.push_str(line.get(text.len()..).unwrap_or_default());
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
