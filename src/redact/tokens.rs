//! Secrets that are recognised by their own shape, whatever stands around them.
//!
//! In: the place of a prefix. Out: the span of the token, key block, webhook address or hash.
//! Prefixes and lengths follow the issuers' documentation; most issuers chose prefixes so that
//! scanners can find them. To add a format add a row to `TOKENS`.

use base64::Engine as _;

use super::scan::{Found, Span};
use super::window::Window;

/// Which bytes a token's body is made of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body {
    Upper,
    Word,
    Hex,
    /// Letters, digits, `-`, `_`.
    Slug,
    /// Slug bytes and `.`, `=`, `:`, `/`, `+`, `~`.
    Wide,
}

impl Body {
    fn accepts(self, byte: u8) -> bool {
        match self {
            Self::Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Word => byte.is_ascii_alphanumeric() || byte == b'_',
            Self::Hex => byte.is_ascii_hexdigit(),
            Self::Slug => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Wide => {
                byte.is_ascii_alphanumeric()
                    || matches!(byte, b'_' | b'-' | b'.' | b'=' | b':' | b'/' | b'+' | b'~')
            }
        }
    }
}

pub(super) struct Token {
    pub(super) prefix: &'static str,
    kind: &'static str,
    body: Body,
    least: usize,
    most: usize,
}

const fn token(
    prefix: &'static str,
    kind: &'static str,
    body: Body,
    least: usize,
    most: usize,
) -> Token {
    Token { prefix, kind, body, least, most }
}

const LONG: usize = 4096;

