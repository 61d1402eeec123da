//! Tells incompressible data from a sample.

use std::cell::RefCell;

use zstd::bulk::Compressor;

/// How much of a sample is looked at, in bytes.
const LOOKED_AT: usize = 64 << 10;
/// Below this a sample says too little: even random bytes have an uneven histogram.
const LEAST: usize = 4 << 10;
/// How much zstd is tried on, in bytes: the end of what is looked at, as headers are at the start.
const TRIED: usize = 32 << 10;
/// Bits per byte below which a Huffman code alone would gain some percent.
const ENTROPY: f64 = 7.8;

thread_local! {
    static QUICK: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
}

/// Whether `sample` (the first kilobytes of a stream) looks compressed or encrypted already.
///
/// The histogram of bytes rules most compressible data out within microseconds; what is left is
/// tried with zstd's fastest level, as e.g. repeated random bytes have a flat histogram too.
/// Samples shorter than 4 KiB never look so.
pub fn looks_incompressible(sample: &[u8]) -> bool {
    let sample = &sample[..sample.len().min(LOOKED_AT)];
    if sample.len() < LEAST || entropy(sample) < ENTROPY {
        return false;
    }
    let tried = &sample[sample.len().saturating_sub(TRIED)..];
    // 97% is where decompressing costs more than the bytes it saves.
    quick_len(tried).is_some_and(|len| len.saturating_mul(100) >= tried.len() * 97)
}

/// Order-0 entropy in bits per byte.
fn entropy(sample: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    for byte in sample {
        counts[usize::from(*byte)] += 1;
    }
    let total = sample.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / total)
        .map(|share| -share * share.log2())
        .sum()
}

/// Length after zstd at level 1; `None` if zstd fails, which leaves the choice to the sealer.
fn quick_len(sample: &[u8]) -> Option<usize> {
    QUICK.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Compressor::new(1).ok();
        }
        slot.as_mut()?.compress(sample).ok().map(|frame| frame.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(b"sample").finalize_xof().fill(&mut bytes);
        bytes
    }

    fn base64(bytes: &[u8]) -> Vec<u8> {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        bytes.iter().map(|byte| DIGITS[usize::from(byte & 63)]).collect()
    }

    fn json(len: usize) -> Vec<u8> {
        let noise = random(len);
        let mut text = Vec::new();
        for four in noise.chunks_exact(4) {
            text.extend(format!("{{\"id\":{},\"at\":{}}},\n", four[0], four[2]).bytes());
        }
        text.truncate(len);
        text
    }

    #[test]
    fn random_and_compressed_bytes_look_so() {
        for len in [4 << 10, 5000, 16 << 10, 64 << 10, 1 << 20] {
            assert!(looks_incompressible(&random(len)), "{len}");
        }
        let compressed = zstd::bulk::compress(&json(2 << 20), 3).unwrap();
        assert!(compressed.len() > 64 << 10);
        assert!(looks_incompressible(&compressed));
    }

    #[test]
    fn a_header_before_compressed_bytes_does_not_hide_them() {
        let mut bytes = vec![0; 1500];
        bytes.extend(random(100_000));
        assert!(looks_incompressible(&bytes));
    }

    #[test]
    fn what_compresses_does_not() {
        assert!(!looks_incompressible(&json(64 << 10)));
        assert!(!looks_incompressible(&vec![0; 64 << 10]));
        assert!(!looks_incompressible(&base64(&random(64 << 10))));
        assert!(
            !looks_incompressible(&random(8 << 10).repeat(8)),
            "repeats, with a flat histogram"
        );
    }

    #[test]
    fn short_samples_do_not() {
        for len in [0, 1, 100, 4095] {
            assert!(!looks_incompressible(&random(len)), "{len}");
        }
    }
}
