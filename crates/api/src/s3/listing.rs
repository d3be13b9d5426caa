//! Listings of a bucket, versions 1 and 2 of the request.

use super::Handlers;
use super::access::Caller;
use super::buckets::owner;
use super::error::{invalid_argument, of_bucket};
use super::precondition::{etag, modified};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};
use storage::{ListPage, ListQuery, ObjectRow};

/// Most entries of one page, as on AWS.
const MAX_KEYS: i32 = 1000;

/// What `encoding-type=url` leaves as it is.
pub(super) const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

/// How keys are written in the answer. XML cannot carry every character that a key may have, so
/// clients ask for URL encoding.
#[derive(Clone, Copy)]
pub(super) struct Spelling {
    url: bool,
}

impl Spelling {
    pub(super) fn of(encoding: Option<&EncodingType>) -> S3Result<Self> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self { url: false }),
            Some(EncodingType::URL) => Ok(Self { url: true }),
            Some(_) => Err(invalid_argument("encoding-type must be url")),
        }
    }

    pub(super) fn write(self, text: String) -> String {
        if self.url {
            utf8_percent_encode(&text, PLAIN).to_string()
        } else {
            text
        }
    }

    pub(super) fn write_all(self, prefixes: Vec<String>) -> Option<Vec<CommonPrefix>> {
        let entry = |prefix| CommonPrefix {
            prefix: Some(self.write(prefix)),
        };
        let entries: Vec<_> = prefixes.into_iter().map(entry).collect();
        (!entries.is_empty()).then_some(entries)
    }

    fn object(self, row: ObjectRow, owner: Option<Owner>) -> Object {
        Object {
            e_tag: Some(etag(&row.etag)),
            last_modified: Some(modified(&row)),
            owner,
            size: Some(i64::try_from(row.size).unwrap_or(i64::MAX)),
            storage_class: Some(ObjectStorageClass::from_static(
                ObjectStorageClass::STANDARD,
            )),
            key: Some(self.write(row.key)),
            ..Object::default()
        }
    }
}

/// Past the bound the bound is taken, as on AWS.
pub(super) fn limit(asked: Option<i32>) -> S3Result<i32> {
    match asked.unwrap_or(MAX_KEYS) {
        ..0 => Err(invalid_argument("max-keys must be 0 or more")),
        asked => Ok(asked.min(MAX_KEYS)),
    }
}

pub(super) fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

async fn page(handlers: &Handlers, query: ListQuery) -> S3Result<ListPage> {
    // The store is asked anyhow, so that a missing bucket is told.
    let nothing = query.limit == 0;
    let page = handlers
        .storage()
        .list_objects(query)
        .await
        .map_err(of_bucket)?;
    Ok(if nothing { ListPage::default() } else { page })
}

pub(super) async fn version_1(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    let input = request.input;
    let spelling = Spelling::of(input.encoding_type.as_ref())?;
    let most = limit(input.max_keys)?;
    let delimiter = filled(input.delimiter);
    let query = ListQuery {
        bucket: super::buckets::name(&input.bucket)?,
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: delimiter.clone(),
        after: filled(input.marker.clone()),
        limit: most.unsigned_abs(),
    };
    let page = page(handlers, query).await?;
    let contents = page.objects.into_iter();
    let contents: Vec<_> = contents
        .map(|row| spelling.object(row, Some(owner())))
        .collect();
    Ok(S3Response::new(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(spelling.write(input.prefix.unwrap_or_default())),
        marker: Some(spelling.write(input.marker.unwrap_or_default())),
        max_keys: Some(most),
        is_truncated: Some(page.next.is_some()),
        contents: (!contents.is_empty()).then_some(contents),
        common_prefixes: spelling.write_all(page.common_prefixes),
        delimiter: delimiter.map(|text| spelling.write(text)),
        next_marker: page.next.map(|text| spelling.write(text)),
        encoding_type: input.encoding_type,
        request_charged: None,
    }))
}

/// Where a listing goes on, in a form that nobody is tempted to read.
fn token(next: &str) -> String {
    URL_SAFE_NO_PAD.encode(next)
}

fn after(token: &str) -> S3Result<String> {
    let wrong = || invalid_argument("the continuation token is not one of this server's");
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?;
    String::from_utf8(bytes).map_err(|_| wrong())
}

pub(super) async fn version_2(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let input = request.input;
    let spelling = Spelling::of(input.encoding_type.as_ref())?;
    let most = limit(input.max_keys)?;
    let delimiter = filled(input.delimiter);
    let after = match &input.continuation_token {
        Some(token) => Some(after(token)?),
        None => filled(input.start_after.clone()),
    };
    let query = ListQuery {
        bucket: super::buckets::name(&input.bucket)?,
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: delimiter.clone(),
        after,
        limit: most.unsigned_abs(),
    };
    let page = page(handlers, query).await?;
    let count = page.objects.len() + page.common_prefixes.len();
    let with_owner = input.fetch_owner.unwrap_or(false);
    let contents = page.objects.into_iter();
    let contents: Vec<_> = contents
        .map(|row| spelling.object(row, with_owner.then(owner)))
        .collect();
    Ok(S3Response::new(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(spelling.write(input.prefix.unwrap_or_default())),
        max_keys: Some(most),
        key_count: i32::try_from(count).ok(),
        continuation_token: input.continuation_token,
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.as_deref().map(token),
        contents: (!contents.is_empty()).then_some(contents),
        common_prefixes: spelling.write_all(page.common_prefixes),
        delimiter: delimiter.map(|text| spelling.write(text)),
        encoding_type: input.encoding_type,
        start_after: input.start_after.map(|text| spelling.write(text)),
        request_charged: None,
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_token_leads_back_to_where_it_was_made(next in ".{0,64}") {
            prop_assert_eq!(after(&token(&next)).unwrap(), next);
        }

        #[test]
        fn no_token_breaks_the_door(text in ".{0,64}") {
            let _ = after(&text);
        }

        #[test]
        fn an_encoded_key_decodes_to_itself(key in "\\PC{1,64}") {
            let written = Spelling { url: true }.write(key.clone());
            let read = percent_encoding::percent_decode_str(&written).decode_utf8().unwrap();
            prop_assert_eq!(read, key);
            prop_assert!(!written.contains(['+', ' ', '<', '&']));
        }
    }

    #[test]
    fn page_sizes_have_bounds() {
        assert_eq!(limit(None).unwrap(), 1000);
        assert_eq!(limit(Some(5000)).unwrap(), 1000);
        assert_eq!(limit(Some(0)).unwrap(), 0);
        assert!(limit(Some(-1)).is_err());
    }
}