/// `most` equals `least` where a longer run means that it is something else.
pub(super) const TOKENS: &[Token] = &[
    token("AKIA", "aws_key_id", Body::Upper, 16, 16),
    token("ASIA", "aws_key_id", Body::Upper, 16, 16),
    token("ABIA", "aws_key_id", Body::Upper, 16, 16),
    token("ACCA", "aws_key_id", Body::Upper, 16, 16),
    token("AIza", "gcp_api_key", Body::Slug, 35, 35),
    token("ya29.", "gcp_token", Body::Wide, 20, LONG),
    token("GOCSPX-", "gcp_client_secret", Body::Slug, 24, 40),
    token("LTAI", "alibaba_key_id", Body::Word, 12, 26),
    token("AKID", "tencent_key_id", Body::Word, 32, 32),
    token("ghp_", "github_token", Body::Word, 30, 255),
    token("gho_", "github_token", Body::Word, 30, 255),
    token("ghu_", "github_token", Body::Word, 30, 255),
    token("ghs_", "github_token", Body::Word, 30, 255),
    token("ghr_", "github_token", Body::Word, 30, 255),
    token("github_pat_", "github_token", Body::Word, 22, 255),
    token("glpat-", "gitlab_token", Body::Wide, 20, 300),
    token("gldt-", "gitlab_token", Body::Slug, 20, 300),
    token("glrt-", "gitlab_token", Body::Wide, 20, 300),
    token("glcbt-", "gitlab_token", Body::Slug, 20, 300),
    token("glptt-", "gitlab_token", Body::Slug, 20, 300),
    token("glsoat-", "gitlab_token", Body::Slug, 20, 300),
    token("gloas-", "gitlab_token", Body::Slug, 20, 300),
    token("glft-", "gitlab_token", Body::Slug, 20, 300),
    token("glimt-", "gitlab_token", Body::Slug, 20, 300),
    token("glagent-", "gitlab_token", Body::Slug, 20, 300),
    token("GR1348941", "gitlab_token", Body::Slug, 20, 60),
    token("xoxb-", "slack_token", Body::Slug, 10, 300),
    token("xoxp-", "slack_token", Body::Slug, 10, 300),
    token("xoxa-", "slack_token", Body::Slug, 10, 300),
    token("xoxr-", "slack_token", Body::Slug, 10, 300),
    token("xoxs-", "slack_token", Body::Slug, 10, 300),
    token("xoxc-", "slack_token", Body::Slug, 10, 300),
    token("xoxd-", "slack_token", Body::Wide, 10, 300),
    token("xoxe.", "slack_token", Body::Wide, 10, 400),
    token("xoxe-", "slack_token", Body::Slug, 10, 400),
    token("xapp-", "slack_token", Body::Slug, 10, 300),
    token("sk_live_", "stripe_key", Body::Word, 10, 255),
    token("sk_test_", "stripe_key", Body::Word, 10, 255),
    token("rk_live_", "stripe_key", Body::Word, 10, 255),
    token("rk_test_", "stripe_key", Body::Word, 10, 255),
    token("whsec_", "stripe_key", Body::Wide, 20, 255),
    token("sk-proj-", "openai_key", Body::Slug, 20, 300),
    token("sk-svcacct-", "openai_key", Body::Slug, 20, 300),
    token("sk-admin-", "openai_key", Body::Slug, 20, 300),
    token("sk-ant-", "anthropic_key", Body::Slug, 20, 300),
    token("sk-or-v1-", "openrouter_key", Body::Hex, 32, 128),
    token("sk-", "openai_key", Body::Word, 32, 64),
    token("gsk_", "groq_key", Body::Word, 40, 80),
    token("xai-", "xai_key", Body::Word, 40, 120),
    token("pplx-", "perplexity_key", Body::Word, 40, 80),
    token("hf_", "huggingface_token", Body::Word, 30, 60),
    token("r8_", "replicate_token", Body::Word, 36, 60),
    token("npm_", "npm_token", Body::Word, 36, 36),
    token("pypi-AgE", "pypi_token", Body::Slug, 40, 600),
    token("rubygems_", "rubygems_token", Body::Hex, 48, 48),
    token("dckr_pat_", "docker_token", Body::Slug, 20, 60),
    token("SG.", "sendgrid_key", Body::Wide, 40, 90),
    token("key-", "mailgun_key", Body::Hex, 32, 32),
    token("SK", "twilio_key", Body::Hex, 32, 32),
    token("dop_v1_", "digitalocean_token", Body::Hex, 40, 64),
    token("doo_v1_", "digitalocean_token", Body::Hex, 40, 64),
    token("dor_v1_", "digitalocean_token", Body::Hex, 40, 64),
    token("hvs.", "vault_token", Body::Slug, 20, 400),
    token("hvb.", "vault_token", Body::Slug, 20, 400),
    token("hvr.", "vault_token", Body::Slug, 20, 400),
    token("dapi", "databricks_token", Body::Hex, 32, 32),
    token("shpat_", "shopify_token", Body::Hex, 32, 32),
    token("shpss_", "shopify_token", Body::Hex, 32, 32),
    token("shpca_", "shopify_token", Body::Hex, 32, 32),
    token("shppa_", "shopify_token", Body::Hex, 32, 32),
    token("glsa_", "grafana_token", Body::Word, 32, 60),
    token("glc_", "grafana_token", Body::Wide, 32, 500),
    token("eyJrIjoi", "grafana_token", Body::Wide, 40, 500),
    token("NRAK-", "newrelic_key", Body::Word, 27, 27),
    token("NRII-", "newrelic_key", Body::Slug, 32, 32),
    token("NRJS-", "newrelic_key", Body::Hex, 19, 19),
    token("lin_api_", "linear_key", Body::Word, 32, 60),
    token("ntn_", "notion_token", Body::Word, 40, 60),
    token("figd_", "figma_token", Body::Slug, 36, 60),
    token("dp.pt.", "doppler_token", Body::Word, 40, 48),
    token("dp.st.", "doppler_token", Body::Wide, 40, 70),
    token("PMAK-", "postman_key", Body::Slug, 50, 70),
    token("ATATT3x", "atlassian_token", Body::Wide, 60, 400),
    token("ATCTT3x", "atlassian_token", Body::Wide, 60, 400),
    token("ATBB", "atlassian_token", Body::Word, 28, 40),
    token("sbp_", "supabase_token", Body::Hex, 40, 40),
    token("sq0atp-", "square_token", Body::Slug, 22, 22),
    token("sq0csp-", "square_token", Body::Slug, 43, 43),
    token("EAAA", "square_token", Body::Slug, 56, 80),
    token("pul-", "pulumi_token", Body::Hex, 40, 40),
    token("fo1_", "fly_token", Body::Slug, 40, 60),
    token("fm2_", "fly_token", Body::Wide, 60, 1500),
    token("tskey-", "tailscale_key", Body::Slug, 20, 80),
    token("ops_eyJ", "onepassword_token", Body::Slug, 100, LONG),
    token("nfp_", "netlify_token", Body::Word, 36, 50),
    token("sntrys_", "sentry_token", Body::Wide, 40, 400),
    token("sntryu_", "sentry_token", Body::Hex, 64, 64),
    token("sha256~", "openshift_token", Body::Slug, 43, 43),
    token("AGE-SECRET-KEY-1", "age_key", Body::Upper, 58, 58),
    token("PSK=", "key", Body::Hex, 32, 64),
];

