//! The ways to a server, and what is said when one leads nowhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mrs_backup::crypto::Secret;
use mrs_backup::postgres::{Server, ServerError, ServerSettings};

use super::*;
use crate::support::postgres::{installations, newer_installation};

/// Finds a server with an environment of one's own and asks it who we are.
fn who(settings: &ServerSettings, environment: &[(&str, String)]) -> Result<String, ServerError> {
    let get = |name: &str| {
        let found = environment.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.into())
    };
    let server = Server::find(settings, "test", &get)?;
    let mut client = server.connect("mrs", &Arc::new(StopFlag::new()))?;
    let tls = "(SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())";
    client.value("ask", &format!("SELECT current_user || ' ' || coalesce(host(inet_server_addr()), 'socket') || ' ' || {tls}"))
}

fn with_roles(server: &TestServer) {
    fill(server, "mrs", 3);
    server.psql(
        "mrs",
        "CREATE ROLE django LOGIN PASSWORD 'ge:heim'; GRANT SELECT ON claim TO django",
    );
}

#[test]
fn all_of_libpqs_ways_lead_there() {
    let server = TestServer::start();
    with_roles(&server);
    let (socket, port) = (server.socket_dir().display().to_string(), server.port());
    let home = tempfile::tempdir().unwrap();
    let pgpass = home.path().join(".pgpass");
    fs::write(&pgpass, format!("127.0.0.1:{port}:mrs:django:ge\\:heim\n")).unwrap();
    fs::set_permissions(&pgpass, fs::Permissions::from_mode(0o600)).unwrap();
    let services = home.path().join("services");
    fs::write(&services, format!("[mrs]\nhost=127.0.0.1\nport={port}\nuser=django\n")).unwrap();
    let at_home = ("HOME", home.path().display().to_string());
    let conninfo =
        |text: String| ServerSettings { conninfo: Some(text), ..ServerSettings::default() };

    let by_socket = "django socket false";
    let by_tcp = "django 127.0.0.1 false";
    let uri = conninfo(format!("postgresql://django@/mrs?host={socket}&port={port}"));
    assert_eq!(who(&uri, &[]).unwrap(), by_socket);
    let words = conninfo(format!("host={socket} port={port} user=django"));
    assert_eq!(who(&words, &[]).unwrap(), by_socket);
    let uri = conninfo(format!("postgresql://django@127.0.0.1:{port}/"));
    assert_eq!(who(&uri, std::slice::from_ref(&at_home)).unwrap(), by_tcp, "the password file");
    let variables = [
        ("PGHOST", "127.0.0.1".to_owned()),
        ("PGPORT", port.to_string()),
        ("PGUSER", "django".to_owned()),
        ("PGPASSWORD", "ge:heim".to_owned()),
    ];
    assert_eq!(who(&ServerSettings::default(), &variables).unwrap(), by_tcp);
    let service = [("PGSERVICEFILE", services.display().to_string()), at_home.clone()];
    assert_eq!(who(&conninfo("service=mrs".to_owned()), &service).unwrap(), by_tcp);
    let own =
        ServerSettings { user: Some("postgres".to_owned()), host: Some(socket), ..uri.clone() };
    assert_eq!(who(&own, &[]).unwrap(), "postgres socket false", "what is said apart wins");

    // A password file that others can read is none.
    fs::set_permissions(&pgpass, fs::Permissions::from_mode(0o644)).unwrap();
    let error = who(&uri, &[at_home]).unwrap_err().to_string();
    assert!(error.contains("password"), "{error}");
}

/// An authority, and a server's certificate for `localhost`, in files.
fn certificates(directory: &Path) -> (PathBuf, String, String) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(parameters, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let path = directory.join("root.crt");
    fs::write(&path, authority.pem()).unwrap();
    (path, certificate.pem(), key.serialize_pem())
}

#[test]
fn tls_is_verified_as_far_as_it_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let (root, certificate, key) = certificates(directory.path());
    let other = tempfile::tempdir().unwrap();
    let (other_root, _, _) = certificates(other.path());
    let server = TestServer::start_with(&installations()[0], &["-c", "ssl=on"], |data| {
        fs::write(data.join("server.crt"), certificate).unwrap();
        fs::write(data.join("server.key"), key).unwrap();
        fs::set_permissions(data.join("server.key"), fs::Permissions::from_mode(0o600)).unwrap();
        let rules = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), rules).unwrap();
    });
    with_roles(&server);
    let port = server.port();
    let connect = |host: &str, mode: &str, root: Option<&Path>| {
        let root = root.map(|path| format!("&sslrootcert={}", path.display())).unwrap_or_default();
        // `localhost` by its name, but at the address the server listens at.
        let uri =
            format!("postgresql://django@{host}:{port}/?sslmode={mode}&hostaddr=127.0.0.1{root}");
        let settings = ServerSettings {
            conninfo: Some(uri),
            password: Some(Secret::new(b"ge:heim".to_vec())),
            ..ServerSettings::default()
        };
        who(&settings, &[])
    };
    let good = "django 127.0.0.1 true";
    assert_eq!(connect("localhost", "verify-full", Some(&root)).unwrap(), good);
    assert_eq!(connect("elsewhere", "verify-ca", Some(&root)).unwrap(), good);
    assert_eq!(connect("elsewhere", "require", None).unwrap(), good);
    assert_eq!(connect("elsewhere", "prefer", None).unwrap(), good);
    let fails = |host: &str, mode: &str, root: Option<&Path>, told: &str| {
        let error = connect(host, mode, root).unwrap_err().to_string();
        assert!(error.contains(told), "{mode} {host}: {error}");
    };
    fails("elsewhere", "verify-full", Some(&root), "certificate not valid for name");
    fails("localhost", "verify-full", Some(&other_root), "invalid peer certificate");
    fails("localhost", "verify-ca", Some(&other_root), "invalid peer certificate");
    fails("localhost", "require", Some(&other_root), "invalid peer certificate");
    fails("localhost", "verify-full", None, "needs the certificate of an authority");
    fails("localhost", "disable", None, "no pg_hba.conf entry");
    fails("localhost", "verify-full", Some(Path::new("/nonexistent")), "/nonexistent");
}

