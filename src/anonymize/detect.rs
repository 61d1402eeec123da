//! Guesses what a column holds, by its name, its type and some of its values; what to write for it.

use std::collections::BTreeMap;

use super::schema::{Column, Kind, Table, fingerprint};

/// Values of a column that are looked at.
pub const SAMPLES: usize = 200;

/// What somebody found out about a column's values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sampled {
    values: Vec<String>,
}

impl Sampled {
    /// Takes note of a value.
    pub fn note(&mut self, value: &str) {
        if self.values.len() < SAMPLES && !value.is_empty() {
            self.values.push(value.chars().take(400).collect());
        }
    }

    /// Whether most of them are so.
    fn mostly(&self, is_so: impl Fn(&str) -> bool) -> bool {
        let count = self.values.iter().filter(|value| is_so(value)).count();
        self.values.len() >= 3 && count * 10 >= self.values.len() * 6
    }
}

/// Samples by column.
pub type Samples = BTreeMap<String, Sampled>;

/// What a column seems to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guess {
    Email,
    Phone,
    Iban,
    Nir,
    Siret,
    FirstName,
    LastName,
    FullName,
    Company,
    Street,
    Postcode,
    City,
    BirthDate,
    Password,
    Address,
    Token,
    UserName,
    File,
    Uuid,
    Json,
    Text,
    Plain,
    Unknown,
}

fn digits(text: &str) -> usize {
    text.bytes().filter(u8::is_ascii_digit).count()
}

fn is_email(text: &str) -> bool {
    text.split_once('@').is_some_and(|(local, host)| {
        !local.is_empty() && host.contains('.') && !text.contains(char::is_whitespace)
    })
}

fn is_nir(text: &str) -> bool {
    let letters: String = text.chars().filter(|c| *c != ' ').collect();
    let month = letters.get(3..5).and_then(|month| month.parse::<u32>().ok());
    (letters.len() == 13 || letters.len() == 15)
        && digits(&letters) >= 12
        && letters.starts_with(['1', '2', '3', '4', '7', '8'])
        && month.is_some_and(|month| month > 0)
}

fn is_iban(text: &str) -> bool {
    let letters: String = text.chars().filter(|c| *c != ' ').collect();
    super::transform::is_valid_iban(&letters)
}

fn is_phone(text: &str) -> bool {
    (9..=13).contains(&digits(text))
        && text.chars().all(|c| c.is_ascii_digit() || " .-+()/".contains(c))
        && text.trim_start().starts_with(['0', '+'])
}

fn is_hash(text: &str) -> bool {
    text.split('$').count() >= 3 && text.len() > 20 || text.starts_with("$2") && text.len() == 60
}

fn is_token(text: &str) -> bool {
    text.len() >= 16
        && !text.contains(char::is_whitespace)
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_=+/".contains(c))
        && digits(text) > 1
}

/// Says of a value whether it is of a kind.
type Test = fn(&str) -> bool;

fn by_values(samples: &Sampled) -> Option<Guess> {
    let tests: [(Guess, Test); 8] = [
        (Guess::Email, is_email),
        (Guess::Iban, is_iban),
        (Guess::Nir, is_nir),
        (Guess::Password, is_hash),
        (Guess::Phone, is_phone),
        (Guess::Address, |text| text.parse::<std::net::IpAddr>().is_ok()),
        (Guess::Token, is_token),
        (Guess::Text, |text| text.split_whitespace().count() > 4),
    ];
    tests.into_iter().find(|(_, is_so)| samples.mostly(is_so)).map(|(guess, _)| guess)
}

