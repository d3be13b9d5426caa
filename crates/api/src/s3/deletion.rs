//! Objects removed, one by one or many at once.

use super::Handlers;
use super::access::Caller;
use super::error::{error, of_bucket, unsupported};
use super::versions::no_such_version;
use crate::whole::whole;
use model::{BucketName, Kind};
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result};
use storage::{DeleteObject, NULL_VERSION, Removal, Removed, Storage};

/// Most keys that one `DeleteObjects` names, as on AWS.
const MAX_DELETE: usize = 1000;

/// What a deletion did, in S3's words.
struct Told {
    /// The version that is gone, or of the marker that was added.
    version: Option<String>,
    /// Whether that is a delete marker.
    marker: bool,
}

impl Told {
    fn of(removal: Option<Removal>, asked: Option<String>) -> Self {
        match removal {
            Some(removal) => Self {
                marker: removal.removed != Removed::Object,
                version: removal.row.version,
            },
            None => Self {
                marker: false,
                version: asked.filter(|version| version != NULL_VERSION),
            },
        }
    }
}

/// To remove what is not there is no error, but for a version where there are none.
async fn delete(
    storage: &Storage,
    caller: &Caller,
    bucket: &BucketName,
    key: String,
    version: Option<String>,
) -> S3Result<Told> {
    let delete = DeleteObject {
        bucket: bucket.clone(),
        key,
        version: version.clone(),
        principal: caller.principal.clone(),
        cause: caller.cause,
    };
    match (storage.delete_object(delete).await, &version) {
        (Ok(removal), _) => Ok(Told::of(removal, version)),
        (Err(fault), Some(version)) if fault.kind() == Kind::NotFound => {
            storage.get_bucket(bucket).await.map_err(of_bucket)?;
            Err(no_such_version(version))
        }
        (Err(fault), _) => Err(of_bucket(fault)),
    }
}

pub(super) async fn one(
    handlers: &Handlers,
    caller: Caller,
    request: S3Request<DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let input = request.input;
    if input.if_match.is_some() {
        return Err(unsupported("If-Match on a delete"));
    }
    let bucket = super::buckets::name(&input.bucket)?;
    let storage = handlers.storage().clone();
    let told =
        whole(async move { delete(&storage, &caller, &bucket, input.key, input.version_id).await })
            .await?;
    let output = DeleteObjectOutput {
        delete_marker: told.marker.then_some(true),
        version_id: told.version,
        ..DeleteObjectOutput::default()
    };
    Ok(S3Response::with_status(
        output,
        http::StatusCode::NO_CONTENT,
    ))
}

/// One object of the answer to many. What was asked for is `version_id`, and a marker that was added
/// or is gone has a name of its own.
fn deleted_object(key: String, asked: Option<String>, told: Told) -> DeletedObject {
    DeletedObject {
        key: Some(key),
        delete_marker: told.marker.then_some(true),
        delete_marker_version_id: told.version.filter(|_| told.marker),
        version_id: asked,
    }
}

pub(super) async fn many(
    handlers: &Handlers,
    caller: Caller,
    request: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let input = request.input;
    let bucket = handlers.bucket(&input.bucket).await?.name;
    let objects = input.delete.objects;
    if objects.is_empty() || objects.len() > MAX_DELETE {
        let message = format!("one request removes 1 to {MAX_DELETE} objects");
        return Err(error(S3ErrorCode::MalformedXML, message));
    }
    let quiet = input.delete.quiet.unwrap_or(false);
    let storage = handlers.storage().clone();
    let (deleted, errors) = whole(async move {
        let mut deleted = Vec::new();
        let mut errors = Vec::new();
        for object in objects {
            let key = object.key;
            let conditional = object.e_tag.is_some()
                || object.size.is_some()
                || object.last_modified_time.is_some();
            let version = object.version_id;
            let done = if conditional {
                Err(unsupported("a condition on a delete"))
            } else {
                delete(&storage, &caller, &bucket, key.clone(), version.clone()).await
            };
            match done {
                Ok(told) => deleted.push(deleted_object(key, version, told)),
                Err(fault) => errors.push(Error {
                    code: Some(fault.code().as_str().to_owned()),
                    key: Some(key),
                    message: fault.message().map(str::to_owned),
                    version_id: version,
                }),
            }
        }
        (deleted, errors)
    })
    .await;
    Ok(S3Response::new(DeleteObjectsOutput {
        deleted: (!quiet).then_some(deleted),
        errors: (!errors.is_empty()).then_some(errors),
        request_charged: None,
    }))
}
