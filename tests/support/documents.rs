//! The project's documents, and the commands in them as people type them.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the project is.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a document.
pub fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// All Markdown files of the project.
pub fn documents() -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![root().join("docs")];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => pending.push(path),
                false => found.push(path),
            }
        }
    }
    found.extend(["README.md", "CHANGELOG.md"].map(|name| root().join(name)));
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    let name = |path: PathBuf| path.strip_prefix(root()).expect("below").display().to_string();
    let mut names: Vec<String> = found.into_iter().map(name).collect();
    names.sort();
    names
}

/// One shell command, out of what stands before a pipe, a comment or an explanation two spaces to the right.
fn first_command(text: &str) -> String {
    let mut found = String::new();
    let mut quote = None;
    for letter in text.trim().chars() {
        match quote {
            Some(end) if letter == end => quote = None,
            Some(_) => {}
            None if matches!(letter, '"' | '\'') => quote = Some(letter),
            None if matches!(letter, '|' | ';' | '>' | '<' | '&' | ')') => break,
            None if letter == '#' && found.ends_with(' ') => break,
            None if letter == ' ' && found.ends_with(' ') => break,
            None => {}
        }
        found.push(letter);
    }
    found.trim_end().to_owned()
}

/// The text with lines that a backslash continues put together.
fn unfolded(text: &str) -> String {
    let mut parts = text.split("\\\n");
    let mut joined = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        joined.truncate(joined.trim_end_matches(' ').len());
        joined.push(' ');
        joined.push_str(part.trim_start_matches(' '));
    }
    joined
}

/// Commands in code of a document as they are typed, and whether each is a line of its own: one within a sentence may leave
/// out what it needs.
pub fn typed(text: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let mut block = None;
    let joined = unfolded(text);
    for line in joined.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            block = if block.is_some() { None } else { Some(language.to_owned()) };
            continue;
        }
        let is_own = match &block {
            // What is shown as output is no command, but what stands behind a prompt is.
            Some(language) if language == "console" => line.trim_start().starts_with("$ "),
            Some(language) => matches!(language.as_str(), "sh" | "bash" | "shell"),
            None => line.starts_with("    "),
        };
        let parts: Vec<&str> = match (&block, is_own) {
            (_, true) => vec![line],
            (Some(_), false) => Vec::new(),
            (None, false) => line.split('`').skip(1).step_by(2).collect(),
        };
        for part in parts {
            let mut rest = part;
            while let Some(at) = rest.find("mrs-backup ") {
                let is_word = at == 0 || rest[..at].ends_with([' ', '/', '(']);
                let is_program = is_word && !rest[..at].ends_with("/etc/");
                rest = &rest[at + "mrs-backup ".len()..];
                if is_program {
                    found.push((first_command(rest), is_own));
                }
            }
        }
    }
    found
}

/// What the program itself says to a command, before it does anything; `None` if it would begin.
pub fn refused(command: &str, is_own: bool) -> Option<String> {
    // What is left out for the reader cannot be tried, nor what stands for any command.
    if command.contains("...") || command.contains('…') || command.starts_with("COMMAND") {
        return None;
    }
    let Some(words) = mrs_backup::instance::config::split_words(command) else {
        return Some(format!("{command}: quotes that are not closed"));
    };
    let words: Vec<std::ffi::OsString> = words.into_iter().map(Into::into).collect();
    let message = mrs_backup::cli::refusal(&words)?;
    let is_short = message.contains("required arguments were not provided")
        || message.contains("a value is required");
    (is_own || !is_short).then(|| format!("{command}: {}", message.lines().next().unwrap_or("")))
}
