//! Crontab lines as `OnCalendar=` of systemd.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;

use super::cron::CronLine;

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
/// Hours in which clocks are moved, nearly everywhere.
const MOVED_HOURS: std::ops::RangeInclusive<u32> = 0..=3;

impl CronLine {
    /// The values of `OnCalendar=`; any of them starts the job.
    ///
    /// systemd passes over a time that the clock skips in spring. For hours in which that happens there
    /// is therefore a second value an hour later: what is started has to ask whether it is due.
    pub fn on_calendar(&self, zone: &TimeZone) -> Vec<String> {
        let zone = zone.iana_name().unwrap_or("UTC");
        let (days, weekdays) = (self.days.as_ref(), self.weekdays.as_ref());
        // systemd always wants both.
        let days = match self.is_either {
            true => vec![(days, None), (None, weekdays)],
            false => vec![(days, weekdays)],
        };
        let late: BTreeSet<u32> = match self.is_every_hour() {
            true => BTreeSet::new(),
            false => self
                .hours
                .iter()
                .filter(|hour| MOVED_HOURS.contains(hour))
                .map(|hour| hour + 1)
                .collect(),
        };
        let late: BTreeSet<u32> = late.difference(&self.hours).copied().collect();
        let mut lines = Vec::new();
        for hours in [&self.hours, &late].into_iter().filter(|hours| !hours.is_empty()) {
            for (days, weekdays) in &days {
                let weekdays = weekdays.map_or_else(String::new, |weekdays| {
                    let names = weekdays.iter().filter_map(|day| WEEKDAYS.get(*day as usize));
                    format!("{} ", names.copied().collect::<Vec<_>>().join(","))
                });
                let all_months = self.months.len() == 12;
                lines.push(format!(
                    "{weekdays}*-{}-{} {}:{}:00 {zone}",
                    if all_months { "*".to_owned() } else { list(&self.months) },
                    days.map_or_else(|| "*".to_owned(), list),
                    if hours.len() == 24 { "*".to_owned() } else { list(hours) },
                    list(&self.minutes),
                ));
            }
        }
        lines
    }
}

fn list(values: &BTreeSet<u32>) -> String {
    values.iter().map(|value| format!("{value:02}")).collect::<Vec<_>>().join(",")
}
