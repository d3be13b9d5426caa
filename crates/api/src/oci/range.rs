//! Ranges: which bytes of a blob are wanted, and which of an upload are sent.

use storage::ByteRange;

/// What a `Range` header asks of a blob of `size` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Everything: nothing, several ranges, or what cannot be read is asked (RFC 9110, 14.2).
    All,
    /// A part.
    Part(ByteRange),
    /// What is not there.
    Outside,
}

/// Reads `bytes=A-B`, `bytes=A-` and `bytes=-LENGTH`.
pub(super) fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some((first, last)) = header
        .and_then(|text| text.trim().strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'))
    else {
        return Wanted::All;
    };
    let part = |start: u64, length: u64| match length {
        0 => Wanted::Outside,
        _ => Wanted::Part(ByteRange { start, length }),
    };
    match (first, number(first), last, number(last)) {
        ("", None, _, Some(length)) => {
            let length = length.min(size);
            part(size - length, length)
        }
        (_, Some(start), "", None) => part(start, size.saturating_sub(start)),
        (_, Some(start), _, Some(end)) if start <= end => {
            let end = end.saturating_add(1).min(size);
            part(start, end.saturating_sub(start))
        }
        _ => Wanted::All,
    }
}

/// The first and last byte of a chunk, `A-B`, both included (OCI distribution spec; others write
/// `bytes A-B/SIZE`, as RFC 9110 does).
pub(super) fn chunk(text: &str) -> Option<(u64, u64)> {
    let text = text.trim();
    let text = text.strip_prefix("bytes").map_or(text, str::trim_start);
    let text = text.split_once('/').map_or(text, |(range, _)| range);
    let (first, last) = text.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    // A last byte that none can follow is no byte of anything.
    (first <= last && last < u64::MAX).then_some((first, last))
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_are_cut_to_what_is_there() {
        let part = |start, length| Wanted::Part(ByteRange { start, length });
        for (text, found) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=2-", part(2, 8)),
            ("bytes=2-99", part(2, 8)),
            ("bytes=-3", part(7, 3)),
            ("bytes=-99", part(0, 10)),
            ("bytes=10-", Wanted::Outside),
            ("bytes=10-12", Wanted::Outside),
            ("bytes=-0", Wanted::Outside),
            ("bytes=5-4", Wanted::All),
            ("bytes=0-1,3-4", Wanted::All),
            ("bytes=a-b", Wanted::All),
            ("lines=0-1", Wanted::All),
        ] {
            assert_eq!(wanted(Some(text), 10), found, "{text}");
        }
        assert_eq!(wanted(None, 10), Wanted::All);
    }

    #[test]
    fn chunks_are_read_in_both_forms() {
        assert_eq!(chunk("0-9"), Some((0, 9)));
        assert_eq!(chunk("bytes 0-9/10"), Some((0, 9)));
        for bad in [
            "",
            "9-0",
            "a-b",
            "-1",
            "1-",
            "+1-2",
            "0-18446744073709551615",
        ] {
            assert_eq!(chunk(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_part_is_always_within(text in "bytes=[0-9]{0,21}-[0-9]{0,21}", size: u64) {
            if let Wanted::Part(part) = wanted(Some(&text), size) {
                prop_assert!(part.length > 0);
                prop_assert!(part.start.checked_add(part.length).is_some_and(|end| end <= size));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}", size: u64) {
            let _ = (wanted(Some(&text), size), chunk(&text));
        }
    }
}
