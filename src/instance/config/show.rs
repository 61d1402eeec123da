//! The resolved configuration for people: each value and where it comes from, without secrets.

use std::fmt::Display;
use std::path::PathBuf;

use super::night::{show_retention, show_schedule, show_size, show_unused};
use super::{
    CloneConfig, Config, CopyConfig, DeployConfig, Instance, Migrations, OnFailure, Origin,
    PostgresConfig, RestoreConfig, Setting, Telling,
};

/// One line of `config show`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Shown {
    /// Full key (`instance.mrs.home`).
    pub key: String,
    /// Its value as it would be written in the file, secrets left out.
    pub value: String,
    /// Where it comes from.
    pub origin: String,
}

/// Collects lines below a prefix.
struct Lines<'a> {
    prefix: String,
    lines: &'a mut Vec<Shown>,
}

impl Lines<'_> {
    fn put(&mut self, key: &str, value: String, origin: Origin) {
        let key = format!("{}{key}", self.prefix);
        self.lines.push(Shown { key, value, origin: origin.to_string() });
    }

    fn plain(&mut self, key: &str, setting: &Setting<impl Display>) {
        self.put(key, setting.value.to_string(), setting.origin);
    }

    fn text(&mut self, key: &str, setting: &Setting<impl Display>) {
        self.put(key, format!("{:?}", setting.value.to_string()), setting.origin);
    }

    fn path(&mut self, key: &str, setting: &Setting<PathBuf>) {
        self.put(key, format!("{:?}", setting.value), setting.origin);
    }

    fn list(&mut self, key: &str, setting: &Setting<Vec<impl std::fmt::Debug>>) {
        self.put(key, format!("{:?}", setting.value), setting.origin);
    }
}

impl Config {
    /// Everything, in the order of the documentation.
    pub fn show(&self) -> Vec<Shown> {
        let mut lines = Vec::new();
        Lines { prefix: String::new(), lines: &mut lines }.path("state_dir", &self.state_dir);
        Lines { prefix: "scheduler.".to_owned(), lines: &mut lines }
            .plain("parallel", &self.parallel);
        self.telling.show(&mut Lines { prefix: String::new(), lines: &mut lines });
        for instance in self.instances.values() {
            lines.extend(instance.show());
        }
        let review = &self.review;
        if review.is_configured {
            let mut shown = Lines { prefix: "review.".to_owned(), lines: &mut lines };
            if let Some(home) = &review.home {
                shown.path("home", home);
            }
            for (key, time) in
                [("lifetime", &review.lifetime), ("max_lifetime", &review.max_lifetime)]
            {
                shown.put(key, format!("\"{}s\"", time.value.as_secs()), time.origin);
            }
            let prefix = "review.deploy.".to_owned();
            review.deploy.show(&mut Lines { prefix, lines: &mut lines });
        }
        lines
    }
}

impl CloneConfig {
    fn show(&self, lines: &mut Lines<'_>) {
        let at = Origin::File;
        lines.put("clone.from", format!("{:?}", self.from), at);
        if let Some(rules) = &self.rules {
            lines.put("clone.rules", format!("{rules:?}"), at);
        }
        if let Some(key) = &self.key {
            lines.put("clone.key", key.to_string(), at);
        }
        lines.put("clone.protected", self.is_protected.to_string(), at);
        for required in &self.require {
            let value = format!("{:?} {:?}", required.file, required.matches);
            lines.put("clone.require", value, at);
        }
        if let Some(reports) = &self.reports {
            lines.put("clone.reports", format!("{reports:?}"), at);
        }
        for (name, commands) in
            [("clone.before_swap", &self.before_swap), ("clone.after", &self.after)]
        {
            for command in commands {
                lines.put(name, format!("{command:?}"), at);
            }
        }
    }
}

