//! The resources `/functions` and `/functions/NAME`: CreateFunction, ListFunctions, GetFunction and
//! DeleteFunction.

use super::code::{self, Source};
use super::concurrency;
use super::configuration::{Qualified, compare, render, render_version};
use super::error::{Error, Result};
use super::name::{self, FunctionRef, LATEST};
use super::settings::{self, Settings};
use super::versions;
use crate::auth::Verified;
use crate::body;
use crate::doors::Doors;
use crate::whole::whole;
use axum::Json;
use axum::extract::{Path, Query, Request, State};
use bytes::Bytes;
use engine::{Put, Resolved};
use http::StatusCode;
use model::{
    Code, Contract, Destinations, Fresh, Function, FunctionName, FunctionSpec, Kind, Limits,
    Principal, Qualifier, RetryPolicy, RuntimeName, Scaling, Snapshot,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Most functions in one answer of ListFunctions, as in AWS.
const PAGE: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Creation<'a> {
    function_name: String,
    #[serde(borrow)]
    code: Source<'a>,
    #[serde(default)]
    package_type: Option<String>,
    #[serde(default)]
    publish: bool,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(flatten)]
    settings: Settings,
}

/// CreateFunction.
pub(super) async fn create(
    verified: Verified,
    State(doors): State<Doors>,
    request: Request,
) -> Result<(StatusCode, Json<Value>)> {
    const OPERATION: &str = "CreateFunction";
    owner(&verified, OPERATION)?;
    let body = read_body(request, code::max_body(&doors), OPERATION).await?;
    let creation: Creation<'_> = settings::from_json(&body)?;
    let name = FunctionRef::parse(&creation.function_name)?.latest(None, &doors.options.region)?;
    code::check_architectures(&creation.architectures)?;
    check_package(creation.package_type.as_deref(), creation.code.is_image())?;
    // A name that is taken is said before an archive is taken in; the store has the last word.
    match doors.engine.get_function(&name).await {
        Ok(_) => return Err(already_there(&name)),
        Err(error) if error.kind() == Kind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let image = creation.code.is_image();
    let mut spec = FunctionSpec {
        name: name.clone(),
        description: String::new(),
        runtime: RuntimeName::Image,
        handler: None,
        code: creation.code.take(&doors).await?,
        follow: false,
        contract: Contract::Lambda,
        entrypoint: None,
        command: None,
        working_dir: None,
        environment: BTreeMap::new(),
        secrets: model::SecretUse::default(),
        limits: Limits::default(),
        scaling: Scaling::default(),
        fresh: Fresh::Reuse,
        snapshot: Snapshot::None,
        egress: None,
        networks: model::Networks::default(),
        driver: None,
        retry: RetryPolicy::default(),
        destinations: Destinations::default(),
        role: String::new(),
    };
    creation.settings.apply(&mut spec)?;
    must_have_letters(&doors, &spec).await?;
    if !image && spec.runtime == RuntimeName::Image {
        return Err(Error::invalid_parameter(
            "Runtime is missing: nodejs20.x, python3.11, provided, provided.al2 or \
             provided.al2023",
        ));
    }
    let engine = doors.engine.clone();
    let result = whole(async move { engine.put_function(spec, Put::Create).await }).await;
    let (function, _) = result.map_err(|error| match error.kind() {
        Kind::Conflict => already_there(&name),
        _ => of_put(error),
    })?;
    let shown = if creation.publish {
        versions::published(&doors, &function, None, None, verified.get().key()).await?
    } else {
        render(&function, &doors.options.region)
    };
    Ok((StatusCode::CREATED, Json(shown)))
}

fn check_package(package: Option<&str>, image: bool) -> Result<()> {
    match (package, image) {
        (None, _) | (Some("Zip"), false) | (Some("Image"), true) => Ok(()),
        (Some("Zip"), true) => Err(Error::invalid_parameter(
            "Please do not provide ImageUri when creating a function with packageType Zip.",
        )),
        (Some("Image"), false) => Err(Error::invalid_parameter(
            "Code.ImageUri is missing: PackageType is Image",
        )),
        (Some(_), _) => Err(Error::invalid_parameter("PackageType must be Zip or Image")),
    }
}

fn already_there(name: &FunctionName) -> Error {
    Error::conflict(format!("Function already exist: {name}"))
}

/// GetFunction. `Code` has no `Location` for an archive: it is kept by its digest and is not served
/// back.
pub(super) async fn get(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(query): Query<Qualified>,
) -> Result<Json<Value>> {
    owner(&verified, "GetFunction")?;
    let asked = refer_to(&doors, &name, query.qualifier.as_deref()).await?;
    let function = &asked.resolved.function;
    let code = match &function.spec.code {
        Code::Zip { .. } => json!({"RepositoryType": "S3"}),
        Code::Image { reference, digest } => {
            let repository = match reference.rsplit_once(':') {
                Some((name, tag)) if !tag.contains('/') => name,
                _ => reference,
            };
            json!({
                "RepositoryType": "ECR",
                "ImageUri": reference,
                "ResolvedImageUri": format!("{repository}@{digest}"),
            })
        }
    };
    let mut shown = json!({
        "Configuration": asked.render(&doors.options.region),
        "Code": code,
        "Tags": {},
    });
    if let Some(reserved) = function.spec.scaling.reserved {
        shown["Concurrency"] = concurrency::render(Some(reserved));
    }
    Ok(Json(shown))
}

/// The query of ListFunctions.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Page {
    marker: Option<String>,
    max_items: Option<String>,
}

