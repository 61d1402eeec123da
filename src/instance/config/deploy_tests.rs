use super::super::Config;
use super::*;

fn read(text: &str) -> Result<Config, String> {
    let text = format!("version = 1\n[instance.mrs]\nhome = \"/home/mrs\"\n{text}");
    Config::parse(&text, Path::new("/x.toml"), &|_| None).map_err(|error| error.to_string())
}

#[test]
fn a_deployment_is_described() {
    let config = read(
        "[instance.mrs.deploy]\ncompose = [\"docker-compose.yml\", \"more.yml\"]\nenv = [\"HOST\", \"EMAIL_*\"]\n\
         overrides = { compose_django_image = \"x\" }\nmigrations = { service = \"django\", command = [\"show\"] }\n\
         check = { url = \"https://www.example.org/\", status = 204, basic_auth = { file = \"auth\" } }\n\
         timeout = \"90s\"\non_failure = \"stop\"\n[review]\nlifetime = \"2d\"\ndeploy = { migrates = false }\n",
    )
    .unwrap();
    let deploy = config.instances["mrs"].deploy.clone().unwrap();
    assert_eq!(deploy.compose.unwrap().value.len(), 2);
    let check = deploy.check.unwrap().value;
    assert_eq!((check.status, check.retries, check.timeout), (204, 60, Duration::from_secs(10)));
    assert_eq!(check.basic_auth, Some(KeySource::File("/home/mrs/auth".into())));
    assert!(matches!(deploy.migrations.value, Migrations::Command { .. }));
    assert_eq!((deploy.on_failure.value, deploy.keep.value), (OnFailure::Stop, 10));
    assert_eq!(config.review.lifetime.value, 2 * DAY);
    assert_eq!(config.review.deploy.migrations.value, Migrations::None);
    let shown: Vec<String> =
        config.show().iter().map(|line| format!("{} = {}", line.key, line.value)).collect();
    let overrides = "instance.mrs.deploy.overrides.compose_django_image = \"***\"";
    assert!(shown.iter().any(|line| line == overrides), "{shown:?}");
    assert!(!read("").unwrap().review.is_configured);
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (text, told) in [
        ("[instance.mrs.deploy]\nwait_grep = \"(\"\n", "no regular expression"),
        ("[instance.mrs.deploy]\noverrides = { django_image = \"x\" }\n", "compose_SERVICE_KEY"),
        (
            "[instance.mrs.deploy]\nmigrates = false\nmigrations = { service = \"a\", command = [\"b\"] }\n",
            "contradict",
        ),
        ("[instance.mrs.deploy]\nmigrations = { service = \"a\", command = [] }\n", "empty"),
        ("[instance.mrs.deploy]\ncheck = { url = \"www.example.org\" }\n", "no address"),
        ("[instance.mrs.deploy]\ncheck = { url = \"https://u:p@example.org/\" }\n", "basic_auth"),
        ("[instance.mrs.deploy]\npostdeploys = []\n", "did you mean `postdeploy`?"),
        ("[review]\nlifetime = \"60d\"\n", "max_lifetime"),
        ("[review]\nlifetime = \"soon\"\n", "no time"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(told), "{text}: {error}");
    }
}
