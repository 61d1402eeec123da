use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use crate::calendar::CalendarSpan;
use crate::id::{ObjectId, SnapshotId};

use super::pins::{self, Pin};
use super::record::ReceiptRecord;
use super::retention::{Candidate, Count, Period, Reason, RetentionPolicy, Verdict, judge};
use super::retention_clock::{Suspicion, suspicions};
use super::retention_model::{Place, Rules, Taken, stays};

fn id(number: usize) -> SnapshotId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    SnapshotId::new(bytes)
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("a time")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// Complete snapshots at these times, counted in this order.
fn history(times: &[&str]) -> Vec<Candidate> {
    times.iter().enumerate().map(|(number, text)| candidate(number, at(text))).collect()
}

fn candidate(number: usize, time: Timestamp) -> Candidate {
    Candidate {
        id: id(number),
        time,
        counter: number as u64 + 1,
        is_complete: true,
        tags: Vec::new(),
    }
}

fn policy(counts: &[(Period, u32)]) -> RetentionPolicy {
    let counts = counts.iter().map(|(period, count)| (*period, Count::Times(*count))).collect();
    RetentionPolicy { counts, ..RetentionPolicy::default() }
}

fn judged(candidates: &[Candidate], policy: &RetentionPolicy, zone: &str) -> Vec<Verdict> {
    let zone = TimeZone::get(zone).expect("a zone");
    judge(candidates, policy, &BTreeMap::new(), &zone, at("2099-01-01T00:00Z"))
}

/// Numbers of those that stay, oldest first.
fn staying(verdicts: &[Verdict]) -> Vec<usize> {
    let number = |id: &SnapshotId| usize::from_str_radix(&id.to_hex()[..16], 16).expect("digits");
    let mut found: Vec<usize> =
        verdicts.iter().filter(|one| one.stays()).map(|one| number(&one.id)).collect();
    found.sort_unstable();
    found
}

#[test]
fn the_newest_of_each_day_stays() {
    let all = history(&[
        "2026-11-20T01:00Z",
        "2026-11-20T22:00Z",
        "2026-11-21T22:00Z",
        "2026-11-22T01:00Z",
        "2026-11-22T22:00Z",
    ]);
    let verdicts = judged(&all, &policy(&[(Period::Day, 2)]), "UTC");
    assert_eq!(staying(&verdicts), [2, 4]);
    assert_eq!(verdicts[0].reasons, [Reason::Newest(Period::Day)]);
    // Not used up: the oldest stays, and says why.
    let verdicts = judged(&all, &policy(&[(Period::Day, 9)]), "UTC");
    assert_eq!(staying(&verdicts), [0, 1, 2, 4]);
    assert_eq!(verdicts[4].reasons, [Reason::Oldest(Period::Day)]);
}

#[test]
fn days_are_those_of_the_zone() {
    let all = history(&["2026-11-20T22:30Z", "2026-11-20T23:30Z", "2026-11-21T22:30Z"]);
    let one_a_day = policy(&[(Period::Day, 2)]);
    assert_eq!(staying(&judged(&all, &one_a_day, "UTC")), [1, 2]);
    // In Paris the second is already of the 21st, whose newest is the third.
    assert_eq!(staying(&judged(&all, &one_a_day, "Europe/Paris")), [0, 2]);
}

#[test]
fn what_is_exactly_as_old_as_the_span_goes() {
    let all = history(&["2027-03-27T11:00:00Z", "2027-03-27T11:00:01Z", "2027-03-28T10:00Z"]);
    let within = |span: &str, zone: &str| {
        let within = Some(span.parse().expect("a span"));
        let policy = RetentionPolicy { within, ..RetentionPolicy::default() };
        staying(&judged(&all, &policy, zone))
    };
    // Noon of two days in Paris, with 23 hours between: a day all the same.
    assert_eq!(within("1d", "Europe/Paris"), [1, 2]);
    assert_eq!(within("23h", "Europe/Paris"), [1, 2]);
    assert_eq!(within("1d", "UTC"), [0, 1, 2]);
}

#[test]
fn the_hour_that_comes_twice_is_two_hours() {
    let all = history(&["2027-10-31T00:30Z", "2027-10-31T01:30Z", "2027-10-31T02:30Z"]);
    let verdicts = judged(&all, &policy(&[(Period::Hour, 3)]), "Europe/Paris");
    assert_eq!(staying(&verdicts), [0, 1, 2]);
}

