//! Why a source is not complete.

use crate::event::counted;

/// How many reasons a snapshot names. Each is told when it is met; a disk that fails in the middle of
/// millions of files is no reason for a snapshot object of hundreds of megabytes.
const NAMED: usize = 1000;

/// Reasons in the order they were met.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    named: Vec<String>,
    more: u64,
}

impl Reasons {
    /// Adds one.
    pub fn push(&mut self, reason: String) {
        if self.named.len() < NAMED {
            self.named.push(reason);
        } else {
            self.more += 1;
        }
    }

    /// All that are named, and how many are not.
    pub fn into_list(self) -> Vec<String> {
        let mut list = self.named;
        if self.more > 0 {
            list.push(format!("{} more", counted(self.more, "entry")));
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_named_and_the_rest_counted() {
        let mut reasons = Reasons::default();
        (0..NAMED + 2).for_each(|n| reasons.push(format!("file {n}")));
        let list = reasons.into_list();
        assert_eq!(list.len(), NAMED + 1);
        assert_eq!(list[NAMED - 1..], ["file 999", "2 entries more"]);
        assert!(Reasons::default().into_list().is_empty());
    }
}
