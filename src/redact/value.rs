//! Judges values beside secret-like names: a secret, or a placeholder, a status, a reference?
//!
//! In: the name's meaning, the value and how it was written. Out: yes or no. Never: looking at
//! anything else, so that the same value is judged alike in text, in JSON and in a stream.

use super::names::Meaning;

/// How a value was written; loose forms need more evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Quoted,
    Bare,
    /// Unquoted after a colon with more words behind: perhaps a sentence.
    Prose,
}

/// What people write where a secret would stand.
const STAND_INS: &[&str] = &[
    "null",
    "nil",
    "none",
    "undefined",
    "true",
    "false",
    "yes",
    "no",
    "on",
    "off",
    "redacted",
    "masked",
    "hidden",
    "unset",
    "empty",
    "string",
    "str",
    "int",
    "bool",
    "bytes",
    "object",
    "optional",
    "required",
    "default",
    "enabled",
    "disabled",
    "set",
    "missing",
    "present",
    "invalid",
    "valid",
    "expired",
    "incorrect",
    "wrong",
    "failed",
    "failure",
    "success",
    "ok",
    "error",
    "unknown",
    "rejected",
    "accepted",
    "denied",
    "revoked",
    "rotated",
    "changed",
    "updated",
    "created",
    "deleted",
    "found",
    "not",
    "for",
    "from",
    "is",
    "was",
    "and",
    "or",
    "the",
    "n/a",
    "na",
    "sha256",
    "md5",
    "basic",
    "bearer",
    "digest",
    "plain",
    "auto",
    "any",
    "file",
    "env",
    "prompt",
    "ask",
    "stdin",
    "unauthorized",
    "forbidden",
    "function",
    "func",
    "self",
    "uuid",
    "varchar",
    "char",
    "byte",
    "option",
    "vec",
    "map",
    "list",
    "array",
    "number",
    "authentication",
    "authorization",
    "mismatch",
    "timeout",
];

const CODE: &[&[u8]] = &[
    b"os.environ",
    b"os.getenv",
    b"process.env",
    b"system.getenv",
    b"env.",
    b"env[",
    b"config.",
    b"settings.",
    b"self.",
    b"this.",
    b"var.",
    b"local.",
    b"data.",
    b"module.",
    b"args.",
    b"secrets.",
    b"params.",
    b"request.",
    b"req.",
    b"user.",
    b"ctx.",
    b"vault:",
    b"arn:aws:",
    b"ssm:",
    b"op://",
    b"keyring:",
    b"secretmanager:",
    b"ref+",
    b"file:",
    b"env:",
];

pub(super) fn is_secret(meaning: Meaning, value: &[u8], form: Form) -> bool {
    if is_stand_in(value, form) {
        return false;
    }
    match meaning {
        Meaning::Password => match form {
            Form::Quoted | Form::Bare => !(form == Form::Bare && is_code(value)),
            Form::Prose => is_odd_word(value),
        },
        Meaning::Pwd => !is_path(value) && !is_code(value),
        Meaning::Pass => {
            value.len() >= 4 && is_odd_word(value) && !is_number(value) && !is_code(value)
        }
        Meaning::Token => value.len() >= 8 && is_opaque(value) && !is_code(value),
        Meaning::Secret => {
            value.len() >= 4
                && !is_code(value)
                && !is_path(value)
                && (form != Form::Prose || is_odd_word(value))
        }
        Meaning::SecretName => value.len() >= 4 && is_odd_word(value) && !is_object_name(value),
        Meaning::Key => {
            value.len() >= 8 && is_opaque(value) && !is_code(value) && !is_object_name(value)
        }
        Meaning::Authorization => value.len() >= 6 && is_odd_word(value) && !is_code(value),
        Meaning::Cookie | Meaning::SetCookie => value.contains(&b'=') || is_opaque(value),
    }
}

/// Empty, masked, a template, a variable, or a word that says something about a secret.
pub(super) fn is_stand_in(value: &[u8], form: Form) -> bool {
    let Some((first, rest)) = value.split_first() else { return true };
    if is_marked(value) || value.starts_with(b"<") && value.ends_with(b">") {
        return true;
    }
    let masked = |mark: u8| value.iter().all(|byte| *byte == mark);
    if [b'*', b'x', b'X', b'.', b'-', b'?', b'#', b'='].into_iter().any(masked)
        || value.starts_with(b"****")
        || value.starts_with("•".as_bytes())
    {
        return true;
    }
    if matches!(
        value,
        [b'$', b'{' | b'(', ..] | [b'{', b'{', ..] | [b'{', b'%', ..] | [b'%', b'(', ..]
    ) || *first == b'%' && rest.len() <= 2 && rest.iter().all(u8::is_ascii_alphabetic)
        || *first == b'$' && !rest.is_empty() && rest.iter().all(|b| is_variable(*b))
        || *first == b'{'
            && value.ends_with(b"}")
            && rest[..rest.len() - 1].iter().all(|b| is_variable(*b))
    {
        return true;
    }
    if form == Form::Quoted && value.len() > 9 {
        return false;
    }
    let word = value.strip_suffix(b".").or(value.strip_suffix(b":")).unwrap_or(value);
    word.len() <= 14
        && STAND_INS.iter().any(|stand_in| word.eq_ignore_ascii_case(stand_in.as_bytes()))
}

