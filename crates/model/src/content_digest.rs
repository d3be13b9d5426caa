//! Digests as the registry takes them: of more than one algorithm.

use crate::{Digest, Invalid};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The algorithms that the OCI image spec registers and a registry must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `sha256`, 64 hex digits.
    Sha256,
    /// `sha512`, 128 hex digits.
    Sha512,
}

impl Algorithm {
    /// As it stands before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
}

/// A content address of the registry: `sha256:` and 64, or `sha512:` and 128 lower case hex digits
/// (OCI image spec, "Digests").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentDigest(String);

impl ContentDigest {
    /// Which algorithm made it.
    pub fn algorithm(&self) -> Algorithm {
        match self.0.starts_with("sha512:") {
            true => Algorithm::Sha512,
            false => Algorithm::Sha256,
        }
    }

    /// The hex digits alone, safe as a file name.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// With its prefix, as in `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContentDigest {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let legal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let digits = match text.split_once(':') {
            Some(("sha256", hex)) if hex.bytes().all(legal) => hex.len() == 64,
            Some(("sha512", hex)) if hex.bytes().all(legal) => hex.len() == 128,
            _ => false,
        };
        if digits {
            return Ok(Self(text.to_owned()));
        }
        let rule = "must be sha256: and 64, or sha512: and 128 lower case hex digits";
        Err(Invalid::new("digest", rule))
    }
}

impl TryFrom<String> for ContentDigest {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<ContentDigest> for String {
    fn from(digest: ContentDigest) -> Self {
        digest.0
    }
}

impl From<Digest> for ContentDigest {
    fn from(digest: Digest) -> Self {
        Self(digest.into())
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn both_algorithms_are_known_and_lengths_are_checked() {
        let short: ContentDigest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
        let long: ContentDigest = format!("sha512:{}", "b".repeat(128)).parse().unwrap();
        assert_eq!(short.algorithm(), Algorithm::Sha256);
        assert_eq!(long.algorithm(), Algorithm::Sha512);
        assert_eq!(long.hex(), "b".repeat(128));
        for bad in [
            String::new(),
            format!("sha256:{}", "a".repeat(128)),
            format!("sha512:{}", "a".repeat(64)),
            format!("sha256:{}", "A".repeat(64)),
            format!("md5:{}", "a".repeat(32)),
            "sha256:../../etc/passwd".to_owned(),
        ] {
            assert!(bad.parse::<ContentDigest>().is_err(), "{bad}");
        }
    }
}
