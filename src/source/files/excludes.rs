//! Patterns for what is left out.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

/// Why patterns cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ExcludeError {
    /// It is no pattern.
    #[error("`{pattern}` is not a pattern: {reason}")]
    Pattern {
        /// As it was given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file with patterns cannot be read.
    #[error("exclude file {}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Patterns for what is left out of a walk. `*` and `?` do not match `/`, `**` does.
///
/// * `*.pyc`, `cache`: every entry with such a name, wherever it is.
/// * `dir/sub`: `sub` in any directory `dir`.
/// * `/x/y`: `x/y` from the root of the walk on. If it begins with the absolute path of the root of
///   the walk, that is taken off first: for the root `/srv/app` it is `/srv/app/x/y`, too.
/// * With `/` at its end a pattern fits directories only.
/// * `!pattern` takes in again what patterns before it left out. What is in a directory that is left
///   out cannot be taken in: it is not looked at.
#[derive(Debug, Clone, Default)]
pub struct Excludes {
    patterns: Vec<Pattern>,
    globs: GlobSet,
}

#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    /// Fits from the root on, or anywhere.
    is_anchored: bool,
    for_directories: bool,
    takes_in: bool,
}

impl Pattern {
    fn parse(given: &str) -> Result<Self, ExcludeError> {
        let (takes_in, text) = match given.strip_prefix('!') {
            Some(text) => (true, text),
            None => (false, given),
        };
        let (for_directories, text) = match text.strip_suffix('/') {
            Some(text) => (true, text),
            None => (false, text),
        };
        let anchored = text.strip_prefix('/').or_else(|| text.strip_prefix("./"));
        let text = anchored.unwrap_or(text);
        let wrong = |reason: &str| {
            Err(ExcludeError::Pattern { pattern: given.to_owned(), reason: reason.to_owned() })
        };
        if text.is_empty() {
            return wrong("it names nothing");
        }
        if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return wrong("it has an empty part, `.` or `..` in it and would never fit");
        }
        let is_anchored = anchored.is_some();
        Ok(Self { text: text.to_owned(), is_anchored, for_directories, takes_in })
    }

    fn add_to(&self, set: &mut GlobSetBuilder) -> Result<(), ExcludeError> {
        let text = if self.is_anchored { self.text.clone() } else { format!("**/{}", self.text) };
        let glob = GlobBuilder::new(&text).literal_separator(true).build().map_err(|error| {
            ExcludeError::Pattern { pattern: self.text.clone(), reason: error.kind().to_string() }
        })?;
        set.add(glob);
        Ok(())
    }
}

impl Excludes {
    /// These patterns; the last that fits an entry decides.
    pub fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self, ExcludeError> {
        let patterns = patterns
            .into_iter()
            .map(|pattern| Pattern::parse(pattern.as_ref()))
            .collect::<Result<_, _>>()?;
        Self::build(patterns)
    }

    fn build(patterns: Vec<Pattern>) -> Result<Self, ExcludeError> {
        let mut set = GlobSetBuilder::new();
        for pattern in &patterns {
            pattern.add_to(&mut set)?;
        }
        let globs = set.build().map_err(|error| ExcludeError::Pattern {
            pattern: error.glob().unwrap_or("all together").to_owned(),
            reason: error.kind().to_string(),
        })?;
        Ok(Self { patterns, globs })
    }

