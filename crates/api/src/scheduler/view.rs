//! How schedules are told.

use super::definition::{KMS_KEY, TARGET};
use super::seconds;
use crate::arn;
use crate::delivery::Wanted;
use model::{AfterCompletion, Schedule, ScheduleSpec};
use serde_json::{Value, json};

/// The answer of GetSchedule.
pub(super) fn render(schedule: &Schedule, region: &str) -> Value {
    let spec = &schedule.spec;
    let mut answer = summary(schedule, region);
    answer["ScheduleExpression"] = spec.timetable.expression.as_str().into();
    answer["ScheduleExpressionTimezone"] = spec.timetable.zone.as_str().into();
    answer["FlexibleTimeWindow"] = match spec.window {
        None => json!({"Mode": "OFF"}),
        Some(minutes) => json!({"Mode": "FLEXIBLE", "MaximumWindowInMinutes": minutes}),
    };
    answer["ActionAfterCompletion"] = match spec.after_completion {
        AfterCompletion::Keep => "NONE".into(),
        AfterCompletion::Delete => "DELETE".into(),
    };
    answer["Target"] = whole_target(spec, region);
    if !spec.description.is_empty() {
        answer["Description"] = spec.description.as_str().into();
    }
    for (name, point) in [
        ("StartDate", spec.timetable.start),
        ("EndDate", spec.timetable.end),
    ] {
        if let Some(point) = point {
            answer[name] = seconds(point).into();
        }
    }
    if let Some(arn) = spec.annotations.get(KMS_KEY) {
        answer["KmsKeyArn"] = arn.clone();
    }
    answer
}

/// The target as it was given; of one that was not given here, what can be said.
fn whole_target(spec: &ScheduleSpec, region: &str) -> Value {
    let mut target = match spec.annotations.get(TARGET) {
        Some(target) => target.clone(),
        None => {
            let mut target = json!(Wanted::of(&spec.delivery, region));
            target["Arn"] = arn::of(&spec.target, region).into();
            target
        }
    };
    if target.get("RetryPolicy").is_none_or(Value::is_null) {
        // AWS's defaults.
        target["RetryPolicy"] =
            json!({"MaximumEventAgeInSeconds": 86_400, "MaximumRetryAttempts": 185});
    }
    if let Some(input) = &spec.input {
        target["Input"] = input.as_str().into();
    }
    target
}

/// One entry of ListSchedules.
pub(super) fn summary(schedule: &Schedule, region: &str) -> Value {
    let spec = &schedule.spec;
    let arn = match spec
        .annotations
        .get(TARGET)
        .and_then(|target| target.get("Arn"))
    {
        Some(arn) => arn.clone(),
        None => arn::of(&spec.target, region).into(),
    };
    json!({
        "Arn": spec.key.arn(region),
        "GroupName": spec.key.group,
        "Name": spec.key.name,
        "State": if spec.enabled { "ENABLED" } else { "DISABLED" },
        "CreationDate": seconds(schedule.created),
        "LastModificationDate": seconds(schedule.modified),
        "Target": {"Arn": arn},
    })
}
