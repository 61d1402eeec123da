//! Polynomials of texts modulo 2^61 - 1 at a secret point: that of any part of a text follows from those of its beginnings.
//!
//! Of letters `a b c` it is `(a + 1) x^2 + (b + 1) x + (c + 1)`. Four letters are taken at once: their products do not wait
//! for each other.

use super::originals::LONGEST;

/// What all is counted modulo.
pub const MODULUS: u64 = (1 << 61) - 1;

/// `number`, below 2^124, modulo 2^61 - 1.
#[inline]
const fn reduce(number: u128) -> u64 {
    let sum = (number as u64 & MODULUS).wrapping_add((number >> 61) as u64);
    let sum = (sum & MODULUS).wrapping_add(sum >> 61);
    if sum >= MODULUS { sum - MODULUS } else { sum }
}

/// The sum of products, which are few and below 2^122.
#[inline]
fn sums<const N: usize>(products: [(u64, u64); N]) -> u128 {
    let products = products.map(|(one, two)| u128::from(one).wrapping_mul(u128::from(two)));
    products.iter().fold(0, |sum, product| sum.wrapping_add(*product))
}

/// A secret point, and its powers.
#[derive(Clone)]
pub struct Point {
    powers: [u64; LONGEST + 1],
}

impl Point {
    /// Of a number below the modulus.
    pub fn new(point: u64) -> Self {
        let mut powers = [1; LONGEST + 1];
        let mut last = 1;
        for power in powers.iter_mut().skip(1) {
            last = reduce(u128::from(last) * u128::from(point));
            *power = last;
        }
        Self { powers }
    }

    /// The polynomials of all beginnings of the next four letters behind one whose polynomial is `sum`.
    #[inline]
    fn four(&self, sum: u64, letters: [u8; 4]) -> [u64; 4] {
        let [_, one, two, three, four, ..] = self.powers;
        let [a, b, c, d] = letters.map(|letter| u64::from(letter) + 1);
        [
            reduce(sums([(sum, one), (a, 1)])),
            reduce(sums([(sum, two), (a, one), (b, 1)])),
            reduce(sums([(sum, three), (a, two), (b, one), (c, 1)])),
            reduce(sums([(sum, four), (a, three), (b, two), (c, one), (d, 1)])),
        ]
    }

    #[inline]
    fn next(&self, sum: u64, letter: u8) -> u64 {
        let [_, one, ..] = self.powers;
        reduce(sums([(sum, one), (u64::from(letter) + 1, 1)]))
    }

    /// That of `letters`.
    pub fn polynomial(&self, letters: &[u8]) -> u64 {
        let (fours, rest) = letters.as_chunks::<4>();
        let sum = fours.iter().fold(0, |sum, letters| {
            let [.., last] = self.four(sum, *letters);
            last
        });
        rest.iter().fold(sum, |sum, letter| self.next(sum, *letter))
    }

    /// Those of all beginnings of `letters`, from that of nothing to that of all.
    pub fn beginnings(&self, letters: &[u8], sums: &mut Vec<u64>) {
        sums.clear();
        sums.reserve(letters.len() + 1);
        sums.push(0);
        let (fours, rest) = letters.as_chunks::<4>();
        let mut sum = 0;
        for letters in fours {
            let made = self.four(sum, *letters);
            [.., sum] = made;
            sums.extend_from_slice(&made);
        }
        for letter in rest {
            sum = self.next(sum, *letter);
            sums.push(sum);
        }
    }

    /// That of the last `len` letters of a text of polynomial `whole`, of which the letters before have `before`; `None`: more
    /// letters than are looked at.
    pub fn part(&self, before: u64, whole: u64, len: usize) -> Option<u64> {
        let power = self.powers.get(len)?;
        let taken = reduce(sums([(before, *power)]));
        Some(if whole >= taken { whole - taken } else { whole + MODULUS - taken })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_ways_lead_to_the_polynomial(
            point in 0..MODULUS,
            letters in proptest::collection::vec(any::<u8>(), 0..70),
            cut in 0_usize..70,
        ) {
            let slowly = |letters: &[u8]| letters.iter().fold(0_u64, |sum, letter| {
                let next = u128::from(sum) * u128::from(point) + u128::from(*letter) + 1;
                (next % u128::from(MODULUS)) as u64
            });
            let key = Point::new(point);
            prop_assert_eq!(key.polynomial(&letters), slowly(&letters));
            let mut sums = vec![5; 3];
            key.beginnings(&letters, &mut sums);
            let wanted: Vec<u64> = (0..=letters.len()).map(|len| slowly(&letters[..len])).collect();
            prop_assert_eq!(&sums, &wanted);
            let cut = cut.min(letters.len());
            let len = letters.len() - cut;
            match key.part(sums[cut], sums[letters.len()], len) {
                Some(part) => prop_assert_eq!(part, slowly(&letters[cut..])),
                None => prop_assert!(len > LONGEST),
            }
        }
    }
}
