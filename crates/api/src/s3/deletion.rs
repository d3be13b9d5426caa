//! Objects removed, one by one or many at once.

use super::Handlers;
use super::access::Caller;
use super::error::{error, of_bucket, unsupported};
use crate::whole::whole;
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result};

/// Most keys that one `DeleteObjects` names, as on AWS.
const MAX_DELETE: usize = 1000;

/// To remove what is not there is no error.
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
    whole(async move {
        let done = storage
            .delete_object(&bucket, &input.key, &caller.principal, caller.cause)
            .await;
        done.map_err(of_bucket)
    })
    .await?;
    let output = DeleteObjectOutput::default();
    Ok(S3Response::with_status(
        output,
        http::StatusCode::NO_CONTENT,
    ))
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
                || object.last_modified_time.is_some()
                || object
                    .version_id
                    .as_deref()
                    .is_some_and(|version| version != "null");
            let done = if conditional {
                Err(unsupported("a version or condition on a delete"))
            } else {
                let principal = &caller.principal;
                let done = storage.delete_object(&bucket, &key, principal, caller.cause);
                done.await.map_err(of_bucket)
            };
            match done {
                Ok(_) => deleted.push(DeletedObject {
                    key: Some(key),
                    ..DeletedObject::default()
                }),
                Err(fault) => errors.push(Error {
                    code: Some(fault.code().as_str().to_owned()),
                    key: Some(key),
                    message: fault.message().map(str::to_owned),
                    version_id: object.version_id,
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
