//! Lines that are cut and gateways that refuse, at every step, on SFTP, S3 and WebDAV.

use std::time::Duration;

use mrs_backup::store::{ByteRange, Retrying, Store, StoreError, StoreErrorKind, open_store};

use crate::buckets;
use crate::life::{PACK, assert_nothing_is_half, assert_was_lived, bytes, live};
use crate::line::{Line, Manner, Trouble};
use crate::servers::{ENCODED_PASSWORD, RcloneServer};
use crate::sftp::SshServer;

fn store(location: &str, retries: u32) -> Retrying {
    let inner = open_store(location).unwrap();
    Retrying::new(inner, retries, |_: Duration| {})
}

/// A place reached by a line; each life has a directory of its own there.
struct Place<'a> {
    line: Line,
    location: Box<dyn Fn(usize) -> String + 'a>,
    lives: std::cell::Cell<usize>,
}

impl<'a> Place<'a> {
    fn new(line: Line, location: impl Fn(usize) -> String + 'a) -> Self {
        Self { line, location: Box::new(location), lives: std::cell::Cell::default() }
    }

    fn next(&self) -> String {
        self.lives.set(self.lives.get() + 1);
        (self.location)(self.lives.get())
    }

    /// Requests, or connections, of a life nothing happens to.
    fn steps(&self) -> usize {
        self.line.trouble(None);
        live(&store(&self.next(), 0)).unwrap();
        self.line.seen()
    }

    /// What passes is tried again, and all is as it should be.
    fn assert_passes(&self, at: usize, trouble: Trouble) {
        let what = format!("{trouble:?} at {at}");
        let lived = self.live_through(at, trouble).or_else(|error| {
            // rclone now and then answers 500 to one directory for as long as it runs. What were our fault happens
            // in the next one, too.
            eprintln!("{what}: {error}; tried in another place");
            self.live_through(at, trouble)
        });
        assert_was_lived(&lived.unwrap_or_else(|error| panic!("{what}: {error}")), &what);
    }

    fn live_through(&self, at: usize, trouble: Trouble) -> Result<Retrying, StoreError> {
        let location = self.next();
        self.line.trouble(Some((at, trouble)));
        let kept = store(&location, 4);
        let lived = live(&kept);
        self.line.trouble(None);
        lived.map(|()| kept)
    }

    /// What is refused for good fails or finds another way, and the next life works.
    fn assert_loses_nothing(&self, at: usize, trouble: Trouble) {
        let what = format!("{trouble:?} at {at}");
        let location = self.next();
        self.line.trouble(Some((at, trouble)));
        let kept = store(&location, 0);
        let first = live(&kept);
        self.line.trouble(None);
        if let Err(error) = first {
            assert!(!error.to_string().contains(crate::servers::PASSWORD), "{error}");
            kept.create().unwrap();
            assert_nothing_is_half(&kept, &what);
            live(&kept).unwrap_or_else(|error| panic!("{what}, then {error}"));
        }
        assert_was_lived(&kept, &what);
    }
}

const PASSING: [Trouble; 8] = [
    Trouble::Answer(500),
    Trouble::CutRequest(0),
    Trouble::CutReply(0),
    Trouble::Answer(503),
    Trouble::CutRequest(600),
    Trouble::CutReply(100),
    Trouble::Answer(429),
    Trouble::CutRequest(20_000),
];
const REFUSALS: [u16; 5] = [400, 403, 409, 412, 507];

fn disturb_requests(place: &Place<'_>) {
    let steps = place.steps();
    assert!(steps > 10, "{steps} requests");
    let everything = cfg!(feature = "long-tests");
    for at in 0..steps {
        // Each request meets some of them, each trouble some of the requests.
        for (number, trouble) in PASSING.into_iter().enumerate() {
            if everything || (number + at) % 4 == 0 {
                place.assert_passes(at, trouble);
            }
        }
        for (number, status) in REFUSALS.into_iter().enumerate() {
            if everything || (number + at) % 5 < 2 {
                place.assert_loses_nothing(at, Trouble::Answer(status));
            }
        }
    }
}

/// A store that looks at an object's length first, or takes a part for a refusal, pays for it on every line.
#[test]
fn what_is_read_is_asked_for_once() {
    let server = RcloneServer::start("s3");
    let line = Line::of_requests(server.port);
    let store = open_store(&buckets::location_by(&server, line.port, "bucket/x")).unwrap();
    store.create().unwrap();
    store.put(&PACK, &[&bytes()]).unwrap();
    let asked = |range| {
        line.trouble(None);
        let found = store.get(&PACK, range).unwrap();
        assert_eq!(line.seen(), 1, "{range:?}");
        found
    };
    assert!(asked(ByteRange::Whole { limit: 1 << 20 }) == bytes());
    assert!(asked(ByteRange::Exact { offset: 1000, len: 2000 }) == bytes()[1000..3000]);
    line.trouble(None);
    let error = store.get(&PACK, ByteRange::Whole { limit: 49_999 }).unwrap_err();
    assert_eq!((error.kind, line.seen()), (StoreErrorKind::TooLong, 1), "{error}");
}

#[test]
fn s3_is_disturbed_at_every_request() {
    let server = RcloneServer::start("s3");
    let line = Line::of_requests(server.port);
    line.set(Manner { keeps_conditions: true, ..Manner::default() });
    let port = line.port;
    let location = |life| {
        buckets::location_by(&server, port, &format!("bucket/{life}"))
            + "&retries=0&connections=1&timeout=10s"
    };
    disturb_requests(&Place::new(line, location));
}

#[test]
fn webdav_is_disturbed_at_every_request() {
    let server = RcloneServer::start("webdav");
    let line = Line::of_requests(server.port);
    let port = line.port;
    let location = |life| {
        format!(
            "webdav://backup:{ENCODED_PASSWORD}@127.0.0.1:{port}/bucket/{life}?retries=0&connections=1&timeout=10s"
        )
    };
    disturb_requests(&Place::new(line, location));
}

#[test]
fn sftp_is_cut_anywhere() {
    let server = SshServer::start("");
    let line = Line::of_connections(server.port);
    server.write_client_to(line.port, "cut", "user", "host.pub");
    let place = Place::new(line, |life| {
        server.location(&format!("files/{life}"), "cut") + "&retries=0&connections=1"
    });
    assert!(place.steps() > 0);
    // A greeting and keys are some 3 kB either way; then come the requests, and the pack with its 50 kB.
    for cut in [0, 100, 1500, 2600, 3300, 3600, 4000, 6000, 20_000, 53_000, 56_000] {
        place.assert_passes(0, Trouble::CutRequest(cut));
        place.assert_passes(0, Trouble::CutReply(cut));
    }
}
