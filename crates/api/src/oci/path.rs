//! Which resource of the registry a path names.

use super::error::{Code, Error, Result};
use model::{ContentDigest, ManifestReference, RepositoryName};
use percent_encoding::percent_decode_str;

/// Longest identity of an upload; ours have 32 characters.
const MAX_UPLOAD: usize = 64;

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resource {
    /// The registry itself.
    Base,
    /// Where tokens are had.
    Token,
    /// The list of repositories.
    Catalog,
    /// A repository's list of tags.
    Tags(RepositoryName),
    /// A manifest.
    Manifest(RepositoryName, ManifestReference),
    /// A blob.
    Blob(RepositoryName, ContentDigest),
    /// Where uploads begin.
    Uploads(RepositoryName),
    /// An upload.
    Upload(RepositoryName, String),
    /// The manifests about a manifest.
    Referrers(RepositoryName, ContentDigest),
}

/// Reads a path that begins with `/v2`.
pub(super) fn parse(path: &str) -> Result<Resource> {
    let decoded = percent_decode_str(path).decode_utf8();
    let decoded = decoded.map_err(|_| Error::new(Code::NameInvalid, "the path is not UTF-8"))?;
    let rest = decoded.strip_prefix("/v2").unwrap_or_default();
    let parts: Vec<&str> = rest.strip_prefix('/').unwrap_or(rest).split('/').collect();
    match parts.as_slice() {
        [""] => Ok(Resource::Base),
        ["token"] => Ok(Resource::Token),
        ["_catalog"] => Ok(Resource::Catalog),
        [name @ .., "tags", "list"] => Ok(Resource::Tags(repository(name)?)),
        [name @ .., "blobs", "uploads" | "uploads/"] | [name @ .., "blobs", "uploads", ""] => {
            Ok(Resource::Uploads(repository(name)?))
        }
        [name @ .., "blobs", "uploads", id] => {
            let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            if id.len() > MAX_UPLOAD || !id.bytes().all(legal) {
                return Err(Error::new(
                    Code::BlobUploadUnknown,
                    "there is no such upload",
                ));
            }
            Ok(Resource::Upload(repository(name)?, (*id).to_owned()))
        }
        [name @ .., "blobs", text] => Ok(Resource::Blob(repository(name)?, digest(text)?)),
        [name @ .., "referrers", text] => Ok(Resource::Referrers(repository(name)?, digest(text)?)),
        [name @ .., "manifests", text] => {
            let name = repository(name)?;
            let reference = text.parse::<ManifestReference>().map_err(|error| {
                match text.contains(':') {
                    true => Error::new(Code::DigestInvalid, error.to_string()),
                    // No tag of that form can ever have been pushed.
                    false => Error::new(Code::TagInvalid, error.to_string()),
                }
            })?;
            Ok(Resource::Manifest(name, reference))
        }
        _ => Err(Error::new(
            Code::NotServed,
            "the registry has no such address; it is that of the OCI distribution specification",
        )),
    }
}

fn repository(parts: &[&str]) -> Result<RepositoryName> {
    let parsed = parts.join("/").parse();
    parsed.map_err(|error: model::Invalid| Error::new(Code::NameInvalid, error.to_string()))
}

/// A digest of a path or a query.
pub(super) fn digest(text: &str) -> Result<ContentDigest> {
    let parsed = text.parse();
    parsed.map_err(|error: model::Invalid| Error::new(Code::DigestInvalid, error.to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_address_of_the_specification_is_known() {
        let name = || "shop/a".parse::<RepositoryName>().unwrap();
        let hex = format!("sha256:{}", "a".repeat(64));
        let digest: ContentDigest = hex.parse().unwrap();
        for (path, resource) in [
            ("/v2".to_owned(), Resource::Base),
            ("/v2/".to_owned(), Resource::Base),
            ("/v2/token".to_owned(), Resource::Token),
            ("/v2/_catalog".to_owned(), Resource::Catalog),
            ("/v2/shop/a/tags/list".to_owned(), Resource::Tags(name())),
            (
                "/v2/shop/a/blobs/uploads/".to_owned(),
                Resource::Uploads(name()),
            ),
            (
                "/v2/shop/a/blobs/uploads".to_owned(),
                Resource::Uploads(name()),
            ),
            (
                "/v2/shop/a/blobs/uploads/12".to_owned(),
                Resource::Upload(name(), "12".to_owned()),
            ),
            (
                format!("/v2/shop/a/blobs/{hex}"),
                Resource::Blob(name(), digest.clone()),
            ),
            (
                format!("/v2/shop/a/blobs/{}", hex.replace(':', "%3A")),
                Resource::Blob(name(), digest.clone()),
            ),
            (
                format!("/v2/shop/a/referrers/{hex}"),
                Resource::Referrers(name(), digest.clone()),
            ),
            (
                format!("/v2/shop/a/manifests/{hex}"),
                Resource::Manifest(name(), ManifestReference::Digest(digest)),
            ),
            (
                "/v2/shop/a/manifests/prod".to_owned(),
                Resource::Manifest(name(), ManifestReference::Tag("prod".parse().unwrap())),
            ),
        ] {
            assert_eq!(parse(&path).unwrap(), resource, "{path}");
        }
        for path in [
            "/v2/shop",
            "/v2/tags/list",
            "/v2/../x/tags/list",
            "/v2/A/tags/list",
            "/v2//tags/list",
            "/v2/a/blobs/sha256:x",
            "/v2/a/manifests/.x",
            "/v2/a/blobs/uploads/../x",
            "/v2/%ff/tags/list",
            "/v2/a/blobs/uploads/..",
            "/v2/a%2f..%2fb/tags/list",
        ] {
            assert!(parse(path).is_err(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_read_or_refused(path in "/v2/[a-z%0-9./:_-]{0,60}") {
            drop(parse(&path));
        }
    }
}
