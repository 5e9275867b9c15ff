//! Reads how long a service wants us to wait.
//!
//! In: the headers of an answer. Out: milliseconds. Never: a clock of our own; a date is measured
//! against the answer's own `Date`, so a skewed clock on either side changes nothing.

use chrono::DateTime;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// The wait that `Retry-After` (RFC 9110, section 10.2.3) or `retry-after-ms` asks for.
///
/// A date in the past is 0; a header that cannot be understood is none.
pub fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    // OpenAI and Azure send the finer header beside the standard one.
    if let Some(ms) = text("retry-after-ms").and_then(|value| value.parse::<f64>().ok()) {
        return whole_ms(ms);
    }
    let value = text(RETRY_AFTER.as_str())?;
    if let Ok(seconds) = value.parse::<f64>() {
        return whole_ms(seconds * 1000.0);
    }
    let until = DateTime::parse_from_rfc2822(value).ok()?;
    let answered = DateTime::parse_from_rfc2822(text(DATE.as_str())?).ok()?;
    Some(u64::try_from((until - answered).num_milliseconds()).unwrap_or(0))
}

fn whole_ms(ms: f64) -> Option<u64> {
    // The cast saturates, so a huge wait stays huge.
    (ms.is_finite() && ms >= 0.0).then_some(ms.ceil() as u64)
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

    use super::retry_after_ms;

    type Pairs = [(&'static str, &'static str)];

    fn headers(pairs: &Pairs) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn every_published_form_is_understood() {
        let date = ("date", "Wed, 21 Oct 2015 07:28:00 GMT");
        let cases: [(&Pairs, Option<u64>); 9] = [
            (&[("retry-after", "2")], Some(2_000)),
            (&[("retry-after", "0.25")], Some(250)),
            (&[("retry-after", "60"), ("retry-after-ms", "1500")], Some(1_500)),
            (&[("retry-after", "Wed, 21 Oct 2015 07:28:30 GMT"), date], Some(30_000)),
            (&[("retry-after", "Wed, 21 Oct 2015 07:27:00 GMT"), date], Some(0)),
            (&[("retry-after", "Wed, 21 Oct 2015 07:28:30 GMT")], None),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "soon")], None),
            (&[], None),
        ];
        for (given, expected) in cases {
            assert_eq!(retry_after_ms(&headers(given)), expected, "{given:?}");
        }
    }
}
