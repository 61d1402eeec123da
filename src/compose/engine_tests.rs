use std::sync::Mutex;

use super::*;

/// Answers what it is told to, in order, and remembers the questions.
#[derive(Default)]
struct Script {
    answers: Mutex<Vec<Said>>,
    asked: Mutex<Vec<String>>,
}

impl Script {
    fn of(answers: &[(i32, &str, &str)]) -> Arc<Self> {
        let said = |(code, out, err): &(i32, &str, &str)| Said {
            code: Some(*code),
            out: out.as_bytes().to_vec(),
            err: err.as_bytes().to_vec(),
        };
        Arc::new(Self {
            answers: Mutex::new(answers.iter().rev().map(said).collect()),
            asked: Mutex::default(),
        })
    }

    fn engine(self: &Arc<Self>) -> Engine {
        Engine::new(Arc::clone(self) as Arc<dyn Runner>, Variables::new())
    }
}

impl Runner for Script {
    fn run(&self, call: &Call<'_>) -> Result<Said, ComposeError> {
        self.asked.lock().unwrap().push(call.arguments.join(" "));
        Ok(self.answers.lock().unwrap().pop().expect("an answer"))
    }
}

const ONE: &str = r#"[{"Id":"abc","Name":"/mrs_django_1","Image":"sha256:1","RestartCount":2,
 "Config":{"Labels":{"com.docker.compose.service":"django","com.docker.compose.project.working_dir":"/home/mrs"},
           "Env":["GIT_COMMIT=4c0ffee","A=b=c"]},
 "State":{"Status":"running","ExitCode":0,"StartedAt":"2026-11-30T12:00:00.5Z","Health":{"Status":"starting"}},
 "HostConfig":{"RestartPolicy":{"Name":"always"}}}]"#;

#[test]
fn containers_are_found_by_label_and_again_if_one_goes_meanwhile() {
    let script = Script::of(&[
        (0, "abc\ngone\n", ""),
        (1, "[]", "Error: No such container: gone"),
        (0, "abc\n", ""),
        (0, ONE, ""),
    ]);
    let found = script.engine().containers("mrs").unwrap();
    let [one] = &found[..] else { panic!("{found:?}") };
    assert_eq!(
        (one.name.as_str(), one.service.as_str(), one.restarts),
        ("mrs_django_1", "django", 2)
    );
    assert_eq!(
        (one.status, one.health, one.is_restarted),
        (Status::Running, Health::Starting, true)
    );
    assert_eq!(one.variables["A"], "b=c");
    assert!(script.asked.lock().unwrap()[0].contains("label=com.docker.compose.project=mrs"));
    let none = Script::of(&[(0, "", "")]);
    assert_eq!(none.engine().containers("mrs").unwrap(), []);
}

#[test]
fn an_engine_that_is_away_and_an_image_that_is_missing_are_known() {
    let away =
        Script::of(&[(1, "", "Cannot connect to the Docker daemon at unix:///x. Is it running?")]);
    assert!(matches!(away.engine().version(), Err(ComposeError::NoEngine { .. })));
    let missing = Script::of(&[(1, "[]", "Error: No such image: x")]);
    assert_eq!(missing.engine().image("x").unwrap(), None);
    let there = Script::of(&[(0, r#"[{"Id":"sha256:2","RepoDigests":["a@sha256:3"]}]"#, "")]);
    assert_eq!(there.engine().image("a").unwrap().unwrap().digests, ["a@sha256:3"]);
    let odd = Script::of(&[(0, "what?", "")]);
    assert!(matches!(odd.engine().image("a"), Err(ComposeError::Unreadable { .. })));
}

#[test]
fn networks_of_others_are_known_in_every_form() {
    let text = "networks:\n  a: {external: true, name: web}\n  b: {external: {name: lb}}\n  c: {external: true}\n  d: {name: own}\n  e: null\n  f: {external: false}\n";
    let document = Document::parse(text, "the test").unwrap();
    assert_eq!(external_networks(&document), ["web", "lb", "c"]);
}