/// ListFunctions. A marker is the name of the last function before it.
pub(super) async fn list(
    verified: Verified,
    State(doors): State<Doors>,
    Query(page): Query<Page>,
) -> Result<Json<Value>> {
    owner(&verified, "ListFunctions")?;
    let functions = doors.engine.list_functions().await?;
    let (shown, next) = cut(&functions, &page)?;
    let rendered: Vec<Value> = shown
        .iter()
        .map(|function| render(function, &doors.options.region))
        .collect();
    let mut answer = json!({"Functions": rendered});
    if let Some(marker) = next {
        answer["NextMarker"] = marker.into();
    }
    Ok(Json(answer))
}

/// The part of all functions (ordered by name) that a page asks for, and the marker of the next.
fn cut<'a>(functions: &'a [Function], page: &Page) -> Result<(&'a [Function], Option<&'a str>)> {
    let (begin, most) = start_of(page, PAGE, |text| {
        let marker: FunctionName = text.parse().ok()?;
        Some(functions.partition_point(|function| function.spec.name <= marker))
    })?;
    let rest = &functions[begin..];
    let shown = &rest[..most.min(rest.len())];
    let next = shown.last().filter(|_| rest.len() > shown.len());
    Ok((shown, next.map(|function| function.spec.name.as_str())))
}

/// Where a page begins and how many it has at most; `after` finds what comes after a marker.
pub(super) fn start_of(
    page: &Page,
    limit: usize,
    after: impl Fn(&str) -> Option<usize>,
) -> Result<(usize, usize)> {
    let most = match page.max_items.as_deref().map(str::parse::<usize>) {
        None => limit,
        Some(Ok(count @ 1..=10_000)) => count.min(limit),
        Some(_) => {
            return Err(Error::invalid_parameter("MaxItems must be 1 to 10000"));
        }
    };
    let marker = page.marker.as_deref().filter(|text| !text.is_empty());
    let begin = marker.map(|text| {
        after(text).ok_or_else(|| {
            Error::invalid_parameter("Marker must be the NextMarker of an earlier answer")
        })
    });
    Ok((begin.transpose()?.unwrap_or(0), most))
}

