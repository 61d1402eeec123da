//! Reading while others write: all tables as of one moment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use mrs_backup::snapshot::DatabaseManifest;

use super::*;
use crate::support::postgres::installations;

const ACCOUNTS: i64 = 40;
const BALANCE: i64 = 1000;

fn column(bytes: &[u8], at: usize) -> Vec<i64> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines().map(|line| line.split('\t').nth(at).unwrap().parse().unwrap()).collect()
}

/// Moves money between two tables, books it and counts it, in one transaction each time.
const TRANSFERS: &str = "DO $$ DECLARE a bigint; BEGIN FOR i IN 1..200 LOOP a := 1 + i % 7; \
    UPDATE left_accounts SET balance = balance - a WHERE id = 1 + i % 40; \
    UPDATE right_accounts SET balance = balance + a WHERE id = 1 + (i * 7) % 40; \
    INSERT INTO transfers (amount) VALUES (a); \
    UPDATE counter SET transfers = transfers + 1; COMMIT; END LOOP; END $$";
/// Empties a table and fills it again in one transaction: it is never empty for anybody.
const TRUNCATE: &str =
    "BEGIN; TRUNCATE journal; INSERT INTO journal SELECT generate_series(1, 1000); COMMIT";
/// Time in which no table is to be locked: a backup has to come by then, also on a machine that is busy.
const PAUSE: &str = "SELECT pg_sleep(1.5)";
/// What each of those who write does over and over.
const WORK: [&[&str]; 3] = [
    &[TRANSFERS],
    &[TRANSFERS],
    &[
        TRUNCATE,
        "ALTER TABLE ballast ADD COLUMN extra integer",
        PAUSE,
        "CREATE INDEX busy ON ballast (v)",
        TRUNCATE,
        PAUSE,
        "DROP INDEX busy; ALTER TABLE ballast DROP COLUMN extra",
        PAUSE,
    ],
];

fn open_bank(server: &TestServer) {
    server.psql("postgres", "CREATE DATABASE bank");
    server.psql(
        "bank",
        &format!(
            "CREATE TABLE left_accounts AS SELECT n AS id, {BALANCE}::bigint AS balance FROM generate_series(1, {ACCOUNTS}) n; \
             CREATE TABLE right_accounts AS TABLE left_accounts; \
             CREATE TABLE transfers (id bigserial PRIMARY KEY, amount bigint); \
             CREATE TABLE ballast AS SELECT n, repeat(md5(n::text), 10) AS v FROM generate_series(1, 60000) n; \
             CREATE TABLE journal AS SELECT n FROM generate_series(1, 1000) n; \
             CREATE TABLE counter (transfers bigint); INSERT INTO counter VALUES (0)"
        ),
    );
}

/// Reads the bank twice while all the others work.
fn nights(server: &TestServer) -> Vec<(Collected, DatabaseManifest)> {
    let done = AtomicBool::new(false);
    let repeat = |statements: &[&str]| {
        let mut rounds = 0;
        while !done.load(Ordering::SeqCst) {
            statements.iter().for_each(|sql| drop(server.psql("bank", sql)));
            rounds += 1;
        }
        rounds
    };
    let repeat = &repeat;
    thread::scope(|scope| {
        let workers = WORK.map(|statements| scope.spawn(move || repeat(statements)));
        let night = |_| {
            let mut source = source(settings(server, &["bank"]));
            (read_whole(&mut source), source.databases().remove(0))
        };
        let nights = (0..2).map(night).collect();
        done.store(true, Ordering::SeqCst);
        for worker in workers {
            assert!(worker.join().unwrap() > 0, "nobody worked meanwhile");
        }
        nights
    })
}

/// Checks what must hold at every moment; gives the number of transfers until then.
fn check(collected: &Collected, database: &DatabaseManifest) -> usize {
    let stream =
        |table: &str| collected.stream(&format!("postgres/bank/tables/public.{table}.copy"));
    let left: i64 = column(&stream("left_accounts"), 1).iter().sum();
    let right: i64 = column(&stream("right_accounts"), 1).iter().sum();
    let amounts = column(&stream("transfers"), 1);
    assert_eq!(left + right, 2 * ACCOUNTS * BALANCE, "money came or went");
    assert_eq!(right - ACCOUNTS * BALANCE, amounts.iter().sum::<i64>());
    assert_eq!(column(&stream("counter"), 0), [i64::try_from(amounts.len()).unwrap()]);
    assert_eq!(column(&stream("journal"), 0).len(), 1000, "seen between TRUNCATE and INSERT");
    let ballast = database.tables.iter().find(|table| table.name == "ballast").unwrap();
    assert_eq!(ballast.rows, 60_000);
    let bytes = stream("ballast");
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap();
    let columns = first.split(|byte| *byte == b'\t').count();
    assert_eq!(columns, ballast.columns.len(), "the columns are those of the rows");
    amounts.len()
}

#[test]
fn tables_are_as_of_one_moment_while_all_is_in_motion() {
    for bin_dir in installations() {
        let server = TestServer::start_from(&bin_dir);
        open_bank(&server);
        let moved: Vec<usize> = nights(&server)
            .iter()
            .map(|(collected, database)| check(collected, database))
            .collect();
        assert!(moved.is_sorted() && moved[1] > 0, "{moved:?}");
        expect_no_sessions(&server);
    }
}
