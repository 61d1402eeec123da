//! Which waiting segments to close a pack with, so that it ends just below a PADME size.
//!
//! PADME sizes of packs of 8 to 64 MiB lie 256 KiB to 1 MiB apart: a pack that ends anywhere wastes half of that,
//! one to three percent. A few dozen waiting segments give thousands of sums, of which one is
//! nearly always within a kilobyte of such a size.

use crate::crypto::padme::padme;

/// Up to this many waiting segments every combination is tried.
const EXHAUSTIVE: usize = 12;

/// Segments to close a pack with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// Their places among the waiting ones, ascending.
    pub members: Vec<usize>,
    /// Bytes of padding that are left.
    pub padding: u64,
}

/// The choice that wastes least of a pack that is `fixed` bytes long already (all but its padding)
/// and may reach `limit`. `weights` are what each waiting segment adds. `None` if nothing fits;
/// no members is a choice only if `may_be_empty`.
///
/// With more than [`EXHAUSTIVE`] segments, the oldest so many and up to two others are tried: most of
/// a pack stays in the order of its streams, which is the order a restore reads.
pub(super) fn best_choice(
    fixed: u64,
    weights: &[u64],
    limit: u64,
    may_be_empty: bool,
) -> Option<Choice> {
    let mut search = Search { limit, best: None };
    if weights.len() <= EXHAUSTIVE {
        for set in u32::from(!may_be_empty)..1 << weights.len() {
            let members = (0..weights.len()).filter(|at| set >> at & 1 == 1);
            let sum: u64 = members.clone().map(|at| weights[at]).sum();
            search.offer(fixed + sum, || members.collect());
        }
    } else {
        let mut sum = fixed;
        for prefix in 0..=weights.len() {
            if prefix > 0 {
                sum += weights[prefix - 1];
            }
            if sum > limit {
                break;
            }
            search.around(sum, weights, prefix, may_be_empty || prefix > 0);
        }
    }
    search.best.map(|(_, choice)| choice)
}

struct Search {
    limit: u64,
    /// With its cost.
    best: Option<(u64, Choice)>,
}

impl Search {
    /// Tries the first `prefix` segments, of `sum` bytes with the pack, alone and with one or two more.
    fn around(&mut self, sum: u64, weights: &[u64], prefix: usize, alone: bool) {
        let first = |more: &[usize]| (0..prefix).chain(more.iter().copied()).collect();
        if alone {
            self.offer(sum, || first(&[]));
        }
        // With the segment right after the prefix it would be the next prefix.
        for one in prefix + 1..weights.len() {
            let with_one = sum + weights[one];
            if with_one > self.limit {
                continue;
            }
            self.offer(with_one, || first(&[one]));
            for (two, weight) in weights.iter().enumerate().skip(one + 1) {
                self.offer(with_one + weight, || first(&[one, two]));
            }
        }
    }

    /// Takes a choice that makes a pack of `len` bytes if it is the cheapest so far. Besides its
    /// padding a pack costs 1/512 of what it stays below the limit: between equals, the longer.
    fn offer(&mut self, len: u64, members: impl FnOnce() -> Vec<usize>) {
        let padded = padme(len);
        if padded > self.limit {
            return;
        }
        let padding = padded - len;
        let cost = padding + (self.limit - padded) / 512;
        if self.best.as_ref().is_none_or(|(least, _)| cost < *least) {
            self.best = Some((cost, Choice { members: members(), padding }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 16 << 20;

    #[test]
    fn it_finds_the_combination_that_fits() {
        // 12 MiB is a PADME size; the second and fourth reach it exactly.
        let weights = [70_001, 200_000, 90_000, 56_000];
        let fixed = (12 << 20) - 256_000;
        let choice = best_choice(fixed, &weights, 12 << 20, true).unwrap();
        assert_eq!(choice, Choice { members: vec![1, 3], padding: 0 });
    }

    #[test]
    fn many_segments_keep_their_order_but_for_the_last_two() {
        let weights: Vec<u64> = (0..40).map(|n| 20_000 + n * n * 997 % 80_000).collect();
        let choice = best_choice(14 << 20, &weights, LIMIT, true).unwrap();
        assert!(choice.padding < 1000, "{choice:?}");
        let out_of_order =
            choice.members.iter().enumerate().filter(|(at, member)| at != *member).count();
        assert!(out_of_order <= 2, "{choice:?}");
    }

    #[test]
    fn nothing_fits_or_only_nothing() {
        assert_eq!(best_choice(LIMIT - 10, &[11, 12], LIMIT, false), None);
        let empty = best_choice(LIMIT - 10, &[11, 12], LIMIT, true).unwrap();
        assert_eq!(empty, Choice { members: vec![], padding: 10 });
        assert_eq!(best_choice(LIMIT + 1, &[], LIMIT, true), None);
        assert_eq!(best_choice(LIMIT - 10, &[11; 20], LIMIT, false), None);
        let one = best_choice(LIMIT - 10, &[10; 20], LIMIT, false).unwrap();
        assert_eq!(one.members, [0]);
    }
}