impl Instance {
    /// Its values.
    pub fn show(&self) -> Vec<Shown> {
        let mut shown = Vec::new();
        let prefix = format!("instance.{}.", self.name);
        let mut lines = Lines { prefix: prefix.clone(), lines: &mut shown };
        lines.path("home", &self.home);
        lines.text("repository", &self.repository);
        if let Some(mount) = &self.require_mount {
            lines.path("require_mount", mount);
        }
        if let Some(key) = &self.key {
            lines.plain("key", key);
        }
        lines.list("paths", &self.paths);
        lines.list("exclude", &self.exclude);
        lines.plain("exclude_caches", &self.exclude_caches);
        lines.plain("one_file_system", &self.one_file_system);
        lines.list("tags", &self.tags);
        lines.plain("compression", &self.compression);
        let deltas = self.deltas.value.iter().map(|source| source.as_str().to_owned()).collect();
        lines.list("deltas", &Setting::new(deltas, self.deltas.origin));
        let zone = self.timezone.value.iana_name().unwrap_or("UTC");
        lines.text("timezone", &Setting::new(zone, self.timezone.origin));
        let (retention, schedule) = (&self.retention, &self.schedule);
        lines.put("retention", show_retention(&retention.value), retention.origin);
        lines.put("schedule", show_schedule(&schedule.value), schedule.origin);
        if let Some(share) = &self.check_subset {
            let percent = f64::from(share.value) / 100.0;
            lines.put("check.read_data_subset", format!("\"{percent}%\""), share.origin);
        }
        let percent = f64::from(self.check_scheduled_subset.value) / 100.0;
        let key = "check.scheduled_read_data_subset";
        lines.put(key, format!("\"{percent}%\""), self.check_scheduled_subset.origin);
        let unused = show_unused(self.prune_max_unused.value);
        lines.put("prune.max_unused", unused, self.prune_max_unused.origin);
        if let Some(size) = &self.prune_max_repack {
            lines.put("prune.max_repack_size", format!("{:?}", show_size(size.value)), size.origin);
        }
        let seconds = self.lock_wait.value.as_secs();
        lines.put("lock_wait", format!("\"{seconds}s\""), self.lock_wait.origin);
        if let Some(age) = &self.max_age {
            lines.put("max_age", format!("\"{}s\"", age.value.as_secs()), age.origin);
        }
        lines.put("protected", self.protected.value.to_string(), self.protected.origin);
        lines.put(
            "min_free",
            format!("{:?}", show_size(self.min_free.value)),
            self.min_free.origin,
        );
        if let Some(clone) = &self.clone {
            clone.show(&mut lines);
        }
        for copy in self.copies.values() {
            let prefix = format!("{prefix}copy.{}.", copy.name);
            copy.show(&mut Lines { prefix, lines: &mut shown });
        }
        if let Some(deploy) = &self.deploy {
            let prefix = format!("{prefix}deploy.");
            deploy.show(&mut Lines { prefix, lines: &mut shown });
        }
        if let Some(postgres) = &self.postgres {
            let prefix = format!("{prefix}postgres.");
            postgres.show(&mut Lines { prefix, lines: &mut shown });
            let prefix = format!("instance.{}.restore.", self.name);
            self.restore.show(&mut Lines { prefix, lines: &mut shown });
        }
        shown
    }
}

impl Telling {
    fn show(&self, lines: &mut Lines<'_>) {
        if let Some(path) = &self.textfile {
            lines.path("metrics.textfile", path);
        }
        if let Some(path) = &self.page {
            lines.path("page.file", path);
            let language = self.language.value.word();
            lines.text("page.language", &Setting::new(language, self.language.origin));
        }
        for channel in self.notify.values() {
            let key = |name: &str| format!("notify.{}.{name}", channel.name);
            lines.put(&key("kind"), format!("{:?}", channel.channel.kind()), Origin::File);
            lines.put(&key("to"), channel.channel.place(), Origin::File);
            let on = channel.on.iter().map(|kind| kind.name()).collect();
            lines.list(&key("on"), &Setting::new(on, Origin::File));
        }
        if let Some(serve) = &self.serve {
            let listen = serve.listen.value.iter().map(ToString::to_string).collect();
            lines.list("serve.listen", &Setting::new(listen, serve.listen.origin));
            if let Some((user, password)) = &serve.login {
                lines.put("serve.user", format!("{user:?}"), Origin::File);
                lines.put("serve.password", password.to_string(), Origin::File);
            }
            if let Some(token) = &serve.token {
                lines.put("serve.token", token.to_string(), Origin::File);
            }
            if serve.browse {
                lines.put("serve.browse", "true".to_owned(), Origin::File);
            }
        }
    }
}

