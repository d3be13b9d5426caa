//! Buckets: made, listed, removed, and what clients ask about them as a matter of course.
//!
//! What cannot be set in this version is answered as AWS answers for a bucket on which it was never
//! set.

use super::Handlers;
use super::access::Caller;
use super::error::{error, of_bucket, of_invalid, of_storage};
use super::gate::ACCOUNT;
use super::precondition::time;
use crate::whole::whole;
use model::BucketName;
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use storage::Bucket as Row;

/// Checks the name.
pub(super) fn name(text: &str) -> S3Result<BucketName> {
    text.parse()
        .map_err(of_invalid(S3ErrorCode::InvalidBucketName))
}

/// The one owner of everything.
pub(super) fn owner() -> Owner {
    Owner {
        id: Some(ACCOUNT.to_owned()),
        display_name: Some("rouse".to_owned()),
    }
}

/// The one access control list: all for the owner.
pub(super) fn grants() -> Vec<Grant> {
    let grantee = Grantee {
        display_name: owner().display_name,
        email_address: None,
        id: owner().id,
        type_: Type::from_static(Type::CANONICAL_USER),
        uri: None,
    };
    vec![Grant {
        grantee: Some(grantee),
        permission: Some(Permission::from_static(Permission::FULL_CONTROL)),
    }]
}

impl Handlers {
    /// A bucket that must be there.
    pub(super) async fn bucket(&self, text: &str) -> S3Result<Row> {
        let name = name(text)?;
        self.storage().get_bucket(&name).await.map_err(of_bucket)
    }
}

pub(super) async fn list(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<ListBucketsInput>,
) -> S3Result<S3Response<ListBucketsOutput>> {
    let input = request.input;
    let rows = handlers.storage().list_buckets().await.map_err(of_bucket)?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let after = input.continuation_token.unwrap_or_default();
    let most = input.max_buckets.unwrap_or(10_000).clamp(1, 10_000);
    let mut rows = rows
        .into_iter()
        .filter(|row| row.name.as_str().starts_with(&prefix) && *row.name.as_str() > *after);
    let page: Vec<Row> = rows.by_ref().take(most.unsigned_abs() as usize).collect();
    let last = page.last().map(|row| row.name.to_string());
    let buckets = page.into_iter().map(|row| Bucket {
        bucket_region: Some(handlers.region.clone()),
        creation_date: Some(time(row.created)),
        name: Some(row.name.to_string()),
    });
    Ok(S3Response::new(ListBucketsOutput {
        buckets: Some(buckets.collect()),
        continuation_token: rows.next().and(last),
        owner: Some(owner()),
        prefix: input.prefix,
    }))
}

/// As in `us-east-1`, to make a bucket that one has already is no error.
pub(super) async fn create(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<CreateBucketInput>,
) -> S3Result<S3Response<CreateBucketOutput>> {
    let name = name(&request.input.bucket)?;
    let location = Some(format!("/{name}"));
    let storage = handlers.storage().clone();
    whole(async move {
        match storage.create_bucket(name).await {
            Ok(_) => Ok(()),
            Err(fault) if fault.kind() == model::Kind::Conflict => Ok(()),
            Err(fault) => Err(of_bucket(fault)),
        }
    })
    .await?;
    Ok(S3Response::new(CreateBucketOutput { location }))
}

pub(super) async fn head(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<HeadBucketInput>,
) -> S3Result<S3Response<HeadBucketOutput>> {
    handlers.bucket(&request.input.bucket).await?;
    Ok(S3Response::new(HeadBucketOutput {
        bucket_region: Some(handlers.region.clone()),
        ..HeadBucketOutput::default()
    }))
}

pub(super) async fn delete(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<DeleteBucketInput>,
) -> S3Result<S3Response<DeleteBucketOutput>> {
    let name = name(&request.input.bucket)?;
    let storage = handlers.storage().clone();
    whole(async move {
        let translate = of_storage(S3ErrorCode::NoSuchBucket, S3ErrorCode::BucketNotEmpty);
        storage.delete_bucket(&name).await.map_err(translate)
    })
    .await?;
    let output = DeleteBucketOutput::default();
    Ok(S3Response::with_status(
        output,
        http::StatusCode::NO_CONTENT,
    ))
}

/// `us-east-1` is written as an empty element, as AWS does.
pub(super) async fn location(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<GetBucketLocationInput>,
) -> S3Result<S3Response<GetBucketLocationOutput>> {
    handlers.bucket(&request.input.bucket).await?;
    let elsewhere = (handlers.region != "us-east-1").then(|| handlers.region.clone());
    Ok(S3Response::new(GetBucketLocationOutput {
        location_constraint: elsewhere.map(BucketLocationConstraint::from),
    }))
}

pub(super) async fn acl(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<GetBucketAclInput>,
) -> S3Result<S3Response<GetBucketAclOutput>> {
    handlers.bucket(&request.input.bucket).await?;
    Ok(S3Response::new(GetBucketAclOutput {
        grants: Some(grants()),
        owner: Some(owner()),
    }))
}

pub(super) async fn request_payment(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<GetBucketRequestPaymentInput>,
) -> S3Result<S3Response<GetBucketRequestPaymentOutput>> {
    handlers.bucket(&request.input.bucket).await?;
    Ok(S3Response::new(GetBucketRequestPaymentOutput {
        payer: Some(Payer::from_static(Payer::BUCKET_OWNER)),
    }))
}

/// An existing bucket on which something was never set.
async fn never_set(handlers: &Handlers, bucket: &str, code: S3ErrorCode) -> S3Result<S3Error> {
    handlers.bucket(bucket).await?;
    let mut unset = error(code, "this is not set on the bucket");
    unset.set_status_code(http::StatusCode::NOT_FOUND);
    Ok(unset)
}

macro_rules! never_set {
    ($($name:ident: $input:ident -> $output:ident = $code:ident;)*) => {
        $(pub(super) async fn $name(
            handlers: &Handlers,
            _: Caller,
            request: S3Request<$input>,
        ) -> S3Result<S3Response<$output>> {
            Err(never_set(handlers, &request.input.bucket, S3ErrorCode::$code).await?)
        })*
    };
}

never_set! {
    policy: GetBucketPolicyInput -> GetBucketPolicyOutput = NoSuchBucketPolicy;
    cors: GetBucketCorsInput -> GetBucketCorsOutput = NoSuchCORSConfiguration;
    tagging: GetBucketTaggingInput -> GetBucketTaggingOutput = NoSuchTagSet;
    lifecycle: GetBucketLifecycleConfigurationInput -> GetBucketLifecycleConfigurationOutput
        = NoSuchLifecycleConfiguration;
    encryption: GetBucketEncryptionInput -> GetBucketEncryptionOutput
        = ServerSideEncryptionConfigurationNotFoundError;
    ownership: GetBucketOwnershipControlsInput -> GetBucketOwnershipControlsOutput
        = OwnershipControlsNotFoundError;
}
