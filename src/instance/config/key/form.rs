//! How a key source is written: `{ file = "…" }` and the like, exactly one of them.
//!
//! Whatever else stands there may be a password in the wrong place: no error repeats it.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::value::{Line, PlainPath};
use super::KeySource;

const FORMS: [&str; 5] = ["file", "command", "env", "credential", "key_file"];

/// A key source that holds a password: anything but raw key material.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct PasswordSource(KeySource);

impl From<PasswordSource> for KeySource {
    fn from(source: PasswordSource) -> Self {
        source.0
    }
}

impl<'de> Deserialize<'de> for KeySource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FormVisitor { forms: &FORMS })
    }
}

impl<'de> Deserialize<'de> for PasswordSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FormVisitor { forms: &FORMS[..4] }).map(Self)
    }
}

struct FormVisitor {
    forms: &'static [&'static str],
}

impl FormVisitor {
    fn wrong<E: Error, T>(&self) -> Result<T, E> {
        Err(E::custom(
            "a password or key cannot stand here itself; write where it is, like { file = \"/etc/mrs-backup/x.key\" }",
        ))
    }

    fn not_one<E: Error>(&self, what: &str) -> E {
        E::custom(format!("{what}; write exactly one of {}", self.forms.join(", ")))
    }
}

impl<'de> Visitor<'de> for FormVisitor {
    type Value = KeySource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a table with one of {}", self.forms.join(", "))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<KeySource, E> {
        self.wrong()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<KeySource, E> {
        self.wrong()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<KeySource, E> {
        self.wrong()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<KeySource, E> {
        self.wrong()
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<KeySource, E> {
        self.wrong()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<KeySource, A::Error> {
        self.wrong()
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KeySource, A::Error> {
        let Some(form) = map.next_key::<String>()? else {
            return Err(self.not_one("nothing says where the password or key is"));
        };
        if !self.forms.contains(&form.as_str()) {
            return Err(self.not_one(&format!("`{}` is not known here", form.escape_debug())));
        }
        let source = match form.as_str() {
            "file" => KeySource::File(map.next_value::<PlainPath>()?.0),
            "command" => {
                let argv: Vec<Line> = map.next_value()?;
                if argv.is_empty() {
                    return Err(A::Error::custom(
                        "`command` is empty; write [\"program\", \"argument\"]",
                    ));
                }
                KeySource::Command(argv.into_iter().map(|line| line.0).collect())
            }
            "env" => KeySource::Env(variable(map.next_value::<Line>()?.0)?),
            "credential" => KeySource::Credential(credential(map.next_value::<Line>()?.0)?),
            _ => KeySource::KeyFile(map.next_value::<PlainPath>()?.0),
        };
        if let Some(second) = map.next_key::<String>()? {
            map.next_value::<IgnoredAny>()?;
            let what = format!("both `{form}` and `{}` stand here", second.escape_debug());
            return Err(self.not_one(&what));
        }
        Ok(source)
    }
}

fn variable<E: Error>(name: String) -> Result<String, E> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.chars().all(is_good) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(name);
    }
    // Not repeated: somebody may have put the password here.
    Err(E::custom("`env` is no name of an environment variable; write one like `MRS_PASSWORD`"))
}

fn credential<E: Error>(name: String) -> Result<String, E> {
    if name.contains('/') || matches!(name.as_str(), "." | "..") {
        return Err(E::custom("`credential` is a name without `/`, as in LoadCredential="));
    }
    Ok(name)
}

fn schema(forms: &[&str]) -> Schema {
    let form = |name: &&str| {
        let content = match *name {
            "command" => serde_json::json!({
                "type": "array", "items": { "type": "string" }, "minItems": 1
            }),
            _ => serde_json::json!({ "type": "string" }),
        };
        serde_json::json!({
            "type": "object", "properties": { *name: content },
            "required": [name], "additionalProperties": false
        })
    };
    let forms: Vec<serde_json::Value> = forms.iter().map(form).collect();
    schemars::json_schema!({ "oneOf": forms })
}

impl JsonSchema for KeySource {
    fn schema_name() -> Cow<'static, str> {
        "KeySource".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema(&FORMS)
    }
}

impl JsonSchema for PasswordSource {
    fn schema_name() -> Cow<'static, str> {
        "PasswordSource".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema(&FORMS[..4])
    }
}
