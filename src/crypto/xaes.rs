//! XAES-256-GCM (C2SP), built on the `aes-gcm` crate.
//!
//! Its nonce of 24 bytes may be drawn at random for any number of messages. The first half and the
//! key give, by AES-CMAC, the key of an ordinary AES-256-GCM whose nonce is the second half.
//! Source: <https://github.com/C2SP/C2SP/blob/main/XAES-256-GCM.md>.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aes::{Aes256, cipher::BlockCipherEncrypt};
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a nonce.
pub const NONCE: usize = 24;

/// Bytes of a tag.
pub const TAG: usize = 16;

/// The text does not open with this key and associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it was changed, damaged, or sealed with other keys")]
pub struct NotAuthentic;

/// Encrypts `buffer` in place and appends the tag of 16 bytes.
///
/// # Panics
/// With a text of 64 GiB or more, as [`seal_detached`].
pub fn seal(key: &[u8; 32], nonce: &[u8; NONCE], ad: &[u8], buffer: &mut Vec<u8>) {
    let tag = seal_detached(key, nonce, ad, buffer);
    buffer.extend_from_slice(&tag);
}

/// Encrypts `text` in place and gives the tag.
///
/// # Panics
/// With a text of 64 GiB or more, the limit of AES-GCM. Nothing here is larger than 1 GiB.
pub fn seal_detached(key: &[u8; 32], nonce: &[u8; NONCE], ad: &[u8], text: &mut [u8]) -> [u8; TAG] {
    let (cipher, nonce) = derive(key, nonce);
    #[expect(clippy::expect_used, reason = "only beyond 64 GiB, which no caller has")]
    let tag = cipher
        .encrypt_inout_detached((&nonce).into(), ad, text.into())
        .expect("a text is shorter than 64 GiB");
    tag.into()
}