#[test]
fn weeks_are_those_of_iso() {
    // Friday 1 January 2027 belongs to week 53 of 2026, with the Sunday after it.
    let all = history(&[
        "2026-12-31T12:00Z",
        "2027-01-01T12:00Z",
        "2027-01-03T12:00Z",
        "2027-01-04T12:00Z",
    ]);
    assert_eq!(staying(&judged(&all, &policy(&[(Period::Week, 2)]), "UTC")), [2, 3]);
    assert_eq!(staying(&judged(&all, &policy(&[(Period::Year, 2)]), "UTC")), [0, 3]);
    let leap = history(&["2028-02-28T12:00Z", "2028-02-29T12:00Z", "2028-03-01T12:00Z"]);
    assert_eq!(staying(&judged(&leap, &policy(&[(Period::Month, 2)]), "UTC")), [1, 2]);
    assert_eq!(staying(&judged(&leap, &policy(&[(Period::Quarter, 1)]), "UTC")), [2]);
}

#[test]
fn incomplete_ones_push_nothing_out() {
    let mut all = history(&[
        "2026-11-17T22:00Z",
        "2026-11-18T22:00Z",
        "2026-11-19T22:00Z",
        "2026-11-19T23:00Z",
        "2026-11-20T22:00Z",
        "2026-11-21T22:00Z",
    ]);
    for number in [1, 3, 4] {
        all[number].is_complete = false;
    }
    let verdicts = judged(&all, &policy(&[(Period::Day, 3)]), "UTC");
    // 1 and 4 are all there is of their days; 3 is of a day that has a complete one.
    assert_eq!(staying(&verdicts), [0, 1, 2, 4, 5]);
    let verdicts = judged(&all, &policy(&[(Period::Day, 1)]), "UTC");
    assert_eq!(staying(&verdicts), [5]);
    all[5].is_complete = false;
    let verdicts = judged(&all, &policy(&[(Period::Day, 1)]), "UTC");
    assert_eq!(staying(&verdicts), [2, 3, 4, 5], "the newest complete one, and all after it");
}

#[test]
fn the_newest_complete_one_always_stays() {
    let all = history(&["2026-11-17T22:00Z", "2026-11-18T22:00Z"]);
    let tagged =
        RetentionPolicy { tags: vec![vec!["no".to_owned()]], ..RetentionPolicy::default() };
    let verdicts = judged(&all, &tagged, "UTC");
    assert_eq!(verdicts[0].reasons, [Reason::NewestComplete]);
    assert_eq!(staying(&verdicts), [1]);
    let mut failed = all.clone();
    failed.iter_mut().for_each(|one| one.is_complete = false);
    assert_eq!(staying(&judged(&failed, &tagged, "UTC")), [0, 1], "there is no complete one");
}

#[test]
fn empty_policies_are_told() {
    assert!(RetentionPolicy::default().keeps_nothing());
    assert!(policy(&[(Period::Day, 0)]).keeps_nothing());
    assert!(!RetentionPolicy::production().keeps_nothing());
    assert_eq!(
        RetentionPolicy::production().to_string(),
        "last 7, daily 7, weekly 5, monthly 12, yearly 75"
    );
}

fn receipt(
    kind: &str,
    snapshot: Option<SnapshotId>,
    details: BTreeMap<String, String>,
) -> ReceiptRecord {
    ReceiptRecord {
        kind: kind.to_owned(),
        time: 0,
        instance: "mrs".to_owned(),
        host: "host".to_owned(),
        result: "ok".to_owned(),
        snapshot,
        details,
        forgotten: Vec::new(),
    }
}

#[test]
fn pins_hold_until_they_end_or_are_taken_away() {
    let receipt_id = |number: u8| ObjectId::new([number; 32]);
    let until = at("2026-12-01T00:00Z");
    let mut told = vec![
        (receipt_id(1), receipt(pins::PIN, Some(id(0)), pins::pin_details("before 2.0", None))),
        (receipt_id(2), receipt(pins::PIN, Some(id(0)), pins::pin_details("audit", Some(until)))),
        (receipt_id(3), receipt("run", Some(id(1)), BTreeMap::new())),
        (receipt_id(4), receipt(pins::PIN, None, BTreeMap::new())),
    ];
    let found = pins::pins(&told);
    assert_eq!(found.len(), 1);
    let names: Vec<&str> = found[&id(0)].iter().map(|pin| pin.reason.as_str()).collect();
    assert_eq!(names, ["before 2.0", "audit"]);
    let all = history(&["2020-11-17T22:00Z", "2026-11-18T22:00Z"]);
    let last = RetentionPolicy { last: Some(Count::Times(1)), ..RetentionPolicy::default() };
    let judged = |pins: &BTreeMap<SnapshotId, Vec<Pin>>, now: &str| {
        staying(&judge(&all, &last, pins, &TimeZone::UTC, at(now)))
    };
    assert_eq!(judged(&found, "2026-11-30T00:00Z"), [0, 1]);
    told.push((
        receipt_id(5),
        receipt(pins::UNPIN, Some(id(0)), pins::unpin_details(&[receipt_id(1)])),
    ));
    let found = pins::pins(&told);
    assert_eq!(judged(&found, "2026-11-30T00:00Z"), [0, 1], "the other one holds");
    assert_eq!(judged(&found, "2026-12-01T00:00Z"), [1], "it has ended");
    // An end that cannot be read is none.
    let odd = BTreeMap::from([("until".to_owned(), "soon".to_owned())]);
    let found = pins::pins(&[(receipt_id(6), receipt(pins::PIN, Some(id(0)), odd))]);
    assert_eq!(judged(&found, "2098-12-01T00:00Z"), [0, 1]);
}

