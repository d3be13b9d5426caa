//! The resource `/functions/NAME/event-invoke-config`: Put-, Update-, Get-, Delete- and
//! ListFunctionEventInvokeConfig. What a manifest declares of retries and destinations is read and
//! changed here too; the next deployment declares it anew. With a qualifier it is about events that say
//! it. Destinations may also be what rouse alone has, by its `arn:rouse:…`.

mod given;

use super::configuration::Qualified;
use super::error::{Error, Result};
use super::functions::{Page, not_found_at, owner, read_body, refer, start_of};
use super::name::{self, FunctionRef};
use super::settings;
use crate::arn;
use crate::auth::Verified;
use crate::doors::Doors;
use crate::whole::whole;
use axum::Json;
use axum::extract::{Path, Query, Request, State};
use given::Given;
use http::StatusCode;
use model::{
    Destinations, EventInvoke, Function, FunctionName, Kind, Qualifier, RetryPolicy, Target,
    Timestamp,
};
use serde_json::{Value, json};

/// Largest body: two numbers and two ARNs.
const MAX_BODY: usize = 16 * 1024;

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

/// Whether anything was said of how the function's events are delivered.
fn is_configured(function: &Function) -> bool {
    let (retry, destinations) = (&function.spec.retry, &function.spec.destinations);
    let plain = RetryPolicy::default();
    destinations.modified.is_some()
        || destinations.targets().next().is_some()
        || (retry.max_attempts, retry.max_age) != (plain.max_attempts, plain.max_age)
}

/// What is said of a function.
fn of_function(function: &Function) -> EventInvoke {
    let mut destinations = function.spec.destinations.clone();
    destinations.modified = destinations.modified.or(Some(function.modified));
    EventInvoke {
        retry: function.spec.retry.clone(),
        destinations,
    }
}

/// Whose events a request is about.
struct Subject {
    name: FunctionName,
    qualifier: Qualifier,
}

impl Subject {
    fn of(name: &str, query: &Qualified) -> Result<Self> {
        let (name, qualifier) = FunctionRef::parse(name)?.qualified(query.qualifier.as_deref())?;
        let qualifier = qualifier.unwrap_or(Qualifier::Latest);
        Ok(Self { name, qualifier })
    }

    fn render(&self, config: &EventInvoke, region: &str) -> Value {
        let EventInvoke {
            retry,
            destinations,
        } = config;
        let shown = |target: &Option<Target>| match target {
            Some(target) => json!({"Destination": arn::of(target, region)}),
            None => json!({}),
        };
        let modified = destinations.modified.unwrap_or(Timestamp(0));
        #[allow(clippy::cast_precision_loss)] // milliseconds of our time fit
        let seconds = modified.0 as f64 / 1000.0;
        json!({
            "LastModified": seconds,
            "FunctionArn": name::qualified_arn(&self.name, Some(&self.qualifier), region),
            "MaximumRetryAttempts": retry.max_attempts.saturating_sub(1),
            "MaximumEventAgeInSeconds": retry.max_age / 1000,
            "DestinationConfig": {
                "OnSuccess": shown(&destinations.on_success),
                "OnFailure": shown(&destinations.on_failure),
            },
        })
    }

    fn missing(&self, doors: &Doors, error: engine::Error) -> Error {
        match error.kind() {
            Kind::NotFound => not_found_at(doors, &self.name, Some(&self.qualifier)),
            _ => error.into(),
        }
    }

    /// What is said, which must be something.
    async fn configured(&self, doors: &Doors) -> Result<EventInvoke> {
        let (engine, name) = (&doors.engine, &self.name);
        let found = engine.get_qualified(name, Some(&self.qualifier)).await;
        let found = found.map_err(|error| self.missing(doors, error))?;
        let config = match &self.qualifier {
            Qualifier::Latest => {
                is_configured(&found.function).then(|| of_function(&found.function))
            }
            named => {
                let all = engine.list_event_invokes(name).await;
                all.map_err(|error| self.missing(doors, error))?
                    .remove(named)
            }
        };
        config.ok_or_else(|| {
            let arn = name::qualified_arn(name, Some(&self.qualifier), &doors.options.region);
            Error::not_found(format!(
                "The function {arn} doesn't have an EventInvokeConfig"
            ))
        })
    }

