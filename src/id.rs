//! Names of things: 32-byte identifiers that cannot be mistaken for one another.
//!
//! Every identifier prints as lower-case hex and is written in CBOR as a byte string. `Debug` and
//! [`short`](ChunkId::short) give the first eight digits, which is what people are shown.

use std::fmt;
use std::str::FromStr;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an identifier: expected {digits} hexadecimal digits")]
pub struct ParseIdError {
    text: String,
    digits: usize,
}

/// Lower-case hexadecimal digits of `bytes`.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Bytes of lower-case hexadecimal `text`, or `None` if its length or a digit is wrong.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $size:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $size]);

        impl $name {
            /// Length in bytes.
            pub const SIZE: usize = $size;

            /// The identifier made of these bytes.
            pub const fn new(bytes: [u8; $size]) -> Self {
                Self(bytes)
            }

            /// The identifier in `bytes`, or `None` if their number is wrong.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; $size] {
                &self.0
            }

            /// All its hexadecimal digits.
            pub fn to_hex(&self) -> String {
                to_hex(&self.0)
            }

            /// The first eight digits, for people.
            pub fn short(&self) -> String {
                to_hex(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                from_hex(text).map(Self).ok_or_else(|| ParseIdError {
                    text: text.chars().take(80).collect(),
                    digits: $size * 2,
                })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.to_hex())
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(
                d: &mut minicbor::Decoder<'b>,
                _: &mut C,
            ) -> Result<Self, minicbor::decode::Error> {
                let bytes = d.bytes()?;
                Self::from_slice(bytes).ok_or_else(|| {
                    minicbor::decode::Error::message(concat!(
                        "wrong length of ",
                        stringify!($name)
                    ))
                })
            }
        }
    };
}

id_type!(
    /// Keyed hash of a chunk's bytes: the unit of deduplication.
    ChunkId, 32);
id_type!(
    /// Keyed hash of a segment's raw bytes. Of a segment with one chunk it equals the chunk's id.
    SegmentId, 32);
id_type!(
    /// SHA-256 of a pack's bytes, and its name.
    PackId, 32);
id_type!(
    /// SHA-256 of a snapshot object's bytes, and its name.
    SnapshotId, 32);
id_type!(
    /// SHA-256 of any other object's bytes (keys, index, condemned, receipts), and its name.
    ObjectId, 32);
id_type!(
    /// Drawn at random when a repository is made; everything sealed in it is bound to it.
    RepositoryId, 32);
id_type!(
    /// Drawn at random for each writer at work.
    SessionId, 16);

impl From<ChunkId> for SegmentId {
    fn from(chunk: ChunkId) -> Self {
        Self(chunk.0)
    }
}

/// Which key epoch sealed something. The first is 1.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    minicbor::Encode,
    minicbor::Decode,
    serde::Serialize,
)]
#[cbor(transparent)]
pub struct KeyId(#[n(0)] pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_its_digits() {
        let id = ChunkId::new([0xa7; 32]);
        assert_eq!(id.to_hex().parse(), Ok(id));
        assert_eq!(id.short(), "a7a7a7a7");
    }

    #[test]
    fn other_lengths_and_letters_are_refused() {
        for text in ["", "a7", &"g".repeat(64), &"A7".repeat(32), &"a".repeat(63)] {
            assert!(text.parse::<ChunkId>().is_err(), "{text}");
        }
    }
}