/// A token of the table. After an AWS key id, the secret that follows it in credential files too.
pub(super) fn prefixed(window: &Window<'_>, start: usize, token: &Token, found: &mut Found) {
    if !window.starts_word(start) || !window.has_exactly(start, token.prefix.as_bytes()) {
        return;
    }
    let body = start + token.prefix.len();
    let accepts = |byte| token.body.accepts(byte);
    let end = window.run(body, token.most + 1, accepts);
    let length = end - body;
    if length < token.least || length > token.most && token.most == token.least {
        return;
    }
    let end = window.run(end, LONG, accepts);
    let text = window.slice(body, end);
    let random = text.iter().any(u8::is_ascii_digit)
        || text.iter().any(u8::is_ascii_lowercase) && text.iter().any(u8::is_ascii_uppercase);
    if !random {
        return;
    }
    let end = if matches!(window.before(end, 1), Some(b'.' | b':')) { end - 1 } else { end };
    found.push(Span::new(start, end, token.kind));
    if token.kind == "aws_key_id" {
        let gap = window.run(end, 6, |byte| {
            byte.is_ascii_whitespace() || matches!(byte, b',' | b':' | b'"' | b'\'' | b'/' | b'|')
        });
        let secret = window.run(gap, 41, is_base64);
        if gap > end && secret - gap == 40 {
            found.push(Span::new(gap, secret, "aws_secret"));
        }
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

fn is_base64_url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Header, payload and signature. A JWT without a signature is one as well.
pub(super) fn jwt(window: &Window<'_>, start: usize, found: &mut Found) {
    if !window.starts_word(start) || !window.has_exactly(start, b"eyJ") {
        return;
    }
    let header = window.run(start, 2048, is_base64_url);
    if header - start < 12 || window.at(header) != Some(b'.') {
        return;
    }
    let payload = window.run(header + 1, 32 * 1024, is_base64_url);
    if payload - header < 8 {
        return;
    }
    let mut end = payload;
    // Three parts when signed, five when encrypted.
    for _ in 0..3 {
        if window.at(end) != Some(b'.') {
            break;
        }
        let next = window.run(end + 1, 8 * 1024, is_base64_url);
        if next == end + 1 {
            break;
        }
        end = next;
    }
    found.push(Span::new(start, end, "jwt"));
}

/// `123456789:AA…`, 35 bytes after the colon.
pub(super) fn telegram(window: &Window<'_>, start: usize, found: &mut Found) {
    let digits = window.run_left(start, 12, |byte| byte.is_ascii_digit());
    let end = window.run(start + 1, 36, is_base64_url);
    if (8..=10).contains(&(start - digits)) && end - start == 36 {
        found.push(Span::new(digits, end, "telegram_token"));
    }
}

/// Microsoft Entra client secrets: three bytes, a digit, `Q~`, then 31 to 34 bytes.
pub(super) fn azure_client(window: &Window<'_>, start: usize, found: &mut Found) {
    let body = |byte: u8| is_base64_url(byte) || matches!(byte, b'.' | b'~');
    let left = window.run_left(start, 5, body);
    let digit = window.before(start, 1).is_some_and(|byte| byte.is_ascii_digit());
    let end = window.run(start + 2, 35, body);
    if digit && start - left == 4 && (31..=34).contains(&(end - start - 2)) {
        found.push(Span::new(left, end, "azure_client_secret"));
    }
}

/// Addresses that are themselves the permission to post.
pub(super) const WEBHOOKS: &[&str] = &[
    "hooks.slack.com/services/",
    "hooks.slack.com/workflows/",
    "hooks.slack.com/triggers/",
    "hooks.slack.com\\/services\\/",
    "hooks.slack.com%2Fservices%2F",
    "discord.com/api/webhooks/",
    "discordapp.com/api/webhooks/",
    ".webhook.office.com/webhookb2/",
    "outlook.office.com/webhook/",
    "hooks.zapier.com/hooks/catch/",
    "qyapi.weixin.qq.com/cgi-bin/webhook/send?",
    "open.feishu.cn/open-apis/bot/v2/hook/",
    "oapi.dingtalk.com/robot/send?",
];

pub(super) fn webhook(window: &Window<'_>, start: usize, end: usize, found: &mut Found) {
    let path = window.run(end, 1024, |byte| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'/' | b'_' | b'-' | b'@' | b'%' | b'=' | b'&' | b'.' | b'\\' | b'~')
    });
    let path = if window.before(path, 1) == Some(b'\\') { path - 1 } else { path };
    // `\n` after the address in escaped text.
    let text = window.slice(end, path);
    let path = text
        .windows(2)
        .position(|pair| pair[0] == b'\\' && pair[1] != b'/')
        .map_or(path, |at| end + at);
    if path - end >= 12 {
        let kind = if window.has(start, b"hooks.slack") { "slack_webhook" } else { "webhook_url" };
        found.push(Span::new(end, path, kind));
    }
}

