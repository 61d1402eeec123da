//! One compose project: its name, and the directory it runs in.

use std::path::{Path, PathBuf};

use super::ComposeError;

/// Longest name. Names of containers are made of it, and are names of hosts.
const LONGEST: usize = 60;

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its name, as labels have it.
    pub name: String,
    /// Its directory, absolute.
    pub directory: PathBuf,
}

impl Project {
    /// The file that was deployed.
    pub fn file(&self) -> PathBuf {
        self.directory.join("docker-compose.yml")
    }
}

/// A name that compose takes as it is.
pub fn project_name(text: &str) -> Result<String, ComposeError> {
    let is_start = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_rest = |c: char| is_start(c) || matches!(c, '_' | '-');
    if text.len() <= LONGEST && text.starts_with(is_start) && text.chars().all(is_rest) {
        return Ok(text.to_owned());
    }
    let text = text.chars().take(80).flat_map(char::escape_default).collect();
    Err(ComposeError::ProjectName { text })
}

/// The name compose would give a project by its directory.
impl TryFrom<&Path> for Project {
    type Error = ComposeError;

    fn try_from(directory: &Path) -> Result<Self, ComposeError> {
        let base = directory.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let kept: String =
            base.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect();
        let name = kept.trim_start_matches(['_', '-']);
        match project_name(name) {
            Ok(name) => Ok(Self { name, directory: directory.to_owned() }),
            Err(_) => {
                project_name(&base).map(|name| Self { name, directory: directory.to_owned() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_compose_would_take() {
        let of = |path: &str| Project::try_from(Path::new(path)).map(|project| project.name);
        assert_eq!(of("/home/mrs-production").unwrap(), "mrs-production");
        assert_eq!(of("/home/Mrs.Staging").unwrap(), "mrsstaging");
        assert!(of("/home/é").is_err() && of("/").is_err());
        for wrong in ["", "-x", "a/b", "A", "..", &"x".repeat(61)] {
            assert!(project_name(wrong).is_err(), "{wrong}");
        }
    }
}
