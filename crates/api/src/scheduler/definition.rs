//! What a request says of a schedule.

use super::bus;
use super::error::{Error, Result};
use super::target;
use model::{
    AfterCompletion, CatchUp, Delivery, ScheduleKey, ScheduleSpec, Timestamp, Timetable, Zone,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// How far back a schedule may begin (AWS's rule).
const LATEST_START: Duration = Duration::from_secs(300);
/// Under which names of a schedule's annotations what only AWS understands is kept.
pub(super) const TARGET: &str = "target";
pub(super) const KMS_KEY: &str = "kms_key_arn";
/// The body of CreateSchedule and UpdateSchedule.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Definition {
    /// The group; `default` without it.
    pub(super) group_name: Option<String>,
    /// What makes the request happen once.
    pub(super) client_token: Option<String>,
    schedule_expression: Option<String>,
    schedule_expression_timezone: Option<String>,
    start_date: Option<f64>,
    end_date: Option<f64>,
    description: Option<String>,
    state: Option<String>,
    kms_key_arn: Option<String>,
    target: Option<Map<String, Value>>,
    flexible_time_window: Option<Window>,
    action_after_completion: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Window {
    mode: Option<String>,
    maximum_window_in_minutes: Option<i64>,
}

impl Definition {
    /// The schedule that is meant.
    pub(super) fn spec(self, key: ScheduleKey) -> Result<ScheduleSpec> {
        let timetable = self.timetable()?;
        let enabled = match self.state.as_deref() {
            None | Some("ENABLED") => true,
            Some("DISABLED") => false,
            Some(other) => return Err(Error::word("state", other, "ENABLED, DISABLED")),
        };
        let after_completion = match self.action_after_completion.as_deref() {
            None | Some("NONE") => AfterCompletion::Keep,
            Some("DELETE") => AfterCompletion::Delete,
            Some(other) => return Err(Error::word("actionAfterCompletion", other, "NONE, DELETE")),
        };
        let description = self.description.unwrap_or_default();
        if description.chars().count() > 512 {
            return Err(Error::too_long("description", 512));
        }
        let window = self.flexible_time_window;
        let window = window.ok_or_else(|| Error::missing("flexibleTimeWindow"))?;
        let mut declared = self.target.ok_or_else(|| Error::missing("target"))?;
        let input = match declared.remove("Input") {
            None | Some(Value::Null) => None,
            Some(Value::String(input)) => Some(input),
            Some(_) => return Err(Error::invalid("target.input must be a string")),
        };
        let (woken, qualifier) = target::woken(target::text(&declared, "Arn")?)?;
        let entry = bus::entry(&mut declared, &woken)?;
        target::check(&declared)?;
        let delivery = Delivery {
            qualifier,
            ..target::delivery(&declared, &woken)?
        };
        bus::keep(&mut declared, entry.as_ref());
        let mut annotations = BTreeMap::from([(TARGET.to_owned(), Value::Object(declared))]);
        if let Some(arn) = self.kms_key_arn {
            annotations.insert(KMS_KEY.to_owned(), arn.into());
        }
        Ok(ScheduleSpec {
            key,
            description,
            timetable,
            window: window.minutes()?,
            enabled,
            // AWS has no such word; it delivers late what it could not in time.
            catch_up: CatchUp::Once,
            after_completion,
            target: woken,
            input,
            owner: None,
            delivery,
            entry,
            annotations,
        })
    }

    fn timetable(&self) -> Result<Timetable> {
        let expression = self.schedule_expression.as_deref();
        let text = expression.ok_or_else(|| Error::missing("scheduleExpression"))?;
        let refused = |what: &str, text: &str, error: &model::Invalid| {
            let shown: String = text.chars().take(256).collect();
            let shown = shown.escape_debug();
            Error::invalid(format!("Invalid {what} {shown}. ({})", error.reason))
        };
        let expression = text.parse();
        let expression =
            expression.map_err(|error| refused("Schedule Expression", text, &error))?;
        let zone = match self.schedule_expression_timezone.as_deref() {
            None => Zone::default(),
            Some(text) => text
                .parse()
                .map_err(|error| refused("Schedule Expression Timezone", text, &error))?,
        };
        let timetable = Timetable {
            expression,
            zone,
            start: self
                .start_date
                .map(|date| point("startDate", date))
                .transpose()?,
            end: self
                .end_date
                .map(|date| point("endDate", date))
                .transpose()?,
        };
        if let (Some(start), Some(end)) = (timetable.start, timetable.end)
            && end <= start
        {
            return Err(Error::invalid(
                "The StartDate must come before the EndDate.",
            ));
        }
        let checked = timetable.check();
        checked.map_err(|error| refused("Schedule Expression", text, &error))?;
        Ok(timetable)
    }
}

/// What a new timetable must be now: neither over nor begun long ago.
pub(super) fn check_times(timetable: &Timetable, now: Timestamp) -> Result<()> {
    if timetable.expression.is_once() {
        if timetable.next(now, Timestamp(now.0 - 1)).is_none() {
            return Err(Error::invalid(format!(
                "Invalid Schedule Expression {}. (the time is in the past)",
                timetable.expression
            )));
        }
        return Ok(());
    }
    if timetable
        .start
        .is_some_and(|start| start.after(LATEST_START) < now)
    {
        let message = "The StartDate you specify cannot be earlier than 5 minutes ago.";
        return Err(Error::invalid(message));
    }
    if timetable.end.is_some_and(|end| end <= now) {
        let message = "The EndDate you specify cannot be earlier than the current time.";
        return Err(Error::invalid(message));
    }
    Ok(())
}

impl Window {
    fn minutes(&self) -> Result<Option<u32>> {
        match (self.mode.as_deref(), self.maximum_window_in_minutes) {
            (Some("OFF"), None) => Ok(None),
            (Some("FLEXIBLE"), Some(minutes)) => {
                let fits = u32::try_from(minutes).ok();
                let fits = fits.filter(|minutes| (1..=1440).contains(minutes));
                fits.map(Some).ok_or_else(|| {
                    let field = "flexibleTimeWindow.maximumWindowInMinutes";
                    Error::range(field, minutes, 1, 1440)
                })
            }
            (Some("OFF"), Some(_)) => Err(Error::invalid(
                "MaximumWindowInMinutes must not be set when the flexible time window is OFF.",
            )),
            (Some("FLEXIBLE"), None) => Err(Error::invalid(
                "MaximumWindowInMinutes must be set when the flexible time window is FLEXIBLE.",
            )),
            (Some(other), _) => Err(Error::word(
                "flexibleTimeWindow.mode",
                other,
                "OFF, FLEXIBLE",
            )),
            (None, _) => Err(Error::missing("flexibleTimeWindow.mode")),
        }
    }
}

/// Milliseconds between 1970 and 2200.
fn point(field: &str, seconds: f64) -> Result<Timestamp> {
    const MOST: f64 = 7_258_118_400.0;
    if !(0.0..MOST).contains(&seconds) {
        return Err(Error::invalid(format!(
            "{field} must be seconds since 1970"
        )));
    }
    #[allow(clippy::cast_possible_truncation)] // within the bound above
    Ok(Timestamp((seconds * 1000.0).round() as i64))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::view::render;
    use super::*;
    use model::Schedule;
    use serde_json::json;

    fn body() -> Value {
        json!({
            "ScheduleExpression": "cron(0 12 * * ? *)",
            "ScheduleExpressionTimezone": "Europe/Berlin",
            "StartDate": 1_700_000_000.5, "EndDate": 1_800_000_000,
            "Description": "noon", "State": "DISABLED",
            "FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15},
            "ActionAfterCompletion": "DELETE",
            "KmsKeyArn": "arn:aws:kms:us-east-1:000000000000:key/a",
            "Target": {
                "Arn": "arn:aws:lambda:eu-west-1:123456789012:function:f",
                "RoleArn": "arn:aws:iam::123456789012:role/r",
                "Input": "{\"a\":1}",
                "RetryPolicy": {"MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 0},
                "DeadLetterConfig": {"Arn": "arn:aws:sqs:eu-west-1:123456789012:q"},
            },
        })
    }

    fn spec(body: Value) -> Result<ScheduleSpec> {
        let definition: Definition = serde_json::from_value(body).unwrap();
        definition.spec("s".parse().unwrap())
    }

    #[test]
    fn all_that_is_said_is_given_back() {
        let spec = spec(body()).unwrap();
        spec.check().unwrap();
        let answer = render(&Schedule::new(spec, Timestamp(5_500)), "us-east-1");
        let mut expected = body();
        expected["Arn"] = "arn:aws:scheduler:us-east-1:000000000000:schedule/default/s".into();
        expected["Name"] = "s".into();
        expected["GroupName"] = "default".into();
        expected["CreationDate"] = json!(5.5);
        expected["LastModificationDate"] = json!(5.5);
        expected["EndDate"] = json!(1_800_000_000.0);
        assert_eq!(answer, expected);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let without = |path: &str| {
            let mut body = body();
            let (parent, name) = path.rsplit_once('/').unwrap();
            body.pointer_mut(parent)
                .unwrap()
                .as_object_mut()
                .unwrap()
                .remove(name);
            spec(body).unwrap_err()
        };
        let with = |path: &str, value: Value| {
            let mut body = body();
            let (parent, name) = path.rsplit_once('/').unwrap();
            body.pointer_mut(parent).unwrap()[name] = value;
            spec(body).unwrap_err()
        };
        for (error, said) in [
            (
                without("/ScheduleExpression"),
                "'scheduleExpression' failed",
            ),
            (without("/Target"), "'target' failed"),
            (without("/Target/Arn"), "'target.arn' failed"),
            (without("/Target/RoleArn"), "'target.roleArn' failed"),
            (
                without("/FlexibleTimeWindow"),
                "'flexibleTimeWindow' failed",
            ),
            (
                without("/FlexibleTimeWindow/MaximumWindowInMinutes"),
                "must be set",
            ),
            (
                with("/ScheduleExpression", "rate(1 second)".into()),
                "Invalid Schedule Expression rate(1 second).",
            ),
            (
                with("/ScheduleExpressionTimezone", "Mars".into()),
                "Timezone Mars.",
            ),
            (with("/State", "PAUSED".into()), "[ENABLED, DISABLED]"),
            (
                with("/FlexibleTimeWindow/MaximumWindowInMinutes", 1441.into()),
                "between 1 and 1440",
            ),
            (with("/EndDate", 1_600_000_000.into()), "must come before"),
            (with("/StartDate", (-1).into()), "startDate"),
            (
                with("/Target/Arn", "arn:aws:ecs:x:000000000000:cluster/a".into()),
                "nothing that rouse can wake",
            ),
            (with("/Target/RoleArn", "r".into()), "role"),
            (with("/Target/EcsParameters", json!({})), "EcsParameters"),
            (
                with("/Target/RetryPolicy/MaximumRetryAttempts", 186.into()),
                "between 0 and 185",
            ),
            (
                with("/Target/DeadLetterConfig/Arn", "arn:aws:sns:x:y:z".into()),
                "sqs",
            ),
        ] {
            assert!(error.message().contains(said), "{said}: {error:?}");
        }
    }

    #[test]
    fn what_is_over_is_refused() {
        let now = Timestamp(1_750_000_000_000);
        let table = |change: &dyn Fn(&mut Value)| {
            let mut body = body();
            change(&mut body);
            check_times(&spec(body).unwrap().timetable, now)
        };
        assert!(table(&|_| ()).is_err(), "it began long ago");
        let fresh = |body: &mut Value| body["StartDate"] = json!(1_749_999_800);
        table(&fresh).unwrap();
        let over = |body: &mut Value| {
            fresh(body);
            body["EndDate"] = json!(1_749_999_900);
        };
        assert!(table(&over).is_err());
        let past = |body: &mut Value| body["ScheduleExpression"] = "at(2025-06-15T15:06:39)".into();
        assert!(table(&past).is_err(), "17:06:40 in Berlin is now");
        let later =
            |body: &mut Value| body["ScheduleExpression"] = "at(2025-06-15T17:06:41)".into();
        table(&later).unwrap();
    }
}
