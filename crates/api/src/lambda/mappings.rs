//! The resources `/event-source-mappings` and `/event-source-mappings/UUID`: queues that are read for
//! functions.

use super::error::{Error, Result};
use super::functions::{owner, read_body};
use super::name::{FunctionRef, qualified_arn};
use super::settings;
use crate::auth::Verified;
use crate::doors::Doors;
use crate::sqs;
use crate::whole::whole;
use axum::Json;
use axum::extract::{Path, Query, Request, State};
use http::StatusCode;
use model::{Kind, Mapping, MappingSpec};
use serde::Deserialize;
use serde_json::{Value, json};

/// Largest body: a few short settings.
const MAX_BODY: usize = 64 * 1024;
/// Most mappings in one answer, as in AWS.
const PAGE: usize = 100;
/// What a function may answer that says which messages failed.
const REPORT: &str = "ReportBatchItemFailures";

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Scaling {
    maximum_concurrency: Option<u32>,
}

/// Which messages reach the function.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase", deny_unknown_fields)]
struct Criteria {
    filters: Option<Vec<Pattern>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Pattern {
    pattern: String,
}

/// What CreateEventSourceMapping and UpdateEventSourceMapping are given.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Given {
    event_source_arn: Option<String>,
    function_name: Option<String>,
    enabled: Option<bool>,
    batch_size: Option<u32>,
    maximum_batching_window_in_seconds: Option<u32>,
    function_response_types: Option<Vec<String>>,
    scaling_config: Option<Scaling>,
    filter_criteria: Option<Criteria>,
    /// Settings of other sources, or such as are not served.
    #[serde(flatten)]
    others: serde_json::Map<String, Value>,
}

impl Given {
    /// Refuses by name what would be ignored.
    fn check(&self) -> Result<()> {
        let empty = |value: &Value| match value {
            Value::Null => true,
            Value::Object(members) => members.values().all(Value::is_null),
            Value::Array(entries) => entries.is_empty(),
            _ => false,
        };
        let asked = |name: &str| self.others.get(name).is_some_and(|value| !empty(value));
        if asked("DestinationConfig") {
            return Err(Error::invalid_parameter(
                "DestinationConfig is not for queues: what fails too often goes to the queue's \
                 dead-letter queue, so give the queue a RedrivePolicy",
            ));
        }
        let no_effect = ["Tags", "MetricsConfig"];
        let ignored = self
            .others
            .keys()
            .find(|name| !no_effect.contains(&name.as_str()) && asked(name));
        if let Some(name) = ignored {
            let shown: String = name.chars().take(80).collect();
            let message = format!(
                "{} is not served for queues; leave it out",
                shown.escape_debug()
            );
            return Err(Error::invalid_parameter(message));
        }
        let types = self.function_response_types.iter().flatten();
        if let Some(other) = types.into_iter().find(|one| *one != REPORT) {
            let shown: String = other.chars().take(80).collect();
            let message = format!(
                "FunctionResponseTypes holds {} and knows {REPORT} alone",
                shown.escape_debug()
            );
            return Err(Error::invalid_parameter(message));
        }
        Ok(())
    }

    /// Puts what is given over what there is.
    fn apply(&self, spec: &mut MappingSpec) {
        let put = |place: &mut u32, value: Option<u32>| *place = value.unwrap_or(*place);
        put(&mut spec.batch, self.batch_size);
        put(&mut spec.window, self.maximum_batching_window_in_seconds);
        spec.enabled = self.enabled.unwrap_or(spec.enabled);
        if let Some(types) = &self.function_response_types {
            spec.report_failures = !types.is_empty();
        }
        if let Some(scaling) = &self.scaling_config {
            spec.max_concurrency = scaling.maximum_concurrency;
        }
        if let Some(criteria) = &self.filter_criteria {
            let filters = criteria.filters.iter().flatten();
            spec.filters = filters.map(|filter| filter.pattern.clone()).collect();
        }
    }
}

