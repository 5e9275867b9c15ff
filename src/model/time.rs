//! Durations as people write them: `90s`, `5m`, `1h30m`, `7d`.

/// Milliseconds of a duration.
///
/// # Errors
/// What a duration looks like.
pub fn parse_duration_ms(text: &str) -> Result<i64, String> {
    let complaint = || format!("'{text}' is not a duration; write e.g. 90s, 5m, 1h30m or 7d");
    let mut total = 0_i64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(complaint());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(complaint)?;
        let number: i64 = rest[..digits].parse().map_err(|_| complaint())?;
        let unit_end =
            rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |i| digits + i);
        let unit_ms = match &rest[digits..unit_end] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "y" => 31_536_000_000,
            _ => return Err(complaint()),
        };
        total = number
            .checked_mul(unit_ms)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(complaint)?;
        rest = &rest[unit_end..];
    }
    Ok(total)
}

/// A span as people read it: the two largest units, e.g. `1h 5m`, `42s`, `850ms`.
pub fn format_span_ms(span_ms: i64) -> String {
    const UNITS: [(i64, &str); 4] =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    if span_ms.abs() < 1_000 {
        return format!("{span_ms}ms");
    }
    let mut rest = span_ms;
    let mut parts = Vec::new();
    for (unit_ms, name) in UNITS {
        if rest / unit_ms != 0 {
            parts.push(format!("{}{name}", rest / unit_ms));
            rest %= unit_ms;
        }
    }
    parts.truncate(2);
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, ms) in [("90s", 90_000), ("1h30m", 5_400_000), ("7d", 604_800_000), ("5ms", 5)] {
            assert_eq!(parse_duration_ms(text), Ok(ms), "{text}");
        }
        for bad in ["", "5", "m", "5 m", "-5m", "1x", "99999999999999d"] {
            assert!(parse_duration_ms(bad).is_err(), "{bad} was taken");
        }
        assert_eq!(format_span_ms(3_905_000), "1h 5m");
        assert_eq!(format_span_ms(42_000), "42s");
        assert_eq!(format_span_ms(850), "850ms");
    }
}
