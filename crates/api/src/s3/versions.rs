//! Versions of objects: kept or not, found, listed
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/Versioning.html>).

use super::Handlers;
use super::access::Caller;
use super::buckets::owner;
use super::error::{error, invalid_argument, of_bucket, unsupported};
use super::listing::{Spelling, filled, limit};
use super::precondition::{etag, modified, time};
use crate::whole::whole;
use http::header::{ALLOW, CONTENT_TYPE, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue};
use model::{BucketName, Kind};
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use storage::{ListQuery, ListedVersion, NULL_VERSION, ObjectRow, VersionPage, VersionQuery};

impl Handlers {
    /// An object that must be there: the one that its key has now, or the named version.
    pub(super) async fn object(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> S3Result<ObjectRow> {
        let bucket = super::buckets::name(bucket)?;
        let Some(version) = version else {
            return match self.storage().head_object(&bucket, key).await {
                Ok(row) => Ok(row),
                Err(fault) if fault.kind() == Kind::NotFound => {
                    Err(self.no_object(&bucket, key).await?)
                }
                Err(fault) => Err(of_bucket(fault)),
            };
        };
        let storage = self.storage();
        match storage.head_object_version(&bucket, key, version).await {
            Ok(storage::ObjectVersion::Object(row)) => Ok(row),
            Ok(storage::ObjectVersion::Marker(marker)) => Err(is_marker(&marker)),
            Err(fault) if fault.kind() == Kind::NotFound => {
                let bucket = self.bucket(bucket.as_str()).await?;
                if bucket.versioning.is_none() && version == NULL_VERSION {
                    return Err(no_such_key(key));
                }
                Err(no_such_version(version))
            }
            Err(fault) => Err(of_bucket(fault)),
        }
    }

    /// Why a key has no object.
    async fn no_object(&self, bucket: &BucketName, key: &str) -> S3Result<S3Error> {
        self.bucket(bucket.as_str()).await?;
        let marker = self.storage().delete_marker(bucket, key).await;
        let mut missing = no_such_key(key);
        if let Some(marker) = marker.map_err(of_bucket)? {
            missing.set_headers(of_marker(&marker));
        }
        Ok(missing)
    }
}

fn shown(text: &str) -> String {
    let shown: String = text.chars().take(200).collect();
    shown.escape_debug().to_string()
}

fn no_such_key(key: &str) -> S3Error {
    let message = format!("there is no object \"{}\" in the bucket", shown(key));
    error(S3ErrorCode::NoSuchKey, message)
}

/// For a version that a key does not have.
pub(super) fn no_such_version(version: &str) -> S3Error {
    let message = format!("there is no version \"{}\" of the object", shown(version));
    error(S3ErrorCode::NoSuchVersion, message)
}

/// What an error says of the delete marker that it is about.
fn of_marker(marker: &storage::DeleteMarker) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // The headers of an error take the place of those that it would have.
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
    if let Ok(version) = HeaderValue::from_str(&marker.version) {
        headers.insert("x-amz-version-id", version);
    }
    headers
}

/// A delete marker can only be deleted.
fn is_marker(marker: &storage::DeleteMarker) -> S3Error {
    let message = "this version is a delete marker, which can only be deleted";
    let mut refused = error(S3ErrorCode::MethodNotAllowed, message);
    let mut headers = of_marker(marker);
    headers.insert(ALLOW, HeaderValue::from_static("DELETE"));
    let mut text = Vec::new();
    let written = time(marker.modified).format(TimestampFormat::HttpDate, &mut text);
    if let (Ok(()), Ok(value)) = (written, HeaderValue::from_bytes(&text)) {
        headers.insert(LAST_MODIFIED, value);
    }
    refused.set_headers(headers);
    refused
}

pub(super) async fn get(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<GetBucketVersioningInput>,
) -> S3Result<S3Response<GetBucketVersioningOutput>> {
    let bucket = handlers.bucket(&request.input.bucket).await?;
    let status = bucket.versioning.map(|versioning| match versioning {
        storage::Versioning::Enabled => BucketVersioningStatus::ENABLED,
        storage::Versioning::Suspended => BucketVersioningStatus::SUSPENDED,
    });
    Ok(S3Response::new(GetBucketVersioningOutput {
        status: status.map(BucketVersioningStatus::from_static),
        ..GetBucketVersioningOutput::default()
    }))
}

/// Which state is asked for. Deletion by multi-factor authentication does not exist here.
fn asked(configuration: &VersioningConfiguration) -> S3Result<storage::Versioning> {
    let mfa = configuration.mfa_delete.as_ref().map(MFADelete::as_str);
    if mfa.is_some_and(|mfa| mfa != MFADelete::DISABLED) {
        return Err(unsupported(
            "deleting versions by multi-factor authentication (MfaDelete)",
        ));
    }
    let status = configuration.status.as_ref();
    match status.map(BucketVersioningStatus::as_str) {
        Some(BucketVersioningStatus::ENABLED) => Ok(storage::Versioning::Enabled),
        Some(BucketVersioningStatus::SUSPENDED) => Ok(storage::Versioning::Suspended),
        _ => {
            let message = "the status of versioning must be Enabled or Suspended";
            Err(error(
                S3ErrorCode::IllegalVersioningConfigurationException,
                message,
            ))
        }
    }
}

