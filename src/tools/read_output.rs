//! Looks again into an output that was too long to show.
//!
//! In: the reference of a stored output and which part. Out: a read-back, which the incident
//! answers from its store with `output::read_back`. Never: a file, or any other text.

use super::{Bounds, Done, Error, ReadBack, Tool, output};
use crate::model::call::Call;
use crate::model::tool::{Arg, ArgKind, Effect, ToolSpec};
use crate::safety::permit::Permit;
use futures::future::BoxFuture;
use serde_json::{Value, json};

/// Enough of a hash that nobody means another output by chance.
const REF_CHARS_MIN: usize = 8;
const REF_CHARS_MAX: usize = 64;

/// The tool `read_output`.
pub(super) struct ReadOutput {
    spec: ToolSpec,
}

impl ReadOutput {
    pub(super) fn new() -> Self {
        let bytes = i64::try_from(output::OUTPUT_BYTES_MAX).unwrap_or(i64::MAX);
        let args = vec![
            Arg::required(
                "ref",
                ArgKind::Text { chars_max: REF_CHARS_MAX },
                "the reference that stands where the output was cut",
            ),
            Arg::optional(
                "offset",
                ArgKind::Integer { min: 0, max: bytes },
                "the byte to read on from; not together with grep",
            ),
            Arg::optional(
                "grep",
                ArgKind::Text { chars_max: 200 },
                "only lines that match this regular expression",
            ),
        ];
        let spec = ToolSpec {
            name: "read_output".into(),
            about: "Reads a part of an earlier output that was left out.".into(),
            effect: Effect::Talk,
            args,
        };
        Self { spec }
    }
}

impl Tool for ReadOutput {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn canonical(&self, mut call: Call) -> Result<Call, String> {
        let hash = call.text("ref").unwrap_or_default().to_ascii_lowercase();
        if hash.len() < REF_CHARS_MIN || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("'ref' is no reference of an output: {hash:?}"));
        }
        match (call.text("grep"), call.args.contains_key("offset")) {
            (Some(_), true) => return Err("give either 'offset' or 'grep', not both".to_owned()),
            (Some(pattern), false) => output::check_pattern(pattern)?,
            (None, true) => {}
            (None, false) => {
                call.args.insert("offset".to_owned(), json!(0));
            }
        }
        call.args.insert("ref".to_owned(), Value::String(hash));
        Ok(call)
    }

    fn run(
        &self,
        permit: Permit,
        _basis: Option<Value>,
        _bounds: Bounds,
    ) -> BoxFuture<'_, Result<Done, Error>> {
        let call = permit.call();
        let offset = call.args.get("offset").and_then(Value::as_u64).unwrap_or(0);
        let ask = ReadBack {
            hash: call.text("ref").unwrap_or_default().to_owned(),
            offset: usize::try_from(offset).unwrap_or(usize::MAX),
            grep: call.text("grep").map(str::to_owned),
        };
        Box::pin(async move { Ok(Done::ReadBack(ask)) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, bounds};
    use super::*;

    const HASH: &str = "00112233aabbccdd";

    async fn ask(args: Value) -> Done {
        Bench::new("").run_within("read_output", args, None, bounds()).await.unwrap()
    }

    #[tokio::test]
    async fn a_part_or_a_search_is_asked_for() {
        let part = ReadBack { hash: HASH.into(), offset: 7, grep: None };
        assert_eq!(ask(json!({ "ref": HASH, "offset": 7 })).await, Done::ReadBack(part.clone()));
        let start = ReadBack { offset: 0, ..part.clone() };
        assert_eq!(ask(json!({ "ref": HASH.to_uppercase() })).await, Done::ReadBack(start.clone()));
        let search = ReadBack { grep: Some("err.*".into()), ..start };
        assert_eq!(ask(json!({ "ref": HASH, "grep": "err.*" })).await, Done::ReadBack(search));
    }

    #[test]
    fn questions_that_cannot_be_answered_are_refused() {
        let bench = Bench::new("");
        for args in [
            json!({ "ref": "abc" }),
            json!({ "ref": "../../etc/passwd" }),
            json!({ "ref": HASH, "offset": 1, "grep": "x" }),
            json!({ "ref": HASH, "grep": "(" }),
            json!({ "ref": HASH, "offset": -1 }),
        ] {
            assert!(bench.complete("read_output", args.clone()).is_err(), "{args} was taken");
        }
    }
}