/// A first pass has judged this value, and hidden in it what it had to.
fn is_marked(value: &[u8]) -> bool {
    value.windows(10).any(|part| part == b"[redacted:")
}

fn is_variable(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_'
}

/// A call or a reference in a program or a template rather than the value itself.
fn is_code(value: &[u8]) -> bool {
    let starts = |literal: &&[u8]| {
        value.get(..literal.len()).is_some_and(|head| head.eq_ignore_ascii_case(literal))
    };
    if CODE.iter().any(starts) || is_reference(value) {
        return true;
    }
    let name = value.iter().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'));
    let name = name.count();
    name > 2 && value.get(name) == Some(&b'(')
}

/// `&self.name`, `&name`.
fn is_reference(value: &[u8]) -> bool {
    let name = |byte: &u8| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'.');
    value.strip_prefix(b"&").is_some_and(|rest| rest.iter().all(name))
}

/// An absolute or relative path in lower case, or an address without a password.
fn is_path(value: &[u8]) -> bool {
    if value.windows(3).any(|part| part == b"://") {
        return true;
    }
    let rooted = value.starts_with(b"/") || value.starts_with(b"./") || value.starts_with(b"~");
    rooted || matches!(value, [drive, b':', b'\\', ..] if drive.is_ascii_alphabetic())
}

fn is_number(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'%' | b'/'))
}

/// Not a plain word: has a digit, a symbol, or an upper-case letter after the first.
fn is_odd_word(value: &[u8]) -> bool {
    let word = value.strip_suffix(b".").unwrap_or(value);
    word.iter().enumerate().any(|(index, byte)| {
        !(byte.is_ascii_lowercase() || index == 0 && byte.is_ascii_uppercase())
    })
}

/// Looks random: one word that mixes digits or cases, and is no path and no short number.
pub(super) fn is_opaque(value: &[u8]) -> bool {
    if value.iter().any(u8::is_ascii_whitespace) {
        return false;
    }
    let lower_path =
        value.starts_with(b"/") || value.starts_with(b"./") || value.starts_with(b"~/");
    if lower_path && !value.iter().any(u8::is_ascii_uppercase) {
        return false;
    }
    if value.windows(3).any(|part| part == b"://") {
        return false;
    }
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    let lower = value.iter().any(u8::is_ascii_lowercase);
    let upper = value.iter().any(u8::is_ascii_uppercase);
    let humps = value
        .windows(2)
        .filter(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
        .count();
    if digits == value.len() {
        return digits >= 16;
    }
    digits > 0 && (lower || upper) || lower && upper && humps >= 2 || plain_run(value) >= 20
}

fn plain_run(value: &[u8]) -> usize {
    let plain = value.iter().all(u8::is_ascii_alphabetic);
    if plain { value.len() } else { 0 }
}

/// A name in the style of Kubernetes objects: `db-credentials`, `team/tls-cert`, `token-x7k2p`.
fn is_object_name(value: &[u8]) -> bool {
    let allowed = |byte: &u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'/')
    };
    let joined = value.iter().any(|byte| matches!(byte, b'-' | b'.' | b'/'));
    value.len() <= 80
        && joined
        && value.iter().all(allowed)
        && value.split(|byte| matches!(byte, b'-' | b'.' | b'/')).all(|piece| {
            !piece.is_empty()
                && (piece.len() <= 5
                    || !piece.iter().any(u8::is_ascii_digit)
                    || piece.len() <= 10
                        && piece[0].is_ascii_alphabetic()
                        && piece[..piece.len() - 2].iter().all(u8::is_ascii_lowercase))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stand_ins_and_references_are_not_secrets() {
        for value in
            ["", "null", "***", "<password>", "${DB_PW}", "{{ vault.pw }}", "$PW", "%s", "required"]
        {
            assert!(!is_secret(Meaning::Password, value.as_bytes(), Form::Bare), "{value}");
        }
        assert!(!is_secret(Meaning::Password, b"os.environ", Form::Bare));
        assert!(!is_secret(Meaning::Pwd, b"/home/alice", Form::Bare));
        assert!(!is_secret(Meaning::SecretName, b"team/db-creds", Form::Bare));
        assert!(!is_secret(Meaning::Token, b"invalid_grant", Form::Bare));
    }

    #[test]
    fn weak_passwords_are_still_secrets() {
        for value in ["a", "hunter2", "letmein", "12345", "correct horse battery staple"] {
            assert!(is_secret(Meaning::Password, value.as_bytes(), Form::Quoted), "{value}");
        }
    }
}
