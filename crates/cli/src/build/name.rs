//! Names of images in the server's registry.

use model::{Invalid, ManifestReference, RepositoryName};
use std::fmt;
use std::str::FromStr;

/// A repository and a tag or digest in it: `shop/thumbnail:prod`, `shop/thumbnail` (`latest`),
/// `shop/thumbnail@sha256:…`, with this machine's address before it or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageName {
    pub(crate) repository: RepositoryName,
    pub(crate) reference: ManifestReference,
}

impl FromStr for ImageName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let rest = match text.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
                let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
                if !matches!(host, "localhost" | "127.0.0.1" | "[::1]") {
                    let reason = "names another registry; take this server's: localhost:4566/NAME:TAG, \
                                  or NAME:TAG";
                    return Err(Invalid::new("image", reason));
                }
                rest
            }
            _ => text,
        };
        let (name, reference) = match rest.split_once('@') {
            Some((name, digest)) => (name, ManifestReference::Digest(digest.parse()?)),
            None => {
                let (name, tag) = rest.split_once(':').unwrap_or((rest, "latest"));
                (name, ManifestReference::Tag(tag.parse()?))
            }
        };
        // Beside a digest a tag says nothing.
        let name = name.split_once(':').map_or(name, |(name, _)| name);
        Ok(Self {
            repository: name.parse()?,
            reference,
        })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let between = match self.reference {
            ManifestReference::Tag(_) => ':',
            ManifestReference::Digest(_) => '@',
        };
        write!(f, "{}{between}{}", self.repository, self.reference)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_of_this_server_are_read() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, shown) in [
            ("shop/thumb", "shop/thumb:latest"),
            ("localhost:4566/shop/thumb:prod", "shop/thumb:prod"),
            ("127.0.0.1:1/thumb:1", "thumb:1"),
            (&format!("a/b:1@{digest}"), &format!("a/b@{digest}")),
        ] {
            assert_eq!(text.parse::<ImageName>().unwrap().to_string(), *shown);
        }
        for wrong in ["", "example.com/a:1", "UPPER", "a:b:c", "a@b"] {
            assert!(wrong.parse::<ImageName>().is_err(), "{wrong}");
        }
    }
}
