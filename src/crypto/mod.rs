//! What keeps the data secret: passwords, keys, sealing and keyed hashes.
//!
//! Who we defend against: whoever holds the store (a stolen disk, a curious or hostile FTP server). They see
//! names, sizes and times of objects, may change, drop, replay or swap them, and must learn nothing
//! and cause nothing but a named error. Sealing binds every byte to its repository, its kind and
//! its place, so a swapped object fails to open. `docs/format.md` sections 2 to 5 give each byte.

pub mod envelope;
pub mod keyring;
pub mod padme;
pub mod random;
mod sealed;
pub mod secret;
pub mod slot;
pub mod xaes;

pub use keyring::{Keyring, Purpose};
pub use random::{Randomness, SystemRandom};
pub use secret::{Secret, SecretKey};
