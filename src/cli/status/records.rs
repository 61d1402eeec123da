//! The overview for programs.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::status::{InstanceStatus, Language, Night, NightState, Point, concern, sentence};

/// One instance.
pub fn status(status: &InstanceStatus, now: Timestamp) -> Value {
    let concerns: Vec<Value> = status
        .concerns
        .iter()
        .map(|one| {
            json!({
                "concern": one.word(),
                "severity": one.severity(),
                "message": concern(one, Language::En),
            })
        })
        .collect();
    let copies: Vec<Value> = status
        .copies
        .iter()
        .map(|copy| {
            json!({
                "copy": copy.known.name,
                "location": copy.known.location,
                "behind": copy.known.behind,
                "copied": copy.known.copied,
                "nights": nights(&copy.nights),
            })
        })
        .collect();
    let next: Vec<Value> = status
        .next
        .iter()
        .map(|next| {
            let is_due = next.due.is_some_and(|due| due <= now);
            json!({ "job": next.job, "time": next.due, "is_due": is_due })
        })
        .collect();
    let known = status.known.as_ref();
    let error = status.last_error.as_ref().map(|error| {
        json!({ "time": error.time, "step": error.step, "message": error.message, "next": error.next })
    });
    json!({
        "status_instance": status.name,
        "severity": status.severity(),
        "sentence": sentence(status, now, Language::En),
        "concerns": concerns,
        "last_good": status.last_good,
        "age_seconds": status.last_good.map(|time| now.duration_since(time).as_secs()),
        "max_age_seconds": status.limit.as_secs(),
        "running": status.running.map(|(step, since)| json!({ "step": step, "since": since })),
        "nights": nights(&status.nights),
        "copies": copies,
        "test_restores": status.tests.as_deref().map(nights),
        "proof": status.proof,
        "next": next,
        "snapshots": known.map(|known| known.snapshots),
        "repository_bytes": known.map(|known| known.repository_bytes),
        "free_bytes": known.and_then(|known| known.free_bytes),
        "days_until_full": status.days_until_full,
        "sizes": points(status),
        "last_error": error,
    })
}

fn nights(nights: &[Night]) -> Vec<Value> {
    let one = |night: &Night| json!({ "date": night.date, "state": night.state });
    nights.iter().filter(|night| night.state != NightState::Unknown).map(one).collect()
}

fn points(status: &InstanceStatus) -> Vec<Value> {
    let one = |point: &Point| {
        json!({
            "time": point.time,
            "bytes": point.total,
            "added_bytes": point.added,
            "anomaly": point.anomaly,
        })
    };
    status.points.iter().map(one).collect()
}
