//! Databases and tables that lost rows or bytes since the snapshot before. What somebody deleted by
//! mistake is missed soonest, and most easily brought back, the day after.

use std::collections::BTreeMap;

use crate::snapshot::{DatabaseManifest, TableManifest};

/// Tables with fewer rows than this come and go.
const SMALL_TABLE: u64 = 100;
/// Tables that are named one by one; of more only the number is told.
const NAMED: usize = 10;

/// Whether `after` is less than `before` by more than `percent`.
fn has_shrunk(before: u64, after: u64, percent: u8) -> bool {
    let kept = u128::from(100_u8.saturating_sub(percent));
    u128::from(after) * 100 < u128::from(before) * kept
}

fn sum(database: &DatabaseManifest, of: impl Fn(&TableManifest) -> u64) -> u64 {
    database.tables.iter().map(of).fold(0, u64::saturating_add)
}

/// One line for each database or table that is smaller by more than `percent`: its name and what was lost.
pub(super) fn shrunk(
    before: &[DatabaseManifest],
    after: &[DatabaseManifest],
    percent: u8,
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for new in after {
        let Some(old) = before.iter().find(|old| old.name == new.name) else { continue };
        let mut tell = |item: String, what: &str, before: u64, after: u64| {
            let is_shrunk = has_shrunk(before, after, percent);
            if is_shrunk {
                let message = format!("it had {before} {what} in the snapshot before, now {after}");
                found.push((item, message));
            }
            is_shrunk
        };
        let _ = tell(new.name.clone(), "rows", sum(old, |t| t.rows), sum(new, |t| t.rows))
            || tell(
                new.name.clone(),
                "bytes of rows",
                sum(old, |t| t.bytes),
                sum(new, |t| t.bytes),
            );
        let now: BTreeMap<_, _> =
            new.tables.iter().map(|table| ((&table.schema, &table.name), table)).collect();
        let mut count = 0;
        for table in old.tables.iter().filter(|table| table.rows >= SMALL_TABLE) {
            let (rows, bytes) = now
                .get(&(&table.schema, &table.name))
                .map_or((0, 0), |table| (table.rows, table.bytes));
            let item = format!("{}: table {}.{}", new.name, table.schema, table.name);
            if count < NAMED {
                let is_told = tell(item.clone(), "rows", table.rows, rows)
                    || tell(item, "bytes of rows", table.bytes, bytes);
                count += usize::from(is_told);
            } else if has_shrunk(table.rows, rows, percent) {
                count += 1;
            }
        }
        if count > NAMED {
            let message = format!("{} more tables have lost as much", count - NAMED);
            found.push((new.name.clone(), message));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(tables: &[(&str, u64, u64)]) -> Vec<DatabaseManifest> {
        let table = |(name, rows, bytes): &(&str, u64, u64)| TableManifest {
            schema: "public".to_owned(),
            name: (*name).to_owned(),
            rows: *rows,
            bytes: *bytes,
            ..TableManifest::default()
        };
        let tables = tables.iter().map(table).collect();
        vec![DatabaseManifest { name: "mrs".to_owned(), tables, ..DatabaseManifest::default() }]
    }

    fn told(before: &[(&str, u64, u64)], after: &[(&str, u64, u64)], percent: u8) -> Vec<String> {
        let found = shrunk(&database(before), &database(after), percent);
        found.into_iter().map(|(item, message)| format!("{item}: {message}")).collect()
    }

    #[test]
    fn what_shrinks_is_told_and_what_grows_or_is_small_is_not() {
        let before = [("bill", 1000, 50_000), ("session", 10, 500), ("log", 5000, 9_000_000)];
        let none: [&str; 0] = [];
        assert_eq!(told(&before, &before, 0), none);
        let after = [("bill", 800, 40_000), ("session", 0, 0), ("log", 9000, 10_000_000)];
        assert_eq!(told(&before, &after, 20), none);
        let lost = "mrs: table public.bill: it had 1000 rows in the snapshot before, now 800";
        assert_eq!(told(&before, &after, 19), [lost]);
        let after = [("session", 10, 500), ("log", 5000, 1_000_000)];
        assert_eq!(
            told(&before, &after, 20),
            [
                "mrs: it had 9050500 bytes of rows in the snapshot before, now 1000500",
                "mrs: table public.bill: it had 1000 rows in the snapshot before, now 0",
                "mrs: table public.log: it had 9000000 bytes of rows in the snapshot before, now 1000000",
            ]
        );
        assert_eq!(told(&before, &[], 100), none, "100 percent is never exceeded");
    }

    #[test]
    fn many_tables_are_counted() {
        let names: Vec<String> = (0..15).map(|n| format!("t{n}")).collect();
        let before: Vec<_> = names.iter().map(|name| (name.as_str(), 1000, 1000)).collect();
        let told = told(&before, &[("other", 1, 1)], 20);
        assert_eq!(told.len(), 1 + NAMED + 1);
        assert_eq!(told[NAMED + 1], "mrs: 5 more tables have lost as much");
    }
}
