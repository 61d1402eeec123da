//! What people write after `deploy`: `home=/home/mrs compose=a.yml,b.yml compose_django_image=x pull=1`.

use std::path::PathBuf;
use std::time::Duration;

use crate::compose::Override;
use crate::instance::config::parse_duration;

use super::DeployError;

/// Known keys.
const KEYS: [&str; 11] = [
    "home",
    "project",
    "lifetime",
    "compose",
    "pull",
    "build",
    "wait_grep",
    "postdeploy",
    "timeout",
    "check",
    "check_status",
];

/// What is asked for. What is not said comes from the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The persistent home of an instance.
    pub home: Option<PathBuf>,
    /// Name of a review stack, or of the compose project of `home`.
    pub project: Option<String>,
    /// How long a review stack lives.
    pub lifetime: Option<Duration>,
    /// Compose files.
    pub compose: Option<Vec<PathBuf>>,
    /// Changes of the merged document.
    pub overrides: Vec<Override>,
    /// Pull images first.
    pub pull: Option<bool>,
    /// Build images first.
    pub build: Option<bool>,
    /// A line of the logs to wait for; empty: none.
    pub wait_grep: Option<String>,
    /// Lines of shell; empty: none.
    pub postdeploy: Option<Vec<String>>,
    /// How long to wait.
    pub timeout: Option<Duration>,
    /// Address of a page that has to be there; empty: none.
    pub check: Option<String>,
    /// Its status.
    pub check_status: Option<u16>,
}

impl Request {
    /// Reads the words of the command line.
    pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<Self, DeployError> {
        let mut request = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for word in words {
            let word = word.as_ref();
            let Some((key, value)) = word.split_once('=') else {
                return Err(no_pair(word));
            };
            if seen.iter().any(|known| known == key) && !key.ends_with('+') {
                return Err(DeployError::request(
                    format!("`{key}` is given twice"),
                    "give it once",
                ));
            }
            seen.push(key.to_owned());
            request.take(key, value)?;
        }
        if request.home.is_some() && request.lifetime.is_some() {
            return Err(DeployError::request(
                "`home` and `lifetime` contradict each other: what has a home never expires",
                "leave out one of them; a review stack has project=NAME lifetime=SECONDS",
            ));
        }
        Ok(request)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), DeployError> {
        if let Some(change) = Override::of(key, value) {
            self.overrides.push(change);
            return Ok(());
        }
        match key {
            "home" => self.home = Some(absolute(value)?),
            "project" => self.project = Some(filled(key, value)?),
            "lifetime" => self.lifetime = Some(time(key, value)?),
            "compose" => self.compose = Some(files(value)?),
            "pull" => self.pull = Some(flag(key, value)?),
            "build" => self.build = Some(flag(key, value)?),
            "wait_grep" => {
                if let Err(error) = regex::Regex::new(value) {
                    let told = error.to_string();
                    let told = told.lines().last().unwrap_or_default().trim();
                    return Err(DeployError::request(
                        format!("`wait_grep` is no regular expression: {told}"),
                        "write `\\` before characters that mean themselves",
                    ));
                }
                self.wait_grep = Some(value.to_owned());
            }
            "postdeploy" => {
                let lines = value.lines().map(str::trim).filter(|line| !line.is_empty());
                self.postdeploy = Some(lines.map(str::to_owned).collect());
            }
            "timeout" => self.timeout = Some(time(key, value)?),
            "check" => self.check = Some(value.to_owned()),
            "check_status" => {
                let status = value.parse().ok().filter(|status| (100..600).contains(status));
                self.check_status =
                    Some(status.ok_or_else(|| wrong(key, "write a status like 200"))?);
            }
            _ => return Err(unknown(key)),
        }
        Ok(())
    }
}

fn shown(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_default).collect()
}

fn no_pair(word: &str) -> DeployError {
    if word.contains('@') {
        return DeployError::request(
            "other hosts cannot be named here",
            "run it there: ssh USER@HOST mrs-backup deploy ...",
        );
    }
    DeployError::request(
        format!("`{}` is neither an instance nor KEY=VALUE", shown(word)),
        "name one instance first, then pairs like home=/home/mrs-production; mrs-backup deploy --help",
    )
}

fn unknown(key: &str) -> DeployError {
    let key = shown(key);
    let near = KEYS
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&key, known), *known))
        .min()
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4);
    let hint = match near {
        Some((_, known)) => format!("did you mean `{known}`?"),
        None => format!("known keys: {}, compose_SERVICE_KEY", KEYS.join(", ")),
    };
    DeployError::request(format!("unknown key `{key}`"), hint)
}

