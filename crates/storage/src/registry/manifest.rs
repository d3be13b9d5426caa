//! Manifests as they are pushed: kept byte for byte, read only for what they name.

use super::digests::Digests;
use crate::{Error, Result, Storage};
use bytes::Bytes;
use model::{Algorithm, ContentDigest, ManifestReference, RepositoryName, Timestamp};
use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha256, Sha512};
use state::{ManifestPut, ManifestRow, NewManifest, ReferenceRow};
use std::collections::BTreeMap;

/// Largest manifest: 4 MiB, what the OCI distribution spec says a registry should take.
pub const MAX_MANIFEST: usize = 4 << 20;
/// Most blobs and manifests that one manifest may name.
const MAX_NAMED: usize = 10_000;
/// Most bytes of annotations, as JSON, of a manifest that is about another.
const MAX_ANNOTATIONS: usize = 2 << 20;
/// Longest media type or type of artifact (RFC 6838 allows 127 before and after the slash).
const MAX_MEDIA_TYPE: usize = 255;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Types whose fields mean what [`Fields`] says. Of others, what reads like it is taken for it, and what
/// else they name is kept as long as they are.
const KNOWN: [&str; 4] = [
    IMAGE,
    INDEX,
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// How the types of Docker's first schema begin, whose layers are named otherwise.
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+";

/// A manifest that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedManifest {
    /// Its address.
    pub digest: ContentDigest,
    /// What it says it is about.
    pub subject: Option<ContentDigest>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    blobs: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
    /// Only Docker's first schema has them.
    fs_layers: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: String,
    media_type: Option<String>,
    urls: Option<Vec<String>>,
}

impl Descriptor {
    /// Whether the bytes are elsewhere by intent: layers that may not be distributed.
    fn is_foreign(&self) -> bool {
        let kind = self.media_type.as_deref().unwrap_or_default();
        let named = kind.contains(".foreign.") || kind.contains("nondistributable");
        named || self.urls.as_ref().is_some_and(|urls| !urls.is_empty())
    }

    fn digest(&self) -> Result<ContentDigest> {
        let parsed = self.digest.parse();
        parsed.map_err(|error| Error::Invalid(format!("the manifest names a blob whose {error}")))
    }
}

/// Bytes of annotations as JSON.
fn json_size(annotations: &BTreeMap<String, String>) -> usize {
    serde_json::to_vec(annotations).map_or(usize::MAX, |json| json.len())
}

/// Whether it has the form of a media type and can stand in a header.
fn is_media_type(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+/".contains(&b);
    let parts = text.split('/').count();
    text.len() <= MAX_MEDIA_TYPE && parts == 2 && text.bytes().all(legal)
}

/// Reads what a manifest says. `media_type` is the one that it was sent with.
pub(crate) fn parse(
    media_type: Option<String>,
    body: Bytes,
    digest: ContentDigest,
) -> Result<NewManifest> {
    let refuse = |reason: String| Error::Invalid(format!("the manifest {reason}"));
    let fields = match serde_json::from_slice::<Fields>(&body) {
        Ok(fields) => fields,
        Err(error)
            if media_type
                .as_deref()
                .is_none_or(|kind| KNOWN.contains(&kind)) =>
        {
            return Err(refuse(format!("cannot be read: {error}")));
        }
        Err(_) => {
            let json = serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(&body);
            json.map_err(|error| refuse(format!("is no JSON object: {error}")))?;
            Fields::default()
        }
    };
    let said = fields.media_type.clone();
    let media_type = match (media_type, said) {
        (Some(sent), Some(said)) if sent != said => {
            let reason = "was sent with another media type than it says itself";
            return Err(refuse(reason.to_owned()));
        }
        (Some(kind), _) | (None, Some(kind)) => kind,
        (None, None) if fields.manifests.is_some() => INDEX.to_owned(),
        (None, None) => IMAGE.to_owned(),
    };
    let types = [Some(&media_type), fields.artifact_type.as_ref()];
    if let Some(bad) = types
        .into_iter()
        .flatten()
        .find(|kind| !is_media_type(kind))
    {
        let shown: String = bad.chars().take(80).collect();
        return Err(refuse(format!(
            "has the media type \"{}\"",
            shown.escape_debug()
        )));
    }
    let is_known = KNOWN.contains(&media_type.as_str());
    if media_type.starts_with(SCHEMA_1) || (is_known && fields.fs_layers.is_some()) {
        let reason = "is of Docker's schema 1; push it as an OCI image or as Docker's schema 2";
        return Err(refuse(reason.to_owned()));
    }
    let (references, mut optional) = references(&fields)?;
    if !is_known {
        let Digests(named) = serde_json::from_slice(&body)
            .map_err(|error| refuse(format!("cannot be read: {error}")))?;
        optional.extend(named);
    }
    optional.sort_unstable();
    optional.dedup();
    if references.len() + optional.len() > MAX_NAMED {
        return Err(refuse(format!(
            "names more than {MAX_NAMED} blobs and manifests"
        )));
    }
    let subject = fields
        .subject
        .as_ref()
        .map(Descriptor::digest)
        .transpose()?;
    let config_type = fields.config.and_then(|config| config.media_type);
    let config_type = config_type.filter(|kind| is_media_type(kind));
    let annotations = fields.annotations.unwrap_or_default();
    // They stand in the answer that lists what is about the subject.
    if subject.is_some() && json_size(&annotations) > MAX_ANNOTATIONS {
        return Err(refuse(format!(
            "is about another and has more than {MAX_ANNOTATIONS} bytes of annotations"
        )));
    }
    Ok(NewManifest {
        row: ManifestRow {
            digest,
            media_type,
            size: body.len() as u64,
            artifact_type: fields.artifact_type.or(config_type),
            annotations,
        },
        subject,
        references,
        optional,
        body,
    })
}

