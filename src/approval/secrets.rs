//! Passwords and tokens, made and compared. Only their hashes are ever written down.
//!
//! In: a password, or nothing. Out: an argon2id hash, or a random token with its hash.
//! Never: a secret kept, logged or compared in a time that tells how much of it was right.

use crate::model::call::sha256_hex;
use argon2::password_hash::{PasswordHash, PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Params, PasswordVerifier, Version};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore;

/// OWASP's first choice for argon2id: 19 MiB, two passes, one lane
/// (Password Storage Cheat Sheet).
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;

/// What a stranger's password is compared with, so that unknown names take as long as known ones.
pub const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$\
    bm9ib2R5IGF0IGFsbCE$VGhpcyBoYXNoIGJlbG9uZ3MgdG8gbm8gcGFzc3dvcmQ";

/// A token that is shown once, and what is kept of it.
pub struct NewToken {
    pub shown_once: String,
    pub hash: String,
}

/// Hashes a password for the access file; takes a few hundredths of a second on purpose.
///
/// # Errors
/// When the password is too long for the algorithm.
pub fn hash_password(password: &str) -> Result<String, String> {
    let mut salt = [0_u8; 16];
    rand::rng().fill_bytes(&mut salt);
    let cannot = |error: &dyn std::fmt::Display| format!("cannot hash the password: {error}");
    let salt = SaltString::encode_b64(&salt).map_err(|error| cannot(&error))?;
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|error| cannot(&error))?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password(password.as_bytes(), &salt)
        .map(|hash| hash.to_string())
        .map_err(|error| cannot(&error))
}

/// Whether a password belongs to a hash. The parameters are those of the hash.
pub fn is_password(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// Why a text is not a hash that [`is_password`] could compare with.
pub fn unfit_hash(hash: &str) -> Option<&'static str> {
    match PasswordHash::new(hash) {
        Ok(hash) if hash.algorithm != argon2::ARGON2ID_IDENT => Some("must be argon2id"),
        Ok(hash) if hash.hash.is_none() || hash.salt.is_none() => Some("is incomplete"),
        Ok(_) => None,
        Err(_) => Some("is not a hash of the form $argon2id$v=19$…"),
    }
}

/// Makes a token of 256 random bits.
pub fn new_token() -> NewToken {
    let shown_once = format!("wk_{}", random_text());
    let hash = sha256_hex(shown_once.as_bytes());
    NewToken { shown_once, hash }
}

/// 256 random bits as text that fits into URLs, cookies and headers.
pub fn random_text() -> String {
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_own_hash_only() {
        let hash = hash_password("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_eq!(unfit_hash(&hash), None);
        assert!(is_password("correct horse", &hash));
        assert!(!is_password("correct horse ", &hash));
        assert!(!is_password("correct horse", "correct horse"));
    }

    #[test]
    fn nobodys_hash_can_be_compared_with() {
        assert_eq!(unfit_hash(NOBODY), None);
        assert_eq!(unfit_hash("hunter2"), Some("is not a hash of the form $argon2id$v=19$…"));
        assert_eq!(unfit_hash(&NOBODY.replace("argon2id", "argon2i")), Some("must be argon2id"));
    }

    #[test]
    fn tokens_are_long_and_never_the_same() {
        let (one, other) = (new_token(), new_token());
        assert_eq!(one.shown_once.len(), 46);
        assert_ne!(one.shown_once, other.shown_once);
        assert_eq!(one.hash, sha256_hex(one.shown_once.as_bytes()));
    }
}