/// CreateEventSourceMapping.
pub(super) async fn create(
    verified: Verified,
    State(doors): State<Doors>,
    request: Request,
) -> Result<(StatusCode, Json<Value>)> {
    const OPERATION: &str = "CreateEventSourceMapping";
    owner(&verified, OPERATION)?;
    let body = read_body(request, MAX_BODY, OPERATION).await?;
    let given: Given = settings::from_json(&body)?;
    given.check()?;
    let arn = given.event_source_arn.as_deref();
    let arn = arn.ok_or_else(|| Error::invalid_parameter("EventSourceArn is missing"))?;
    let queue = sqs::queue_of_arn(arn).ok_or_else(|| {
        Error::invalid_parameter(
            "EventSourceArn must be a queue's: arn:aws:sqs:REGION:ACCOUNT:NAME",
        )
    })?;
    let function = given.function_name.as_deref();
    let function = function.ok_or_else(|| Error::invalid_parameter("FunctionName is missing"))?;
    let (function, qualifier) = FunctionRef::parse(function)?.qualified(None)?;
    let mut spec = MappingSpec {
        qualifier,
        ..MappingSpec::new(queue, function)
    };
    given.apply(&mut spec);
    let engine = doors.engine.clone();
    let created = whole(async move { engine.create_mapping(spec).await }).await;
    let mapping = created.map_err(|error| match error.kind() {
        Kind::NotFound => Error::invalid_parameter(error.to_string()),
        _ => error.into(),
    })?;
    Ok((StatusCode::ACCEPTED, Json(render(&doors, &mapping, None))))
}

/// GetEventSourceMapping.
pub(super) async fn get(
    verified: Verified,
    State(doors): State<Doors>,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    owner(&verified, "GetEventSourceMapping")?;
    let (mapping, said) = doors.engine.get_mapping(parse_id(&id)?)?;
    Ok(Json(render(&doors, &mapping, Some(&said))))
}

/// UpdateEventSourceMapping.
pub(super) async fn update(
    verified: Verified,
    State(doors): State<Doors>,
    Path(id): Path<String>,
    request: Request,
) -> Result<(StatusCode, Json<Value>)> {
    const OPERATION: &str = "UpdateEventSourceMapping";
    owner(&verified, OPERATION)?;
    let id = parse_id(&id)?;
    let body = read_body(request, MAX_BODY, OPERATION).await?;
    let given: Given = settings::from_json(&body)?;
    given.check()?;
    let function = given
        .function_name
        .as_deref()
        .map(|text| FunctionRef::parse(text)?.qualified(None));
    let function = function.transpose()?;
    let engine = doors.engine.clone();
    let change = move |spec: &mut MappingSpec| {
        given.apply(spec);
        if let Some((function, qualifier)) = function {
            spec.function = function;
            spec.qualifier = qualifier;
        }
    };
    let mapping = whole(async move { engine.update_mapping(id, change).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(render(&doors, &mapping, None))))
}