impl CopyConfig {
    fn show(&self, lines: &mut Lines<'_>) {
        lines.text("location", &self.location);
        if let Some(mount) = &self.require_mount {
            lines.path("require_mount", mount);
        }
        let delay = match self.delete_after.value {
            None => "\"never\"".to_owned(),
            Some(delay) => format!("\"{}s\"", delay.as_secs()),
        };
        lines.put("delete_after", delay, self.delete_after.origin);
        lines.plain("append_only", &self.append_only);
        let percent = f64::from(self.sample.value.share) / 100.0;
        lines.put("sample", format!("\"{percent}%\""), self.sample.origin);
        lines.put("sample_limit", self.sample.value.most.to_string(), self.sample.origin);
    }
}

impl DeployConfig {
    fn show(&self, lines: &mut Lines<'_>) {
        if let Some(project) = &self.project {
            lines.text("project", project);
        }
        if let Some(directory) = &self.directory {
            lines.path("directory", directory);
        }
        if let Some(compose) = &self.compose {
            lines.list("compose", compose);
        }
        if let Some(env) = &self.env {
            lines.list("env", env);
        }
        lines.list("require_env", &self.require_env);
        // Their values may be secret.
        for key in self.overrides.value.keys() {
            lines.put(&format!("overrides.{key}"), "\"***\"".to_owned(), self.overrides.origin);
        }
        lines.plain("pull", &self.pull);
        lines.plain("build", &self.build);
        if let Some(pattern) = &self.wait_grep {
            lines.text("wait_grep", pattern);
        }
        lines.list("postdeploy", &self.postdeploy);
        lines.put("timeout", format!("\"{}s\"", self.timeout.value.as_secs()), self.timeout.origin);
        if let Some(check) = &self.check {
            let value =
                format!("{{ url = {:?}, status = {} }}", check.value.url, check.value.status);
            lines.put("check", value, check.origin);
        }
        match &self.migrations.value {
            Migrations::None => lines.put("migrates", "false".to_owned(), self.migrations.origin),
            Migrations::Table => lines.put("migrates", "true".to_owned(), self.migrations.origin),
            Migrations::Command { service, command } => {
                let value = format!("{{ service = {service:?}, command = {command:?} }}");
                lines.put("migrations", value, self.migrations.origin);
            }
        }
        let word = if self.on_failure.value == OnFailure::Stop { "stop" } else { "rollback" };
        lines.text("on_failure", &Setting::new(word, self.on_failure.origin));
        lines.plain("keep", &self.keep);
    }
}

impl RestoreConfig {
    fn show(&self, lines: &mut Lines<'_>) {
        lines.text("keep_replaced", &self.keep_replaced);
        lines.plain("jobs", &self.jobs);
        for (database, assertions) in &self.assertions.value {
            let value = Setting::new(assertions.clone(), self.assertions.origin);
            lines.list(&format!("assertions.{database}"), &value);
        }
        if let Some(directory) = &self.scratch_directory {
            lines.path("scratch_directory", directory);
        }
        if let Some(directory) = &self.scratch_bin_dir {
            lines.path("scratch_bin_dir", directory);
        }
    }
}

impl PostgresConfig {
    fn show(&self, lines: &mut Lines<'_>) {
        if let Some(url) = &self.url {
            lines.text("url", url);
        }
        if let Some(Setting { value, origin }) = &self.container {
            lines.put("container.service", format!("{:?}", value.service), *origin);
            if let Some(project) = &value.project {
                lines.put("container.project", format!("{project:?}"), *origin);
            }
            let via = format!("{:?}", value.way).to_lowercase();
            lines.put("container.via", format!("{via:?}"), *origin);
        }
        if let Some(host) = &self.host {
            lines.text("host", host);
        }
        if let Some(port) = &self.port {
            lines.plain("port", port);
        }
        if let Some(user) = &self.user {
            lines.text("user", user);
        }
        lines.list("databases", &self.databases);
        if let Some(directory) = &self.bin_dir {
            lines.path("bin_dir", directory);
        }
        if let Some(password) = &self.password {
            lines.plain("password", password);
        }
        lines.plain("globals", &self.globals);
        lines.plain("workers", &self.workers);
        lines.plain("stream_from_kib", &self.stream_from_kib);
        let wait = format!("\"{}s\"", self.lock_wait.value.as_secs());
        lines.put("lock_wait", wait, self.lock_wait.origin);
        lines.plain("shrink_warning", &self.shrink_warning);
        if let Some(directory) = &self.standard_dump {
            lines.path("standard_dump", directory);
        }
    }
}
