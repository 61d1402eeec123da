//! Words, names, numbers and times, appended to a buffer without going through `format!`.

use std::sync::LazyLock;

use rand::RngExt;
use rand::rngs::ChaCha8Rng;

pub static FIRST_NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| {
    "Marie Jeanne Françoise Monique Catherine Nathalie Isabelle Jacqueline Anne Sylvie \
     Martine Zoé Léa Chloé Inès Aïcha Yasmine Maëlys Jean Pierre Michel André Philippe René \
     Louis Alain Jacques Bernard Marcel Daniel Roger Gaël Loïc Mehdi Noé Théo Raphaël Hugo \
     Lucas Émile"
        .split(' ')
        .collect()
});

pub static LAST_NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| {
    "Martin Bernard Thomas Petit Robert Richard Durand Dubois Moreau Laurent Simon Michel \
     Lefèvre Leroy Roux David Bertrand Morel Fournier Girard Bonnet Dupont Lambert Fontaine \
     Rousseau Vincent Muller Faure André Mercier Blanc Guérin Boyer Garnier Chevalier \
     François Legrand Gauthier Garcia Perrin Robin Clément Morin Nicolas Henry Roussel \
     Mathieu Gautier Masson Marchand Duval Denis Dumont Lemaire Noël Meyer Dufour Meunier \
     Brun Blanchard Giraud Joly Rivière Lucas Brunet Gaillard Barbier Arnaud Martinez Gérard \
     Roche Renard Schmitt Roy Leroux Colin Vidal Caron Picard Nguyen"
        .split(' ')
        .collect()
});

pub static WORDS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    "request person insured caisse attachment bill distance expense parking transport date \
     status validated rejected pending comment user session token cache queryset filter \
     values order template context form field clean save delete create update view admin \
     inline widget email subject body spooler worker report export month count total mean \
     delay days none true false return raise import model class self kwargs args index unique \
     default"
        .split(' ')
        .collect()
});

pub fn pick<'a>(random: &mut ChaCha8Rng, from: &[&'a str]) -> &'a str {
    from[random.random_range(0..from.len() as u32) as usize]
}

pub fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// `words` separated by single blanks.
pub fn push_words(out: &mut Vec<u8>, random: &mut ChaCha8Rng, words: u32) {
    for word in 0..words {
        if word > 0 {
            out.push(b' ');
        }
        push(out, pick(random, &WORDS));
    }
}

pub fn push_number(out: &mut Vec<u8>, number: u64) {
    push_padded(out, number, 1);
}

/// `number` in decimal, with zeros in front up to `width` digits.
pub fn push_padded(out: &mut Vec<u8>, mut number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    while number > 0 {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits[first.min(digits.len() - width)..]);
}

pub fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// The UUID of row `id` of a table: the same wherever another table refers to it.
pub fn push_uuid(out: &mut Vec<u8>, table: u64, id: u64) {
    let bytes = ((u128::from(mix(table, id)) << 64) | u128::from(mix(id, !table))).to_be_bytes();
    for (number, group) in
        [&bytes[..4], &bytes[4..6], &bytes[6..8], &bytes[8..10], &bytes[10..]].iter().enumerate()
    {
        if number > 0 {
            out.push(b'-');
        }
        push_hex(out, group);
    }
}

/// SplitMix64's last step, over both numbers.
fn mix(one: u64, other: u64) -> u64 {
    let mut z = one.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ other.wrapping_add(0x632b_e59b_d9b4_e019);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `2024-03-01`, for seconds since 1970.
pub fn push_date(out: &mut Vec<u8>, seconds: u64) {
    // Days counted from 0000-03-01, so that the leap day is the last one of its year.
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    push_padded(out, era * 400 + year + u64::from(month <= 2), 4);
    out.push(b'-');
    push_padded(out, month, 2);
    out.push(b'-');
    push_padded(out, day, 2);
}

/// `2024-03-01 22:00:00.123456`
pub fn push_time(out: &mut Vec<u8>, seconds: u64, micros: u32) {
    push_date(out, seconds);
    for (separator, value) in
        [(b' ', seconds / 3600 % 24), (b':', seconds / 60 % 60), (b':', seconds % 60)]
    {
        out.push(separator);
        push_padded(out, value, 2);
    }
    out.push(b'.');
    push_padded(out, u64::from(micros), 6);
}