fn wrong(key: &str, hint: &str) -> DeployError {
    DeployError::request(format!("the value of `{key}` cannot be understood"), hint)
}

fn filled(key: &str, value: &str) -> Result<String, DeployError> {
    match value.trim() {
        "" => Err(wrong(key, &format!("write {key}=NAME"))),
        text => Ok(text.to_owned()),
    }
}

fn flag(key: &str, value: &str) -> Result<bool, DeployError> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(wrong(key, &format!("write {key}=1 or {key}=0"))),
    }
}

/// Seconds, or with a unit.
fn time(key: &str, value: &str) -> Result<Duration, DeployError> {
    const LONGEST: u64 = 10 * 366 * 24 * 3600;
    let seconds = value.parse::<u64>().ok().map(Duration::from_secs);
    let days =
        || crate::instance::config::parse_kept(value).ok().map(jiff::SignedDuration::unsigned_abs);
    seconds
        .or_else(|| parse_duration(value).ok())
        .or_else(days)
        .filter(|time| (1..=LONGEST).contains(&time.as_secs()))
        .ok_or_else(|| wrong(key, "write seconds, or a time like `90s`, `15m`, `7d`"))
}

fn absolute(value: &str) -> Result<PathBuf, DeployError> {
    let path = PathBuf::from(value);
    let is_plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    match path.is_absolute()
        && is_plain
        && path.file_name().is_some()
        && !value.chars().any(char::is_control)
    {
        true => Ok(path.components().collect()),
        false => Err(wrong(
            "home",
            "write an absolute path without `..`, like home=/home/mrs-production",
        )),
    }
}

fn files(value: &str) -> Result<Vec<PathBuf>, DeployError> {
    let files: Vec<PathBuf> = value
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .collect();
    match files.is_empty() || files.len() > 50 {
        true => {
            Err(wrong("compose", "write compose=docker-compose.yml,docker-compose.persist.yml"))
        }
        false => Ok(files),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_people_know() {
        let words = [
            "home=/home/mrs-production",
            "compose=docker-compose.yml,docker-compose.persist.yml",
            "compose_django_image=betagouv/mrs:master",
            "compose_django_build=",
            "compose_django_ports=[\"8000:8000\"]",
            "compose_django_environment+=A=b",
            "pull=1",
            "build=",
            "wait_grep=uwsgi.*spawned",
            "postdeploy=a\n  b --x=y\n",
            "timeout=60",
        ];
        let request = Request::parse(&words).unwrap();
        assert_eq!(request.home, Some("/home/mrs-production".into()));
        assert_eq!(request.compose.unwrap().len(), 2);
        assert_eq!(request.overrides.len(), 4);
        assert_eq!((request.pull, request.build), (Some(true), Some(false)));
        assert_eq!(request.postdeploy.unwrap(), ["a", "b --x=y"]);
        assert_eq!(request.timeout, Some(Duration::from_secs(60)));
        let review = Request::parse(&["project=test-feature/x", "lifetime=604800"]).unwrap();
        assert_eq!(review.lifetime, Some(Duration::from_secs(604_800)));
        assert_eq!(Request::parse(&["lifetime=7d"]).unwrap().lifetime, review.lifetime);
    }

    #[test]
    fn mistakes_are_named() {
        for (words, told) in [
            (&["home=relative"][..], "cannot be understood"),
            (&["home=/a/../b"], "cannot be understood"),
            (&["home=/"], "cannot be understood"),
            (&["timeout=soon"], "timeout"),
            (&["lifetime=0"], "lifetime"),
            (&["lifetime=-5"], "lifetime"),
            (&["lifetime=99999999999999999999"], "lifetime"),
            (&["pull=maybe"], "pull"),
            (&["compose="], "compose"),
            (&["wait_grep=("], "regular expression"),
            (&["check_status=20"], "check_status"),
            (&["projekt=x"], "unknown key `projekt`"),
            (&["pull=1", "pull=0"], "twice"),
            (&["home=/a", "lifetime=5"], "never expires"),
            (&["deploy@host"], "other hosts"),
            (&["x"], "neither"),
        ] {
            let error = Request::parse(words).unwrap_err().to_string();
            assert!(error.contains(told), "{words:?}: {error}");
        }
    }
}
