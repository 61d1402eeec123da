//! `email = "{hmac:16}@example.invalid"`: an address that no mail ever reaches.
//!
//! `{hmac:N}` are N letters drawn from the address (up to 52, 5 bits each); the domain has to be one of those that
//! RFC 2606 keeps for nobody (`.invalid`, `.test`, `.example`, `example.com`, ...). The same address, written the
//! same, gives the same pseudonym.

use crate::anonymize::rule::Rule;

use super::pattern::Pattern;
use super::{Building, Class, Injective, Made, Place, Transformer, Unfit, Verb};

/// The verb.
pub const VERB: Verb = Verb { name: "email", options: &["domain"], has_domain: true, build };

#[derive(Debug)]
struct Email(Pattern);

/// Whether mail to this host reaches nobody (RFC 2606).
fn is_reserved(host: &str) -> bool {
    let reserved = ["invalid", "test", "example", "localhost"];
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_example = |name: &str| host == name || host.ends_with(&format!(".{name}"));
    reserved.contains(&last)
        || ["example.com", "example.net", "example.org"].into_iter().any(is_example)
}

fn build(rule: &Rule<'_>, building: &Building<'_>) -> Result<Box<dyn Transformer>, String> {
    let text = rule.needed("email")?;
    let host = text.rsplit_once('@').map(|(_, host)| host).ok_or("it has no `@`")?;
    if !is_reserved(host) {
        return Err(format!(
            "mail to `{host}` could reach somebody; use a host like `example.invalid`"
        ));
    }
    let domain = rule.domain("email")?;
    let pattern = Pattern::parse(text, building.key.domain(&domain), building)?;
    building.needs_text(pattern.longest())?;
    Ok(Box::new(Email(pattern)))
}

impl Transformer for Email {
    fn apply(&self, value: &str, place: &Place<'_>, out: &mut String) -> Result<Made, Unfit> {
        self.0.write(value, place, out).map(|()| Made::Value)
    }

    fn class(&self) -> Class {
        Class::Identifier
    }

    fn injective(&self) -> Injective {
        self.0.injective()
    }

    fn after(&self) -> Vec<usize> {
        self.0.columns()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{applied, contract, made, some, surveyed, try_made};

    const RULE: &str = "email = \"{hmac:16}@example.invalid\"";

    #[test]
    fn it_keeps_the_contract() {
        contract(
            RULE,
            "character varying(254)",
            &some("[a-z]{1,8}\\.[a-z]{2,9}@[a-z]{3,8}\\.fr", 300),
        );
        contract(RULE, "text", &some("\\PC{1,20}", 300));
    }

    #[test]
    fn it_is_an_address_of_nobody_and_the_old_one_is_looked_for() {
        let email = made(RULE, "text");
        let made = applied(&*email, "jean@example.org").unwrap();
        let (local, host) = made.split_once('@').unwrap();
        assert_eq!((local.len(), host), (16, "example.invalid"));
        assert!(local.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        assert!(surveyed(&*email, &["Jean@Example.org"]).has_identifier("jean@example.org"));
        assert!(email.injective().is_enough());
    }

    #[test]
    fn hosts_that_somebody_has_and_columns_that_are_too_short_are_refused() {
        for (rule, type_name, why) in [
            ("email = \"{hmac:9}@free.fr\"", "text", "could reach somebody"),
            ("email = \"{hmac:9}@notexample.com\"", "text", "could reach somebody"),
            ("email = \"{hmac:9}\"", "text", "no `@`"),
            ("email = \"{hmac:9}@x.invalid\"", "character varying(10)", "the column takes 10"),
            ("email = \"{hmac:9}@x.invalid\"", "integer", "something else"),
        ] {
            let error = try_made(rule, type_name, 1).unwrap_err();
            assert!(error.contains(why), "{rule}: {error}");
        }
        made("email = \"user-{id}@staging.example.com\"", "text");
    }
}