fn by_name(name: &str, kind: &Kind) -> Guess {
    let name = name.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let is_part = |words: &[&str]| name.split('_').any(|part| words.contains(&part));
    if matches!(kind, Kind::Date | Kind::Timestamp) {
        return if has(&["birth", "naissance", "born"]) { Guess::BirthDate } else { Guess::Plain };
    }
    match kind {
        Kind::Boolean => return Guess::Plain,
        Kind::Integer | Kind::Number => {
            let is_telling = has(&["nir", "phone", "secu", "ssn", "matricule"]);
            return if is_telling { Guess::Unknown } else { Guess::Plain };
        }
        Kind::Json => return Guess::Json,
        Kind::Uuid => return Guess::Uuid,
        Kind::Address => return Guess::Address,
        _ => {}
    }
    let known: [(Guess, bool); 17] = [
        (Guess::Email, has(&["email", "e_mail", "courriel"]) || is_part(&["mail"])),
        (Guess::Password, has(&["password", "passwd", "mot_de_passe"])),
        (Guess::Iban, has(&["iban"])),
        (Guess::Nir, is_part(&["nir", "ssn", "secu"]) || has(&["social_security"])),
        (Guess::Siret, has(&["siret", "siren"])),
        (Guess::Phone, has(&["phone", "telephone", "mobile"]) || is_part(&["tel", "fax"])),
        (Guess::FirstName, has(&["first_name", "firstname", "prenom", "given_name"])),
        (
            Guess::LastName,
            has(&["last_name", "lastname", "surname", "family_name"]) || name == "nom",
        ),
        (Guess::FullName, has(&["full_name", "fullname", "display_name"])),
        (Guess::Company, has(&["company", "organisation", "organization", "raison_sociale"])),
        (Guess::Postcode, has(&["postcode", "zip", "code_postal", "postal_code"])),
        (Guess::City, is_part(&["city", "ville", "town", "commune"])),
        (Guess::Street, has(&["street", "adresse"]) || is_part(&["address", "rue"])),
        (Guess::UserName, has(&["username", "user_name", "login"])),
        (Guess::Token, has(&["token", "secret", "api_key", "session_key"])),
        (Guess::File, has(&["_file", "attachment"]) || is_part(&["file", "photo", "image"])),
        (
            Guess::Text,
            has(&["comment", "message", "note", "description", "remark", "body", "text"]),
        ),
    ];
    known.into_iter().find(|(_, is_so)| *is_so).map_or(Guess::Unknown, |(guess, _)| guess)
}

/// A key of TOML: quoted if it has to be.
pub fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !name.is_empty() && name.chars().all(is_bare) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

fn rule_of(guess: Guess, kind: &Kind) -> Option<String> {
    let rule = match guess {
        Guess::Email => "email = \"{hmac:16}@example.invalid\"",
        Guess::Phone => "phone = \"fr\"",
        Guess::Iban => "iban = \"same_country\"",
        Guess::Nir => "nir = \"fpe\"",
        Guess::Siret => "siret = true",
        Guess::FirstName => "fake = \"first_name\"",
        Guess::LastName => "fake = \"last_name\"",
        Guess::FullName => "fake = \"full_name\"",
        Guess::Company => "company = true",
        Guess::Street => "address = \"street\"",
        Guess::Postcode => "address = \"postcode\"",
        Guess::City => "address = \"city\"",
        Guess::BirthDate => "birth_month = true",
        Guess::Password => "django_password = \"unusable\"",
        Guess::Address => "ip = \"prefix\"",
        Guess::Token => match kind {
            Kind::Text(Some(limit)) => {
                return Some(format!("pattern = \"[A-Za-z0-9]{{{}}}\"", (*limit).min(43)));
            }
            _ => "pattern = \"[A-Za-z0-9]{43}\"",
        },
        Guess::UserName => "pattern = \"user{id}\"",
        Guess::File => "file = \"placeholder\", root = \"uploads\"",
        Guess::Uuid => "uuid = true",
        Guess::Text => "text = \"lorem\"",
        Guess::Json | Guess::Plain | Guess::Unknown => return None,
    };
    Some(rule.to_owned())
}

fn guess(column: &Column, samples: &Samples) -> Guess {
    let kind = Kind::of(&column.type_name);
    let sampled = samples.get(&column.name).filter(|_| kind.may_hold_identifiers());
    match (sampled.and_then(by_values), by_name(&column.name, &kind)) {
        // A name says more than that there are letters and digits, or words.
        (Some(Guess::Token | Guess::Text), named) if named != Guess::Unknown => named,
        (Some(found), _) => found,
        (None, named) => named,
    }
}

/// A line for a column. What is not sure is `todo`, which still refuses; what identifies people is
/// proposed and marked.
pub fn suggestion(table: &Table, column: &Column, samples: &Samples) -> String {
    let kind = Kind::of(&column.type_name);
    let found = guess(column, samples);
    let name = key(&column.name);
    let is_id = table.primary == [column.name.as_str()];
    match rule_of(found, &kind) {
        Some(rule) if is_id && found == Guess::Uuid => {
            format!(
                "{name} = {{ todo = \"a key; keep it, or {rule} here and where it is referenced\" }}"
            )
        }
        Some(rule) => format!("{name} = {{ {rule} }}"),
        None if found == Guess::Json => {
            format!("{name} = {{ todo = \"a rule for each key: json = {{ ... }}\" }}")
        }
        None if found == Guess::Plain => format!(
            "{name} = {{ keep = \"REASON\", type = \"{}\" }}",
            column.type_name.replace('"', "\\\"")
        ),
        None => format!("{name} = {{ todo = \"{}\" }}", column.type_name.replace('"', "\\\"")),
    }
}

