//! Repositories of the registry, their tags, and references to what they hold.

use crate::name::name;
use crate::{ContentDigest, Invalid};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest name of a repository, in bytes: what clients leave room for.
const MAX_REPOSITORY: usize = 255;
/// Longest tag (OCI distribution spec).
const MAX_TAG: usize = 128;

name!(
    /// A repository's name such as `shop/thumbnail`: parts of `a-z 0-9`, joined by `.`, `_`, `__` or
    /// any number of `-`, and `/` between parts; 255 bytes at most (OCI distribution spec).
    RepositoryName,
    "repository name",
    check_repository
);
name!(
    /// A tag: 1 to 128 of `A-Z a-z 0-9 _ . -`, not beginning with `.` or `-` (OCI distribution spec).
    Tag,
    "tag",
    check_tag
);

/// A manifest within its repository: by a tag, which moves, or by its digest, which does not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ManifestReference {
    /// By name.
    Tag(Tag),
    /// By address.
    Digest(ContentDigest),
}

impl FromStr for ManifestReference {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.contains(':') {
            true => text.parse().map(Self::Digest),
            false => text.parse().map(Self::Tag),
        }
    }
}

impl fmt::Display for ManifestReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

fn check_repository(text: &str) -> Result<(), &'static str> {
    if text.len() <= MAX_REPOSITORY && text.split('/').all(is_part) {
        return Ok(());
    }
    Err("must be like shop/thumbnail: a-z and 0-9, with single . _ or - between them, 255 at most")
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_part(part: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separator =
        |run: &[u8]| matches!(run, b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-');
    let runs: Vec<&[u8]> = part
        .as_bytes()
        .chunk_by(|a, b| letter(*a) == letter(*b))
        .collect();
    let ends = |run: Option<&&[u8]>| run.is_some_and(|run| letter(run[0]));
    ends(runs.first())
        && ends(runs.last())
        && runs.iter().all(|run| letter(run[0]) || separator(run))
}

fn check_tag(text: &str) -> Result<(), &'static str> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(word);
    if first && text.len() <= MAX_TAG && bytes.all(|b| word(b) || b == b'.' || b == b'-') {
        return Ok(());
    }
    Err("must be 1 to 128 letters, digits and _.- and begin with a letter, a digit or _")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_those_of_the_specification() {
        for good in [
            "a",
            "shop/thumbnail",
            "a.b/c_d/e__f/g--h",
            "0/1",
            "library/busybox",
        ] {
            assert!(good.parse::<RepositoryName>().is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "", "/", "a/", "/a", "a//b", "A", "a..b", "a._b", "a___b", "-a", "a-", "../etc",
            "a/../b", "a b", "é", "a\n", &long,
        ] {
            assert!(bad.parse::<RepositoryName>().is_err(), "{bad:?}");
        }
        for good in ["latest", "_x", "1.0-rc.1", "A"] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        for bad in ["", ".a", "-a", "a/b", "a:b", "é", &"a".repeat(129)] {
            assert!(bad.parse::<Tag>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_reference_is_a_tag_or_a_digest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        assert!(matches!(digest.parse(), Ok(ManifestReference::Digest(_))));
        assert!(matches!("prod".parse(), Ok(ManifestReference::Tag(_))));
        assert!("sha256:zz".parse::<ManifestReference>().is_err());
    }

    proptest! {
        #[test]
        fn what_the_grammar_makes_is_taken(
            text in "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,8}){0,3}(/[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}){0,3}"
        ) {
            prop_assert!(text.parse::<RepositoryName>().is_ok());
        }

        #[test]
        fn no_name_leads_anywhere(text in ".{0,40}") {
            if let Ok(name) = text.parse::<RepositoryName>() {
                prop_assert!(name.as_str().split('/').all(|part| !part.is_empty() && part != ".."));
            }
        }
    }
}