#[test]
fn what_cannot_be_dumped_is_said_before_anything_starts() {
    let server = TestServer::start();
    with_roles(&server);
    let says = |settings: PostgresSettings, texts: &[&str]| {
        let error = first_error(settings).to_string();
        for text in texts {
            assert!(error.contains(text), "{error}");
        }
        assert!(!error.contains("falsch"), "{error}");
    };
    says(
        settings(&server, &["mrs", "nodb"]),
        &["cannot reach database `nodb`", "database \"nodb\" does not exist", "check `host`"],
    );
    let mut wrong_port = settings(&server, &["mrs"]);
    wrong_port.server.port = Some(1);
    says(wrong_port, &["cannot reach database `mrs`", "port 1", "No such file or directory"]);
    let by_tcp = |password: Option<&str>| {
        let mut settings = settings(&server, &["mrs"]);
        settings.server.host = Some("127.0.0.1".to_owned());
        settings.server.user = Some("django".to_owned());
        settings.server.password = password.map(|text| Secret::new(text.into()));
        settings
    };
    says(by_tcp(Some("falsch")), &["127.0.0.1", "user django", "password authentication failed"]);
    says(by_tcp(None), &["password missing"]);
    let collected = read_whole(&mut source(by_tcp(Some("ge:heim"))));
    assert_eq!(collected.paths().len(), 2, "pg_dump has the password, too");
    let mut nowhere = settings(&server, &["mrs"]);
    nowhere.server.bin_dir = Some("/nonexistent/bin".into());
    says(nowhere, &["cannot start `/nonexistent/bin/pg_dump`: No such file", "set `bin_dir`"]);
}

#[test]
fn a_client_older_than_the_server_is_refused_and_a_newer_one_is_not() {
    let (old, new) = (installations()[0].clone(), newer_installation());
    let server = TestServer::start_from(&new);
    fill(&server, "mrs", 3);
    let mut older = settings(&server, &["mrs"]);
    older.server.bin_dir = Some(old.clone());
    let error = first_error(older).to_string();
    assert!(
        error.contains("but the server") && error.contains("install postgresql-client-18"),
        "{error}"
    );
    drop(server);
    let server = TestServer::start_from(&old);
    fill(&server, "mrs", 3);
    let mut newer = settings(&server, &["mrs"]);
    newer.server.bin_dir = Some(new);
    read_whole(&mut source(newer));
}

#[test]
fn a_connection_that_is_cut_is_an_error() {
    let server = TestServer::start();
    with_roles(&server);
    fill(&server, "large", 200_000);
    server.psql("large", "GRANT SELECT ON claim TO django");
    // While something is asked, while tables are looked for, within the rows.
    for (limit, told) in [
        (100, "cannot reach"),
        (3000, "cannot"),
        (1 << 16, "pg_dump"),
        (3 << 20, "copy table public.claim"),
    ] {
        let mut settings = settings(&server, &["large"]);
        settings.server.host = Some("127.0.0.1".to_owned());
        settings.server.port = Some(cutting_proxy(server.port(), limit));
        settings.server.user = Some("django".to_owned());
        settings.server.password = Some(Secret::new(b"ge:heim".to_vec()));
        let mut source = source(settings);
        let collected = Collected::default();
        let failed = match source.read_all(&collected) {
            Ok(()) => collected.failed().join("\n"),
            Err(error) => error.to_string(),
        };
        assert!(failed.contains(told), "{limit}: {failed}");
        assert!(!source.record().incomplete.is_empty(), "{limit}");
        expect_no_sessions(&server);
    }
}

/// A port that leads to `to`; each connection is cut after `limit` bytes from the server.
fn cutting_proxy(to: u16, limit: u64) -> u16 {
    use std::io::{Read as _, copy};
    use std::net::{Shutdown, TcpListener, TcpStream};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { return };
            let (mut up, mut back) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = copy(&mut up, &mut back);
                let _ = back.shutdown(Shutdown::Write);
            });
            std::thread::spawn(move || {
                let (mut from, mut into) = (server.take(limit), client);
                let _ = copy(&mut from, &mut into);
                let _ = into.shutdown(Shutdown::Both);
                let _ = from.into_inner().shutdown(Shutdown::Both);
            });
        }
    });
    port
}