/// Lines for columns that were kept together and are others now: only what looks harmless stays in the group.
pub fn group_suggestion(table: &Table, grouped: &[&Column], reason: &str) -> String {
    let none = Samples::new();
    let is_harmless = |column: &&Column| {
        let found = guess(column, &none);
        let kind = Kind::of(&column.type_name);
        found == Guess::Plain || found == Guess::Uuid || found == Guess::Unknown && !kind.is_text()
    };
    let (harmless, others): (Vec<&Column>, Vec<&Column>) =
        grouped.iter().partition(|column| is_harmless(column));
    let mut lines: Vec<String> = Vec::new();
    if !harmless.is_empty() {
        let pinned = fingerprint(harmless.into_iter());
        let reason = reason.replace(['"', '\\'], "'");
        lines.push(format!("\"*\" = {{ keep = \"{reason}\", fingerprint = \"{pinned}\" }}"));
    }
    lines.extend(others.into_iter().map(|column| suggestion(table, column, &none)));
    lines.join("\n")
}

/// Lines for a table: columns that identify people each, plain ones together and pinned, all marked `todo` that
/// nobody can decide but people.
pub fn table_suggestion(table: &Table, samples: &Samples) -> String {
    let (mut lines, mut plain) = (Vec::new(), Vec::new());
    for column in &table.columns {
        match guess(column, samples) {
            Guess::Plain => plain.push(column),
            _ => lines.push(suggestion(table, column, samples)),
        }
    }
    let mut text = format!("[table.{}]\n", key(&table.title()));
    if !plain.is_empty() {
        let names: Vec<&str> = plain.iter().map(|column| column.name.as_str()).collect();
        // The reason is for people to write: an empty one refuses.
        text.push_str(&format!(
            "# {}\n\"*\" = {{ keep = \"\", fingerprint = \"{}\" }}\n",
            names.join(", "),
            fingerprint(plain.into_iter())
        ));
    }
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggested(name: &str, type_name: &str, values: &[&str]) -> String {
        let column =
            Column { name: name.to_owned(), type_name: type_name.to_owned(), is_nullable: false };
        let mut sampled = Sampled::default();
        values.iter().for_each(|value| sampled.note(value));
        let samples = Samples::from([(name.to_owned(), sampled)]);
        suggestion(&Table::default(), &column, &samples)
    }

    #[test]
    fn names_tell_what_a_column_holds() {
        for (name, type_name, wanted) in [
            ("habilitation_email", "character varying(254)", "email ="),
            ("first_name", "character varying(30)", "fake = \"first_name\""),
            ("nir", "character varying(13)", "nir = \"fpe\""),
            ("birth_date", "date", "birth_month"),
            ("password", "character varying(128)", "django_password"),
            ("data", "jsonb", "todo"),
            ("is_active", "boolean", "keep = \"REASON\""),
            ("creation_datetime", "timestamp with time zone", "keep = \"REASON\""),
            ("token", "character varying(20)", "[A-Za-z0-9]{20}"),
            ("whatever", "text", "todo"),
            ("comment", "text", "lorem"),
            ("numero_secu", "bigint", "todo"),
        ] {
            let line = suggested(name, type_name, &[]);
            assert!(line.contains(wanted), "{line}");
        }
    }

    #[test]
    fn values_tell_more() {
        for (values, wanted) in [
            (&["a@b.fr", "c@d.org", "e@f.com"][..], "email ="),
            (&["1850578006084", "2850578006084", "186022A215325"], "nir ="),
            (&["06 12 34 56 78", "+33612345678", "01.42.00.00.00"], "phone ="),
            (
                &["FR1420041010050500013M02606", "GB82 WEST 1234 5698 7654 32", "NO9386011117947"],
                "iban =",
            ),
            (&["192.0.2.1", "::1", "10.0.0.1"], "ip ="),
            (
                &[
                    "pbkdf2_sha256$1$a$bcdefghijkl",
                    "argon2$x$y$zzzzzzzzzzzzz",
                    "sha1$a$b0123456789012345",
                ],
                "django_password",
            ),
            (
                &[
                    "he said that she was ill",
                    "please call back in the evening",
                    "nothing to add to this one",
                ],
                "lorem",
            ),
            (&["a", "b", "c"], "todo"),
        ] {
            let line = suggested("x", "text", values);
            assert!(line.contains(wanted), "{line}");
        }
    }

    #[test]
    fn keys_are_quoted_where_they_have_to_be() {
        assert_eq!(key("a_b-1"), "a_b-1");
        assert_eq!(key("other.table"), "\"other.table\"");
        assert_eq!(key("a\"b"), "\"a\\\"b\"");
    }
}