    /// The patterns in a file: one a line, without space around them; lines that are empty or begin
    /// with `#` are none.
    pub fn patterns_in(path: &Path) -> Result<Vec<String>, ExcludeError> {
        let wrong = |reason: String| ExcludeError::File { path: path.to_owned(), reason };
        let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let mut patterns = Vec::new();
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let line = str::from_utf8(line)
                .map_err(|_| wrong(format!("line {} is not UTF-8", index + 1)))?
                .trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            Pattern::parse(line).map_err(|error| wrong(format!("line {}: {error}", index + 1)))?;
            patterns.push(line.to_owned());
        }
        Ok(patterns)
    }

    /// The same for a walk from `root`: patterns that begin with its path are shortened by it.
    pub(super) fn for_roots(&self, roots: &[&Path]) -> Result<Self, ExcludeError> {
        let mut patterns = Vec::with_capacity(self.patterns.len());
        for pattern in &self.patterns {
            patterns.push(pattern.clone());
            for root in roots {
                let root = root.as_os_str().as_bytes();
                let rest = root
                    .strip_prefix(b"/")
                    .filter(|root| !root.is_empty() && pattern.is_anchored)
                    .and_then(|root| pattern.text.as_bytes().strip_prefix(root))
                    .and_then(|rest| rest.strip_prefix(b"/"))
                    .and_then(|rest| str::from_utf8(rest).ok());
                if let Some(rest) = rest {
                    patterns.push(Pattern { text: rest.to_owned(), ..pattern.clone() });
                }
            }
        }
        Self::build(patterns)
    }

    /// Whether the entry at `path`, relative to the root of the walk, is left out.
    pub fn is_excluded(&self, path: &[u8], is_directory: bool) -> bool {
        if self.patterns.is_empty() {
            return false;
        }
        let candidate = Candidate::from_bytes(path);
        // Ascending, as patterns were given.
        self.globs
            .matches_candidate(&candidate)
            .into_iter()
            .filter_map(|index| self.patterns.get(index))
            .rfind(|pattern| is_directory || !pattern.for_directories)
            .is_some_and(|pattern| !pattern.takes_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_what_they_say() {
        let cases: &[(&[&str], &[u8], bool, bool)] = &[
            (&["*.pyc"], b"a/b/x.pyc", false, true),
            (&["*.pyc"], b"x.pyc", false, true),
            (&["*.pyc"], b"x.pyc/y", false, false),
            (&["*.pyc"], b"\xff\n.pyc", false, true),
            (&["cache"], b"a/cache", true, true),
            (&["cache"], b"a/cached", true, false),
            (&["dir/sub"], b"a/dir/sub", false, true),
            (&["dir/sub"], b"dir/sub", false, true),
            (&["dir/sub"], b"adir/sub", false, false),
            (&["/top"], b"top", false, true),
            (&["/top"], b"a/top", false, false),
            (&["./top"], b"top", false, true),
            (&["**/x"], b"a/b/x", false, true),
            (&["a/**/x"], b"a/b/c/x", false, true),
            (&["a/**"], b"a/b/c", false, true),
            (&["a/**"], b"a", true, false),
            (&["a/*"], b"a/b", false, true),
            (&["/*"], b"a/b", false, false),
            (&["logs/"], b"a/logs", true, true),
            (&["logs/"], b"a/logs", false, false),
            (&["*.log", "!keep.log"], b"a/keep.log", false, false),
            (&["!keep.log", "*.log"], b"a/keep.log", false, true),
            (&["?"], b"\xe9", false, true),
            (&["\\*"], b"*", false, true),
            (&["\\*"], b"a", false, false),
            (&["[ab]{x,y}"], b"by", false, true),
            (&[], b"a", false, false),
        ];
        for (patterns, path, is_directory, expected) in cases {
            let excludes = Excludes::new(*patterns).unwrap();
            let found = excludes.is_excluded(path, *is_directory);
            assert_eq!(found, *expected, "{patterns:?} {}", path.escape_ascii());
        }
    }

    #[test]
    fn bad_patterns_are_named() {
        for pattern in ["", "/", "!", "a//b", "../x", "a/./b", "[a", "{a", "!/"] {
            let error = Excludes::new(["good", pattern]).unwrap_err().to_string();
            assert!(error.contains(&format!("`{}`", pattern)), "{error}");
        }
    }

    #[test]
    fn absolute_patterns_fit_below_their_root() {
        let excludes = Excludes::new(["/srv/app/cache", "!/srv/app/cache/x", "/srv/application"]);
        let excludes = excludes.unwrap().for_roots(&[Path::new("/srv/app")]).unwrap();
        assert!(excludes.is_excluded(b"cache", true));
        assert!(excludes.is_excluded(b"srv/app/cache", true));
        assert!(!excludes.is_excluded(b"cache/x", true));
        assert!(!excludes.is_excluded(b"lication", true));
    }

    #[test]
    fn files_hold_a_pattern_a_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "# comment\n\n  *.pyc \r\n!x\n/last").unwrap();
        assert_eq!(Excludes::patterns_in(file.path()).unwrap(), ["*.pyc", "!x", "/last"]);
        std::fs::write(&file, "ok\n\n..\n").unwrap();
        let error = Excludes::patterns_in(file.path()).unwrap_err().to_string();
        assert!(error.contains("line 3") && error.contains("`..`"), "{error}");
        std::fs::write(&file, b"\xff").unwrap();
        assert!(Excludes::patterns_in(file.path()).unwrap_err().to_string().contains("line 1"));
        assert!(Excludes::patterns_in(Path::new("/no/such")).is_err());
    }
}
