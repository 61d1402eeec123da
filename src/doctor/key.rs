//! The password: whether anybody but this machine has a way in.

use super::{Finding, Patient};

/// Counts the ways in.
pub(super) fn key(patient: &Patient<'_>) -> Vec<Finding> {
    let Ok(repository) = &patient.repository else { return Vec::new() };
    let name = &patient.instance.name;
    let slots = match repository.key_slots() {
        Ok(slots) => slots,
        Err(error) => {
            let mend = format!("mrs-backup key list -i {name}");
            return vec![Finding::error(error.to_string(), mend)];
        }
    };
    let mut found = Vec::new();
    for slot in &slots {
        if let Err(error) = &slot.info {
            found.push(Finding::warning(
                format!("key slot {} cannot be read: {error}", slot.id.short()),
                "put it back from a copy of the repository: slots never change",
            ));
        }
    }
    let others: Vec<&str> = slots
        .iter()
        .filter(|slot| !slot.is_current)
        .filter_map(|slot| slot.info.as_ref().ok())
        .map(|info| if info.label.is_empty() { "without a label" } else { info.label.as_str() })
        .collect();
    found.push(match others.is_empty() {
        true => Finding::warning(
            "the password in use is the only way in: if it is lost with this machine, so is everything",
            format!("mrs-backup key sheet - --recovery-key -i {name} | lp"),
        ),
        false => Finding::ok(format!("there is another way in than the password in use: {}", others.join(", "))),
    });
    found
}
