//! `NAME/tags/list`.

use super::Call;
use super::error::{Code, Error, Result};
use super::page::Page;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use model::RepositoryName;
use serde_json::json;

/// `GET`: tags in lexical order, a page at a time.
pub(super) async fn list(call: &Call, name: &RepositoryName) -> Result<Response> {
    let page = Page::of(call)?;
    let state = call.storage().state();
    let listed = state.list_tags(name.clone(), page.last.clone(), page.most);
    let listed = listed.await.map_err(storage::Error::from);
    let (tags, more) = listed.map_err(|error| Error::of(error, Code::NameUnknown))?;
    let mut response = Json(json!({"name": name, "tags": tags})).into_response();
    if let Some(last) = tags.last().filter(|_| more) {
        page.link(call, &mut response, last, "");
    }
    Ok(response)
}