/// DeleteFunction: all of it, or with a qualifier one version.
pub(super) async fn delete(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(query): Query<Qualified>,
) -> Result<StatusCode> {
    owner(&verified, "DeleteFunction")?;
    let named = FunctionRef::parse(&name)?;
    let (named, qualifier) = named.qualified(query.qualifier.as_deref())?;
    if let Some(qualifier) = qualifier {
        return delete_version(&doors, named, qualifier).await;
    }
    let (engine, name) = (doors.engine.clone(), named.clone());
    let result = whole(async move { engine.delete_function(&name).await }).await;
    result.map_err(|error| match error.kind() {
        Kind::NotFound => not_found(&doors, &named),
        _ => error.into(),
    })?;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete_version(
    doors: &Doors,
    name: FunctionName,
    qualifier: Qualifier,
) -> Result<StatusCode> {
    let number = match qualifier {
        Qualifier::Version(number) => number,
        Qualifier::Latest => {
            return Err(Error::invalid_parameter(format!(
                "{LATEST} version cannot be deleted without deleting the function."
            )));
        }
        Qualifier::Alias(_) => {
            return Err(Error::invalid_parameter(
                "Qualifier must be a version; an alias is deleted by DeleteAlias",
            ));
        }
    };
    let (engine, of) = (doors.engine.clone(), name.clone());
    let result = whole(async move { engine.delete_version(&of, number).await }).await;
    result.map_err(|error| match error.kind() {
        Kind::NotFound => not_found_at(doors, &name, Some(&Qualifier::Version(number))),
        _ => error.into(),
    })?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets only the owner of the server on: functions and services may invoke, and no more.
pub(super) fn owner(verified: &Verified, action: &str) -> Result<()> {
    match verified.get() {
        Principal::Root => Ok(()),
        other => Err(Error::access_denied(&other.key(), action)),
    }
}

/// The body of an operation, if it is not too large.
pub(super) async fn read_body(request: Request, limit: usize, operation: &str) -> Result<Bytes> {
    let (parts, body) = request.into_parts();
    let read = body::read(&parts.headers, body, limit).await;
    read.map_err(|error| Error::of_body(error, operation))
}

/// The function that a path (and its query) names.
pub(super) async fn refer(doors: &Doors, text: &str, qualifier: Option<&str>) -> Result<Function> {
    let name = FunctionRef::parse(text)?.latest(qualifier, &doors.options.region)?;
    let found = doors.engine.get_function(&name).await;
    found.map_err(|error| match error.kind() {
        Kind::NotFound => not_found(doors, &name),
        _ => error.into(),
    })
}

/// A function as a request asked for it.
pub(super) struct AskedFor {
    /// What the qualifier means now.
    pub(super) resolved: Resolved,
    qualifier: Option<Qualifier>,
}

impl AskedFor {
    /// As a `FunctionConfiguration`.
    pub(super) fn render(&self, region: &str) -> Value {
        let version = self.resolved.version.as_ref().map(|version| version.number);
        render_version(
            &self.resolved.function,
            version,
            self.qualifier.as_ref(),
            region,
        )
    }
}

/// The function that a path (and its query) names, of the version that they name.
pub(super) async fn refer_to(
    doors: &Doors,
    text: &str,
    qualifier: Option<&str>,
) -> Result<AskedFor> {
    let (name, qualifier) = FunctionRef::parse(text)?.qualified(qualifier)?;
    let found = doors.engine.get_qualified(&name, qualifier.as_ref()).await;
    let resolved = found.map_err(|error| match error.kind() {
        Kind::NotFound => not_found_at(doors, &name, qualifier.as_ref()),
        _ => error.into(),
    })?;
    Ok(AskedFor {
        resolved,
        qualifier,
    })
}

/// What is said of a version or alias that is not there.
pub(super) fn not_found_at(
    doors: &Doors,
    name: &FunctionName,
    qualifier: Option<&Qualifier>,
) -> Error {
    let arn = name::qualified_arn(name, qualifier, &doors.options.region);
    Error::not_found(format!("Function not found: {arn}"))
}

/// What is said of a function that is not there.
pub(super) fn not_found(doors: &Doors, name: &FunctionName) -> Error {
    let arn = name::arn(name, &doors.options.region);
    Error::not_found(format!("Function not found: {arn}"))
}

/// Refuses a dead-letter queue that is not there.
pub(super) async fn must_have_letters(doors: &Doors, spec: &FunctionSpec) -> Result<()> {
    let Some(queue) = &spec.destinations.dead_letter else {
        return Ok(());
    };
    let found = doors.engine.get_queue(queue).await;
    found.map(drop).map_err(|error| match error.kind() {
        Kind::NotFound => Error::invalid_parameter(format!(
            "DeadLetterConfig.TargetArn: the queue \"{queue}\" does not exist; create it first"
        )),
        _ => error.into(),
    })
}

/// Changes a function that was read, if nobody changed it meanwhile.
pub(super) async fn update(
    doors: &Doors,
    read: &Function,
    spec: FunctionSpec,
    revision: Option<String>,
) -> Result<Function> {
    let put = compare(read, revision.as_deref())?;
    let engine = doors.engine.clone();
    let result = whole(async move { engine.put_function(spec, put).await }).await;
    let (function, _) = result.map_err(|error| match error.kind() {
        Kind::NotFound if matches!(error, engine::Error::State(_)) => {
            not_found(doors, &read.spec.name)
        }
        Kind::Conflict if revision.is_some() => Error::stale_revision(),
        Kind::Conflict => Error::conflict(format!(
            "The function {} was changed at the same time by somebody else; try again",
            read.spec.name
        )),
        _ => of_put(error),
    })?;
    Ok(function)
}

/// What went wrong while a function was kept. A runtime that this machine does not have is the
/// request's fault: trying again does not help.
fn of_put(error: engine::Error) -> Error {
    match error {
        engine::Error::Runtime(_) if error.kind() == Kind::Unavailable => {
            Error::invalid_parameter(error.to_string())
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::configuration::tests::function;
    use super::*;

    fn many(count: usize) -> Vec<Function> {
        (0..count)
            .map(|number| {
                let mut one = function();
                one.spec.name = format!("f{number:03}").parse().unwrap();
                one
            })
            .collect()
    }

    fn page(marker: Option<&str>, most: Option<&str>) -> Page {
        Page {
            marker: marker.map(str::to_owned),
            max_items: most.map(str::to_owned),
        }
    }

    #[test]
    fn pages_join_to_the_whole_list() {
        let all = many(123);
        let (mut marker, mut seen) = (None, Vec::new());
        loop {
            let (shown, next) = cut(&all, &page(marker, Some("7"))).unwrap();
            seen.extend_from_slice(shown);
            marker = next;
            if marker.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn a_page_is_bounded_and_a_deleted_marker_still_works() {
        let all = many(60);
        assert_eq!(cut(&all, &page(None, Some("9999"))).unwrap().0.len(), PAGE);
        let (shown, next) = cut(&all, &page(Some("f0585"), None)).unwrap();
        assert_eq!((shown.len(), next), (1, None));
        for bad in ["0", "10001", "x", "-1"] {
            assert!(cut(&all, &page(None, Some(bad))).is_err(), "{bad}");
        }
        assert!(cut(&all, &page(Some("../x"), None)).is_err());
        assert!(cut(&[], &page(None, None)).unwrap().0.is_empty());
    }

    #[test]
    fn the_package_must_be_what_the_code_is() {
        assert!(check_package(None, true).is_ok());
        assert!(check_package(Some("Zip"), true).is_err());
        assert!(check_package(Some("Image"), false).is_err());
        assert!(check_package(Some("Tar"), false).is_err());
    }
}
