//! A few ASCII letters that need no memory of their own: what numbers and their check digits are put together in.

/// Most letters.
const MOST: usize = 48;

/// Letters.
#[derive(Debug, Clone, Copy)]
pub struct Short {
    letters: [u8; MOST],
    len: usize,
}

impl Default for Short {
    fn default() -> Self {
        Self::new()
    }
}

impl Short {
    /// None.
    pub const fn new() -> Self {
        Self { letters: [0; MOST], len: 0 }
    }

    /// All of `letters`; `None`: they are not all ASCII, or more than fit.
    pub fn collect(letters: impl Iterator<Item = char>) -> Option<Self> {
        let mut all = Self::new();
        for letter in letters {
            *all.letters.get_mut(all.len)? = u8::try_from(letter).ok().filter(u8::is_ascii)?;
            all.len += 1;
        }
        Some(all)
    }

    /// `number`, in at least `width` digits.
    pub fn number(number: u64, width: usize) -> Self {
        let mut made = Self::new();
        made.push_number(number, width);
        made
    }

    /// Adds letters. What does not fit is left out: who puts numbers together knows how long they are.
    pub fn push(&mut self, text: &str) {
        for letter in text.bytes().filter(u8::is_ascii) {
            let Some(place) = self.letters.get_mut(self.len) else { break };
            *place = letter;
            self.len += 1;
        }
    }

    /// Adds a number in at least `width` digits.
    pub fn push_number(&mut self, number: u64, width: usize) {
        let digits = match number {
            0..=9 => 1,
            10..=99 => 2,
            _ => number.ilog10() as usize + 1,
        };
        let end = self.len + digits.max(width);
        let mut rest = number;
        for place in self.letters.get_mut(self.len..end).unwrap_or_default().iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        self.len = end.min(MOST);
    }

    /// The letters.
    pub fn text(&self) -> &str {
        str::from_utf8(self.letters.get(..self.len).unwrap_or_default()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_filled_up_with_zeros() {
        for (number, width, wanted) in [
            (0, 1, "0"),
            (7, 3, "007"),
            (1234, 2, "1234"),
            (10, 0, "10"),
            (u64::MAX, 20, "18446744073709551615"),
        ] {
            assert_eq!(Short::number(number, width).text(), wanted);
        }
        let mut short = Short::collect("FR".chars()).unwrap();
        short.push_number(5, 2);
        short.push("x");
        assert_eq!(short.text(), "FR05x");
    }

    #[test]
    fn only_what_fits_is_taken() {
        assert!(Short::collect("é".chars()).is_none());
        assert!(Short::collect("x".repeat(MOST).chars()).is_some());
        assert!(Short::collect("x".repeat(MOST + 1).chars()).is_none());
        let mut short = Short::new();
        (0..MOST).for_each(|_| short.push("xy"));
        assert_eq!(short.text().len(), MOST);
    }
}
