//! The usual people of a site, and their tokens.

use super::site::PASSWORD;
use watchkeeper::approval::people::Role;
use watchkeeper::approval::{Access, Token, TokenKind, User, secrets};

/// The tokens of the usual people.
#[derive(Clone, Default)]
pub struct Tokens {
    /// Brings alerts.
    pub hook: String,
    pub viewer: String,
    pub responder: String,
    pub sre: String,
}

/// Kim, Rita and Vera, and a token of each kind.
pub fn usual() -> (Access, Tokens) {
    let user =
        |name: &str, role| User { name: name.into(), role, password_hash: quick_hash(PASSWORD) };
    let mut tokens = Vec::new();
    let mut token = |name: &str, kind, role| {
        let new = secrets::new_token();
        let hash = new.hash;
        tokens.push(Token { name: name.into(), kind, hash, role, source: None });
        new.shown_once
    };
    let shown = Tokens {
        hook: token("alertmanager", TokenKind::Webhook, None),
        viewer: token("board", TokenKind::Api, Some(Role::Viewer)),
        responder: token("bot", TokenKind::Api, Some(Role::Responder)),
        sre: token("robot", TokenKind::Api, Some(Role::Sre)),
    };
    let users =
        vec![user("kim", Role::Sre), user("rita", Role::Responder), user("vera", Role::Viewer)];
    (Access { users, tokens }, shown)
}

/// A hash that costs nothing to check.
pub fn quick_hash(password: &str) -> String {
    use argon2::password_hash::{PasswordHasher, SaltString};
    let params = argon2::Params::new(8, 1, 1, None).unwrap();
    let salt = SaltString::encode_b64(b"some salt").unwrap();
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password(password.as_bytes(), &salt)
        .unwrap()
        .to_string()
}