/// What must be there, and blobs that may be elsewhere.
fn references(fields: &Fields) -> Result<(Vec<ReferenceRow>, Vec<ContentDigest>)> {
    let layers = fields.layers.iter().chain(&fields.blobs).flatten();
    let blobs = fields.config.iter().chain(layers);
    let (foreign, blobs): (Vec<_>, Vec<_>) = blobs.partition(|blob| blob.is_foreign());
    let foreign = foreign.into_iter().map(Descriptor::digest);
    let manifests = fields.manifests.iter().flatten();
    let named = blobs
        .into_iter()
        .map(|blob| (blob, false))
        .chain(manifests.map(|manifest| (manifest, true)));
    let mut references = named
        .map(|(named, is_manifest)| {
            let digest = named.digest()?;
            Ok(ReferenceRow {
                digest,
                is_manifest,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    references.sort_unstable();
    references.dedup();
    Ok((references, foreign.collect::<Result<_>>()?))
}

pub(crate) fn digest_of(body: &[u8], algorithm: Algorithm) -> Result<ContentDigest> {
    let hex = match algorithm {
        Algorithm::Sha256 => hex::encode(Sha256::digest(body)),
        Algorithm::Sha512 => hex::encode(Sha512::digest(body)),
    };
    let digest = format!("{}:{hex}", algorithm.as_str()).parse();
    digest.map_err(|error: model::Invalid| Error::Invalid(error.to_string()))
}

impl Storage {
    /// Stores a manifest byte for byte, and moves the tag that `reference` may be to it, durably.
    ///
    /// # Errors
    /// `Mismatch` with a digest that is not its; `Invalid`; `Unknown` when it names what the repository
    /// does not have.
    pub async fn push_manifest(
        &self,
        repository: &RepositoryName,
        reference: ManifestReference,
        media_type: Option<String>,
        body: Bytes,
    ) -> Result<PushedManifest> {
        let (tag, digest) = match reference {
            ManifestReference::Tag(tag) => (Some(tag), digest_of(&body, Algorithm::Sha256)?),
            ManifestReference::Digest(named) => {
                let digest = digest_of(&body, named.algorithm())?;
                if digest != named {
                    let reason = format!("the manifest has the digest {digest}, not {named}");
                    return Err(Error::Mismatch(reason));
                }
                (None, digest)
            }
        };
        let new = parse(media_type, body, digest.clone())?;
        let subject = new.subject.clone();
        let state = self.state();
        let put = state.put_manifest(repository.clone(), tag, new, Timestamp::now());
        match put.await? {
            ManifestPut::Stored => Ok(PushedManifest { digest, subject }),
            ManifestPut::Missing(missing) => Err(Error::Unknown(
                missing.into_iter().map(|named| named.digest).collect(),
            )),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(kind: Option<&str>, text: &str) -> Result<NewManifest> {
        let body = Bytes::copy_from_slice(text.as_bytes());
        let digest = digest_of(&body, Algorithm::Sha256)?;
        parse(kind.map(str::to_owned), body, digest)
    }

    #[test]
    fn what_is_named_is_found_and_foreign_layers_need_not_be_there() {
        let digest = |letter: &str| format!("sha256:{}", letter.repeat(64));
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"a/config","digest":"{}","size":1}},
                "layers":[{{"digest":"{}"}},{{"digest":"{}"}},
                  {{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"{}"}},
                  {{"digest":"{}","urls":["https://example.com/x"]}}],
                "subject":{{"digest":"{}"}},"annotations":{{"a":"b"}}}}"#,
            digest("1"),
            digest("2"),
            digest("2"),
            digest("3"),
            digest("4"),
            digest("5"),
        );
        let new = read(Some(IMAGE), &text).unwrap();
        let named: Vec<_> = new
            .references
            .iter()
            .map(|named| named.digest.as_str())
            .collect();
        assert_eq!(named, [digest("1"), digest("2")]);
        let optional: Vec<_> = new.optional.iter().map(ContentDigest::as_str).collect();
        assert_eq!(optional, [digest("3"), digest("4")]);
        assert_eq!(new.subject.unwrap().as_str(), digest("5"));
        assert_eq!(new.row.artifact_type.as_deref(), Some("a/config"));
        assert_eq!(new.row.annotations["a"], "b");
    }

    #[test]
    fn what_is_about_another_has_annotations_within_a_page() {
        let text = |subject: &str, bytes: usize| {
            let about = format!(r#""subject":{{"digest":"sha256:{}"}},"#, "1".repeat(64));
            let about = if subject.is_empty() { "" } else { &about };
            let value = "x".repeat(bytes);
            format!(r#"{{{about}"annotations":{{"a":"{value}"}}}}"#)
        };
        assert!(read(Some(IMAGE), &text("s", MAX_ANNOTATIONS - 100)).is_ok());
        assert!(read(Some(IMAGE), &text("s", MAX_ANNOTATIONS)).is_err());
        assert!(read(Some(IMAGE), &text("", MAX_ANNOTATIONS)).is_ok());
        let long = format!(
            r#"{{"config":{{"mediaType":"a/{}","digest":"sha256:{}"}}}}"#,
            "b".repeat(300),
            "1".repeat(64)
        );
        assert_eq!(read(Some(IMAGE), &long).unwrap().row.artifact_type, None);
    }

    #[test]
    fn unknown_types_are_kept_and_contradictions_refused() {
        let new = read(Some("application/x"), r#"{"layers":"odd"}"#).unwrap();
        assert_eq!(
            (new.row.media_type.as_str(), new.references.len()),
            ("application/x", 0)
        );
        let index = read(None, r#"{"manifests":[]}"#).unwrap();
        assert_eq!(index.row.media_type, INDEX);
        for (kind, text) in [
            (None, r#"{"schemaVersion":1,"fsLayers":[]}"#),
            (
                Some("application/vnd.docker.distribution.manifest.v1+prettyjws"),
                "{}",
            ),
            (Some(IMAGE), r#"{"layers":"odd"}"#),
            (Some(IMAGE), r#"{"mediaType":"application/y"}"#),
            (Some(IMAGE), r#"{"config":{"digest":"sha256:x"}}"#),
            (Some("application/x"), "[]"),
            (Some("application/x"), "no json"),
            (Some("a b"), "{}"),
            (None, r#"{"mediaType":"a\nb/c"}"#),
            (None, ""),
        ] {
            assert!(matches!(read(kind, text), Err(Error::Invalid(_))), "{text}");
        }
    }

    #[test]
    fn what_an_unknown_type_names_anywhere_is_kept() {
        let digest = |letter: &str| format!("sha256:{}", letter.repeat(64));
        for layers in [r#""odd""#, "[]"] {
            let text = format!(
                r#"{{"layers":{layers},"n":[1,-1,1.5,null,true],"parts":{{"{}":["{}",{{"x":"{}"}}]}}}}"#,
                digest("2"),
                digest("1"),
                digest("2"),
            );
            let new = read(Some("application/x"), &text).unwrap();
            let optional: Vec<_> = new.optional.iter().map(ContentDigest::as_str).collect();
            assert_eq!(optional, [digest("1"), digest("2")]);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_makes_it_panic(text in "\\PC{0,200}", kind in "[a-z/]{0,10}") {
            drop(read(Some(&kind), &text));
            drop(read(None, &text));
        }
    }
}
