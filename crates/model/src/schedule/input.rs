//! What a target is given: the input, with what AWS's context attributes stand for.

use super::spec::MAX_SCHEDULE_INPUT;
use super::{ScheduleKey, ScheduleSpec};
use crate::{EventId, Invalid, Timestamp};
use bytes::Bytes;

/// One occurrence of a schedule, as its target is told.
#[derive(Debug, Clone, Copy)]
struct Occurrence<'a> {
    arn: &'a str,
    time: &'a str,
    id: &'a str,
}

impl ScheduleSpec {
    /// The payload of the event `id` for the tick at `time`.
    ///
    /// The attempt's number is always 1: handing the event over is one transaction that cannot fail
    /// by itself. How often the target is tried is told by the event.
    pub fn payload(&self, region: &str, time: Timestamp, id: EventId) -> Bytes {
        let (arn, time, id) = (self.key.arn(region), time.rfc3339_seconds(), id.to_string());
        let occurrence = Occurrence {
            arn: &arn,
            time: &time,
            id: &id,
        };
        let text = match &self.input {
            Some(input) => replace(input, occurrence),
            None => notification(region, occurrence),
        };
        text.into()
    }

    pub(super) fn check_input(&self) -> Result<(), Invalid> {
        let Some(input) = &self.input else {
            return Ok(());
        };
        if input.len() > MAX_SCHEDULE_INPUT {
            let reason = format!("is longer than {MAX_SCHEDULE_INPUT} bytes");
            return Err(Invalid::new("input", reason));
        }
        let (longest, time) = (self.key.arn("us-east-1"), Timestamp(0).rfc3339_seconds());
        let sample = Occurrence {
            arn: &longest,
            time: &time,
            id: "00000000-0000-0000-0000-000000000000",
        };
        let payload = replace(input, sample);
        if payload.len() > crate::MAX_ASYNC_PAYLOAD {
            let reason = "grows beyond an event's payload once its attributes are replaced";
            return Err(Invalid::new("input", reason));
        }
        match serde_json::from_str::<serde::de::IgnoredAny>(&payload) {
            Ok(_) => Ok(()),
            Err(error) => Err(Invalid::new("input", format!("is not JSON: {error}"))),
        }
    }
}

/// <https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html>.
/// What is put in has no character that JSON would escape.
fn replace(input: &str, Occurrence { arn, time, id }: Occurrence<'_>) -> String {
    let attributes = [
        ("schedule-arn>", arn),
        ("scheduled-time>", time),
        ("execution-id>", id),
        ("attempt-number>", "1"),
    ];
    let mut parts = input.split("<aws.scheduler.");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let found = attributes
            .iter()
            .find_map(|(name, value)| Some((value, part.strip_prefix(name)?)));
        match found {
            Some((value, rest)) => {
                text.push_str(value);
                text.push_str(rest);
            }
            None => {
                text.push_str("<aws.scheduler.");
                text.push_str(part);
            }
        }
    }
    text
}

/// What AWS sends to a target without an input.
fn notification(region: &str, Occurrence { arn, time, id }: Occurrence<'_>) -> String {
    let account = arn.split(':').nth(4).unwrap_or_default();
    serde_json::json!({
        "version": "0",
        "id": id,
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "account": account,
        "time": time,
        "region": region,
        "resources": [arn],
        "detail": "{}",
    })
    .to_string()
}

impl ScheduleKey {
    /// Where its events come from: `schedule:NAME`, or `schedule:GROUP/NAME`.
    pub fn source(&self) -> String {
        format!("schedule:{self}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::plan::tests::spec;
    use super::*;
    use proptest::prelude::*;

    fn payload(input: Option<&str>) -> String {
        let mut spec = spec("rate(1 minute)");
        spec.input = input.map(str::to_owned);
        spec.check().unwrap();
        let bytes = spec.payload("us-east-1", Timestamp(1_500), EventId(uuid::Uuid::nil()));
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn attributes_are_replaced_and_nothing_else_is() {
        let input = r#"{"a":"<aws.scheduler.schedule-arn>","t":"<aws.scheduler.scheduled-time>",
            "i":"<aws.scheduler.execution-id>","n":<aws.scheduler.attempt-number>,"x":"<aws.scheduler.other>"}"#;
        let value: serde_json::Value = serde_json::from_str(&payload(Some(input))).unwrap();
        let expected = serde_json::json!({
            "a": "arn:aws:scheduler:us-east-1:000000000000:schedule/default/s",
            "t": "1970-01-01T00:00:01Z", "i": "00000000-0000-0000-0000-000000000000", "n": 1,
            "x": "<aws.scheduler.other>",
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn without_an_input_it_is_awss_notification() {
        let value: serde_json::Value = serde_json::from_str(&payload(None)).unwrap();
        assert_eq!(value["detail-type"], "Scheduled Event");
        assert_eq!(value["account"], "000000000000");
        assert_eq!(value["detail"], "{}");
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for bad in ["", "{", "{\"a\":<aws.scheduler.scheduled-time>}", "text"] {
            let mut spec = spec("rate(1 minute)");
            spec.input = Some(bad.to_owned());
            assert_eq!(spec.check().unwrap_err().field, "input", "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_passed_is_json_for_every_tick(
            texts in proptest::collection::vec("(<aws\\.scheduler\\.(scheduled-time|execution-id|x)>|[^\"\\\\\\p{C}]){0,5}", 0..4),
            time in 0_i64..4_000_000_000_000,
        ) {
            let input = serde_json::to_string(&texts).unwrap();
            let mut spec = spec("rate(1 minute)");
            spec.input = Some(input);
            prop_assert!(spec.check().is_ok());
            let payload = spec.payload("eu-west-1", Timestamp(time), EventId::generate());
            let read: Vec<String> = serde_json::from_slice(&payload).unwrap();
            prop_assert_eq!(read.len(), texts.len());
        }
    }
}