    async fn change(
        &self,
        doors: &Doors,
        change: impl FnOnce(&mut RetryPolicy, &mut Destinations) + Send + 'static,
    ) -> Result<EventInvoke> {
        let (engine, name) = (doors.engine.clone(), self.name.clone());
        let qualifier = self.qualifier.clone();
        let result = whole(async move {
            engine
                .change_event_invoke(&name, Some(&qualifier), change)
                .await
        });
        result.await.map_err(|error| self.missing(doors, error))
    }
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
    let subject = Subject::of(&name, &query)?;
    let changed = subject.change(&doors, |retry, destinations| {
        reset(retry, destinations);
        given.apply(retry, destinations);
    });
    Ok(Json(subject.render(&changed.await?, &doors.options.region)))
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
    let subject = Subject::of(&name, &query)?;
    subject.configured(&doors).await?;
    let changed = subject.change(&doors, |retry, destinations| {
        given.apply(retry, destinations);
    });
    Ok(Json(subject.render(&changed.await?, &doors.options.region)))
}

/// GetFunctionEventInvokeConfig.
pub(super) async fn get(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(query): Query<Qualified>,
) -> Result<Json<Value>> {
    owner(&verified, "GetFunctionEventInvokeConfig")?;
    let subject = Subject::of(&name, &query)?;
    let config = subject.configured(&doors).await?;
    Ok(Json(subject.render(&config, &doors.options.region)))
}

/// DeleteFunctionEventInvokeConfig.
pub(super) async fn delete(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(query): Query<Qualified>,
) -> Result<StatusCode> {
    owner(&verified, "DeleteFunctionEventInvokeConfig")?;
    let subject = Subject::of(&name, &query)?;
    subject.configured(&doors).await?;
    if subject.qualifier == Qualifier::Latest {
        subject.change(&doors, reset).await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    let (engine, name) = (doors.engine.clone(), subject.name.clone());
    let qualifier = subject.qualifier.clone();
    let gone = whole(async move { engine.delete_event_invoke(&name, &qualifier).await }).await;
    gone.map_err(|error| subject.missing(&doors, error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Most configurations of one page (AWS's bound).
const PAGE: usize = 50;

/// ListFunctionEventInvokeConfigs: the function's, then those of its versions and aliases. A marker is the
/// last qualifier before it.
pub(super) async fn list(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Value>> {
    owner(&verified, "ListFunctionEventInvokeConfigs")?;
    let function = refer(&doors, &name, None).await?;
    let name = &function.spec.name;
    let mut all: Vec<(Qualifier, EventInvoke)> = Vec::new();
    if is_configured(&function) {
        all.push((Qualifier::Latest, of_function(&function)));
    }
    all.extend(doors.engine.list_event_invokes(name).await?);
    let (begin, most) = start_of(&page, PAGE, |marker| {
        let last: Qualifier = marker.parse().ok()?;
        Some(all.partition_point(|(qualifier, _)| *qualifier <= last))
    })?;
    let end = (begin + most).min(all.len());
    let shown = all[begin..end].iter().map(|(qualifier, config)| {
        let (name, qualifier) = (name.clone(), qualifier.clone());
        Subject { name, qualifier }.render(config, &doors.options.region)
    });
    let mut answer = json!({"FunctionEventInvokeConfigs": shown.collect::<Vec<_>>()});
    if end < all.len() && end > begin {
        answer["NextMarker"] = all[end - 1].0.to_string().into();
    }
    Ok(Json(answer))
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
        let subject = Subject {
            name: two.spec.name.clone(),
            qualifier: Qualifier::Version(3),
        };
        let shown = subject.render(&of_function(&two), "us-east-1");
        let arn = shown["FunctionArn"].as_str().unwrap();
        assert!(arn.ends_with(":3"), "{arn}");
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
