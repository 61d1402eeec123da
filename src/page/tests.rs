use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::status::{Anomaly, KnownSnapshot, Night, NightState, Point};

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

#[test]
fn strips_are_drawn_and_told() {
    let states = [NightState::Ok, NightState::Incomplete, NightState::Failed, NightState::Missing];
    let date = jiff::civil::date(2026, 11, 25);
    let nights: Vec<Night> = states.into_iter().map(|state| Night { date, state }).collect();
    let told = strip::told(&nights, Language::En);
    assert_eq!(told, "1 ok, 1 incomplete (11-25), 1 failed (11-25), 1 missing (11-25)");
    let svg = strip::nights(&nights, Language::Fr);
    for class in ["r", "s1", "s2", "s3"] {
        assert!(svg.contains(&format!("class=\"{class}\"")), "{svg}");
    }
    assert!(svg.contains("aria-label=\"1 bonne, 1 incomplète"), "{svg}");
}

#[test]
fn charts_keep_peaks_and_stay_small() {
    let mut points: Vec<Point> = (0..500)
        .map(|night| Point {
            time: at("2026-01-01T00:00:00Z") + SignedDuration::from_hours(24 * night),
            total: 100,
            added: 10,
            anomaly: None,
        })
        .collect();
    points[123].anomaly = Some(Anomaly::Spike);
    points[123].added = 90;
    let svg = svg::bars(&points, "x");
    assert!(svg.contains("class=\"o\""), "the one that stands out is there: {svg}");
    assert!(svg.len() < 2000, "{}", svg.len());
    let line = svg::line(&(0..500).collect::<Vec<u64>>(), "a \"b\" <c>");
    assert!(line.contains("a &quot;b&quot; &lt;c&gt;") && line.len() < 1200, "{line}");
    svg::line(&[], "nothing");
    svg::bars(&[], "nothing");
}

#[test]
fn the_calendar_shades_days_by_what_keeps_them() {
    let snapshot = |time: &str, reasons: &[&str]| KnownSnapshot {
        id: "ab".to_owned(),
        instance: "mrs".to_owned(),
        time: at(time),
        end: at(time),
        counter: 1,
        is_complete: true,
        bytes: 1,
        stored_bytes: 1,
        tags: Vec::new(),
        reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
        rows: BTreeMap::new(),
    };
    let snapshots = vec![
        snapshot("2020-01-01T00:00:00Z", &["oldest, yearly not used up"]),
        snapshot("2026-11-01T00:00:00Z", &["monthly"]),
        snapshot("2026-11-02T00:00:00Z", &[]),
        snapshot("2026-11-03T00:00:00Z", &["pinned: because"]),
        snapshot("2026-11-03T10:00:00Z", &[]),
    ];
    let catalogue = Catalogue { snapshots, ..Catalogue::default() };
    let (svg, left_out) = calendar::calendar(&catalogue, &jiff::tz::TimeZone::UTC, Language::En);
    assert_eq!(left_out, 0);
    for class in ["k0", "k3", "k4", "k5"] {
        assert!(svg.contains(&format!("class=\"{class}\"")), "{class}: {svg}");
    }
    assert!(svg.contains("2020-01") && svg.contains("2026-11"), "{svg}");
    assert_eq!(svg.matches("h8").count(), 4, "a day is drawn once, by the best reason");
}

#[test]
fn the_policy_allows_the_style_the_script_and_nothing_else() {
    let overview =
        Overview { now: at("2026-11-25T23:00:00Z"), host: "<h>".to_owned(), instances: Vec::new() };
    let text = render(&overview, &BTreeMap::new(), Language::En, false).expect("a page");
    assert!(text.contains(&format!("content=\"{}\"", policy().replace('\'', "&#39;"))), "{text}");
    assert!(
        text.matches("<script").count() == 1 && !text.contains("style=") && !text.contains("<h>"),
        "{text}"
    );
    let script = text.split("<script>").nth(1).and_then(|rest| rest.split("</script>").next());
    assert_eq!(script, Some(SCRIPT));
    let style = text.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next());
    assert_eq!(style, Some(STYLE));
}
