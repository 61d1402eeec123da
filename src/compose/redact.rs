//! Keeping secrets out of what is shown: differences, logs, errors.
//!
//! Values of environment variables are secret unless their name is known to be harmless: a new variable is
//! rather hidden once too often. Long enough secrets are also replaced wherever else they appear.

use super::{Document, Node, Variables};

/// What stands in the place of a secret.
const HIDDEN: &str = "***";
/// Shorter values are only hidden at their own place: elsewhere they are part of everything.
const SHORTEST: usize = 6;
/// The same for variables that say themselves that they are secret.
const SHORTEST_SECRET: usize = 4;

/// Parts of names that mean a secret.
const SECRET_WORDS: [&str; 12] = [
    "pass",
    "secret",
    "token",
    "key",
    "auth",
    "credential",
    "dsn",
    "private",
    "salt",
    "pwd",
    "users",
    "cookie",
];
/// Names of variables that may be shown.
const PUBLIC: [&str; 21] = [
    "HOST",
    "HOST_SLUG",
    "PROTO",
    "LISTEN",
    "MAXCONN",
    "ALLOWED_HOSTS",
    "DEBUG",
    "DB_HOST",
    "DB_NAME",
    "DB_PORT",
    "PORT",
    "GIT_COMMIT",
    "LANG",
    "TZ",
    "EMAIL_HOST",
    "EMAIL_PORT",
    "DJANGO_SETTINGS_MODULE",
    "INSTANCE",
    "POSTGRES_DB",
    "POSTGRES_USER",
    "NODE_ENV",
];
/// Ends of such names.
const PUBLIC_ENDS: [&str; 3] = ["_DISABLE", "_ENABLE", "_ENABLED"];

/// Whether a variable's value may be shown.
pub fn is_public(name: &str) -> bool {
    PUBLIC.contains(&name)
        || (PUBLIC_ENDS.iter().any(|end| name.ends_with(end)) && !sounds_secret(name))
}

fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// Knows secrets, and takes them out of text.
#[derive(Clone, Default)]
pub struct Redactor {
    /// The longest first, so that none is cut by a part of it.
    secrets: Vec<String>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} secrets)", self.secrets.len())
    }
}

impl Redactor {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Learns the values of variables.
    pub fn learn_variables(&mut self, variables: &Variables) {
        for (name, value) in variables {
            self.learn(name, &value.to_string_lossy());
        }
    }

    /// Learns the values of a document's environments, build arguments and labels that sound secret.
    pub fn learn_document(&mut self, document: &Document) {
        for (_, service) in document.services() {
            let arguments = service.get("build").and_then(|build| build.get("args"));
            for block in service.get("environment").into_iter().chain(arguments) {
                for (name, value) in pairs(block) {
                    // In the document a `$` is doubled.
                    self.learn(&name, &value.replace("$$", "$"));
                    self.learn(&name, &value);
                }
            }
        }
    }

    fn learn(&mut self, name: &str, value: &str) {
        let shortest = if sounds_secret(name) { SHORTEST_SECRET } else { SHORTEST };
        if is_public(name) || value.chars().count() < shortest || is_common(value) {
            return;
        }
        if !self.secrets.iter().any(|known| known == value) {
            self.secrets.push(value.to_owned());
            self.secrets.sort_by_key(|known| std::cmp::Reverse(known.len()));
        }
    }

    /// `text` without what is known to be secret, and without passwords in addresses.
    pub fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), HIDDEN);
            }
        }
        without_user_information(&text)
    }

    /// The value at `path` of a document, fit to be shown.
    pub fn show(&self, path: &[&str], value: &str) -> String {
        let last = path.last().copied().unwrap_or_default();
        let is_variable = path
            .iter()
            .rev()
            .nth(1)
            .is_some_and(|parent| matches!(*parent, "environment" | "args"));
        let is_content =
            path.iter().any(|part| matches!(*part, "secrets" | "configs")) && last == "content";
        let is_hidden = match is_variable {
            true => !is_public(last),
            false => is_content || (path.len() > 3 && sounds_secret(last)),
        };
        if is_hidden { HIDDEN.to_owned() } else { self.hide(value) }
    }
}

/// Words that are too common to be a secret.
fn is_common(value: &str) -> bool {
    let words = [
        "true",
        "false",
        "null",
        "none",
        "localhost",
        "postgres",
        "django",
        "production",
        "staging",
    ];
    words.contains(&value.to_ascii_lowercase().as_str())
}

/// `NAME=VALUE` items or keys and values.
pub(super) fn pairs(block: &Node) -> Vec<(String, String)> {
    let items =
        block.items().iter().filter_map(Node::as_str).filter_map(|item| item.split_once('='));
    let items = items.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let entries = block
        .entries()
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    items.chain(entries).collect()
}

/// `scheme://user:password@host` without what stands before the `@`.
fn without_user_information(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || "/?#\"'<>".contains(c))
            .unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => out.push_str(&format!("{HIDDEN}@{host}")),
            None => out.push_str(authority),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_wherever_they_are() {
        let text = "services:\n  d:\n    environment: {SECRET_KEY: hunter2$$x, HOST: mrs.example, PIN: '12', DB_HOST: postgres}\n    command: run --key hunter2$$x\n";
        let document = Document::parse(text, "the test").unwrap();
        let mut redactor = Redactor::new();
        redactor.learn_document(&document);
        redactor.learn_variables(&Variables::from([(
            "SENTRY".to_owned(),
            "https://abc@sentry".into(),
        )]));
        let environment = |name| ["services", "d", "environment", name];
        assert_eq!(redactor.show(&environment("SECRET_KEY"), "hunter2$$x"), "***");
        assert_eq!(redactor.show(&environment("PIN"), "12"), "***");
        assert_eq!(redactor.show(&environment("HOST"), "mrs.example"), "mrs.example");
        assert_eq!(
            redactor.show(&["services", "d", "command"], "run --key hunter2$$x"),
            "run --key ***"
        );
        assert_eq!(
            redactor.hide("log: hunter2$x at mrs.example, 12"),
            "log: *** at mrs.example, 12"
        );
        assert_eq!(redactor.hide("https://abc@sentry"), "***");
        assert_eq!(redactor.hide("a postgres://u:p@h/db?x b@c"), "a postgres://***@h/db?x b@c");
        let label = ["services", "d", "labels", "traefik.http.middlewares.a.basicauth.users"];
        assert_eq!(redactor.show(&label, "dev:$$apr1$$x"), "***");
        assert!(!format!("{redactor:?}").contains("hunter2"));
    }

    #[test]
    fn names_tell_what_is_harmless() {
        for name in
            ["HOST", "BASICAUTH_DISABLE_X", "EMAIL_HOST_PASSWORD", "DATABASE_URL", "AUTH_ENABLE"]
        {
            assert_eq!(is_public(name), name == "HOST", "{name}");
        }
        assert!(is_public("MAINTENANCE_ENABLE"));
    }
}
