//! `${name}` in texts and arguments, filled in from named values.

use serde_json::Value;

/// The names between `${` and `}`, in order.
pub fn names(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("${") {
        let Some((name, tail)) = after.split_once('}') else { break };
        found.push(name);
        rest = tail;
    }
    found
}

/// Fills in a text.
///
/// # Errors
/// The first name without a value.
pub fn text(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let Some((name, tail)) = after.split_once('}') else {
            out.push_str("${");
            rest = after;
            continue;
        };
        out.push_str(&lookup(name).ok_or_else(|| name.to_owned())?);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// Fills in every string of a value.
///
/// # Errors
/// The first name without a value.
pub fn value(template: &Value, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Value, String> {
    Ok(match template {
        Value::String(template) => Value::String(text(template, lookup)?),
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| value(item, lookup)).collect::<Result<_, _>>()?)
        }
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, item)| Ok((key.clone(), value(item, lookup)?)))
                .collect::<Result<_, String>>()?,
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) => template.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_filled_in_everywhere_and_a_missing_one_is_named() {
        let lookup = |name: &str| (name == "host").then(|| "web1".to_owned());
        let template =
            json!({"host": "${host}", "paths": ["/srv/${host}/log", 7], "x": "$ {host}"});
        assert_eq!(
            value(&template, &lookup),
            Ok(json!({"host": "web1", "paths": ["/srv/web1/log", 7], "x": "$ {host}"}))
        );
        assert_eq!(text("${service}", &lookup), Err("service".to_owned()));
        assert_eq!(text("open ${host", &lookup), Ok("open ${host".to_owned()));
        assert_eq!(names("${a} ${labels.b} ${c"), ["a", "labels.b"]);
    }
}
