//! The resources `/functions/NAME/aliases` and `/functions/NAME/aliases/ALIAS`: CreateAlias,
//! UpdateAlias, GetAlias, ListAliases and DeleteAlias. An alias names a published version; `$LATEST`
//! is refused.

use super::error::{Error, Result};
use super::functions::{Page, not_found, owner, read_body, start_of};
use super::name::{self, FunctionRef};
use super::settings;
use crate::auth::Verified;
use crate::doors::Doors;
use crate::whole::whole;
use axum::Json;
use axum::extract::{Path, Query, Request, State};
use engine::{AliasChange, PutAlias};
use http::StatusCode;
use model::{Alias, AliasName, FunctionName, Kind, Qualifier, Share};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Largest body: a description with every character escaped, and room for the rest.
const MAX_BODY: usize = 16 * 1024;
/// Most aliases in one answer, as in AWS.
const PAGE: usize = 50;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct RoutingConfig {
    additional_version_weights: Option<BTreeMap<String, f64>>,
}

impl RoutingConfig {
    fn share(self) -> Result<Option<Share>> {
        let weights = self.additional_version_weights.unwrap_or_default();
        if weights.len() > 1 {
            return Err(Error::invalid_parameter(
                "RoutingConfig.AdditionalVersionWeights must name one version at most",
            ));
        }
        let mut shares = weights.into_iter().map(|(version, weight)| {
            let version = number(&version)?;
            Ok(Share { version, weight })
        });
        shares.next().transpose()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Given {
    name: Option<String>,
    function_version: Option<String>,
    description: Option<String>,
    routing_config: Option<RoutingConfig>,
    revision_id: Option<String>,
}

/// A version's number, as a request writes it.
fn number(text: &str) -> Result<u64> {
    match text.parse() {
        Ok(Qualifier::Version(number)) => Ok(number),
        _ => Err(Error::invalid_parameter(
            "FunctionVersion must be the number of a published version; publish $LATEST first",
        )),
    }
}

/// CreateAlias.
pub(super) async fn create(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    request: Request,
) -> Result<(StatusCode, Json<Value>)> {
    const OPERATION: &str = "CreateAlias";
    owner(&verified, OPERATION)?;
    let body = read_body(request, MAX_BODY, OPERATION).await?;
    let given: Given = settings::from_json(&body)?;
    let function = function(&doors, &name)?;
    let missing = |what| Error::invalid_parameter(format!("{what} is missing"));
    let alias: AliasName = given.name.ok_or_else(|| missing("Name"))?.parse()?;
    let version = given.function_version;
    let change = AliasChange {
        version: number(&version.ok_or_else(|| missing("FunctionVersion"))?)?,
        share: given.routing_config.unwrap_or_default().share()?,
        description: given.description.unwrap_or_default(),
        by: verified.get().key(),
    };
    let made = put(&doors, &function, alias, change, PutAlias::Create).await?;
    let shown = render(&function, &made, &doors.options.region);
    Ok((StatusCode::CREATED, Json(shown)))
}

/// UpdateAlias: what is absent stays as it is.
pub(super) async fn update(
    verified: Verified,
    State(doors): State<Doors>,
    Path((name, alias)): Path<(String, String)>,
    request: Request,
) -> Result<Json<Value>> {
    const OPERATION: &str = "UpdateAlias";
    owner(&verified, OPERATION)?;
    let body = read_body(request, MAX_BODY, OPERATION).await?;
    let given: Given = settings::from_json(&body)?;
    let function = function(&doors, &name)?;
    let before = find(&doors, &function, &alias).await?;
    let named = given.revision_id;
    if named.as_ref().is_some_and(|id| *id != before.revision_id) {
        return Err(Error::stale_revision());
    }
    let version = given.function_version.as_deref().map(number).transpose()?;
    let change = AliasChange {
        version: version.unwrap_or(before.version),
        share: match given.routing_config {
            Some(routing) => routing.share()?,
            None => before.share,
        },
        description: given.description.unwrap_or(before.description),
        by: verified.get().key(),
    };
    let update = PutAlias::Update {
        revision_id: Some(before.revision_id),
    };
    let changed = put(&doors, &function, before.name, change, update).await?;
    Ok(Json(render(&function, &changed, &doors.options.region)))
}

/// GetAlias.
pub(super) async fn get(
    verified: Verified,
    State(doors): State<Doors>,
    Path((name, alias)): Path<(String, String)>,
) -> Result<Json<Value>> {
    owner(&verified, "GetAlias")?;
    let function = function(&doors, &name)?;
    let alias = find(&doors, &function, &alias).await?;
    Ok(Json(render(&function, &alias, &doors.options.region)))
}

/// DeleteAlias. One that is not there is as good as deleted.
pub(super) async fn delete(
    verified: Verified,
    State(doors): State<Doors>,
    Path((name, alias)): Path<(String, String)>,
) -> Result<StatusCode> {
    owner(&verified, "DeleteAlias")?;
    let function = function(&doors, &name)?;
    let alias: AliasName = alias.parse()?;
    let (engine, of) = (doors.engine.clone(), function.clone());
    let by = verified.get().key();
    let deleted = whole(async move { engine.delete_alias(&of, &alias, &by).await }).await;
    deleted.map_err(|error| missing(&doors, &function, error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// The query of ListAliases besides its page.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Filter {
    #[serde(rename = "FunctionVersion")]
    version: Option<String>,
}

/// ListAliases, by name. A marker is the name of the last alias before it.
pub(super) async fn list(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(filter): Query<Filter>,
    Query(page): Query<Page>,
) -> Result<Json<Value>> {
    owner(&verified, "ListAliases")?;
    let function = function(&doors, &name)?;
    let version = filter.version.as_deref().map(number).transpose()?;
    let all = doors.engine.list_aliases(&function).await;
    let mut all = all.map_err(|error| missing(&doors, &function, error))?;
    all.retain(|alias| version.is_none_or(|version| alias.names(version)));
    let (begin, most) = start_of(&page, PAGE, |marker| {
        let last: AliasName = marker.parse().ok()?;
        Some(all.partition_point(|alias| alias.name <= last))
    })?;
    let end = (begin + most).min(all.len());
    let shown = all[begin..end].iter();
    let shown: Vec<Value> = shown
        .map(|alias| render(&function, alias, &doors.options.region))
        .collect();
    let mut answer = json!({"Aliases": shown});
    if end < all.len() && end > begin {
        answer["NextMarker"] = all[end - 1].name.as_str().into();
    }
    Ok(Json(answer))
}

fn function(doors: &Doors, text: &str) -> Result<FunctionName> {
    FunctionRef::parse(text)?.latest(None, &doors.options.region)
}

async fn find(doors: &Doors, function: &FunctionName, alias: &str) -> Result<Alias> {
    let all = doors.engine.list_aliases(function).await;
    let all = all.map_err(|error| missing(doors, function, error))?;
    let found = all.into_iter().find(|one| one.name.as_str() == alias);
    found.ok_or_else(|| {
        let arn = name::arn(function, &doors.options.region);
        let shown: String = alias.chars().take(128).collect();
        Error::not_found(format!(
            "Cannot find alias arn: {arn}:{}",
            shown.escape_debug()
        ))
    })
}

async fn put(
    doors: &Doors,
    function: &FunctionName,
    alias: AliasName,
    change: AliasChange,
    put: PutAlias,
) -> Result<Alias> {
    let (engine, of) = (doors.engine.clone(), function.clone());
    let update = matches!(put, PutAlias::Update { .. });
    let done = whole(async move { engine.put_alias(&of, alias, change, put).await }).await;
    done.map_err(|error| match error.kind() {
        Kind::Conflict if update => Error::stale_revision(),
        _ => error.into(),
    })
}

fn missing(doors: &Doors, function: &FunctionName, error: engine::Error) -> Error {
    match error.kind() {
        Kind::NotFound => not_found(doors, function),
        _ => error.into(),
    }
}

/// An alias as an `AliasConfiguration`.
fn render(function: &FunctionName, alias: &Alias, region: &str) -> Value {
    let mut shown = json!({
        "AliasArn": format!("{}:{}", name::arn(function, region), alias.name),
        "Name": alias.name,
        "FunctionVersion": alias.version.to_string(),
        "Description": alias.description,
        "RevisionId": alias.revision_id,
    });
    if let Some(share) = &alias.share {
        let weights = json!({share.version.to_string(): share.weight});
        shown["RoutingConfig"] = json!({"AdditionalVersionWeights": weights});
    }
    shown
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn share(text: &str) -> Result<Option<Share>> {
        let given: Given = settings::from_json(text.as_bytes()).unwrap();
        given.routing_config.unwrap_or_default().share()
    }

    #[test]
    fn weights_name_one_version_by_its_number() {
        let of = |weights: &str| {
            share(&format!(
                r#"{{"RoutingConfig":{{"AdditionalVersionWeights":{weights}}}}}"#
            ))
        };
        assert_eq!(of(r#"{"2":0.25}"#).unwrap().unwrap().version, 2);
        assert_eq!(of("{}").unwrap(), None);
        assert_eq!(of("null").unwrap(), None);
        assert_eq!(share("{}").unwrap(), None);
        for wrong in [
            r#"{"2":0.1,"3":0.1}"#,
            r#"{"$LATEST":0.1}"#,
            r#"{"live":0.1}"#,
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
