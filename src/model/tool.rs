//! What a tool is called and which arguments it takes: owned data, so that tools from elsewhere
//! can join the register.

use crate::model::call::Call;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Whether a call changes the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Looks only; may run again at any time.
    Read,
    /// Changes a target; becomes a proposed action.
    Write,
    /// Talks to people or to the incident itself: messages, proposals, stored outputs.
    Talk,
}

/// The shape of one argument.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum ArgKind {
    /// The name of a host of the inventory.
    Host,
    /// The name of a service of the inventory.
    Service,
    /// Free words for people. No rule may read it.
    Prose {
        chars_max: usize,
    },
    /// Words that a machine reads.
    Text {
        chars_max: usize,
    },
    Integer {
        min: i64,
        max: i64,
    },
    Choice {
        of: Vec<String>,
    },
    Choices {
        of: Vec<String>,
    },
    /// Absolute paths.
    Paths {
        items_max: usize,
    },
    /// Any JSON object, e.g. the arguments of another call.
    Object,
}

/// One argument of a tool.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Arg {
    pub name: String,
    pub about: String,
    pub kind: ArgKind,
    pub required: bool,
    /// Written into the call when the argument is missing, so that what is judged is what runs.
    pub default: Option<Value>,
}

impl Arg {
    pub fn required(name: &str, kind: ArgKind, about: &str) -> Self {
        Self { name: name.into(), about: about.into(), kind, required: true, default: None }
    }

    pub fn optional(name: &str, kind: ArgKind, about: &str) -> Self {
        Self { required: false, ..Self::required(name, kind, about) }
    }

    pub fn with_default(name: &str, kind: ArgKind, default: Value, about: &str) -> Self {
        Self { default: Some(default), ..Self::optional(name, kind, about) }
    }
}

/// A tool as minds, rules and people see it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ToolSpec {
    pub name: String,
    pub about: String,
    pub effect: Effect,
    pub args: Vec<Arg>,
}

impl ToolSpec {
    /// The arguments checked against the spec, defaults written in: nothing is coerced, nothing
    /// unknown is dropped.
    ///
    /// # Errors
    /// Every complaint at once, in words that a model or a person can act on.
    pub fn complete(&self, args: &Map<String, Value>) -> Result<Call, Vec<String>> {
        let mut complaints = Vec::new();
        for name in args.keys() {
            if !self.args.iter().any(|arg| arg.name == *name) {
                let known: Vec<&str> = self.args.iter().map(|a| a.name.as_str()).collect();
                complaints
                    .push(format!("unknown argument '{name}'; {} takes {known:?}", self.name));
            }
        }
        let mut complete = Map::new();
        for arg in &self.args {
            match args.get(&arg.name).filter(|value| !value.is_null()) {
                Some(value) => match arg.kind.check(value) {
                    Ok(()) => {
                        complete.insert(arg.name.clone(), value.clone());
                    }
                    Err(expected) => {
                        complaints.push(format!("'{}' must be {expected}, got {value}", arg.name))
                    }
                },
                None if arg.required => {
                    complaints.push(format!("'{}' is missing: {}", arg.name, arg.about));
                }
                None => {
                    if let Some(default) = &arg.default {
                        complete.insert(arg.name.clone(), default.clone());
                    }
                }
            }
        }
        if complaints.is_empty() {
            Ok(Call { tool: self.name.clone(), args: complete })
        } else {
            Err(complaints)
        }
    }

    /// JSON Schema of the arguments, plain enough for every provider.
    pub fn schema(&self) -> Value {
        let properties: Map<String, Value> = self
            .args
            .iter()
            .map(|arg| {
                let mut schema = arg.kind.schema();
                schema["description"] = Value::String(arg.about.clone());
                if let Some(default) = &arg.default {
                    schema["default"] = default.clone();
                }
                (arg.name.clone(), schema)
            })
            .collect();
        let required: Vec<&str> =
            self.args.iter().filter(|a| a.required).map(|a| a.name.as_str()).collect();
        json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        })
    }

    /// The argument of this name.
    pub fn arg(&self, name: &str) -> Option<&Arg> {
        self.args.iter().find(|arg| arg.name == name)
    }
}

