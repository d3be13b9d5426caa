//! The resource `/functions/NAME/code`: UpdateFunctionCode, and how code comes in: a zip archive in
//! the request, one that lies in a bucket of this server, or an image that was imported.

use super::configuration::{compare, render};
use super::error::{Error, Result};
use super::functions::{owner, read_body, refer, update};
use super::settings;
use super::versions;
use crate::auth::Verified;
use crate::doors::Doors;
use crate::whole::whole;
use axum::Json;
use axum::extract::{Path, Request, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt as _;
use model::{BucketName, Code, Kind, RuntimeName};
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Largest archive sent inside a request, in bytes, if the server's `max_upload` allows as much: in
/// base64 it fits into what the server holds of a signed body. AWS takes 50 MiB. A larger one goes
/// through a bucket, or by `rouse deploy`, which streams it.
const MAX_DIRECT: u64 = 70 * 1024 * 1024;

/// How much base64 is decoded at a time; a multiple of 4.
const STEP: usize = 256 * 1024;

/// An archive in base64, not copied out of the request.
#[derive(Debug, Deserialize)]
pub(super) struct Base64<'a>(#[serde(borrow)] Cow<'a, str>);

/// Where the code is. Exactly one of the three ways must be used.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Source<'a> {
    #[serde(borrow)]
    zip_file: Option<Base64<'a>>,
    #[serde(rename = "S3Bucket")]
    s3_bucket: Option<String>,
    #[serde(rename = "S3Key")]
    s3_key: Option<String>,
    image_uri: Option<String>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// The bound on a request body that may carry an archive: the archive in base64, and room for the
/// other parameters.
pub(super) fn max_body(doors: &Doors) -> usize {
    let archive = doors.options.max_upload.min(MAX_DIRECT);
    usize::try_from(archive / 3 * 4 + 1024 * 1024).unwrap_or(usize::MAX)
}

impl Source<'_> {
    /// Whether it names an image and not an archive.
    pub(super) fn is_image(&self) -> bool {
        self.image_uri.is_some()
    }

    /// Takes the code in: when this answers, its bytes are kept.
    ///
    /// # Errors
    /// `InvalidParameterValueException` when it is not said in exactly one way, is not base64, or
    /// names what is not there; `RequestTooLargeException` past `max_upload`.
    pub(super) async fn take(self, doors: &Doors) -> Result<Code> {
        settings::refuse_unserved(&self.others)?;
        match (self.zip_file, self.s3_bucket, self.s3_key, self.image_uri) {
            (Some(Base64(text)), None, None, None) => from_base64(doors, &text).await,
            (None, Some(bucket), Some(key), None) => from_bucket(doors, &bucket, &key).await,
            (None, None, None, Some(reference)) => from_image(doors, reference).await,
            _ => Err(Error::invalid_parameter(
                "Please provide a source for function code: exactly one of ZipFile, S3Bucket with \
                 S3Key, or ImageUri",
            )),
        }
    }
}

async fn from_base64(doors: &Doors, text: &str) -> Result<Code> {
    let limit = doors.options.max_upload.min(MAX_DIRECT);
    let storage = doors.engine.storage();
    let mut writer = storage.begin_blob(limit).await?;
    for piece in text.as_bytes().chunks(STEP) {
        let decoded = STANDARD.decode(piece).map_err(|_| {
            Error::invalid_parameter("Code.ZipFile is not a zip archive in base64 (RFC 4648)")
        })?;
        writer.write(Bytes::from(decoded)).await?;
    }
    let (digest, size) = storage.commit_blob(writer, None).await?;
    Ok(Code::Zip { digest, size })
}

async fn from_bucket(doors: &Doors, bucket: &str, key: &str) -> Result<Code> {
    let missing = |code: &str, text: &str| {
        Error::invalid_parameter(format!(
            "Error occurred while GetObject. S3 Error Code: {code}. S3 Error Message: {text}"
        ))
    };
    let bucket: BucketName = bucket.parse()?;
    let storage = doors.engine.storage();
    if let Err(error) = storage.get_bucket(&bucket).await {
        return Err(match error.kind() {
            Kind::NotFound => missing("NoSuchBucket", "The specified bucket does not exist"),
            _ => error.into(),
        });
    }
    let no_key = |error: storage::Error| match error.kind() {
        Kind::NotFound => missing("NoSuchKey", "The specified key does not exist."),
        _ => error.into(),
    };
    let row = storage.head_object(&bucket, key).await.map_err(no_key)?;
    let mut body = storage.read_object(&row, None).await.map_err(no_key)?;
    let mut writer = storage.begin_blob(doors.options.max_upload).await?;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| {
            Error::of_kind(
                Kind::Internal,
                format!("reading {bucket}/{key} broke off: {error}"),
            )
        })?;
        writer.write(chunk).await?;
    }
    let (digest, size) = storage.commit_blob(writer, None).await?;
    Ok(Code::Zip { digest, size })
}

