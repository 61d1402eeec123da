use super::*;

fn call<'a>(environment: &'a Variables, script: &str, limit: u64) -> Call<'a> {
    Call {
        program: "sh",
        arguments: vec!["-c".to_owned(), script.to_owned()],
        environment,
        directory: None,
        input: Some(b"fed"),
        limit: Duration::from_secs(limit),
    }
}

fn programs() -> Programs {
    Programs { stop: Arc::new(StopFlag::new()) }
}

#[test]
fn a_program_is_fed_heard_and_sees_only_what_it_is_given() {
    let environment = Variables::from([("ONLY".to_owned(), "x y".into())]);
    let said =
        programs().run(&call(&environment, "cat; echo \"[$ONLY$HOME]\" >&2; exit 3", 10)).unwrap();
    assert_eq!(
        (said.code, said.text(), said.complaint()),
        (Some(3), "fed".into(), "[x y]\n".into())
    );
    let call = call(&environment, "exit 3", 10);
    let error = programs().run(&call).unwrap().good(&call).unwrap_err().to_string();
    assert!(error.contains("exit status 3") && error.contains("no reason"), "{error}");
}

#[test]
fn what_takes_too_long_or_is_not_wanted_any_more_ends_with_all_it_started() {
    let environment = Variables::from([("PATH".to_owned(), "/usr/bin:/bin".into())]);
    let error = programs().run(&call(&environment, "sleep 60 & sleep 60", 1)).unwrap_err();
    assert!(matches!(error, ComposeError::TimedOut { seconds: 1, .. }), "{error}");
    let stopping = programs();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| stopping.run(&call(&environment, "sleep 60", 90)));
        std::thread::sleep(Duration::from_millis(200));
        stopping.stop.stop();
        assert_eq!(running.join().unwrap(), Err(ComposeError::Interrupted));
    });
    assert_eq!(stopping.run(&call(&environment, "true", 1)), Err(ComposeError::Interrupted));
}

#[test]
fn a_missing_program_and_a_missing_engine_are_told_apart() {
    let environment = Variables::new();
    let missing = Call { program: "/no/such", ..call(&environment, "", 1) };
    assert!(matches!(programs().run(&missing), Err(ComposeError::Start { .. })));
    let away = call(&environment, "", 1);
    let said = Said {
        code: Some(1),
        err: b"Cannot connect to the Docker daemon at x\n".to_vec(),
        ..Said::default()
    };
    assert!(matches!(said.good(&away), Err(ComposeError::NoEngine { .. })));
}

#[test]
fn what_is_said_twice_is_told_once() {
    let err =
        b"ERROR: for a  no such host\n\nno such host\nversion: attribute `version` is obsolete\n";
    let said = Said { code: Some(1), out: Vec::new(), err: err.to_vec() };
    assert_eq!(said.told(), "ERROR: for a  no such host");
    assert_eq!(Said::default().told(), "it gave no reason");
}

#[test]
fn messages_name_the_work_and_not_where() {
    let environment = Variables::new();
    let arguments =
        ["compose", "-p", "mrs", "-f", "-", "--project-directory", "/home/mrs", "up", "-d"];
    let arguments = arguments.map(str::to_owned).to_vec();
    let told = Call { program: "docker", arguments, ..call(&environment, "", 1) }.told();
    assert_eq!(told, "docker compose up");
}
