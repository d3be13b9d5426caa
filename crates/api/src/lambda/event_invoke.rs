//! The resource `/functions/NAME/event-invoke-config`: Put-, Update-, Get-, Delete- and
//! ListFunctionEventInvokeConfig. What a manifest declares of retries and destinations is read and
//! changed here too; the next deployment declares it anew. Destinations may also be what rouse alone
//! has, by its `arn:rouse:…`.

use super::configuration::Qualified;
use super::error::{Error, Result};
use super::functions::{not_found, owner, read_body, refer};
use super::name::{self, FunctionRef};
use super::settings;
use crate::arn;
use crate::auth::Verified;
use crate::doors::Doors;
use crate::whole::whole;
use axum::Json;
use axum::extract::{Path, Query, Request, State};
use http::StatusCode;
use model::{Destinations, Function, Kind, RetryPolicy, Target, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

/// Largest body: two numbers and two ARNs.
const MAX_BODY: usize = 16 * 1024;
/// Longest ARN of a destination (AWS's bound).
const MAX_ARN: usize = 350;
/// Most retries that this API sets (AWS's bound); a manifest may declare more.
const MAX_RETRIES: i64 = 2;
/// Bounds of the age that this API sets, in seconds (AWS's); a manifest may declare others.
const AGES: (i64, i64) = (60, 21_600);

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Given {
    maximum_retry_attempts: Option<i64>,
    maximum_event_age_in_seconds: Option<i64>,
    destination_config: Option<DestinationConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct DestinationConfig {
    on_success: Option<OneDestination>,
    on_failure: Option<OneDestination>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct OneDestination {
    destination: Option<String>,
}

/// What was given, checked. The outer `None` is what was not named.
#[derive(Debug, Default)]
struct Change {
    max_attempts: Option<u32>,
    max_age: Option<u64>,
    on_success: Option<Option<Target>>,
    on_failure: Option<Option<Target>>,
}

impl Given {
    fn checked(self) -> Result<Change> {
        let within = |name: &str, value: Option<i64>, (least, most): (i64, i64)| match value {
            Some(value) if !(least..=most).contains(&value) => Err(Error::invalid_parameter(
                format!("{name} is {value} and must be {least} to {most}"),
            )),
            value => Ok(value.and_then(|value| u32::try_from(value).ok())),
        };
        let retries = self.maximum_retry_attempts;
        let retries = within("MaximumRetryAttempts", retries, (0, MAX_RETRIES))?;
        let age = self.maximum_event_age_in_seconds;
        let age = within("MaximumEventAgeInSeconds", age, AGES)?;
        let config = self.destination_config.unwrap_or_default();
        let change = Change {
            max_attempts: retries.map(|retries| retries + 1),
            max_age: age.map(|seconds| u64::from(seconds) * 1000),
            on_success: config.on_success.map(target).transpose()?,
            on_failure: config.on_failure.map(target).transpose()?,
        };
        if change.is_empty() {
            return Err(Error::invalid_parameter(
                "You must specify at least one of error handling or destination setting.",
            ));
        }
        Ok(change)
    }
}

impl Change {
    fn is_empty(&self) -> bool {
        self.max_attempts.is_none()
            && self.max_age.is_none()
            && self.on_success.is_none()
            && self.on_failure.is_none()
    }

    fn apply(self, retry: &mut RetryPolicy, destinations: &mut Destinations) {
        retry.max_attempts = self.max_attempts.unwrap_or(retry.max_attempts);
        retry.max_age = self.max_age.unwrap_or(retry.max_age);
        if let Some(target) = self.on_success {
            destinations.on_success = target;
        }
        if let Some(target) = self.on_failure {
            destinations.on_failure = target;
        }
        destinations.modified = Some(Timestamp::now());
    }
}

/// What an ARN names; nothing and an empty one take the destination away.
fn target(given: OneDestination) -> Result<Option<Target>> {
    let arn = given.destination.unwrap_or_default();
    if arn.is_empty() {
        return Ok(None);
    }
    if arn.len() > MAX_ARN {
        let reason = format!("a destination's ARN has at most {MAX_ARN} characters");
        return Err(Error::invalid_parameter(reason));
    }
    let refused = |reason| {
        Error::invalid_parameter(format!(
            "The provided destination config is invalid: {reason}"
        ))
    };
    arn::destination_of(&arn).map(Some).map_err(refused)
}

/// Takes back what this API can set. The dead-letter queue is the function's configuration.
fn reset(retry: &mut RetryPolicy, destinations: &mut Destinations) {
    let plain = RetryPolicy::default();
    retry.max_attempts = plain.max_attempts;
    retry.max_age = plain.max_age;
    *destinations = Destinations {
        dead_letter: destinations.dead_letter.take(),
        ..Destinations::default()
    };
}

/// Whether anything was said of how events are delivered.
fn is_configured(function: &Function) -> bool {
    let (retry, destinations) = (&function.spec.retry, &function.spec.destinations);
    let plain = RetryPolicy::default();
    destinations.modified.is_some()
        || destinations.targets().next().is_some()
        || (retry.max_attempts, retry.max_age) != (plain.max_attempts, plain.max_age)
}

fn render(function: &Function, region: &str) -> Value {
    let (retry, destinations) = (&function.spec.retry, &function.spec.destinations);
    let shown = |target: &Option<Target>| match target {
        Some(target) => json!({"Destination": arn::of(target, region)}),
        None => json!({}),
    };
    let modified = destinations.modified.unwrap_or(function.modified);
    #[allow(clippy::cast_precision_loss)] // milliseconds of our time fit
    let seconds = modified.0 as f64 / 1000.0;
    json!({
        "LastModified": seconds,
        "FunctionArn": format!("{}:$LATEST", name::arn(&function.spec.name, region)),
        "MaximumRetryAttempts": retry.max_attempts.saturating_sub(1),
        "MaximumEventAgeInSeconds": retry.max_age / 1000,
        "DestinationConfig": {
            "OnSuccess": shown(&destinations.on_success),
            "OnFailure": shown(&destinations.on_failure),
        },
    })
}

/// The function, which must have a configuration.
async fn configured(doors: &Doors, name: &str, query: &Qualified) -> Result<Function> {
    let function = refer(doors, name, query.qualifier.as_deref()).await?;
    if is_configured(&function) {
        return Ok(function);
    }
    let arn = name::arn(&function.spec.name, &doors.options.region);
    Err(Error::not_found(format!(
        "The function {arn}:$LATEST doesn't have an EventInvokeConfig"
    )))
}

async fn change(
    doors: &Doors,
    text: &str,
    query: &Qualified,
    change: impl FnOnce(&mut RetryPolicy, &mut Destinations) + Send + 'static,
) -> Result<Function> {
    let region = &doors.options.region;
    let name = FunctionRef::parse(text)?.latest(query.qualifier.as_deref(), region)?;
    let (engine, changed) = (doors.engine.clone(), name.clone());
    let result = whole(async move { engine.change_event_invoke(&changed, change).await }).await;
    result.map_err(|error| match error.kind() {
        Kind::NotFound => not_found(doors, &name),
        _ => error.into(),
    })
}

/// PutFunctionEventInvokeConfig: what is not given is as for a new function.
pub(super) async fn put(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(query): Query<Qualified>,
    request: Request,
) -> Result<Json<Value>> {
    const OPERATION: &str = "PutFunctionEventInvokeConfig";
    owner(&verified, OPERATION)?;
    let body = read_body(request, MAX_BODY, OPERATION).await?;
    let given = settings::from_json::<Given>(&body)?.checked()?;
    let changed = change(&doors, &name, &query, |retry, destinations| {
        reset(retry, destinations);
        given.apply(retry, destinations);
    });
    Ok(Json(render(&changed.await?, &doors.options.region)))
}

/// UpdateFunctionEventInvokeConfig: what is not given stays.
pub(super) async fn update(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(query): Query<Qualified>,
    request: Request,
) -> Result<Json<Value>> {
    const OPERATION: &str = "UpdateFunctionEventInvokeConfig";
    owner(&verified, OPERATION)?;
    let body = read_body(request, MAX_BODY, OPERATION).await?;
    let given = settings::from_json::<Given>(&body)?.checked()?;
    configured(&doors, &name, &query).await?;
    let changed = change(&doors, &name, &query, |retry, destinations| {
        given.apply(retry, destinations);
    });
    Ok(Json(render(&changed.await?, &doors.options.region)))
}

/// GetFunctionEventInvokeConfig.
pub(super) async fn get(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(query): Query<Qualified>,
) -> Result<Json<Value>> {
    owner(&verified, "GetFunctionEventInvokeConfig")?;
    let function = configured(&doors, &name, &query).await?;
    Ok(Json(render(&function, &doors.options.region)))
}

/// DeleteFunctionEventInvokeConfig.
pub(super) async fn delete(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(query): Query<Qualified>,
) -> Result<StatusCode> {
    owner(&verified, "DeleteFunctionEventInvokeConfig")?;
    configured(&doors, &name, &query).await?;
    change(&doors, &name, &query, reset).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// ListFunctionEventInvokeConfigs: there is one version, so one at most.
pub(super) async fn list(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
) -> Result<Json<Value>> {
    owner(&verified, "ListFunctionEventInvokeConfigs")?;
    let function = refer(&doors, &name, None).await?;
    let configs: Vec<Value> = is_configured(&function)
        .then(|| render(&function, &doors.options.region))
        .into_iter()
        .collect();
    Ok(Json(json!({"FunctionEventInvokeConfigs": configs})))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::configuration::tests::function;
    use super::*;

    fn changed(mut function: Function, json: &str) -> Result<Function> {
        let change = settings::from_json::<Given>(json.as_bytes())?.checked()?;
        let spec = &mut function.spec;
        change.apply(&mut spec.retry, &mut spec.destinations);
        Ok(function)
    }

    #[test]
    fn what_is_given_is_shown_and_the_rest_stays() {
        assert!(!is_configured(&function()));
        let one = changed(
            function(),
            r#"{"MaximumRetryAttempts": 0, "DestinationConfig":
                {"OnFailure": {"Destination": "arn:aws:sqs:us-east-1:000000000000:q"}}}"#,
        );
        let two = changed(
            one.unwrap(),
            r#"{"MaximumEventAgeInSeconds": 60, "DestinationConfig":
                {"OnSuccess": {"Destination": "arn:aws:s3:::records"}}}"#,
        )
        .unwrap();
        assert!(is_configured(&two));
        let shown = render(&two, "us-east-1");
        assert_eq!(shown["MaximumRetryAttempts"], 0);
        assert_eq!(shown["MaximumEventAgeInSeconds"], 60);
        assert_eq!(
            shown["DestinationConfig"],
            json!({
                "OnSuccess": {"Destination": "arn:aws:s3:::records"},
                "OnFailure": {"Destination": "arn:aws:sqs:us-east-1:000000000000:q"},
            })
        );
        let none = changed(
            two,
            r#"{"DestinationConfig": {"OnFailure": {"Destination": ""}}}"#,
        );
        assert_eq!(none.unwrap().spec.destinations.on_failure, None);
    }

    #[test]
    fn bounds_and_targets_are_aws_s() {
        for bad in [
            "{}",
            r#"{"MaximumRetryAttempts": 3}"#,
            r#"{"MaximumRetryAttempts": -1}"#,
            r#"{"MaximumEventAgeInSeconds": 59}"#,
            r#"{"DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sns:r:0:t"}}}"#,
            r#"{"DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sqs:r:000000000000:q.fifo"}}}"#,
        ] {
            let error = changed(function(), bad).unwrap_err();
            assert_eq!(error.name(), "InvalidParameterValueException", "{bad}");
        }
    }
}