async fn from_image(doors: &Doors, reference: String) -> Result<Code> {
    // The same is meant as in a manifest.
    // To its end, though the client may give up: what was pulled of it is not pulled again.
    let (engine, name) = (doors.engine.clone(), reference.clone());
    match whole(async move { engine.ready_image(&name, |_| ()).await }).await {
        Ok(image) => Ok(Code::Image {
            reference,
            digest: image.digest,
        }),
        Err(error @ engine::Error::Upstream { .. }) => {
            Err(Error::invalid_parameter(format!("Source image: {error}")))
        }
        Err(error) if error.kind() == Kind::NotFound => {
            let shown: String = reference.chars().take(255).collect();
            Err(Error::invalid_parameter(format!(
                "Source image {} does not exist. Provide a valid source image: `docker push` \
                 to this server or `rouse image import` brings one in",
                shown.escape_debug()
            )))
        }
        Err(error) => Err(error.into()),
    }
}

/// Refuses an architecture that the server does not have.
pub(super) fn check_architectures(names: &[String]) -> Result<()> {
    if names.iter().all(|name| name == "x86_64") {
        return Ok(());
    }
    Err(Error::invalid_parameter(
        "Architectures must be x86_64: the server has no other processor",
    ))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Change<'a> {
    #[serde(borrow)]
    zip_file: Option<Base64<'a>>,
    #[serde(rename = "S3Bucket")]
    s3_bucket: Option<String>,
    #[serde(rename = "S3Key")]
    s3_key: Option<String>,
    image_uri: Option<String>,
    architectures: Vec<String>,
    dry_run: bool,
    publish: bool,
    revision_id: Option<String>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// UpdateFunctionCode. With `DryRun` the code is taken in and checked, and the answer shows the
/// function as it would be; the function is not changed and the next sweep removes the archive.
pub(super) async fn put(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>> {
    const OPERATION: &str = "UpdateFunctionCode";
    owner(&verified, OPERATION)?;
    let body = read_body(request, max_body(&doors), OPERATION).await?;
    let change: Change<'_> = settings::from_json(&body)?;
    check_architectures(&change.architectures)?;
    let mut function = refer(&doors, &name, None).await?;
    compare(&function, change.revision_id.as_deref())?;
    let source = Source {
        zip_file: change.zip_file,
        s3_bucket: change.s3_bucket,
        s3_key: change.s3_key,
        image_uri: change.image_uri,
        others: change.others,
    };
    let was_image = function.spec.runtime == RuntimeName::Image;
    if source.is_image() != was_image {
        let (part, kind) = if was_image {
            ("ZipFile or S3Key", "Image")
        } else {
            ("ImageUri", "Zip")
        };
        return Err(Error::invalid_parameter(format!(
            "Please do not provide {part} when updating a function with packageType {kind}."
        )));
    }
    let code = source.take(&doors).await?;
    if change.dry_run {
        if let Code::Zip { digest, .. } = &code {
            doors.engine.storage().ensure_code(digest).await?;
        }
        function.spec.code = code;
        return Ok(Json(render(&function, &doors.options.region)));
    }
    let mut spec = function.spec.clone();
    // Who gives another image does not mean the tag that was followed.
    spec.follow &= matches!(
        (&spec.code, &code),
        (Code::Image { reference: before, .. }, Code::Image { reference, .. }) if before == reference
    );
    spec.code = code;
    let changed = update(&doors, &function, spec, change.revision_id).await?;
    if change.publish {
        let by = verified.get().key();
        let shown = versions::published(&doors, &changed, None, None, by).await?;
        return Ok(Json(shown));
    }
    Ok(Json(render(&changed, &doors.options.region)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_archive_is_not_copied_out_of_the_request() {
        let source: Source<'_> = settings::from_json(br#"{"ZipFile":"UEsFBg=="}"#).unwrap();
        assert!(matches!(
            source.zip_file,
            Some(Base64(Cow::Borrowed("UEsFBg==")))
        ));
        // Some JSON writers escape the slash, which base64 has.
        let escaped: Source<'_> = settings::from_json(br#"{"ZipFile":"a\/b="}"#).unwrap();
        assert!(matches!(escaped.zip_file, Some(Base64(Cow::Owned(text))) if text == "a/b="));
    }

    #[test]
    fn only_this_processor_is_there() {
        assert!(check_architectures(&[]).is_ok());
        assert!(check_architectures(&["x86_64".into()]).is_ok());
        assert!(check_architectures(&["arm64".into()]).is_err());
    }
}