#[test]
fn wrong_clocks_are_noticed() {
    let now = at("2026-11-25T03:00Z");
    let nightly: Vec<Candidate> = (0..30)
        .map(|night| candidate(night, now - SignedDuration::from_hours(24 * (30 - night as i64))))
        .collect();
    assert_eq!(suspicions(&nightly, now), []);
    assert_eq!(suspicions(&nightly[..1], now), []);
    assert_eq!(suspicions(&[], now), []);
    let mut future = nightly.clone();
    future.push(candidate(30, at("2031-01-01T00:00Z")));
    let found = suspicions(&future, now);
    assert!(matches!(found[0], Suspicion::Future { .. }), "{found:?}");
    assert!(found[0].to_string().contains("2031-01-01"), "{}", found[0]);
    // Set right again: the next one is counted later, but earlier.
    future.push(candidate(31, now));
    let found = suspicions(&future, at("2032-01-01T00:00Z"));
    assert!(found.iter().any(|one| matches!(one, Suspicion::Backwards { .. })), "{found:?}");
    let mut jumped = nightly.clone();
    jumped.push(candidate(30, at("2027-03-01T00:00Z")));
    let found = suspicions(&jumped, at("2027-03-01T00:10Z"));
    assert!(matches!(found[..], [Suspicion::Jump { .. }]), "{found:?}");
    // Yearly ones are far apart.
    let yearly = history(&[
        "2020-01-01T00:00Z",
        "2021-01-01T00:00Z",
        "2022-01-01T00:00Z",
        "2023-01-01T00:00Z",
    ]);
    assert_eq!(suspicions(&yearly, now), []);
    // Two hosts at once may count in another order than they begin.
    let mut two = nightly;
    two.push(candidate(30, two[29].time - SignedDuration::from_hours(2)));
    assert_eq!(suspicions(&two, now), []);
}

fn span() -> impl Strategy<Value = (i64, i64, i64, i64)> {
    (0_i64..3, 0_i64..14, 0_i64..40, 0_i64..50)
        .prop_filter("something", |span| *span != (0, 0, 0, 0))
}

fn rules() -> impl Strategy<Value = Rules> {
    let count = || prop_oneof![3 => Just(None), 3 => (0_usize..9).prop_map(Some), 1 => Just(Some(usize::MAX))];
    let maybe = || prop_oneof![4 => Just(None), 1 => span().prop_map(Some)];
    let tags =
        prop::collection::vec(prop::collection::vec(prop_oneof![Just("a"), Just("b")], 1..3), 0..2);
    (count(), prop::array::uniform6(count()), maybe(), prop::array::uniform6(maybe()), tags)
        .prop_map(|(last, counts, within, within_periods, tags)| Rules {
            last,
            counts,
            within,
            within_periods,
            tags,
        })
}

fn taken(share_complete: f64) -> impl Strategy<Value = Taken> {
    let day = 86_400_i64;
    // Around the changes of the clock and the turn of a leap year, and over some years.
    let time = prop_oneof![
        4 => 1_700_000_000..1_700_000_000 + 1200 * day,
        2 => 1_761_350_400..1_761_350_400 + 2 * day,
        1 => 1_711_756_800..1_711_756_800 + 2 * day,
        1 => 1_709_078_400..1_709_078_400 + 3 * day,
        1 => 1_735_430_400..1_735_430_400 + 8 * day,
    ];
    let tags = prop::sample::subsequence(vec!["a", "b"], 0..=2);
    (time, prop::bool::weighted(share_complete), tags).prop_map(|(time, is_complete, tags)| Taken {
        time,
        is_complete,
        tags,
    })
}

fn places() -> impl Strategy<Value = (Place, TimeZone)> {
    let fixed = |seconds: i32| {
        (
            Place::Fixed(seconds.into()),
            TimeZone::fixed(jiff::tz::Offset::from_seconds(seconds).expect("an offset")),
        )
    };
    prop_oneof![
        2 => Just((Place::Paris, TimeZone::get("Europe/Paris").expect("a zone"))),
        1 => Just(fixed(0)),
        1 => Just(fixed(5 * 3600 + 2700)),
        1 => Just(fixed(-11 * 3600)),
    ]
}

