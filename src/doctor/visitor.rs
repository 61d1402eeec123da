//! Habits of whoever is here, worth a hint.

use super::{Finding, Patient};

/// Where the keys of those who may log in come from.
const SSH_CONFIGURATION: &str = "/etc/ssh/sshd_config";

/// Agents that came along, and keys that are fetched from elsewhere.
pub(super) fn visitor(patient: &Patient<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let is_set = |name: &str| (patient.environment)(name).is_some_and(|value| !value.is_empty());
    if is_set("SSH_CONNECTION") && is_set("SSH_AUTH_SOCK") {
        found.push(Finding::hint(
            "your ssh agent came along: whoever is root here can use your keys meanwhile",
            "ssh without -A; nothing here needs it",
        ));
    }
    let text = std::fs::read_to_string(SSH_CONFIGURATION).unwrap_or_default();
    let fetches = text.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next().is_some_and(|word| word.eq_ignore_ascii_case("AuthorizedKeysCommand"))
            && words.next().is_some_and(|program| program != "none")
    });
    if fetches {
        found.push(Finding::hint(
            format!("{SSH_CONFIGURATION} has keys fetched by a program: who may log in is decided elsewhere"),
            "pin keys in authorized_keys",
        ));
    }
    found
}
