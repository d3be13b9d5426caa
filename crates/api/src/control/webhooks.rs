//! `webhooks`: addresses outside, as targets of rules.

use super::error::{Error, Result};
use super::owner::Owner;
use crate::doors::Doors;
use crate::whole::whole;
use crate::{arn, body};
use axum::Json;
use axum::extract::{Path, Request, State};
use http::StatusCode;
use model::{Secret, Target, Webhook, WebhookName};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Largest declaration, in bytes of JSON.
const MAX_BODY: usize = 64 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    secret: Option<Secret>,
}

/// Without secrets: of headers, the names.
fn shown(webhook: &Webhook, region: &str) -> Value {
    let name = webhook.name.clone();
    json!({
        "name": webhook.name,
        "arn": arn::of(&Target::Webhook { name }, region),
        "url": webhook.url,
        "headers": webhook.headers.keys().collect::<Vec<_>>(),
        "created": webhook.created,
        "modified": webhook.modified,
    })
}

/// `GET webhooks`.
pub(super) async fn list(_: Owner, State(doors): State<Doors>) -> Json<Vec<Value>> {
    let region = &doors.options.region;
    let all = doors.engine.list_webhooks();
    Json(all.iter().map(|webhook| shown(webhook, region)).collect())
}

/// `GET webhooks/NAME`.
pub(super) async fn get(
    _: Owner,
    State(doors): State<Doors>,
    Path(name): Path<String>,
) -> Result<Json<Value>> {
    let name: WebhookName = name.parse()?;
    let webhook = doors.engine.get_webhook(&name)?;
    Ok(Json(shown(&webhook, &doors.options.region)))
}

/// `PUT webhooks/NAME`: makes or changes one. The secret is told when it is new, and then no more.
pub(super) async fn put(
    _: Owner,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>> {
    let name: WebhookName = name.parse()?;
    let (parts, stream) = request.into_parts();
    let bytes = body::read(&parts.headers, stream, MAX_BODY).await?;
    // The text of serde's error could hold a secret that stands in the wrong place.
    let put: Put = serde_json::from_slice(&bytes).map_err(|error| {
        Error::invalid(format!(
            "this is not a webhook, {{\"url\": …, \"headers\": {{…}}, \"secret\": …}}: line {}, column {}",
            error.line(),
            error.column()
        ))
    })?;
    let given = put.secret.is_some();
    let engine = doors.engine.clone();
    let kept = engine.get_webhook(&name).is_ok() && !given;
    let webhook = whole(async move {
        engine
            .put_webhook(name, put.url, put.headers, put.secret)
            .await
    })
    .await?;
    let mut shown = shown(&webhook, &doors.options.region);
    if !kept {
        shown["secret"] = webhook.secret.expose().into();
    }
    Ok(Json(shown))
}

/// `DELETE webhooks/NAME`.
pub(super) async fn delete(
    _: Owner,
    State(doors): State<Doors>,
    Path(name): Path<String>,
) -> Result<StatusCode> {
    let name: WebhookName = name.parse()?;
    let engine = doors.engine.clone();
    whole(async move { engine.delete_webhook(&name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
