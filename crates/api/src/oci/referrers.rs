//! `NAME/referrers/DIGEST`: the manifests about a manifest.

use super::Call;
use super::answer;
use super::error::{Code, Error, Result};
use super::page::Page;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_TYPE, HeaderName};
use model::{ContentDigest, RepositoryName};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use storage::ManifestRow;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

/// `GET`: an index of them, empty if there are none, even where there is no such repository.
pub(super) async fn list(
    call: &Call,
    name: &RepositoryName,
    subject: &ContentDigest,
) -> Result<Response> {
    let page = Page::of(call)?;
    let kind = call.query.get("artifactType").map(str::to_owned);
    let state = call.storage().state();
    let last = page.last.clone();
    let listed = state.list_referrers(name.clone(), subject.clone(), kind.clone(), last, page.most);
    let listed = listed.await.map_err(storage::Error::from);
    let (rows, more) = listed.map_err(|error| Error::of(error, Code::ManifestUnknown))?;
    let manifests: Vec<Value> = rows.iter().map(descriptor).collect();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    let mut response = Json(index).into_response();
    answer::put(&mut response, [(CONTENT_TYPE, INDEX)]);
    let mut also = String::new();
    if let Some(kind) = kind {
        answer::put(&mut response, [(FILTERS, "artifactType")]);
        let kind = utf8_percent_encode(&kind, NON_ALPHANUMERIC);
        also = format!("&artifactType={kind}");
    }
    if let Some(last) = rows.last().filter(|_| more) {
        page.link(call, &mut response, last.digest.as_str(), &also);
    }
    Ok(response)
}

fn descriptor(row: &ManifestRow) -> Value {
    let mut fields = Map::new();
    fields.insert("mediaType".to_owned(), json!(row.media_type));
    fields.insert("digest".to_owned(), json!(row.digest.as_str()));
    fields.insert("size".to_owned(), json!(row.size));
    if let Some(kind) = &row.artifact_type {
        fields.insert("artifactType".to_owned(), json!(kind));
    }
    if !row.annotations.is_empty() {
        fields.insert("annotations".to_owned(), json!(row.annotations));
    }
    Value::Object(fields)
}
