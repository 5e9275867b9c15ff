//! Judges names of settings: does the value beside `db_password` or `page_token` need hiding?
//!
//! In: a key as written anywhere (`DB_PASSWORD`, `clientSecret`, `x-api-key`). Out: what kind of
//! secret its value is, or nothing. The last words decide, so that `password_file`, `token_type`
//! and `secretKeyRef` stay readable. To add a name extend the lists here.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Password,
    /// `pass`, which also counts passed tests.
    Pass,
    /// `pwd`, which is also the working directory.
    Pwd,
    Token,
    Secret,
    /// `secret` alone, which is also the name of a Kubernetes object.
    SecretName,
    Key,
    /// `authorization` and its relatives: a scheme, then the credentials.
    Authorization,
    Cookie,
    SetCookie,
}

impl Meaning {
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Password | Self::Pass | Self::Pwd => "password",
            Self::Token => "token",
            Self::Secret | Self::SecretName => "secret",
            Self::Key => "key",
            Self::Authorization => "authorization",
            Self::Cookie | Self::SetCookie => "cookie",
        }
    }
}

/// Longest key that is judged; longer ones are not names of settings.
pub(super) const NAME_BYTES_MAX: usize = 96;

/// Words after the telling word that do not change what the value is.
const QUALIFIERS: &[&str] = &[
    "prod",
    "production",
    "staging",
    "dev",
    "test",
    "old",
    "new",
    "current",
    "previous",
    "primary",
    "secondary",
    "base64",
    "b64",
    "value",
    "plain",
    "plaintext",
    "text",
    "raw",
    "hash",
    "hashed",
    "encrypted",
    "enc",
    "main",
    "default",
    "confirm",
    "confirmation",
    "again",
    "repeat",
    "data",
    "v1",
    "v2",
    "admin",
    "root",
];

/// Words before `token` that make it a cursor or a unit of text.
const CURSORS: &[&str] = &[
    "page",
    "next",
    "continuation",
    "continue",
    "sync",
    "cancellation",
    "pagination",
    "unexpected",
    "cursor",
    "resume",
    "parser",
    "stop",
    "eos",
    "pad",
    "client_request",
    "idempotency",
    "fencing",
];

/// Words before `secret` that make it the name of a Kubernetes object.
const OBJECT_OWNERS: &[&str] =
    &["pull", "tls", "image", "ca", "cert", "certificate", "existing", "registry"];

/// Words before `key` (or `keys`) that make it a secret.
const KEY_OWNERS: &[&str] = &[
    "api",
    "access",
    "secret",
    "private",
    "account",
    "shared",
    "encryption",
    "signing",
    "master",
    "storage",
    "service",
    "license",
    "licence",
    "routing",
    "integration",
    "auth",
    "app",
    "application",
    "subscription",
    "write",
    "admin",
    "deploy",
    "webhook",
    "hmac",
    "aes",
    "jwt",
    "session",
    "cookie",
    "client",
    "gateway",
    "ingest",
    "insights",
    "instrumentation",
    "function",
    "host_private",
    "consumer",
    "sas",
    "bot",
    "rsa",
    "crypto",
    "cipher",
    "unseal",
    "wrapping",
];

/// Judges one key.
pub(super) fn meaning(key: &[u8]) -> Option<Meaning> {
    if key.len() > NAME_BYTES_MAX {
        return None;
    }
    let words = words(key);
    let mut words: &[String] = &words;
    while let [rest @ .., last] = words {
        let filler =
            QUALIFIERS.contains(&last.as_str()) || last.bytes().all(|byte| byte.is_ascii_digit());
        if !filler || rest.is_empty() {
            break;
        }
        words = rest;
    }
    let (last, before) = words.split_last()?;
    let last = last.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let owner = before.last().map_or("", String::as_str);
    by_last_word(last, owner)
}