/// How stored password hashes begin.
pub(super) const HASHES: &[&str] = &[
    "$2a$",
    "$2b$",
    "$2y$",
    "$1$",
    "$5$",
    "$6$",
    "$y$",
    "$7$",
    "$gy$",
    "$apr1$",
    "$argon2id$",
    "$argon2i$",
    "$argon2d$",
    "$scrypt$",
    "$pbkdf2",
    "$sha1$",
    "pbkdf2_sha256$",
    "pbkdf2_sha1$",
    "bcrypt$$2",
    "argon2$argon2",
    "{SSHA}",
    "{SSHA256}",
    "{SSHA512}",
    "{SHA}",
    "{CRYPT}",
    "scrypt:32768:",
    "pbkdf2:sha256:",
    "SCRAM-SHA-256$",
];

pub(super) fn hash(window: &Window<'_>, start: usize, end: usize, found: &mut Found) {
    let scram = window.has_exactly(start, b"SCRAM");
    let to = window.run(end, 512, |byte| {
        byte.is_ascii_alphanumeric()
            || byte == b':' && scram
            || matches!(byte, b'$' | b'.' | b'/' | b'+' | b'=' | b',' | b'-' | b'_')
    });
    let text = window.slice(end, to);
    let random = text.iter().any(u8::is_ascii_digit) || text.iter().any(u8::is_ascii_uppercase);
    if text.len() >= 22 && random {
        found.push(Span::new(start, to, "password_hash"));
    }
}

const PEM_BYTES_MAX: usize = 32 * 1024;

/// A private key block. Certificates and public keys stay.
///
/// The search for the end stops at the next beginning, so that many beginnings without an end
/// cost no more than their own length.
pub(super) fn pem(window: &Window<'_>, start: usize, end: usize, found: &mut Found) {
    if window.has_exactly(start, b"PuTTY-User-Key-File") {
        let to = window.run(end, PEM_BYTES_MAX, |byte| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b'+' | b'/' | b'=' | b':' | b'-' | b' ')
                || byte.is_ascii_whitespace()
        });
        if to - end > 64 {
            found.push(Span::new(start, to, "private_key"));
        }
        return;
    }
    let label = window.run(end, 40, |b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b' ');
    let name = window.slice(end, label);
    let private = name.ends_with(b"PRIVATE KEY") || name.ends_with(b"PRIVATE KEY BLOCK");
    if !private || !window.has_exactly(label, b"-----") {
        return;
    }
    let body = label + 5;
    let mut at = body;
    while at - body < PEM_BYTES_MAX && window.at(at).is_some() {
        if window.bytes[at] == b'-' {
            if window.has_exactly(at, b"-----END ") {
                let name = window.run(at + 9, 40, |b| b != b'-' && b != b'\n');
                let to = window.run(name, 5, |byte| byte == b'-');
                found.push(Span::new(start, to, "private_key"));
                return;
            }
            if window.has_exactly(at, b"-----BEGIN ") {
                break;
            }
        } else if window.bytes[at] == b'[' && window.has_exactly(at, b"[redacted:") {
            break;
        }
        at += 1;
    }
    // Cut off: hide what looks like the body.
    let cut = window.run(body, PEM_BYTES_MAX, |byte| {
        is_base64(byte) || matches!(byte, b'=' | b'\\' | b'\n' | b'\r' | b':' | b',')
    });
    if cut - body >= 8 {
        found.push(Span::new(start, cut, "private_key"));
    }
}

/// A private key block in base64, as kubeconfig and Kubernetes hold it.
pub(super) fn pem_base64(window: &Window<'_>, start: usize, found: &mut Found) {
    if !window.starts_word(start) || !window.has_exactly(start, b"LS0tLS1CRUdJTi") {
        return;
    }
    let head = window.run(start, 64, is_base64);
    let whole = (head - start) / 4 * 4;
    let decoded = base64::engine::general_purpose::STANDARD_NO_PAD
        .decode(window.slice(start, start + whole))
        .unwrap_or_default();
    if !decoded.windows(11).any(|part| part == b"PRIVATE KEY") {
        return;
    }
    let end = window.run(start, PEM_BYTES_MAX, |byte| is_base64(byte) || byte == b'=');
    found.push(Span::new(start, end, "private_key"));
}
