//! The S3 door: the protocol by s3s, over our own storage.
//!
//! One file a resource. `gate` stands before s3s and refuses what s3s would take; s3s checks the
//! signature; [`Doorkeeper`] turns it into a [`Verified`] principal; the handlers do the rest.

mod access;
mod buckets;
mod checksum;
mod copy;
mod deletion;
mod error;
mod form;
mod gate;
mod host;
mod kept;
mod listing;
mod notification;
mod objects;
mod precondition;
mod presigned_v2;
mod receive;
mod uploads;
mod versions;

use crate::auth::Auth;
use crate::doors::Doors;
use access::{Caller, Doorkeeper, Keys};
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use engine::Engine;
use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode};
use model::RequestId;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3, S3Request, S3Response, S3Result, dto};
use std::sync::Arc;
use storage::Storage;

/// Largest body of a request that is XML: the 10 000 parts of a completed upload need the most.
const MAX_XML: usize = 4 << 20;

/// The door. A cheap handle.
#[derive(Clone)]
pub(crate) struct S3Door {
    service: S3Service,
    handlers: Handlers,
    auth: Auth,
    keys: Keys,
    region: String,
}

impl S3Door {
    /// Puts it together.
    pub(crate) fn new(doors: &Doors) -> Self {
        let handlers = Handlers {
            engine: doors.engine.clone(),
            region: doors.options.region.clone(),
        };
        let mut builder = S3ServiceBuilder::new(handlers.clone());
        let keys = Keys::new(doors.auth.clone());
        builder.set_auth(keys.clone());
        builder.set_access(Doorkeeper::new(Auth::clone(&doors.auth)));
        builder.set_host(host::Host);
        let mut config = S3Config::default();
        config.xml_max_body_size = MAX_XML;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        let service = builder.build();
        let region = doors.options.region.clone();
        Self {
            service,
            handlers,
            auth: Auth::clone(&doors.auth),
            keys,
            region,
        }
    }

    /// Answers one request.
    pub(crate) async fn serve(self, request: Request<Body>) -> Response {
        let id = request.extensions().get::<RequestId>().cloned();
        let (parts, body) = request.into_parts();
        let mut response = if form::is_one(&parts) {
            let served = form::serve(&self.handlers, &self.auth, parts, body).await;
            served.unwrap_or_else(|error| {
                let mut response = error::respond(error);
                // The rest of the form was not read: nobody should send another request behind it.
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
                response
            })
        } else {
            self.serve_signed(parts, body).await
        };
        let id = id.and_then(|id| HeaderValue::from_str(id.as_str()).ok());
        if let Some(id) = id {
            response.headers_mut().insert("x-amz-request-id", id);
        }
        response
    }

    async fn serve_signed(&self, parts: Parts, body: Body) -> Response {
        match gate::check(&parts, &self.keys).await {
            _ if gate::names_no_region(&parts) => error::wrong_region(&self.region),
            Err(error) => error::respond(error),
            Ok(()) => {
                let body = s3s::Body::http_body_unsync(body);
                match self.service.call(Request::from_parts(parts, body)).await {
                    Ok(response) => response.map(Body::new),
                    Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                }
            }
        }
    }
}

/// What carries out the operations.
#[derive(Clone)]
struct Handlers {
    engine: Engine,
    region: String,
}

impl Handlers {
    fn storage(&self) -> &Storage {
        self.engine.storage()
    }
}

/// Each operation is a function of the file of its resource; each takes the caller, who is verified.
macro_rules! operations {
    ($($operation:ident: $input:ident -> $output:ident = $handler:path;)*) => {
        #[async_trait::async_trait]
        impl S3 for Handlers {
            $(async fn $operation(
                &self,
                mut request: S3Request<dto::$input>,
            ) -> S3Result<S3Response<dto::$output>> {
                let caller = Caller::take(&self.engine, &mut request)?;
                $handler(self, caller, request).await
            })*
        }
    };
}

operations! {
    list_buckets: ListBucketsInput -> ListBucketsOutput = buckets::list;
    create_bucket: CreateBucketInput -> CreateBucketOutput = buckets::create;
    head_bucket: HeadBucketInput -> HeadBucketOutput = buckets::head;
    delete_bucket: DeleteBucketInput -> DeleteBucketOutput = buckets::delete;
    get_bucket_location: GetBucketLocationInput -> GetBucketLocationOutput = buckets::location;
    get_bucket_versioning: GetBucketVersioningInput -> GetBucketVersioningOutput = versions::get;
    put_bucket_versioning: PutBucketVersioningInput -> PutBucketVersioningOutput = versions::put;
    list_object_versions: ListObjectVersionsInput -> ListObjectVersionsOutput = versions::list;
    get_bucket_acl: GetBucketAclInput -> GetBucketAclOutput = buckets::acl;
    get_bucket_policy: GetBucketPolicyInput -> GetBucketPolicyOutput = buckets::policy;
    get_bucket_cors: GetBucketCorsInput -> GetBucketCorsOutput = buckets::cors;
    get_bucket_tagging: GetBucketTaggingInput -> GetBucketTaggingOutput = buckets::tagging;
    get_bucket_lifecycle_configuration: GetBucketLifecycleConfigurationInput
        -> GetBucketLifecycleConfigurationOutput = buckets::lifecycle;
    get_bucket_encryption: GetBucketEncryptionInput -> GetBucketEncryptionOutput
        = buckets::encryption;
    get_bucket_request_payment: GetBucketRequestPaymentInput -> GetBucketRequestPaymentOutput
        = buckets::request_payment;
    get_bucket_ownership_controls: GetBucketOwnershipControlsInput
        -> GetBucketOwnershipControlsOutput = buckets::ownership;
    get_bucket_notification_configuration: GetBucketNotificationConfigurationInput
        -> GetBucketNotificationConfigurationOutput = notification::get;
    put_bucket_notification_configuration: PutBucketNotificationConfigurationInput
        -> PutBucketNotificationConfigurationOutput = notification::put;
    put_object: PutObjectInput -> PutObjectOutput = objects::put;
    get_object: GetObjectInput -> GetObjectOutput = objects::get;
    head_object: HeadObjectInput -> HeadObjectOutput = objects::head;
    delete_object: DeleteObjectInput -> DeleteObjectOutput = deletion::one;
    delete_objects: DeleteObjectsInput -> DeleteObjectsOutput = deletion::many;
    get_object_acl: GetObjectAclInput -> GetObjectAclOutput = objects::acl;
    get_object_tagging: GetObjectTaggingInput -> GetObjectTaggingOutput = objects::tagging;
    copy_object: CopyObjectInput -> CopyObjectOutput = copy::object;
    upload_part_copy: UploadPartCopyInput -> UploadPartCopyOutput = copy::part;
    list_objects: ListObjectsInput -> ListObjectsOutput = listing::version_1;
    list_objects_v2: ListObjectsV2Input -> ListObjectsV2Output = listing::version_2;
    create_multipart_upload: CreateMultipartUploadInput -> CreateMultipartUploadOutput
        = uploads::create;
    upload_part: UploadPartInput -> UploadPartOutput = uploads::put_part;
    complete_multipart_upload: CompleteMultipartUploadInput -> CompleteMultipartUploadOutput
        = uploads::complete;
    abort_multipart_upload: AbortMultipartUploadInput -> AbortMultipartUploadOutput
        = uploads::abort;
    list_parts: ListPartsInput -> ListPartsOutput = uploads::list_parts;
    list_multipart_uploads: ListMultipartUploadsInput -> ListMultipartUploadsOutput
        = uploads::list;
}
