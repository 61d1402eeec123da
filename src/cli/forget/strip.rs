//! A calendar of a line a month: which days have a snapshot that stays, which only ones that go.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Months shown; older ones are in the list above it.
const MONTHS: usize = 24;

/// Lines for people. `days` has the start of each snapshot, in nanoseconds, and whether it stays.
pub fn calendar(days: &[(i64, bool)], zone: &TimeZone) -> Vec<String> {
    let mut months: BTreeMap<(i16, i8), [char; 31]> = BTreeMap::new();
    for (nanos, stays) in days {
        let Ok(time) = Timestamp::from_nanosecond(i128::from(*nanos)) else { continue };
        let date = zone.to_datetime(time).date();
        let month = months.entry((date.year(), date.month())).or_insert(['.'; 31]);
        let Some(day) = month.get_mut(usize::try_from(date.day() - 1).unwrap_or(0)) else {
            continue;
        };
        if *stays {
            *day = '#';
        } else if *day == '.' {
            *day = 'x';
        }
    }
    if days.len() < 2 {
        return Vec::new();
    }
    let mut lines = vec!["         1   5    10   15   20   25   30   # stays, x goes".to_owned()];
    let skipped = months.len().saturating_sub(MONTHS);
    if skipped > 0 {
        lines.push(format!("... and {skipped} months before"));
    }
    lines.extend(months.into_iter().skip(skipped).map(|((year, month), days)| {
        let length = jiff::civil::date(year, month, 1).days_in_month();
        let days: String = days.iter().take(usize::try_from(length).unwrap_or(31)).collect();
        format!("{year}-{month:02}  {days}")
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_month() {
        let at = |text: &str| {
            let time: Timestamp = text.parse().expect("a time");
            i64::try_from(time.as_nanosecond()).expect("a number")
        };
        let days = [
            (at("2027-02-27T23:30:00Z"), true),
            (at("2027-02-28T12:00:00Z"), false),
            (at("2027-03-30T23:30:00Z"), false),
            (at("2027-03-31T12:00:00Z"), true),
        ];
        let zone = TimeZone::get("Europe/Paris").expect("a zone");
        let lines = calendar(&days, &zone);
        assert_eq!(
            lines[1],
            format!("2027-02  {}#", ".".repeat(27)),
            "of Paris, and with one that stays"
        );
        assert_eq!(lines[2], format!("2027-03  {}#", ".".repeat(30)));
        assert_eq!(lines[0].find('1'), lines[1].find('.'), "below its number");
        assert!(calendar(&days[..1], &zone).is_empty());
        let many: Vec<(i64, bool)> = (0..900).map(|day| (day * 86_400_000_000_000, true)).collect();
        assert_eq!(calendar(&many, &zone).len(), 2 + MONTHS);
    }
}
