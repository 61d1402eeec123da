//! The layers of the source tree: a module imports only from rows above its own.

use std::fs;
use std::path::{Path, PathBuf};

/// Rows from the top: names first, the command line last. Neighbours in a row do not see each other.
const LAYERS: &[&[&str]] = &[
    &["id", "clock", "cbor"],
    &["event", "crypto", "calendar"],
    &["chunker", "store", "postgres", "compose", "anonymize"],
    &["pack"],
    &["index", "snapshot"],
    &["repository", "source", "target"],
    &["ops"],
    &["instance"],
    &["schedule", "report", "history", "deploy"],
    &["status", "clone"],
    &["metrics", "doctor", "notify"],
    &["cli"],
];

/// Edges that are allowed although they go against the rows, with the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "target",
    "source",
    "the metadata a walk reads and a restore writes are the same few functions",
)];

fn row_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.expect("a directory entry").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The top-level modules named by `crate::…` paths in `text`, comments aside.
fn imports(text: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let names: Vec<&str> = match rest.strip_prefix('{') {
                Some(list) => list.split(',').collect(),
                None => vec![rest],
            };
            for name in names {
                let name: String = name
                    .trim()
                    .chars()
                    .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
                    .collect();
                modules.push(name);
            }
        }
    }
    modules
}

fn violations(module: &str, text: &str) -> Vec<String> {
    let row = row_of(module).unwrap_or_else(|| panic!("`{module}` is in no row of LAYERS"));
    imports(text)
        .into_iter()
        .filter(|name| name != module)
        .filter(|name| row_of(name).is_some_and(|imported| imported >= row))
        .filter(|name| !EXCEPTIONS.iter().any(|(from, to, _)| from == &module && to == name))
        .collect()
}

#[test]
fn modules_import_only_from_the_rows_above() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    assert!(files.len() > 40, "only {} files found", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&source).expect("below src");
        let first = relative.components().next().expect("a name").as_os_str().to_string_lossy();
        let module = first.trim_end_matches(".rs").to_owned();
        if module == "lib" || module == "main" {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a source file");
        for name in violations(&module, &text) {
            wrong.push(format!("{} imports `crate::{name}`", relative.display()));
        }
    }
    assert!(wrong.is_empty(), "imports against the layers:\n{}", wrong.join("\n"));
}

#[test]
fn an_upward_import_is_found() {
    assert_eq!(violations("store", "use crate::repository::Repository;"), ["repository"]);
    assert_eq!(violations("id", "use crate::{clock, event};"), ["clock", "event"]);
    assert!(violations("ops", "use crate::store::Store;\n// crate::cli is above\n").is_empty());
}