pub(super) async fn put(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<PutBucketVersioningInput>,
) -> S3Result<S3Response<PutBucketVersioningOutput>> {
    let input = request.input;
    let bucket = super::buckets::name(&input.bucket)?;
    let versioning = asked(&input.versioning_configuration)?;
    let storage = handlers.storage().clone();
    whole(async move {
        let set = storage.put_versioning(&bucket, versioning).await;
        set.map_err(of_bucket)
    })
    .await?;
    Ok(S3Response::new(PutBucketVersioningOutput::default()))
}

/// The objects and the delete markers of a page, as they are told.
fn entries(
    versions: Vec<ListedVersion>,
    spelling: Spelling,
) -> (Vec<ObjectVersion>, Vec<DeleteMarkerEntry>) {
    let (mut objects, mut markers) = (Vec::new(), Vec::new());
    for listed in versions {
        let is_latest = Some(listed.is_latest);
        match listed.version {
            storage::ObjectVersion::Object(row) => objects.push(ObjectVersion {
                e_tag: Some(etag(&row.etag)),
                is_latest,
                last_modified: Some(modified(&row)),
                owner: Some(owner()),
                size: i64::try_from(row.size).ok(),
                storage_class: Some(ObjectVersionStorageClass::from_static(
                    ObjectVersionStorageClass::STANDARD,
                )),
                version_id: Some(row.version.unwrap_or_else(|| NULL_VERSION.to_owned())),
                key: Some(spelling.write(row.key)),
                ..ObjectVersion::default()
            }),
            storage::ObjectVersion::Marker(marker) => markers.push(DeleteMarkerEntry {
                is_latest,
                key: Some(spelling.write(marker.key)),
                last_modified: Some(time(marker.modified)),
                owner: Some(owner()),
                version_id: Some(marker.version),
            }),
        }
    }
    (objects, markers)
}

pub(super) async fn list(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<ListObjectVersionsInput>,
) -> S3Result<S3Response<ListObjectVersionsOutput>> {
    let input = request.input;
    let spelling = Spelling::of(input.encoding_type.as_ref())?;
    let most = limit(input.max_keys)?;
    let delimiter = filled(input.delimiter);
    let key_marker = filled(input.key_marker.clone());
    let version_marker = filled(input.version_id_marker.clone());
    if version_marker.is_some() && key_marker.is_none() {
        let message = "a version-id-marker needs the key-marker that it belongs to";
        return Err(invalid_argument(message));
    }
    let query = VersionQuery {
        keys: ListQuery {
            bucket: super::buckets::name(&input.bucket)?,
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: delimiter.clone(),
            after: key_marker,
            limit: most.unsigned_abs(),
        },
        after_version: version_marker,
    };
    let page = handlers.storage().list_object_versions(query).await;
    let VersionPage {
        versions,
        common_prefixes,
        next,
    } = page.map_err(of_bucket)?;
    let (objects, markers) = entries(versions, spelling);
    let truncated = next.is_some();
    let (next_key, next_version) = next.map_or((None, None), |(key, version)| (Some(key), version));
    Ok(S3Response::new(ListObjectVersionsOutput {
        name: Some(input.bucket),
        prefix: Some(spelling.write(input.prefix.unwrap_or_default())),
        key_marker: Some(spelling.write(input.key_marker.unwrap_or_default())),
        version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
        max_keys: Some(most),
        is_truncated: Some(truncated),
        versions: (!objects.is_empty()).then_some(objects),
        delete_markers: (!markers.is_empty()).then_some(markers),
        common_prefixes: spelling.write_all(common_prefixes),
        delimiter: delimiter.map(|text| spelling.write(text)),
        next_key_marker: next_key.map(|text| spelling.write(text)),
        next_version_id_marker: next_version,
        encoding_type: input.encoding_type,
        request_charged: None,
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_one_of_two_and_needs_no_second_factor() {
        let of = |status: Option<&'static str>, mfa: Option<&'static str>| {
            let asked = asked(&VersioningConfiguration {
                mfa_delete: mfa.map(MFADelete::from_static),
                status: status.map(BucketVersioningStatus::from_static),
            });
            asked.map_err(|refused| refused.code().as_str().to_owned())
        };
        let enabled = Ok(storage::Versioning::Enabled);
        assert_eq!(of(Some("Enabled"), None), enabled);
        assert_eq!(of(Some("Enabled"), Some("Disabled")), enabled);
        assert_eq!(
            of(Some("Suspended"), None),
            Ok(storage::Versioning::Suspended)
        );
        assert_eq!(
            of(Some("Enabled"), Some("Enabled")),
            Err("NotImplemented".to_owned())
        );
        let illegal = Err("IllegalVersioningConfigurationException".to_owned());
        assert_eq!(of(None, None), illegal);
        assert_eq!(of(Some("Off"), None), illegal);
    }

    #[test]
    fn a_marker_says_what_it_is_and_what_can_be_done() {
        let marker = storage::DeleteMarker {
            bucket: "photos".parse().unwrap(),
            key: "k".to_owned(),
            version: "v".to_owned(),
            sequence: 1,
            modified: model::Timestamp(0),
        };
        let refused = is_marker(&marker);
        let headers = refused.headers().unwrap();
        let said = |name: &str| headers[name].to_str().unwrap();
        assert_eq!(said("x-amz-delete-marker"), "true");
        assert_eq!((said("x-amz-version-id"), said("allow")), ("v", "DELETE"));
        assert_eq!(said("last-modified"), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
