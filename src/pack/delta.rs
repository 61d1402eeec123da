//! Deltas: zstd frames with another segment's raw bytes as prefix. What both have in common costs
//! next to nothing.

use zstd::zstd_safe::{self, CCtx, CParameter, DCtx, Strategy, compress_bound, get_error_name};

use super::reader::PackError;

/// Longest raw bytes of a delta and of its base, each.
pub const MAX_DELTA_LEN: usize = 8 << 20;
/// Shortest match looked for. Measured on a dump of which 1% changed: 5 to 7 differ by 4% in size.
const MIN_MATCH: u32 = 6;

/// Compresses `raw` against `base` into `frame`, which is emptied first. Both have 1 to
/// [`MAX_DELTA_LEN`] bytes.
///
/// zstd's fastest strategy is enough, as most of `raw` is one long match after the other, provided that
/// its table has room for the base: it remembers every third position of it. With the tables of levels 1
/// and 2 it forgets all but the end of the base and gains nothing.
pub fn compress_delta(base: &[u8], raw: &[u8], frame: &mut Vec<u8>) -> Result<(), PackError> {
    let window = log2_ceil(base.len() + raw.len()).clamp(17, 24);
    let table = (log2_ceil(base.len()).saturating_sub(1)).clamp(14, 22);
    let mut context = CCtx::create();
    for parameter in [
        CParameter::CompressionLevel(1),
        CParameter::Strategy(Strategy::ZSTD_fast),
        CParameter::WindowLog(window),
        CParameter::HashLog(table),
        CParameter::MinMatch(MIN_MATCH),
        CParameter::TargetLength(0),
        CParameter::ChecksumFlag(false),
        CParameter::ContentSizeFlag(true),
    ] {
        context.set_parameter(parameter).map_err(failed)?;
    }
    context.ref_prefix(base).map_err(failed)?;
    frame.clear();
    frame.reserve(compress_bound(raw.len()));
    context.compress2(frame, raw).map_err(failed)?;
    Ok(())
}

/// The `raw_len` bytes in a frame made against `base`; `None` if `frame` is anything but exactly one
/// such frame. Makes room only after the frame's own content size has been compared.
pub(super) fn inflate_delta(frame: &[u8], base: &[u8], raw_len: u32) -> Option<Vec<u8>> {
    let mut raw = super::layout::room_for(frame, raw_len)?;
    let mut context = DCtx::create();
    context.ref_prefix(base).ok()?;
    let written = context.decompress(&mut raw, frame).ok()?;
    (written == raw_len as usize && raw.len() == written).then_some(raw)
}

fn failed(code: zstd_safe::ErrorCode) -> PackError {
    PackError::Compress(get_error_name(code).to_owned())
}

fn log2_ceil(len: usize) -> u32 {
    len.max(1).next_power_of_two().trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: u32, changed: impl Fn(u32) -> bool) -> Vec<u8> {
        let row = |n: u32| {
            let seed = n << 1 | u32::from(changed(n));
            format!("{n}\t{}\n", blake3::hash(&seed.to_le_bytes()).to_hex())
        };
        (0..count).map(row).collect::<String>().into_bytes()
    }

    fn delta(base: &[u8], raw: &[u8]) -> Vec<u8> {
        let mut frame = b"left from before".to_vec();
        compress_delta(base, raw, &mut frame).unwrap();
        frame
    }

    #[test]
    fn it_costs_what_changed_at_every_size() {
        for count in [1, 100, 3_000, 14_000, 60_000] {
            let (old, new) = (rows(count, |_| false), rows(count, |n| n % 100 == 7));
            let frame = delta(&old, &new);
            assert_eq!(inflate_delta(&frame, &old, new.len() as u32), Some(new.clone()));
            let allowed = 100 + new.len() / 50;
            assert!(frame.len() < allowed, "{count} rows: {} of {}", frame.len(), new.len());
        }
    }

    #[test]
    fn a_base_of_another_length_serves_as_well() {
        let (old, new) = (rows(5_000, |_| false), rows(9_000, |n| n % 50 == 3));
        for (base, raw) in [(&old, &new), (&new, &old)] {
            let frame = delta(base, raw);
            assert_eq!(inflate_delta(&frame, base, raw.len() as u32).as_ref(), Some(raw));
        }
    }

    #[test]
    fn what_is_not_exactly_that_is_refused() {
        let (old, new) = (rows(500, |_| false), rows(500, |n| n == 9));
        let frame = delta(&old, &new);
        let len = new.len() as u32;
        assert_eq!(inflate_delta(&frame, &old, len - 1), None);
        assert_eq!(inflate_delta(&frame, &old, len + 1), None);
        assert_eq!(inflate_delta(&frame[..frame.len() - 1], &old, len), None);
        assert_eq!(inflate_delta(&[&frame[..], &[0]].concat(), &old, len), None);
        assert_eq!(inflate_delta(&[], &old, len), None);
        assert_ne!(inflate_delta(&frame, &new[..new.len() / 2], len), Some(new));
    }
}