fn by_last_word(last: &str, owner: &str) -> Option<Meaning> {
    let ends = |tails: &[&str]| tails.iter().any(|tail| last.ends_with(tail));
    if ends(&["password", "passwd", "passphrase", "passcode", "passwort", "passwords"]) {
        return Some(Meaning::Password);
    }
    match last {
        "pwd" if owner == "old" => return None,
        "pwd" if owner.is_empty() => return Some(Meaning::Pwd),
        "pwd" | "psw" | "pswd" => return Some(Meaning::Password),
        "pass" if owner == "proxy" || owner == "fastcgi" || owner == "uwsgi" => return None,
        "pass" => return Some(Meaning::Pass),
        "token" if CURSORS.contains(&owner) => return None,
        "secret" if owner.is_empty() || OBJECT_OWNERS.contains(&owner) => {
            return Some(Meaning::SecretName);
        }
        "authorization" => return Some(Meaning::Authorization),
        "cookie" if owner == "set" => return Some(Meaning::SetCookie),
        "cookie" | "cookies" => return Some(Meaning::Cookie),
        "auth" | "sessionid" | "phpsessid" | "jsessionid" | "sid" => {
            return Some(Meaning::Token);
        }
        "id" if owner == "session" => return Some(Meaning::Token),
        "credential" | "credentials" | "creds" => return Some(Meaning::Key),
        "signature" | "sig" if matches!(owner, "amz" | "goog" | "access") => {
            return Some(Meaning::Key);
        }
        "key" | "keys" if KEY_OWNERS.contains(&owner) => return Some(Meaning::Key),
        _ => {}
    }
    if ends(&["token", "jwt"]) {
        return Some(Meaning::Token);
    }
    if ends(&["secret", "secrets"]) && last != "secrets" {
        return Some(Meaning::Secret);
    }
    let joined = last.strip_suffix("key").is_some_and(|owner| KEY_OWNERS.contains(&owner))
        || ends(&["apikey", "secretkey", "accesskey", "privatekey", "accountkey"]);
    (joined || ends(&["accesssignature"])).then_some(Meaning::Key)
}

/// Splits at punctuation and at camel humps, lower case.
fn words(key: &[u8]) -> Vec<String> {
    let mut words: Vec<String> = Vec::with_capacity(4);
    let mut word = String::new();
    for (index, byte) in key.iter().enumerate() {
        let hump = byte.is_ascii_uppercase()
            && index > 0
            && (key[index - 1].is_ascii_lowercase()
                || (key[index - 1].is_ascii_uppercase()
                    && key.get(index + 1).is_some_and(u8::is_ascii_lowercase)));
        if (hump || !byte.is_ascii_alphanumeric()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if byte.is_ascii_alphanumeric() {
            word.push(byte.to_ascii_lowercase() as char);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_recognised_in_every_spelling() {
        for (key, wanted) in [
            ("DB_PASSWORD", Meaning::Password),
            ("spring.datasource.password", Meaning::Password),
            ("PGPASSWORD", Meaning::Password),
            ("rootPassword2", Meaning::Password),
            ("clientSecret", Meaning::Secret),
            ("aws_secret_access_key", Meaning::Key),
            ("apiKey", Meaning::Key),
            ("APIKEY", Meaning::Key),
            ("x-api-key", Meaning::Key),
            ("AccountKey", Meaning::Key),
            ("client-key-data", Meaning::Key),
            ("_authToken", Meaning::Token),
            ("X-Vault-Token", Meaning::Token),
            ("Proxy-Authorization", Meaning::Authorization),
            ("Set-Cookie", Meaning::SetCookie),
            ("secret", Meaning::SecretName),
        ] {
            assert_eq!(meaning(key.as_bytes()), Some(wanted), "{key}");
        }
    }

    #[test]
    fn names_that_only_mention_secrets_are_left() {
        for key in [
            "password_file",
            "token_type",
            "max_tokens",
            "tokenizer",
            "secretName",
            "secretKeyRef",
            "imagePullSecrets",
            "next_page_token",
            "public_key",
            "cache_key",
            "primary-key",
            "author",
            "passed",
            "OLDPWD",
            "proxy_pass",
            "keyspace",
            "password_expires_at",
        ] {
            assert_eq!(meaning(key.as_bytes()), None, "{key}");
        }
    }
}
