//! The compose files of a checkout: which variables they ask for, and where their builds are.
//!
//! Files are merged with the home as project directory, so that `./log` is a directory of the home. A build's
//! context is the exception: it is where the file is. So files that build are given to compose as copies in
//! which those paths are absolute; nothing else in them is touched.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use regex::Regex;

use super::{ComposeError, Document, Node};

/// Longest compose file.
const LONGEST: u64 = 4 << 20;

/// A compose file, read.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub path: PathBuf,
    pub text: String,
    pub document: Document,
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<File, ComposeError> {
    let failed = |reason: String| ComposeError::NoFile { path: path.to_owned(), reason };
    let file = fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > LONGEST {
        return Err(failed(format!("it is longer than {LONGEST} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8".to_owned()))?;
    let document = Document::parse(&text, &path.display().to_string())?;
    Ok(File { path: path.to_owned(), text, document })
}

/// Names of the variables that compose files ask for: `$NAME`, `${NAME:-x}`, and entries of `environment` and
/// build arguments without a value.
pub fn asked_for(paths: &[PathBuf]) -> Result<BTreeSet<String>, ComposeError> {
    static USE: OnceLock<Option<Regex>> = OnceLock::new();
    let pattern = USE.get_or_init(|| Regex::new(r"\$(?:\$|\{?([A-Za-z_][A-Za-z0-9_]*))").ok());
    let mut names = BTreeSet::new();
    for path in paths {
        let file = read(path)?;
        for found in pattern.iter().flat_map(|pattern| pattern.captures_iter(&file.text)) {
            names.extend(found.get(1).map(|name| name.as_str().to_owned()));
        }
        for (_, service) in file.document.services() {
            let arguments = service.get("build").and_then(|build| build.get("args"));
            for block in service.get("environment").into_iter().chain(arguments) {
                names.extend(without_value(block));
            }
        }
    }
    Ok(names)
}

fn without_value(block: &Node) -> Vec<String> {
    let items = block.items().iter().filter_map(Node::as_str).filter(|item| !item.contains('='));
    let keys = block.entries().iter().filter(|(_, value)| value.is_null()).map(|(key, _)| &**key);
    items.chain(keys).map(str::to_owned).collect()
}

/// Files as they are given to compose.
#[derive(Debug)]
pub(super) struct Prepared {
    pub paths: Vec<PathBuf>,
    /// Removed with the copies in it.
    copies: Option<PathBuf>,
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Some(directory) = &self.copies {
            // Left behind it is only a copy of what lies in the checkout.
            let _ = fs::remove_dir_all(directory);
        }
    }
}

/// Makes copies, in the new directory `scratch`, of files in which a path is relative to the file.
pub(super) fn prepare(
    files: &[File],
    directory: &Path,
    scratch: &Path,
) -> Result<Prepared, ComposeError> {
    let mut prepared = Prepared { paths: Vec::new(), copies: None };
    for (number, file) in files.iter().enumerate() {
        let changes = changes(file, directory);
        if changes.is_empty() {
            prepared.paths.push(file.path.clone());
            continue;
        }
        if prepared.copies.is_none() {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(scratch).map_err(|error| ComposeError::io("make", scratch, &error))?;
            prepared.copies = Some(scratch.to_owned());
        }
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        let path = scratch.join(format!("{number}-{name}"));
        let mut open = fs::OpenOptions::new();
        open.write(true).create(true).truncate(true).mode(0o600);
        let written = open
            .open(&path)
            .and_then(|mut copy| copy.write_all(changed(&file.text, changes).as_bytes()));
        written.map_err(|error| ComposeError::io("write", &path, &error))?;
        prepared.paths.push(path);
    }
    Ok(prepared)
}

type Place = (usize, usize);

/// Places of relative paths in a file, and what is to stand there.
fn changes(file: &File, directory: &Path) -> Vec<(Place, PathBuf)> {
    let mut found = Vec::new();
    let beside = file.path.parent().unwrap_or(directory);
    for (_, service) in file.document.services() {
        let build = service.get("build");
        let context = build.and_then(|build| match build {
            Node::Mapping(_) => build.get("context"),
            other => Some(other),
        });
        let extended = service.get("extends").and_then(|extends| extends.get("file"));
        for (node, base) in [(context, directory), (extended, beside)] {
            let Some(Node::Scalar { text, span: Some(place), .. }) = node else { continue };
            let is_elsewhere =
                text.contains("://") || text.starts_with("git@") || text.contains('$');
            if !is_elsewhere && !Path::new(text).is_absolute() && !text.is_empty() {
                found.push((*place, base.join(text).components().collect()));
            }
        }
    }
    // What an alias leads to is there once.
    found.sort();
    found.dedup();
    found
}

fn changed(text: &str, changes: Vec<(Place, PathBuf)>) -> String {
    let mut text = text.to_owned();
    for ((from, to), path) in changes.into_iter().rev() {
        let path = path.to_string_lossy().replace('\'', "''").replace('$', "$$");
        if text.get(from..to).is_some() {
            text.replace_range(from..to, &format!("'{path}'"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_files_ask_for_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.yml");
        let text = "services:\n  d:\n    build: {args: [COMMIT, B=1]}\n    environment:\n    - HOST\n    - A=${DEEP:-x}$$NOT $PLAIN\n  e:\n    environment: {NULL_ONE: , SET: 1}\n";
        fs::write(&path, text).unwrap();
        let names: Vec<String> = asked_for(&[path]).unwrap().into_iter().collect();
        assert_eq!(names, ["COMMIT", "DEEP", "HOST", "NULL_ONE", "PLAIN"]);
        let error = asked_for(&[directory.path().join("none.yml")]).unwrap_err().to_string();
        assert!(error.contains("none.yml"), "{error}");
    }

    #[test]
    fn only_paths_of_builds_are_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.yml");
        let text = "# a comment\nx: &b {context: \"./it's\"}\nservices:\n  d:\n    build: ./\n    volumes: [./log:/log]\n  e: {build: *b}\n  f: {build: *b}\n  g: {build: 'https://x/y.git'}\n";
        fs::write(&path, text).unwrap();
        let files = [read(&path).unwrap()];
        let scratch = directory.path().join("scratch");
        let prepared = prepare(&files, Path::new("/src"), &scratch).unwrap();
        let copy = fs::read_to_string(&prepared.paths[0]).unwrap();
        let expected =
            text.replace("build: ./", "build: '/src'").replace("\"./it's\"", "'/src/it''s'");
        assert_eq!(copy, expected);
        drop(prepared);
        assert!(!scratch.exists());
        fs::write(&path, "services: {d: {image: x}}\n").unwrap();
        let prepared = prepare(&[read(&path).unwrap()], Path::new("/src"), &scratch).unwrap();
        assert_eq!((prepared.paths[0].clone(), scratch.exists()), (path, false));
    }
}
