//! AWS Signature Version 4 in the headers of a request, for AWS doors other than S3
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>).

use super::Refused;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Request, Uri};
use model::Credential;
use scratchstack_aws_signature::{
    GetSigningKeyRequest, GetSigningKeyResponse, KSecretKey, NO_ADDITIONAL_SIGNED_HEADERS,
    SignatureError, SignatureOptions, sigv4_validate_request,
};
use std::str::FromStr as _;
use tower::BoxError;

/// What a signature says about itself, before it is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Whose key it claims.
    pub(crate) access_key_id: String,
    /// For which region it was made. Any is served.
    pub(crate) region: String,
    /// For which service, such as `s3`: it says which door is meant.
    pub(crate) service: String,
    /// Whether it is in the query (a presigned URL), not in the headers.
    pub(crate) presigned: bool,
}

/// Reads the credential scope of a SigV4 request; `None` if it has none.
pub(crate) fn scope_of(parts: &Parts) -> Option<Scope> {
    if let Some(header) = parts.headers.get(AUTHORIZATION) {
        let text = header.to_str().ok()?;
        let fields = text.strip_prefix("AWS4-HMAC-SHA256")?;
        let credential = fields
            .split([',', ' '])
            .find_map(|field| field.trim().strip_prefix("Credential="))?;
        return parse_scope(credential, false);
    }
    let credential = parts
        .uri
        .query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix("X-Amz-Credential="))?;
    let decoded = percent_encoding::percent_decode_str(credential)
        .decode_utf8()
        .ok()?;
    parse_scope(&decoded, true)
}

/// `AKID/20261122/us-east-1/s3/aws4_request`.
pub(super) fn parse_scope(credential: &str, presigned: bool) -> Option<Scope> {
    let fields: Vec<&str> = credential.split('/').collect();
    let [access_key_id, _date, region, service, "aws4_request"] = fields[..] else {
        return None;
    };
    Some(Scope {
        access_key_id: access_key_id.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
        presigned,
    })
}

/// Checks that the request, all of whose body is `body`, was signed with this credential's secret,
/// not more than 15 minutes from now.
pub(super) async fn verify(
    parts: &Parts,
    body: &Bytes,
    scope: &Scope,
    credential: &Credential,
) -> Result<(), Refused> {
    if scope.presigned {
        let reason = "only S3 takes presigned URLs; sign the headers".to_owned();
        return Err(Refused::BadSignature(reason));
    }
    let mut request = Request::new(body.clone());
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = double_encoded(&parts.uri)?;
    *request.headers_mut() = parts.headers.clone();

    let secret = KSecretKey::from_str(&credential.secret_access_key)
        .map_err(|_| Refused::BadSignature("the secret key has no usable length".to_owned()))?;
    let mut keys = tower::service_fn(move |asked: GetSigningKeyRequest| {
        let key = secret.to_ksigning(asked.request_date(), asked.region(), asked.service());
        async move {
            let answer = GetSigningKeyResponse::builder().signing_key(key).build();
            answer.map_err(BoxError::from)
        }
    });
    sigv4_validate_request(
        request,
        &scope.region,
        &scope.service,
        &mut keys,
        now(),
        &NO_ADDITIONAL_SIGNED_HEADERS,
        SignatureOptions::default(),
    )
    .await
    .map_err(refused)?;
    Ok(())
}

/// All AWS services but S3 sign the path encoded once more than it is sent; the library signs it as
/// it is given.
fn double_encoded(uri: &Uri) -> Result<Uri, Refused> {
    let mut text = uri.path().replace('%', "%25");
    if let Some(query) = uri.query() {
        text.push('?');
        text.push_str(query);
    }
    let path: PathAndQuery = text
        .parse()
        .map_err(|_| Refused::Malformed("the path cannot be signed".to_owned()))?;
    Ok(Uri::from(path))
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(model::Timestamp::now().0).unwrap_or_default()
}

fn refused(error: BoxError) -> Refused {
    match error.downcast_ref::<SignatureError>() {
        Some(
            error @ (SignatureError::IncompleteSignature(_)
            | SignatureError::InvalidURIPath(_)
            | SignatureError::MalformedQueryString(_)),
        ) => Refused::Malformed(error.to_string()),
        Some(error @ SignatureError::SignatureDoesNotMatch(Some(_))) => {
            Refused::BadSignature(error.to_string())
        }
        _ => Refused::BadSignature("the signature does not fit the request".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_header_or_query_breaks_the_reading_of_a_scope(
            header in "AWS4-HMAC-SHA256 [ -~]{0,80}|[ -~]{0,40}",
            query in "(X-Amz-Credential=)?[a-zA-Z0-9%/&=_-]{0,60}",
        ) {
            let _ = scope_of(&parts(Some(&header), "/"));
            let _ = scope_of(&parts(None, &format!("/?{query}")));
        }
    }

    fn parts(header: Option<&str>, uri: &str) -> Parts {
        let mut request = Request::builder().uri(uri);
        if let Some(value) = header {
            request = request.header(AUTHORIZATION, value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_scope_is_read_from_the_header_or_the_query() {
        let header = "AWS4-HMAC-SHA256 Credential=AKID/20261122/eu-west-1/lambda/aws4_request, \
                      SignedHeaders=host, Signature=00";
        let scope = scope_of(&parts(Some(header), "/")).unwrap();
        assert_eq!((&*scope.service, &*scope.region), ("lambda", "eu-west-1"));
        assert!(!scope.presigned);
        let query = "/b/k?X-Amz-Credential=AKID%2F20261122%2Fus-east-1%2Fs3%2Faws4_request&x=y";
        let scope = scope_of(&parts(None, query)).unwrap();
        assert_eq!((&*scope.service, &*scope.access_key_id), ("s3", "AKID"));
        assert!(scope.presigned);
    }

    #[test]
    fn other_signatures_have_no_scope() {
        for header in [
            "AWS AKID:c2ln",
            "Bearer x",
            "AWS4-HMAC-SHA256",
            "AWS4-HMAC-SHA256 Credential=a/b",
        ] {
            assert_eq!(scope_of(&parts(Some(header), "/")), None, "{header}");
        }
    }

    #[test]
    fn the_path_is_encoded_once_more_for_signing() {
        let uri = "/functions/arn%3Aaws/invocations?Qualifier=%24LATEST".parse();
        let encoded = double_encoded(&uri.unwrap()).unwrap();
        let expected = "/functions/arn%253Aaws/invocations?Qualifier=%24LATEST";
        assert_eq!(encoded.to_string(), expected);
    }
}
