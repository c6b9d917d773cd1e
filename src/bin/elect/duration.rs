//! Durations as people write them: `15s`, `500ms`, `1h 30min`.

use std::time::Duration;

/// The most that any setting takes, so that no sum of two overflows.
const MOST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A duration that may be zero.
pub fn any(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    let duration = humantime::parse_duration(text).map_err(|error| explain(text, &error))?;
    if duration > MOST {
        return Err("longer than the most, which is 366 days".into());
    }
    Ok(duration)
}

/// A duration that must not be zero.
pub fn positive(text: &str) -> Result<Duration, String> {
    match any(text)? {
        Duration::ZERO => Err("must be longer than zero".into()),
        duration => Ok(duration),
    }
}

fn explain(text: &str, error: &humantime::DurationError) -> String {
    use humantime::DurationError::{Empty, NumberOverflow, UnknownUnit};
    match error {
        UnknownUnit { unit, value, .. } if unit.is_empty() => {
            format!("a unit is missing; write {value}s for seconds, {value}ms for milliseconds")
        }
        UnknownUnit { unit, .. } => {
            format!("{unit:?} is no unit; there are ms, s, min, h and days")
        }
        NumberOverflow => "longer than the most, which is 366 days, or finer than 1 ns".into(),
        Empty => "a duration is missing; write one such as 15s or 500ms".into(),
        _ if text.trim_start().starts_with('-') => "a duration can't be negative".into(),
        _ => format!("no duration ({error}); write one such as 15s or 500ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(any("15s"), Ok(Duration::from_secs(15)));
        assert_eq!(any("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(any("1h 30min"), Ok(Duration::from_secs(5400)));
        assert_eq!(any("0"), Ok(Duration::ZERO));
        assert_eq!(any("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn a_refusal_says_what_is_wrong_and_what_to_write() {
        for (text, part) in [
            ("5", "write 5s"),
            ("5 parsecs", "no unit"),
            ("", "missing"),
            ("-5s", "negative"),
            ("abc", "15s"),
            ("99999999999999999999s", "366 days"),
            ("18446744073709551615s", "366 days"),
            ("400days", "366 days"),
        ] {
            let refusal = any(text).expect_err(text);
            assert!(refusal.contains(part), "{text:?}: {refusal}");
        }
        assert_eq!(positive("0"), Err("must be longer than zero".into()));
        assert!(positive("0ms").is_err());
    }
}
