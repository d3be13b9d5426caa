//! `functions/NAME/versions`, `functions/NAME/history`, `functions/NAME/image`, `functions/NAME/rollback` and
//! `functions/NAME/aliases/ALIAS`.

use super::error::{Error, Result};
use super::owner::Owner;
use super::query::{Query, within};
use crate::body;
use crate::doors::Doors;
use crate::whole::whole;
use axum::Json;
use axum::extract::{Path, Request, State};
use engine::{AliasChange, ImageRelease, PutAlias};
use http::StatusCode;
use model::{
    Alias, AliasMove, AliasName, Code, Contract, FunctionName, FunctionVersion, Principal, Push,
    Share,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Largest body, in bytes of JSON.
const MAX_BODY: usize = 16 * 1024;

/// A function's versions by number, its aliases by name, the image whose tag it follows, and what became
/// of pushes to that, the newest first.
#[derive(Serialize)]
pub(super) struct Versions {
    versions: Vec<FunctionVersion>,
    aliases: Vec<Alias>,
    follows: Option<String>,
    pushes: Vec<Push>,
}

/// `GET functions/NAME/versions`.
pub(super) async fn list(
    _: Owner,
    State(doors): State<Doors>,
    Path(name): Path<String>,
) -> Result<Json<Versions>> {
    let name: FunctionName = name.parse()?;
    let function = doors.engine.get_function(&name).await?;
    Ok(Json(Versions {
        versions: doors.engine.list_versions(&name).await?,
        aliases: doors.engine.list_aliases(&name).await?,
        follows: match function.spec.code {
            Code::Image { reference, .. } if function.spec.follow => Some(reference),
            _ => None,
        },
        pushes: doors.engine.list_pushes(&name).await?,
    }))
}

/// The query of a history.
#[derive(Deserialize)]
pub(super) struct Past {
    /// Only of this alias.
    alias: Option<AliasName>,
    /// 1 to 1 000; 100 without it.
    limit: Option<u64>,
}

/// What was done to a function's aliases.
#[derive(Serialize)]
pub(super) struct History {
    /// The newest first.
    moves: Vec<AliasMove>,
}

/// `GET functions/NAME/history`.
pub(super) async fn history(
    _: Owner,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(past): Query<Past>,
) -> Result<Json<History>> {
    let name: FunctionName = name.parse()?;
    let limit = within("limit", past.limit, 100, 1, 1000)?;
    let limit = u32::try_from(limit).unwrap_or(1000);
    let moves = doors.engine.list_alias_moves(&name, past.alias, limit);
    Ok(Json(History {
        moves: moves.await?,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    reference: String,
    #[serde(default)]
    contract: Option<Contract>,
    #[serde(default)]
    follow: bool,
}

/// `PUT functions/NAME/image`: releases an image as the function, which may be new; gives the function
/// and what changed.
pub(super) async fn put_image(
    _: Owner,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<serde_json::Value>> {
    let name: FunctionName = name.parse()?;
    let image: Image = read(request, "an image to release").await?;
    let asked = ImageRelease {
        name,
        reference: image.reference,
        contract: image.contract,
        follow: image.follow,
    };
    let engine = doors.engine.clone();
    let (function, change) = whole(async move { engine.release_image(asked).await }).await?;
    Ok(Json(
        serde_json::json!({"function": function, "change": change}),
    ))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Back {
    to: Option<u64>,
}

/// `POST functions/NAME/rollback`: the alias `live` as it is now.
pub(super) async fn rollback(
    _: Owner,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Alias>> {
    let name: FunctionName = name.parse()?;
    let Back { to } = read(request, "a rollback").await?;
    let engine = doors.engine.clone();
    let by = Principal::Root.key();
    let alias = whole(async move { engine.rollback(&name, to, &by).await }).await?;
    Ok(Json(alias))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    version: u64,
    #[serde(default)]
    share: Option<Share>,
    #[serde(default)]
    description: String,
}

/// `PUT functions/NAME/aliases/ALIAS`: makes it, or moves it whole.
pub(super) async fn put_alias(
    _: Owner,
    State(doors): State<Doors>,
    Path((name, alias)): Path<(String, String)>,
    request: Request,
) -> Result<Json<Alias>> {
    let name: FunctionName = name.parse()?;
    let alias: AliasName = alias.parse()?;
    let wanted: Wanted = read(request, "an alias").await?;
    let change = AliasChange {
        version: wanted.version,
        share: wanted.share,
        description: wanted.description,
        by: Principal::Root.key(),
    };
    let engine = doors.engine.clone();
    let put = whole(async move {
        engine
            .put_alias(&name, alias, change, PutAlias::Upsert)
            .await
    });
    Ok(Json(put.await?))
}

/// `DELETE functions/NAME/aliases/ALIAS`. One that is not there is as good as deleted.
pub(super) async fn delete_alias(
    _: Owner,
    State(doors): State<Doors>,
    Path((name, alias)): Path<(String, String)>,
) -> Result<StatusCode> {
    let name: FunctionName = name.parse()?;
    let alias: AliasName = alias.parse()?;
    let engine = doors.engine.clone();
    let by = Principal::Root.key();
    whole(async move { engine.delete_alias(&name, &alias, &by).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn read<T: DeserializeOwned>(request: Request, what: &str) -> Result<T> {
    let (parts, stream) = request.into_parts();
    let bytes = body::read(&parts.headers, stream, MAX_BODY).await?;
    let bytes = if bytes.is_empty() { b"{}" } else { &bytes[..] };
    serde_json::from_slice(bytes)
        .map_err(|error| Error::invalid(format!("this is not {what}: {error}")))
}