/// DeleteEventSourceMapping.
pub(super) async fn delete(
    verified: Verified,
    State(doors): State<Doors>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Value>)> {
    owner(&verified, "DeleteEventSourceMapping")?;
    let id = parse_id(&id)?;
    let engine = doors.engine.clone();
    let mapping = whole(async move { engine.delete_mapping(id).await }).await?;
    let mut shown = render(&doors, &mapping, None);
    shown["State"] = "Deleting".into();
    Ok((StatusCode::ACCEPTED, Json(shown)))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Filter {
    event_source_arn: Option<String>,
    function_name: Option<String>,
    marker: Option<String>,
    max_items: Option<usize>,
}

/// ListEventSourceMappings. A function without a qualifier means all of its mappings. The marker is the last mapping of the page before.
pub(super) async fn list(
    verified: Verified,
    State(doors): State<Doors>,
    Query(filter): Query<Filter>,
) -> Result<Json<Value>> {
    owner(&verified, "ListEventSourceMappings")?;
    let function = filter
        .function_name
        .as_deref()
        .map(|text| FunctionRef::parse(text)?.qualified(None));
    let function = function.transpose()?;
    let queue = filter.event_source_arn.as_deref().map(sqs::queue_of_arn);
    let after = filter.marker.as_deref().map(parse_id).transpose()?;
    let most = filter.max_items.unwrap_or(PAGE).clamp(1, PAGE);
    let mut fitting = doors.engine.list_mappings();
    fitting.retain(|(mapping, _)| {
        let spec = &mapping.spec;
        function.as_ref().is_none_or(|(name, qualifier)| {
            spec.function == *name && (qualifier.is_none() || spec.qualifier == *qualifier)
        }) && queue
            .as_ref()
            .is_none_or(|queue| Some(&mapping.spec.queue) == queue.as_ref())
            && after.is_none_or(|after| mapping.id > after)
    });
    let more = fitting.len() > most;
    fitting.truncate(most);
    let shown = fitting
        .iter()
        .map(|(mapping, said)| render(&doors, mapping, Some(said)));
    let mut answer = json!({"EventSourceMappings": shown.collect::<Vec<_>>()});
    if let (true, Some((last, _))) = (more, fitting.last()) {
        answer["NextMarker"] = last.id.to_string().into();
    }
    Ok(Json(answer))
}

fn parse_id(text: &str) -> Result<uuid::Uuid> {
    uuid::Uuid::try_parse(text)
        .map_err(|_| Error::not_found("The resource you requested does not exist."))
}

fn render(doors: &Doors, mapping: &Mapping, said: Option<&str>) -> Value {
    let (spec, region) = (&mapping.spec, &doors.options.region);
    let types: &[&str] = if spec.report_failures { &[REPORT] } else { &[] };
    let mut shown = json!({
        "UUID": mapping.id.to_string(),
        "BatchSize": spec.batch,
        "MaximumBatchingWindowInSeconds": spec.window,
        "EventSourceArn": sqs::arn(region, &spec.queue),
        "FunctionArn": qualified_arn(&spec.function, spec.qualifier.as_ref(), region),
        "LastModified": mapping.modified.0 as f64 / 1000.0,
        "State": if spec.enabled { "Enabled" } else { "Disabled" },
        "StateTransitionReason": "USER_INITIATED",
        "FunctionResponseTypes": types,
    });
    if let Some(most) = spec.max_concurrency {
        shown["ScalingConfig"] = json!({"MaximumConcurrency": most});
    }
    if !spec.filters.is_empty() {
        let filters = spec.filters.iter();
        let filters: Vec<Value> = filters.map(|pattern| json!({"Pattern": pattern})).collect();
        shown["FilterCriteria"] = json!({"Filters": filters});
    }
    if let Some(said) = said {
        shown["LastProcessingResult"] = said.into();
    }
    shown
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn given(value: Value) -> Given {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_not_said_stays() {
        let mut spec = MappingSpec::new("q".parse().unwrap(), "f".parse().unwrap());
        spec.report_failures = true;
        given(json!({"BatchSize": 5, "ScalingConfig": {"MaximumConcurrency": 3}})).apply(&mut spec);
        assert_eq!(
            (spec.batch, spec.max_concurrency, spec.report_failures),
            (5, Some(3), true)
        );
        let filters = json!({"Filters": [{"Pattern": r#"{"body": ["a"]}"#}]});
        given(json!({"FilterCriteria": filters})).apply(&mut spec);
        given(json!({"FunctionResponseTypes": [], "ScalingConfig": {}})).apply(&mut spec);
        assert_eq!(spec.filters, [r#"{"body": ["a"]}"#]);
        given(json!({"FilterCriteria": {}})).apply(&mut spec);
        assert!(spec.filters.is_empty());
        assert_eq!(
            (spec.batch, spec.max_concurrency, spec.report_failures),
            (5, None, false)
        );
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        assert!(
            given(json!({"FilterCriteria": null, "Tags": {"a": "b"}}))
                .check()
                .is_ok()
        );
        for refused in [
            json!({"DestinationConfig": {"OnFailure": {"Destination": "arn"}}}),
            json!({"StartingPosition": "LATEST"}),
            json!({"FunctionResponseTypes": ["Other"]}),
        ] {
            assert!(given(refused.clone()).check().is_err(), "{refused}");
        }
    }
}
