//! Pages of listings.

use super::error::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Most entries of one page, and as many without a number (AWS's bound).
const MOST: u32 = 100;

/// How many entries a page shall have.
pub(super) fn size(asked: Option<&str>) -> Result<u32> {
    let Some(asked) = asked else {
        return Ok(MOST);
    };
    let size = asked.parse::<u32>().ok();
    size.filter(|size| (1..=MOST).contains(size))
        .ok_or_else(|| Error::range("maxResults", asked.escape_debug(), 1, MOST.into()))
}

/// A token that says where the next page begins. What is in it is nobody's concern.
pub(super) fn token(last: &str) -> String {
    URL_SAFE_NO_PAD.encode(last)
}

/// What a token says.
pub(super) fn begin(token: &str) -> Result<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.filter(|text| text.len() <= 256)
        .ok_or_else(invalid_token)
}

/// A token that was not made here.
pub(super) fn invalid_token() -> Error {
    Error::invalid("Invalid NextToken. Begin again without one.")
}

/// Cuts what was read with one entry too many; tells whether there was one.
pub(super) fn cut<T>(entries: &mut Vec<T>, size: u32) -> bool {
    let size = size as usize;
    let more = entries.len() > size;
    entries.truncate(size);
    more
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tokens_come_back_and_others_are_refused() {
        assert_eq!(begin(&token("a/b")).unwrap(), "a/b");
        for bad in ["ä", "%%", "/w", &token(&"x".repeat(300))] {
            assert!(begin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_page_has_bounds() {
        assert_eq!(size(None).unwrap(), 100);
        assert_eq!(size(Some("1")).unwrap(), 1);
        for bad in ["0", "101", "-1", "x", ""] {
            assert!(size(Some(bad)).is_err(), "{bad}");
        }
        let mut entries = vec![1, 2, 3];
        assert!(cut(&mut entries, 2));
        assert_eq!(entries, [1, 2]);
        assert!(!cut(&mut entries, 2));
    }
}
