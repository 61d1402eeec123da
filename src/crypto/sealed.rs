//! `sealed(key, ad, text)` of format.md section 2: nonce, ciphertext and tag, with a hedged nonce.

use super::keyring::{OpenError, SEAL_OVERHEAD};
use super::random::{Randomness, random_bytes};
use super::secret::SecretKey;
use super::xaes::{self, NONCE};

/// Appends `nonce(24) ‖ ciphertext ‖ tag(16)` to `out`; `text` is copied once and encrypted where
/// it then lies.
pub(super) fn seal_into(
    key: &SecretKey,
    nonce_key: &SecretKey,
    ad: &[u8],
    text: &[u8],
    random: &dyn Randomness,
    out: &mut Vec<u8>,
) {
    let nonce = hedged_nonce(nonce_key, ad, text, random);
    out.reserve(text.len().saturating_add(SEAL_OVERHEAD));
    out.extend_from_slice(&nonce);
    let start = out.len();
    out.extend_from_slice(text);
    let tag = xaes::seal_detached(key.expose(), &nonce, ad, &mut out[start..]);
    out.extend_from_slice(&tag);
}

/// The text of `sealed`.
pub(super) fn open(key: &SecretKey, ad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    if sealed.len() < SEAL_OVERHEAD {
        return Err(OpenError::TooShort);
    }
    let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or(OpenError::TooShort)?;
    Ok(xaes::open_to_vec(key.expose(), nonce, ad, rest)?)
}

/// A nonce that stays unique even if the generator repeats itself (a cloned virtual machine, a
/// broken kernel): it depends on what is sealed too, so it repeats only for the very same text.
fn hedged_nonce(
    nonce_key: &SecretKey,
    ad: &[u8],
    text: &[u8],
    random: &dyn Randomness,
) -> [u8; NONCE] {
    let mut hasher = blake3::Hasher::new_keyed(nonce_key.expose());
    hasher.update(&(ad.len() as u64).to_le_bytes()).update(ad).update(text);
    hasher.update(&random_bytes::<32>(random));
    let mut nonce = [0; NONCE];
    nonce.copy_from_slice(&hasher.finalize().as_bytes()[..NONCE]);
    zeroize::Zeroize::zeroize(&mut hasher);
    nonce
}