impl ArgKind {
    fn check(&self, value: &Value) -> Result<(), String> {
        let fits = match self {
            Self::Host | Self::Service => is_text(value, 253),
            Self::Prose { chars_max } | Self::Text { chars_max } => is_text(value, *chars_max),
            Self::Integer { min, max } => {
                value.as_i64().is_some_and(|number| (*min..=*max).contains(&number))
            }
            Self::Choice { of } => value.as_str().is_some_and(|v| of.iter().any(|o| o == v)),
            Self::Choices { of } => value.as_array().is_some_and(|items| {
                !items.is_empty()
                    && items.len() <= of.len()
                    && items.iter().all(|i| i.as_str().is_some_and(|v| of.iter().any(|o| o == v)))
            }),
            Self::Paths { items_max } => value.as_array().is_some_and(|items| {
                !items.is_empty()
                    && items.len() <= *items_max
                    && items.iter().all(|item| is_text(item, 4096))
            }),
            Self::Object => value.is_object(),
        };
        if fits { Ok(()) } else { Err(self.expected()) }
    }

    fn expected(&self) -> String {
        match self {
            Self::Host => "the name of a host of the inventory".into(),
            Self::Service => "the name of a service of the inventory".into(),
            Self::Prose { chars_max } | Self::Text { chars_max } => {
                format!("text of 1 to {chars_max} characters")
            }
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Choice { of } => format!("one of {of:?}"),
            Self::Choices { of } => format!("a list with some of {of:?}"),
            Self::Paths { items_max } => format!("a list of 1 to {items_max} absolute paths"),
            Self::Object => "a JSON object".into(),
        }
    }

    fn schema(&self) -> Value {
        match self {
            Self::Host | Self::Service | Self::Prose { .. } | Self::Text { .. } => {
                json!({ "type": "string" })
            }
            Self::Integer { min, max } => {
                json!({ "type": "integer", "minimum": min, "maximum": max })
            }
            Self::Choice { of } => json!({ "type": "string", "enum": of }),
            Self::Choices { of } => {
                json!({ "type": "array", "items": { "type": "string", "enum": of } })
            }
            Self::Paths { .. } => json!({ "type": "array", "items": { "type": "string" } }),
            Self::Object => json!({ "type": "object" }),
        }
    }
}

fn is_text(value: &Value, chars_max: usize) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty() && text.chars().count() <= chars_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ToolSpec {
        ToolSpec {
            name: "clean".into(),
            about: "cleans".into(),
            effect: Effect::Write,
            args: vec![
                Arg::required("host", ArgKind::Host, "where"),
                Arg::with_default("days", ArgKind::Integer { min: 7, max: 90 }, json!(7), "age"),
            ],
        }
    }

    #[test]
    fn a_missing_argument_gets_its_written_default() {
        let args = json!({"host": "web1", "days": null}).as_object().cloned().unwrap();
        let call = spec().complete(&args).unwrap();
        assert_eq!(call, Call::new("clean", json!({"host": "web1", "days": 7})));
    }

    #[test]
    fn nothing_is_coerced_and_every_complaint_is_told() {
        for bad in [json!("7"), json!(7.5), json!(-1), json!(0), json!(true), json!(91)] {
            let args = json!({"host": "web1", "days": bad}).as_object().cloned().unwrap();
            assert!(spec().complete(&args).is_err(), "{bad} was taken");
        }
        let args = json!({"hots": "web1"}).as_object().cloned().unwrap();
        assert_eq!(
            spec().complete(&args).unwrap_err(),
            [
                "unknown argument 'hots'; clean takes [\"host\", \"days\"]",
                "'host' is missing: where",
            ]
        );
    }
}