/// Checks and decrypts `buffer` (ciphertext and tag) in place; the tag is cut off. After an error
/// `buffer` holds what it held before.
pub fn open(
    key: &[u8; 32],
    nonce: &[u8; NONCE],
    ad: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<(), NotAuthentic> {
    let (text, tag) = buffer.split_last_chunk_mut::<TAG>().ok_or(NotAuthentic)?;
    let length = text.len();
    let (cipher, nonce) = derive(key, nonce);
    cipher
        .decrypt_inout_detached((&nonce).into(), ad, text.into(), (&*tag).into())
        .map_err(|_| NotAuthentic)?;
    buffer.truncate(length);
    Ok(())
}

/// The text of `sealed` (ciphertext and tag), in a buffer of its own: one pass to check it, one to
/// decrypt, and no copy besides.
pub fn open_to_vec(
    key: &[u8; 32],
    nonce: &[u8; NONCE],
    ad: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, NotAuthentic> {
    let (ciphertext, tag) = sealed.split_last_chunk::<TAG>().ok_or(NotAuthentic)?;
    let mut text = vec![0; ciphertext.len()];
    let buffers = InOutBuf::new(ciphertext, &mut text).map_err(|_| NotAuthentic)?;
    let (cipher, nonce) = derive(key, nonce);
    cipher
        .decrypt_inout_detached((&nonce).into(), ad, buffers, tag.into())
        .map_err(|_| NotAuthentic)?;
    Ok(text)
}

/// The cipher and nonce of AES-256-GCM that `key` and the long nonce give. The crates wipe their
/// key schedules when dropped; what lies in between is wiped here.
fn derive(key: &[u8; 32], nonce: &[u8; NONCE]) -> (Aes256Gcm, [u8; 12]) {
    let (salt, short) = halves(nonce);
    let derived = derive_key(key, &salt);
    (Aes256Gcm::new((&*derived).into()), short)
}

/// The nonce's half for the key, and the half for AES-256-GCM.
fn halves(nonce: &[u8; NONCE]) -> ([u8; 12], [u8; 12]) {
    let (mut salt, mut short) = ([0; 12], [0; 12]);
    salt.copy_from_slice(&nonce[..12]);
    short.copy_from_slice(&nonce[12..]);
    (salt, short)
}

/// `CMAC(key, M1) ‖ CMAC(key, M2)`: both are of one whole block, so K1 alone is needed.
fn derive_key(key: &[u8; 32], salt: &[u8; 12]) -> Zeroizing<[u8; 32]> {
    let aes = Aes256::new(key.into());
    let mut l = [0u8; 16];
    aes.encrypt_block((&mut l).into());
    let mut wide = u128::from_be_bytes(l);
    // No branch on the secret bit: the product is 0x87 or 0.
    let mut k1 = ((wide << 1) ^ (0x87 * (wide >> 127))).to_be_bytes();
    let mut derived = Zeroizing::new([0; 32]);
    for (half, counter) in derived.chunks_exact_mut(16).zip([1u8, 2]) {
        let mut block = [0u8; 16];
        block[..4].copy_from_slice(&[0, counter, b'X', 0]);
        block[4..].copy_from_slice(salt);
        for (byte, mask) in block.iter_mut().zip(&k1) {
            *byte ^= mask;
        }
        aes.encrypt_block((&mut block).into());
        half.copy_from_slice(&block);
        block.zeroize();
    }
    l.zeroize();
    k1.zeroize();
    wide.zeroize();
    derived
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{from_hex, to_hex};
    use sha3::digest::{ExtendableOutput, Update, XofReader};

    const N: &[u8; 24] = b"ABCDEFGHIJKLMNOPQRSTUVWX";
    const PLAIN: &[u8] = b"XAES-256-GCM";

    /// The two vectors of the specification: key byte, associated data, derived key, result. In the
    /// first the top bit of L is 0, in the second 1.
    const PUBLISHED: [(u8, &str, &str, &str); 2] = [
        (
            1,
            "",
            "c8612c9ed53fe43e8e005b828a1631a0bbcb6ab2f46514ec4f439fcfd0fa969b",
            "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271",
        ),
        (
            3,
            "c2sp.org/XAES-256-GCM",
            "e9c621d4cdd9b11b00a6427ad7e559aeedd66b3857646677748f8ca796cb3fd8",
            "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
        ),
    ];

    #[test]
    fn published_vectors() {
        for (byte, ad, derived, sealed) in PUBLISHED {
            let key = [byte; 32];
            assert_eq!(derive_key(&key, &halves(N).0)[..], from_hex::<32>(derived).unwrap());
            let mut buffer = PLAIN.to_vec();
            seal(&key, N, ad.as_bytes(), &mut buffer);
            assert_eq!(to_hex(&buffer), sealed);
            assert_eq!(open_to_vec(&key, N, ad.as_bytes(), &buffer).unwrap(), PLAIN);
            open(&key, N, ad.as_bytes(), &mut buffer).unwrap();
            assert_eq!(buffer, PLAIN);
        }
    }

    #[test]
    fn published_accumulated_vector_of_ten_thousand_messages() {
        let mut random = sha3::Shake128::default().finalize_xof();
        let mut total = sha3::Shake128::default();
        let mut take = |length: usize| {
            let mut bytes = vec![0; length];
            random.read(&mut bytes);
            bytes
        };
        for _ in 0..10_000 {
            let key: [u8; 32] = take(32).try_into().unwrap();
            let nonce: [u8; 24] = take(24).try_into().unwrap();
            let length = take(1)[0];
            let plain = take(length.into());
            let length = take(1)[0];
            let ad = take(length.into());
            let mut buffer = plain.clone();
            seal(&key, &nonce, &ad, &mut buffer);
            total.update(&buffer);
            open(&key, &nonce, &ad, &mut buffer).unwrap();
            assert_eq!(buffer, plain);
        }
        let mut digest = [0; 32];
        total.finalize_xof().read(&mut digest);
        assert_eq!(
            to_hex(&digest),
            "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"
        );
    }

    #[test]
    fn nothing_changed_or_cut_opens() {
        let key = [9; 32];
        let mut sealed = PLAIN.to_vec();
        seal(&key, N, b"ad", &mut sealed);
        for length in 0..sealed.len() {
            assert_eq!(open_to_vec(&key, N, b"ad", &sealed[..length]), Err(NotAuthentic));
            assert_eq!(open(&key, N, b"ad", &mut sealed[..length].to_vec()), Err(NotAuthentic));
        }
        for at in 0..sealed.len() {
            let mut other = sealed.clone();
            other[at] ^= 1;
            let before = other.clone();
            assert_eq!(open(&key, N, b"ad", &mut other), Err(NotAuthentic), "byte {at}");
            assert_eq!(other, before, "no unchecked text is left behind");
        }
        for at in 0..24 {
            let mut nonce = *N;
            nonce[at] ^= 0x80;
            assert_eq!(open_to_vec(&key, &nonce, b"ad", &sealed), Err(NotAuthentic));
        }
        assert_eq!(open_to_vec(&key, N, b"aD", &sealed), Err(NotAuthentic));
        assert_eq!(open_to_vec(&[8; 32], N, b"ad", &sealed), Err(NotAuthentic));
    }
}
