//! XAES-256-GCM (C2SP), built on the `aes-gcm` crate.

/// The text does not open with this key and associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it was changed, damaged, or sealed with other keys")]
pub struct NotAuthentic;

/// Encrypts `buffer` in place and appends the tag of 16 bytes.
pub fn seal(key: &[u8; 32], nonce: &[u8; 24], ad: &[u8], buffer: &mut Vec<u8>) {
    let _ = (key, nonce, ad, buffer);
    todo!()
}

/// Checks and decrypts `buffer` (ciphertext and tag) in place; the tag is cut off.
pub fn open(
    key: &[u8; 32],
    nonce: &[u8; 24],
    ad: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<(), NotAuthentic> {
    let _ = (key, nonce, ad, buffer);
    todo!()
}
