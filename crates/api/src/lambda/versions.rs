//! The resource `/functions/NAME/versions`: PublishVersion and ListVersionsByFunction.

use super::configuration::{render, render_version};
use super::error::{Error, Result};
use super::functions::{Page, not_found, owner, read_body, refer, start_of};
use super::name::FunctionRef;
use super::settings;
use crate::auth::Verified;
use crate::doors::Doors;
use crate::whole::whole;
use axum::Json;
use axum::extract::{Path, Query, Request, State};
use engine::{Publish, Resolved};
use http::StatusCode;
use model::{Function, Kind, Qualifier};
use serde::Deserialize;
use serde_json::{Value, json};

/// Largest body: two digests and a description with every character escaped.
const MAX_BODY: usize = 16 * 1024;
/// Most versions in one answer, as in AWS.
const PAGE: usize = 50;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    #[serde(rename = "CodeSha256")]
    code_sha256: Option<String>,
    #[serde(rename = "Description")]
    description: Option<String>,
    #[serde(rename = "RevisionId")]
    revision_id: Option<String>,
}

/// PublishVersion. If nothing was changed since the newest version, that one is answered.
pub(super) async fn publish(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    request: Request,
) -> Result<(StatusCode, Json<Value>)> {
    const OPERATION: &str = "PublishVersion";
    owner(&verified, OPERATION)?;
    let body = read_body(request, MAX_BODY, OPERATION).await?;
    let asked: Asked = settings::from_json(&body)?;
    let function = refer(&doors, &name, None).await?;
    if let Some(wanted) = asked.code_sha256.as_deref().filter(|text| !text.is_empty()) {
        let present = render(&function, &doors.options.region);
        let present = present["CodeSha256"].as_str().unwrap_or_default();
        if present != wanted {
            let shown: String = wanted.chars().take(64).collect();
            return Err(Error::invalid_parameter(format!(
                "CodeSHA256 ({}) is different from current CodeSHA256 in $LATEST ({present}). \
                 Please try again with the CodeSHA256 in $LATEST.",
                shown.escape_debug()
            )));
        }
    }
    let by = verified.get().key();
    let description = asked.description.filter(|text| !text.is_empty());
    let shown = published(&doors, &function, description, asked.revision_id, by).await?;
    Ok((StatusCode::CREATED, Json(shown)))
}

/// Publishes a function that was read, and shows the version.
pub(super) async fn published(
    doors: &Doors,
    function: &Function,
    description: Option<String>,
    revision: Option<String>,
    by: String,
) -> Result<Value> {
    let named = revision.is_some();
    let publish = Publish {
        description,
        // What was looked at is what is published.
        revision_id: Some(revision.unwrap_or_else(|| function.revision_id.clone())),
        by,
    };
    let (engine, name) = (doors.engine.clone(), function.spec.name.clone());
    let made = whole(async move {
        let version = engine.publish_version(&name, publish).await?;
        let qualifier = Qualifier::Version(version.number);
        engine.get_qualified(&name, Some(&qualifier)).await
    });
    let resolved = made.await.map_err(|error| match error.kind() {
        Kind::NotFound => not_found(doors, &function.spec.name),
        Kind::Conflict if named => Error::stale_revision(),
        _ => error.into(),
    })?;
    Ok(shown(&resolved, &doors.options.region))
}

fn shown(resolved: &Resolved, region: &str) -> Value {
    let number = resolved.version.as_ref().map(|version| version.number);
    let qualifier = number.map(Qualifier::Version);
    render_version(&resolved.function, number, qualifier.as_ref(), region)
}

/// ListVersionsByFunction: `$LATEST` first, then by number. A marker is the number of the last
/// version before it, 0 for `$LATEST`.
pub(super) async fn list(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Value>> {
    owner(&verified, "ListVersionsByFunction")?;
    let region = &doors.options.region;
    let name = FunctionRef::parse(&name)?.latest(None, region)?;
    let missing = |error: engine::Error| match error.kind() {
        Kind::NotFound => not_found(&doors, &name),
        _ => error.into(),
    };
    let latest = doors.engine.get_function(&name).await.map_err(missing)?;
    let versions = doors.engine.list_versions(&name).await.map_err(missing)?;
    let numbers = std::iter::once(0).chain(versions.iter().map(|version| version.number));
    let numbers: Vec<u64> = numbers.collect();
    let (begin, most) = start_of(&page, PAGE, |marker| {
        let last: u64 = marker.parse().ok()?;
        Some(numbers.partition_point(|number| *number <= last))
    })?;
    let end = (begin + most).min(numbers.len());
    let mut rendered = Vec::with_capacity(end - begin);
    for number in &numbers[begin..end] {
        if *number == 0 {
            rendered.push(render_version(
                &latest,
                None,
                Some(&Qualifier::Latest),
                region,
            ));
            continue;
        }
        let qualifier = Qualifier::Version(*number);
        // One that was deleted meanwhile is left out.
        if let Ok(resolved) = doors.engine.get_qualified(&name, Some(&qualifier)).await {
            rendered.push(shown(&resolved, region));
        }
    }
    let mut answer = json!({"Versions": rendered});
    if end < numbers.len() && end > begin {
        answer["NextMarker"] = numbers[end - 1].to_string().into();
    }
    Ok(Json(answer))
}
