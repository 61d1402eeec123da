//! Images of a registry: what a tag meant when it was deployed is deployed again, whatever it means by then.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::stack::{Generation, Stack};

/// A registry of images of our own; it ends when it is dropped.
struct Registry {
    server: Child,
    directory: tempfile::TempDir,
    port: u16,
}

impl Registry {
    fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("mrs-registry-").tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self::serve(directory.path(), port);
        Self { server, directory, port }
    }

    fn serve(directory: &Path, port: u16) -> Child {
        let program = std::env::var_os("MRS_BACKUP_TEST_REGISTRY").map_or_else(
            || {
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("target/registry/usr/bin/docker-registry")
            },
            PathBuf::from,
        );
        assert!(
            program.exists(),
            "this test needs {}, which tests/run.sh unpacks",
            program.display()
        );
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}/data}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
            directory.display()
        );
        fs::write(directory.join("config.yml"), config).unwrap();
        let log = fs::File::create(directory.join("log")).unwrap();
        let mut command = Command::new(program);
        command.arg("serve").arg(directory.join("config.yml")).stdin(Stdio::null());
        let server = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || fs::read_to_string(directory.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the registry does not get ready: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn stop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }

    fn start_again(&mut self) {
        self.server = Self::serve(self.directory.path(), self.port);
    }

    /// The repository of the application.
    fn repository(&self) -> String {
        format!("127.0.0.1:{}/team/app", self.port)
    }

    /// The registry's `tag` is `image` from now on; that of the engine stays what it was. Gives its name by digest.
    fn publish(&self, stack: &Stack, image: &str, tag: &str) -> String {
        let (repository, docker) = (self.repository(), &stack.docker);
        let name = format!("{repository}:{tag}");
        let before = docker.command().args(["image", "inspect", "-f", "{{.Id}}", &name]).output();
        let before = before.unwrap();
        docker.run(&["tag", image, &name]);
        docker.run(&["push", "-q", &name]);
        let digests =
            docker.run(&["image", "inspect", "-f", "{{join .RepoDigests \"\\n\"}}", image]);
        let digest = digests.lines().find(|line| line.starts_with(&repository)).unwrap().to_owned();
        match before.status.success() {
            true => docker.run(&["tag", String::from_utf8_lossy(&before.stdout).trim(), &name]),
            false => docker.run(&["rmi", &name]),
        };
        digest
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The image of django, as the newest deployment of the list has it.
fn recorded(stack: &Stack) -> Value {
    let (_, _, said) = stack.run_command(stack.command(&["deployments", "mrs"]).arg("--json"));
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    // One that failed before it had images has none.
    let newest = lines
        .filter(|line| line["images"]["django"].is_object())
        .max_by_key(|line| line["number"].as_u64());
    newest.unwrap_or_else(|| panic!("{said}"))["images"]["django"].clone()
}

#[test]
fn a_tag_that_moves_takes_nobody_along() {
    let mut registry = Registry::start();
    let stack = Stack::start(Generation::Second);
    stack.expect(0, &["init", "--kdf-memory", "8"]);
    let master = format!("compose_django_image={}:master", registry.repository());
    // The database's image is on this machine only, which is said; `pull` is of all others.
    let deploy = ["deploy", "mrs", master.as_str(), "compose_database_image=app:crash"];
    let pull = [&deploy[..], &["pull=1", "compose_database_pull_policy=never"]].concat();
    let runs = |page: &str, digest: &str| {
        assert_eq!(stack.page().as_deref(), Some(page));
        let text = stack.deployed();
        assert!(text.contains(digest) && !text.contains(":master"), "{digest}: {text}");
        let recorded = recorded(&stack);
        assert_eq!(recorded["reference"], digest, "{recorded}");
        assert!(recorded["name"].as_str().unwrap().ends_with(":master"), "{recorded}");
    };

    // It is not here yet, so it is fetched, and named by what it is.
    let first = registry.publish(&stack, "app:v1", "master");
    stack.expect(0, &pull);
    runs("app:v1", &first);

    // The tag goes on at the registry: only who asks for it gets the new one.
    let second = registry.publish(&stack, "app:v2", "master");
    assert_ne!(first, second);
    stack.expect(0, &deploy);
    runs("app:v1", &first);
    stack.expect(0, &pull);
    runs("app:v2", &second);
    stack.expect(0, &["rollback", "mrs"]);
    runs("app:v1", &first);

    // Back to one that this machine has no more: it comes from the registry, by its digest.
    stack.expect(0, &pull);
    runs("app:v2", &second);
    stack.docker.run(&["rmi", "-f", "app:v1", &first]);
    stack.expect(0, &["rollback", "mrs"]);
    runs("app:v1", &first);

    // Without the registry nothing new comes, and nothing is replaced.
    registry.stop();
    let (code, _, said) = stack.run(&pull);
    assert_eq!(code, 1, "{said}");
    let told = format!("{}:master of service django cannot be pulled", registry.repository());
    assert!(said.contains(&told) && said.contains("compose_django_pull_policy=never"), "{said}");
    runs("app:v1", &first);
    registry.start_again();
    let wrong = format!("compose_database_image={}:nothing", registry.repository());
    let (code, _, said) = stack.run(&[&deploy[..3], &[wrong.as_str(), "pull=1"]].concat());
    assert!(code == 1 && said.contains(":nothing of service database cannot be pulled"), "{said}");
    runs("app:v1", &first);
    stack.expect(0, &["down", "mrs", "--yes"]);
}
