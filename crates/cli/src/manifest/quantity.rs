//! Sizes, durations and parts of a processor as people write them, read without rounding.

/// Bytes: a number and `b`, `k`, `m`, `g` or `t` (also `kb`, `Ki`, `KiB` and so on), in steps of
/// 1024 as Compose has it. Without a unit it counts in `bare` bytes.
pub(crate) fn parse_bytes(text: &str, bare: u64) -> Result<u64, String> {
    let (number, unit) = split(text);
    let unit = unit.to_ascii_lowercase();
    let scale = match unit.as_str() {
        "" => bare,
        "b" => 1,
        "k" | "kb" | "ki" | "kib" => 1 << 10,
        "m" | "mb" | "mi" | "mib" => 1 << 20,
        "g" | "gb" | "gi" | "gib" => 1 << 30,
        "t" | "tb" | "ti" | "tib" => 1 << 40,
        _ => {
            return Err(format!(
                "must be a size such as 512M or 2G, and is {text:?}"
            ));
        }
    };
    scaled(number, scale)
        .ok_or_else(|| format!("must be a size such as 512M or 2G, and is {text:?}"))
}

/// Milliseconds: numbers with `ms`, `s`, `m`, `h` or `d`, such as `30s` or `1m30s`. Without a unit
/// the number counts seconds.
pub(crate) fn parse_duration(text: &str) -> Result<u64, String> {
    let wrong = || format!("must be a duration such as 500ms, 30s or 1m30s, and is {text:?}");
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (number, after) = split(rest);
        let length = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        let scale = match unit {
            "" if number.len() == text.len() => 1_000,
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let part = scaled(number, scale).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = after;
    }
    if text.is_empty() {
        Err(wrong())
    } else {
        Ok(total)
    }
}

/// Thousandths of a processor from a decimal number such as `0.5`.
pub(crate) fn parse_cpus(text: &str) -> Result<u32, String> {
    scaled(text, 1_000)
        .and_then(|value| u32::try_from(value).ok())
        .ok_or_else(|| format!("must be a number of processors such as 0.5 or 2, and is {text:?}"))
}

fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// A decimal number times `scale`, cut to a whole; `None` if it is no number or too large.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    if number.ends_with('.') {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    let length = u32::try_from(fraction.len()).ok()?;
    let fraction = if fraction.is_empty() {
        0
    } else {
        fraction.parse::<u128>().ok()?
    };
    let part = fraction * u128::from(scale) / 10_u128.pow(length);
    whole.checked_add(u64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        let cases = [
            ("512M", 512 << 20),
            ("512m", 512 << 20),
            ("1.5g", 1536 << 20),
            ("64 KiB", 65_536),
            ("10b", 10),
            ("256", 256 << 20),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_bytes(text, 1 << 20), Ok(expected), "{text}");
        }
        for bad in [
            "",
            "M",
            "-1M",
            "1X",
            "1.M",
            "1..2M",
            "99999999999999999999",
            "1e3",
        ] {
            assert!(parse_bytes(bad, 1).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        let cases = [
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("1.5s", 1_500),
            ("10", 10_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
        for bad in [
            "",
            "s",
            "10 parsecs",
            "1m30",
            "-1s",
            "1h-1m",
            "9999999999999999999h",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn processors() {
        assert_eq!(parse_cpus("0.5"), Ok(500));
        assert_eq!(parse_cpus("2"), Ok(2_000));
        for bad in ["", ".5", "half", "99999999999", "-1"] {
            assert!(parse_cpus(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,24}") {
            let _ = (parse_bytes(&text, 1), parse_duration(&text), parse_cpus(&text));
        }

        #[test]
        fn what_is_written_is_read(value in 0_u64..1 << 40) {
            prop_assert_eq!(parse_bytes(&format!("{value}"), 1), Ok(value));
            prop_assert_eq!(parse_bytes(&format!("{value}k"), 1), Ok(value * 1024));
            prop_assert_eq!(parse_duration(&format!("{value}ms")), Ok(value));
            let (minutes, seconds) = (value / 60, value % 60);
            prop_assert_eq!(parse_duration(&format!("{minutes}m{seconds}s")), Ok(value * 1000));
        }
    }
}
