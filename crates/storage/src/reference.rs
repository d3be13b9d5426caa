//! Names of images, brought to the one form in which docker shows them.

use crate::entry_path::shown;
use crate::{Error, Result};

/// Longest reference in bytes, its tag included.
const MAX_REFERENCE: usize = 255;

/// A checked reference: `docker.io/library/busybox` and `busybox` are `busybox:latest`.
pub(crate) fn parse(text: &str) -> Result<String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b);
    let short = text.strip_prefix("docker.io/").unwrap_or(text);
    let short = short
        .strip_prefix("library/")
        .filter(|_| short != text)
        .unwrap_or(short);
    let last = short.rsplit('/').next().unwrap_or_default();
    let form = if last.contains([':', '@']) {
        short.to_owned()
    } else {
        format!("{short}:latest")
    };
    let begins = short
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    let whole = short
        .split('/')
        .all(|part| !part.is_empty() && part != "." && part != "..");
    // What is left must not be shortened again, or one image would have two names.
    let begins = begins && !short.starts_with("docker.io/");
    if !begins || !whole || form.len() > MAX_REFERENCE || !short.bytes().all(legal) {
        let shown = shown(text.as_bytes());
        return Err(Error::Invalid(format!(
            "image reference \"{shown}\" must be like shop/thumbnail:prod, at most \
             {MAX_REFERENCE} letters, digits and ._-/:@"
        )));
    }
    Ok(form)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn references_have_one_form() {
        for (text, form) in [
            ("busybox", "busybox:latest"),
            ("docker.io/library/busybox:1.36", "busybox:1.36"),
            ("docker.io/shop/thumb", "shop/thumb:latest"),
            ("library/busybox", "library/busybox:latest"),
            (
                "localhost:5000/shop/thumb",
                "localhost:5000/shop/thumb:latest",
            ),
            ("shop/thumb:prod", "shop/thumb:prod"),
        ] {
            assert_eq!(parse(text).unwrap(), form);
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        // With its tag it is too long.
        let long = "x".repeat(249);
        for text in [
            "",
            "../etc",
            "a//b",
            "a/../b",
            "-x",
            "a b",
            "a\n",
            "/a",
            "é",
            "docker.io/docker.io/a",
            &long,
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
