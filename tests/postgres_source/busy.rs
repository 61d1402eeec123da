//! Reading while others write: all tables as of one moment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;
use crate::support::postgres::installations;

const ACCOUNTS: i64 = 40;
const BALANCE: i64 = 1000;

fn column(bytes: &[u8], at: usize) -> Vec<i64> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines().map(|line| line.split('\t').nth(at).unwrap().parse().unwrap()).collect()
}

#[test]
fn tables_are_as_of_one_moment_while_all_is_in_motion() {
    for bin_dir in installations() {
        let server = TestServer::start_from(&bin_dir);
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
        let done = AtomicBool::new(false);
        let repeat = |statements: &[&str]| {
            let mut rounds = 0;
            while !done.load(Ordering::SeqCst) {
                for sql in statements {
                    server.psql("bank", sql);
                }
                rounds += 1;
            }
            rounds
        };
        let repeat = &repeat;
        let nights = thread::scope(|scope| {
            // One statement moves money between two tables, books it and counts it.
            let transfers = "DO $$ DECLARE a bigint; BEGIN FOR i IN 1..200 LOOP a := 1 + i % 7; \
                UPDATE left_accounts SET balance = balance - a WHERE id = 1 + i % 40; \
                UPDATE right_accounts SET balance = balance + a WHERE id = 1 + (i * 7) % 40; \
                INSERT INTO transfers (amount) VALUES (a); \
                UPDATE counter SET transfers = transfers + 1; COMMIT; END LOOP; END $$";
            // Emptied and filled again in one transaction: never empty for anybody.
            let truncate = "BEGIN; TRUNCATE journal; INSERT INTO journal SELECT generate_series(1, 1000); COMMIT";
            let pause = "SELECT pg_sleep(0.5)";
            let workers: Vec<_> = [
                vec![transfers],
                vec![transfers],
                vec![truncate, pause],
                vec![
                    "ALTER TABLE ballast ADD COLUMN extra integer",
                    pause,
                    "ALTER TABLE ballast DROP COLUMN extra",
                    pause,
                ],
                vec!["CREATE INDEX busy ON ballast (v)", "DROP INDEX busy", pause],
            ]
            .into_iter()
            .map(|statements| scope.spawn(move || repeat(&statements)))
            .collect();
            let nights: Vec<_> = (0..2)
                .map(|_| {
                    let mut source = source(settings(&server, &["bank"]));
                    (read_whole(&mut source), source.databases().remove(0))
                })
                .collect();
            done.store(true, Ordering::SeqCst);
            for worker in workers {
                assert!(worker.join().unwrap() > 0, "nobody worked meanwhile");
            }
            nights
        });
        let mut moved = 0;
        for (collected, database) in nights {
            let stream = |table: &str| {
                collected.stream(&format!("postgres/bank/tables/public.{table}.copy"))
            };
            let left: i64 = column(&stream("left_accounts"), 1).iter().sum();
            let right: i64 = column(&stream("right_accounts"), 1).iter().sum();
            let amounts = column(&stream("transfers"), 1);
            assert_eq!(left + right, 2 * ACCOUNTS * BALANCE, "money came or went");
            assert_eq!(right - ACCOUNTS * BALANCE, amounts.iter().sum::<i64>());
            assert_eq!(column(&stream("counter"), 0), [i64::try_from(amounts.len()).unwrap()]);
            assert_eq!(
                column(&stream("journal"), 0).len(),
                1000,
                "seen between TRUNCATE and INSERT"
            );
            let ballast = database.tables.iter().find(|table| table.name == "ballast").unwrap();
            assert_eq!(ballast.rows, 60_000);
            let columns = stream("ballast")
                .split(|byte| *byte == b'\n')
                .next()
                .unwrap()
                .split(|byte| *byte == b'\t')
                .count();
            assert_eq!(columns, ballast.columns.len(), "the columns are those of the rows");
            assert!(amounts.len() >= moved);
            moved = amounts.len();
        }
        assert!(moved > 0);
        expect_no_sessions(&server);
    }
}