fn as_policy(rules: &Rules) -> RetentionPolicy {
    let count = |count: usize| match count {
        usize::MAX => Count::Unlimited,
        count => Count::Times(u32::try_from(count).expect("small")),
    };
    let span = |(years, months, days, hours): (i64, i64, i64, i64)| -> CalendarSpan {
        let parts = [(years, 'y'), (months, 'm'), (days, 'd'), (hours, 'h')];
        let text = parts
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, unit)| format!("{number}{unit}"));
        text.collect::<String>().parse().expect("a span")
    };
    let by_period = |at: usize| Period::ALL[at];
    let counts = rules.counts.iter().enumerate();
    let within = rules.within_periods.iter().enumerate();
    RetentionPolicy {
        last: rules.last.map(count),
        counts: counts.filter_map(|(at, n)| Some((by_period(at), count((*n)?)))).collect(),
        within: rules.within.map(span),
        within_periods: within.filter_map(|(at, s)| Some((by_period(at), span((*s)?)))).collect(),
        tags: rules
            .tags
            .iter()
            .map(|list| list.iter().map(|tag| (*tag).to_owned()).collect())
            .collect(),
    }
}

fn as_candidates(taken: &[Taken]) -> Vec<Candidate> {
    let one = |(number, taken): (usize, &Taken)| Candidate {
        is_complete: taken.is_complete,
        tags: taken.tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..candidate(number, time(taken.time))
    };
    taken.iter().enumerate().map(one).collect()
}

proptest! {
    // Thousands of histories, whatever else is configured.
    #![proptest_config(ProptestConfig::with_cases(4000.max(ProptestConfig::default().cases)))]

    #[test]
    fn the_model_agrees(
        mut taken in prop::collection::vec(prop_oneof![1 => taken(1.0), 1 => taken(0.7)], 0..40),
        all_complete in any::<bool>(),
        rules in rules(),
        (place, zone) in places(),
    ) {
        taken.sort_by_key(|one| one.time);
        taken.dedup_by_key(|one| one.time);
        if all_complete {
            taken.iter_mut().for_each(|one| one.is_complete = true);
        }
        let candidates = as_candidates(&taken);
        let now = at("2099-01-01T00:00Z");
        let verdicts = judge(&candidates, &as_policy(&rules), &BTreeMap::new(), &zone, now);
        let expected: Vec<usize> = stays(&taken, &rules, place)
            .into_iter().enumerate().filter(|(_, stays)| *stays).map(|(at, _)| at).collect();
        prop_assert_eq!(staying(&verdicts), expected, "{}", as_policy(&rules));
    }
}

proptest! {
    #[test]
    fn whatever_the_policy(
        taken in prop::collection::vec(taken(0.8), 0..40),
        rules in rules(),
        (_, zone) in places(),
        seed in any::<prop::sample::Index>(),
    ) {
        let candidates = as_candidates(&taken);
        let policy = as_policy(&rules);
        let now = at("2099-01-01T00:00Z");
        let judged = |list: &[Candidate]| judge(list, &policy, &BTreeMap::new(), &zone, now);
        let verdicts = judged(&candidates);
        prop_assert_eq!(verdicts.len(), candidates.len(), "one verdict each");
        let stay: Vec<usize> = staying(&verdicts);
        // The newest complete one stays.
        let newest = candidates.iter().filter(|one| one.is_complete).max_by_key(|one| (one.time, one.counter));
        if let Some(newest) = newest {
            prop_assert!(verdicts.iter().any(|one| one.id == newest.id && one.stays()));
        } else {
            prop_assert_eq!(stay.len(), candidates.len(), "nothing complete: nothing goes");
        }
        // The order in which they come says nothing.
        let mut turned = candidates.clone();
        if !turned.is_empty() {
            let by = seed.index(turned.len());
            turned.rotate_left(by);
        }
        prop_assert_eq!(&judged(&turned), &verdicts);
        // Forgetting is done once: what stays, stays.
        let left: Vec<Candidate> = stay.iter().map(|number| candidates[*number].clone()).collect();
        prop_assert_eq!(staying(&judged(&left)), stay.clone());
        // Without the incomplete ones the same complete ones stay.
        let complete: Vec<Candidate> = candidates.iter().filter(|one| one.is_complete).cloned().collect();
        let of_complete = staying(&judged(&complete));
        let complete_stay: Vec<usize> =
            stay.iter().copied().filter(|number| candidates[*number].is_complete).collect();
        for number in &of_complete {
            prop_assert!(complete_stay.contains(number), "{number} is pushed out by an incomplete one");
        }
    }
}
