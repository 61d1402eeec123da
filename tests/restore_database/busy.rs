//! A database that was saved while everything in it moved, restored: it satisfies what holds at every moment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::site::Site;
use crate::support::postgres::{TestServer, installations};

const BANK: &str = "CREATE TABLE accounts AS SELECT n AS id, 1000::bigint AS balance FROM generate_series(1, 50) n; \
    ALTER TABLE accounts ADD PRIMARY KEY (id); \
    CREATE TABLE savings AS TABLE accounts; \
    CREATE TABLE transfers (id bigserial PRIMARY KEY, account int REFERENCES accounts, amount bigint); \
    CREATE TABLE journal AS SELECT n FROM generate_series(1, 1000) n; \
    CREATE TABLE ballast AS SELECT n, repeat(md5(n::text), 10) AS v FROM generate_series(1, 30000) n";
/// Takes from one table, gives to the other, and books it.
const TRANSFER: &str = "DO $$ DECLARE a bigint; BEGIN FOR i IN 1..200 LOOP a := 1 + i % 7; \
    UPDATE accounts SET balance = balance - a WHERE id = 1 + i % 50; \
    UPDATE savings SET balance = balance + a WHERE id = 1 + (i * 7) % 50; \
    INSERT INTO transfers (account, amount) VALUES (1 + i % 50, a); COMMIT; END LOOP; END $$";
/// What each writer does again and again. Between stronger locks a backup has to come by.
const WORK: [&[&str]; 3] = [
    &[TRANSFER],
    &[TRANSFER],
    &[
        "BEGIN; TRUNCATE journal; INSERT INTO journal SELECT generate_series(1, 1000); COMMIT; \
         ALTER TABLE ballast ADD COLUMN extra integer DEFAULT 5",
        "SELECT pg_sleep(1.5)",
        "CREATE INDEX moving ON ballast (v)",
        "SELECT pg_sleep(1.5)",
        "DROP INDEX moving; ALTER TABLE ballast DROP COLUMN extra; \
         BEGIN; TRUNCATE journal; INSERT INTO journal SELECT generate_series(1, 1000); COMMIT",
        "SELECT pg_sleep(1.5)",
    ],
];
/// True at every moment. The first three of them are what the configuration asserts.
const HOLDS: [&str; 4] = [
    "SELECT (SELECT sum(balance) FROM accounts) + (SELECT sum(balance) FROM savings) = 100000",
    "SELECT (SELECT sum(balance) FROM savings) - 50000 = (SELECT coalesce(sum(amount), 0) FROM transfers)",
    "SELECT count(*) = 1000 FROM journal",
    "SELECT count(*) = 30000 FROM ballast",
];

#[test]
fn what_was_saved_in_motion_satisfies_the_invariant_when_restored() {
    let quoted: Vec<String> = HOLDS[..3].iter().map(|sql| format!("{sql:?}")).collect();
    for bin_dir in installations() {
        let site = Site::on(TestServer::start_from(&bin_dir))
            .with(&format!("assertions = {{ app = [{}] }}", quoted.join(", ")));
        site.server.psql("postgres", "CREATE DATABASE app");
        site.sql(BANK);
        let is_done = AtomicBool::new(false);
        let work = |statements: &'static [&'static str]| {
            let mut rounds = 0;
            while !is_done.load(Ordering::SeqCst) {
                statements.iter().for_each(|sql| drop(site.sql(sql)));
                rounds += 1;
            }
            rounds
        };
        thread::scope(|scope| {
            let workers = WORK.map(|statements| scope.spawn(move || work(statements)));
            let nights: Vec<_> = (0..2).map(|_| site.run(&["run", "--json"])).collect();
            is_done.store(true, Ordering::SeqCst);
            for worker in workers {
                assert!(worker.join().unwrap() > 0, "nobody worked meanwhile");
            }
            nights.iter().for_each(|night| assert_eq!(night.code, Some(0), "{night:?}"));
        });
        let before = site.sql("SELECT count(*) FROM transfers");
        let proof = site.ok(&["test-restore", "--json"]).summary();
        assert_eq!(
            (&proof["is_proven"], &proof["databases"][0]["assertions"]),
            (&true.into(), &3.into())
        );
        let ran = site.restore(&[]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        for sql in HOLDS {
            assert_eq!(site.sql(sql), "t", "{sql}");
        }
        let after: u64 = site.sql("SELECT count(*) FROM transfers").parse().unwrap();
        assert!(after > 0 && after <= before.parse().unwrap(), "{after} of {before}");
    }
}
