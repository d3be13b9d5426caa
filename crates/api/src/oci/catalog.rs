//! `_catalog`: the repositories.

use super::Call;
use super::error::{Code, Error, Result};
use super::page::Page;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

/// `GET`: repositories in lexical order, a page at a time.
pub(super) async fn list(call: &Call) -> Result<Response> {
    let page = Page::of(call)?;
    let state = call.storage().state();
    let listed = state.list_repositories(page.last.clone(), page.most).await;
    let listed = listed.map_err(storage::Error::from);
    let (names, more) = listed.map_err(|error| Error::of(error, Code::NameUnknown))?;
    let mut response = Json(json!({"repositories": names})).into_response();
    if let Some(last) = names.last().filter(|_| more) {
        page.link(call, &mut response, last, "");
    }
    Ok(response)
}
