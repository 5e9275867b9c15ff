//! A checkpoint as a line of JSON: what stands in it, and the MAC over exactly that text.

use crate::store::checkpoints::{Line, Material};
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// The format that this program writes and reads.
const VERSION: u32 = 1;
/// Heads in one line: about 6 KB, so that a line fits into a datagram of syslog.
const HEADS_MAX: usize = 50;
/// Stands between the text and its MAC, which ends the line.
const MAC_MARK: &str = ",\"mac\":\"";

/// What lines are authenticated with.
#[derive(Clone)]
pub struct Key(hmac::Key);

/// What a line says. Each head is a stream (`incident/…`), the number of its last entry, and that
/// entry's hash.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    pub v: u32,
    pub number: i64,
    pub at_ms: i64,
    /// The MAC of the line before; empty in the first.
    pub previous: String,
    /// Streams and entries that the database held.
    pub streams: i64,
    pub entries: i64,
    pub heads: Vec<(String, i64, String)>,
}

/// A line that was read, and its MAC.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checked {
    pub body: Body,
    pub mac: String,
}

/// Why a line does not count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// It is no whole checkpoint: of another program, or cut off while it was written.
    Torn,
    /// It says to be this line, and was not made with the key.
    Forged(i64),
}

impl Key {
    /// Space around the key does not count, so that a file may end in a line end.
    pub fn new(secret: &SecretString) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().trim().as_bytes()))
    }

    fn mac(&self, text: &str) -> String {
        let tag = hmac::sign(&self.0, text.as_bytes());
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn fits(&self, text: &str, mac: &str) -> bool {
        let bytes: Option<Vec<u8>> = (0..mac.len() / 2)
            .map(|at| u8::from_str_radix(mac.get(2 * at..2 * at + 2)?, 16).ok())
            .collect();
        bytes.is_some_and(|tag| hmac::verify(&self.0, text.as_bytes(), &tag).is_ok())
    }
}

/// Lines about every head that changed, each chained to the one before.
pub fn write(key: &Key, material: &Material, at_ms: i64) -> Vec<Line> {
    let (mut number, mut previous) = (material.number, material.mac.clone());
    let mut lines = Vec::new();
    for heads in material.changed.chunks(HEADS_MAX) {
        number += 1;
        let head = |head: &crate::store::checkpoints::StreamHead| {
            (format!("{}/{}", head.stream_kind, head.stream_id), head.seq, head.head.clone())
        };
        let body = Body {
            v: VERSION,
            number,
            at_ms,
            previous: std::mem::take(&mut previous),
            streams: material.streams,
            entries: material.entries,
            heads: heads.iter().map(head).collect(),
        };
        // Texts and numbers alone: this cannot fail.
        let text = serde_json::to_string(&body).unwrap_or_default();
        let mac = key.mac(&text);
        let line = format!("{}{MAC_MARK}{mac}\"}}", text.strip_suffix('}').unwrap_or(&text));
        previous.clone_from(&mac);
        lines.push(Line { number, mac, line });
    }
    lines
}

/// Reads a line; what a log daemon put before it does not count.
///
/// # Errors
/// Why it does not count.
pub fn read(key: &Key, text: &str) -> Result<Checked, Unfit> {
    let start = text.find("{\"v\":").ok_or(Unfit::Torn)?;
    let line = text[start..].trim_end();
    let (said, mac) = line.rsplit_once(MAC_MARK).ok_or(Unfit::Torn)?;
    let mac = mac.strip_suffix("\"}").ok_or(Unfit::Torn)?;
    let text = format!("{said}}}");
    let body: Body = serde_json::from_str(&text).map_err(|_| Unfit::Torn)?;
    if body.v == VERSION && key.fits(&text, mac) {
        return Ok(Checked { body, mac: mac.to_owned() });
    }
    Err(Unfit::Forged(body.number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::checkpoints::StreamHead;

    fn key(text: &str) -> Key {
        Key::new(&SecretString::from(text))
    }

    fn material(heads: usize) -> Material {
        let head = |n: usize| StreamHead {
            stream_kind: "incident".into(),
            stream_id: format!("0192f0aa-0000-7000-8000-{n:012}"),
            seq: 1_000_000,
            head: "a".repeat(64),
        };
        Material {
            number: 7,
            mac: "m7".into(),
            changed: (0..heads).map(head).collect(),
            streams: 9,
            entries: 99,
        }
    }

    /// RFC 4231, test case 2.
    #[test]
    fn the_mac_is_hmac_sha256() {
        assert_eq!(
            key("Jefe").mac("what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn many_heads_are_split_into_chained_lines_that_fit_a_datagram() {
        let lines = write(&key("k"), &material(120), 5);
        assert_eq!(lines.iter().map(|line| line.number).collect::<Vec<_>>(), [8, 9, 10]);
        let mut previous = "m7".to_owned();
        for line in &lines {
            assert!(line.line.len() < 8_000, "{}", line.line.len());
            let read = read(&key("k"), &format!("<109>1 - box wk 1 - - {}\n", line.line)).unwrap();
            assert_eq!((&read.body.previous, &read.mac), (&previous, &line.mac));
            previous.clone_from(&line.mac);
        }
        assert_eq!(write(&key("k"), &material(0), 5), []);
    }

    #[test]
    fn a_line_counts_only_whole_and_with_its_key() {
        let line = write(&key("k"), &material(1), 5).remove(0).line;
        assert!(read(&key("k"), &line).is_ok());
        assert_eq!(read(&key("other"), &line), Err(Unfit::Forged(8)));
        assert_eq!(read(&key("k"), &line.replace("1000000", "1000001")), Err(Unfit::Forged(8)));
        assert_eq!(read(&key("k"), &line[..line.len() - 9]), Err(Unfit::Torn));
        let cut = line.replace("\"}", "");
        assert_eq!(read(&key("k"), &cut), Err(Unfit::Torn));
        assert_eq!(read(&key("k"), "hello"), Err(Unfit::Torn));
        let short = format!("{}\"}}", &line[..line.len() - 4]);
        assert_eq!(read(&key("k"), &short), Err(Unfit::Forged(8)));
    }
}
