//! Limits that keep rooms from getting crowded: lengths of files and functions, and words that mean
//! unfinished work.

use std::fs;
use std::path::{Path, PathBuf};

const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 70;

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.map(|entry| entry.expect("a directory entry").path()) {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources(directories: &[&str]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for directory in directories {
        rust_files(&root.join(directory), &mut files);
    }
    files.sort();
    assert!(!files.is_empty());
    files
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root).expect("below the root").display().to_string();
            (name, fs::read_to_string(&path).expect("a source file"))
        })
        .collect()
}

/// Functions of rustfmt-ed text that are longer than the limit: their first lines and lengths.
fn long_functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let is_function = [
            "fn ",
            "pub fn ",
            "pub(crate) fn ",
            "pub(super) fn ",
            "const fn ",
            "pub const fn ",
            "async fn ",
        ]
        .iter()
        .any(|start| code.starts_with(start));
        if !is_function {
            continue;
        }
        let close = format!("{}}}", " ".repeat(indent));
        let end = lines[at..].iter().position(|line| {
            *line == close
                || line.trim_end().ends_with(';') && line.len() - line.trim_start().len() == indent
        });
        let length = end.unwrap_or(0) + 1;
        if length > MAX_FUNCTION_LINES {
            found.push((at + 1, length));
        }
    }
    found
}

#[test]
fn files_and_functions_stay_short() {
    let mut wrong = Vec::new();
    for (name, text) in sources(&["src", "tests", "benches"]) {
        let lines = text.lines().count();
        if lines > MAX_FILE_LINES {
            wrong.push(format!("{name}: {lines} lines"));
        }
        for (line, length) in long_functions(&text) {
            wrong.push(format!("{name}:{line}: a function of {length} lines"));
        }
    }
    assert!(wrong.is_empty(), "too long:\n{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_unfinished() {
    let words = ["todo!(", "unimplemented!(", "FIXME", "XXX", "TODO", "dbg!("];
    let mut wrong = Vec::new();
    for (name, text) in sources(&["src"]) {
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                wrong.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "unfinished:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let mut wrong = Vec::new();
    for (name, text) in sources(&["src"]) {
        if !text.starts_with("//!") {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "no module comment:\n{}", wrong.join("\n"));
}

#[test]
fn the_clock_and_randomness_are_passed_in() {
    let asks = [
        "Timestamp::now",
        "SystemTime::now",
        "Zoned::now",
        "Instant::now",
        "getrandom::fill",
        "temp_dir()",
    ];
    let allowed =
        ["src/clock.rs", "src/crypto/random.rs", "src/cli/", "src/report/", "src/main.rs"];
    let mut wrong = Vec::new();
    for (name, text) in sources(&["src"]) {
        if allowed.iter().any(|place| name.starts_with(place)) {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for ask in asks {
            if code.contains(ask) && !name.contains("/tests") {
                wrong.push(format!("{name}: {ask}"));
            }
        }
    }
    assert!(wrong.is_empty(), "asks the system by itself:\n{}", wrong.join("\n"));
}

#[test]
fn a_long_function_is_found() {
    let text = format!("    pub fn long() {{\n{}    }}\n", "        step();\n".repeat(80));
    assert_eq!(long_functions(&text), [(1, 82)]);
    assert!(long_functions("fn short() {\n}\n").is_empty());
}
