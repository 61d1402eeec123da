//! Division by a number that stays the same: two multiplications instead of a division, which takes many times as long.

/// A number to divide by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Divisor {
    value: u64,
    /// 2^64 - 1 divided by it.
    inverse: u64,
}

impl Divisor {
    /// Of `value`; of 1 if that is 0.
    pub const fn new(value: u64) -> Self {
        let value = if value == 0 { 1 } else { value };
        Self { value, inverse: u64::MAX / value }
    }

    /// The quotient of `number` and its remainder.
    pub const fn divide(self, number: u64) -> (u64, u64) {
        // The estimate is the quotient or one less: the inverse is too small by less than one part in 2^64.
        let estimate = ((number as u128 * self.inverse as u128) >> 64) as u64;
        let rest = number.wrapping_sub(estimate.wrapping_mul(self.value));
        if rest >= self.value {
            (estimate.wrapping_add(1), rest.wrapping_sub(self.value))
        } else {
            (estimate, rest)
        }
    }

    /// The remainder of `number`.
    pub const fn rest(self, number: u64) -> u64 {
        self.divide(number).1
    }

    /// The number.
    pub const fn value(self) -> u64 {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ends_are_divided_as_all_else() {
        for value in [1, 2, 3, 7, 10, 62, 64, 97, 1 << 32, (1 << 62) - 1, 1 << 63, u64::MAX] {
            for number in [0, 1, value - 1, value, value.saturating_add(1), u64::MAX - 1, u64::MAX]
            {
                let wanted = (number / value, number % value);
                assert_eq!(Divisor::new(value).divide(number), wanted, "{number} by {value}");
            }
        }
        assert_eq!(Divisor::new(0).divide(5), (5, 0));
    }

    proptest! {
        #[test]
        fn it_is_the_division(number: u64, value in 1_u64.., shift in 0_u32..64) {
            let value = (value >> shift).max(1);
            prop_assert_eq!(Divisor::new(value).divide(number), (number / value, number % value));
        }
    }
}
