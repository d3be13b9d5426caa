//! Which events a change of an object raises, and their body: AWS's S3 event JSON, version 2.1
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>).

mod event_bridge;

use crate::ObjectRow;
use bytes::Bytes;
use model::{ChangeForm, Delivery, EventId, NewEvent, NotificationRule, Principal, Timestamp};
use serde::Serialize;

/// A change of an object, as far as the object's row does not tell.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// Such as `ObjectCreated:Put`, without `s3:`.
    pub(crate) name: &'static str,
    pub(crate) principal: Principal,
    pub(crate) cause: Option<EventId>,
    pub(crate) time: Timestamp,
    /// Identity of the request, for the event's `responseElements`.
    pub(crate) request: uuid::Uuid,
}

impl Change {
    pub(crate) fn now(name: &'static str, principal: Principal, cause: Option<EventId>) -> Self {
        Self {
            name,
            principal,
            cause,
            time: Timestamp::now(),
            request: uuid::Uuid::new_v4(),
        }
    }

    /// Whether there is an object after it.
    fn exists(&self) -> bool {
        self.name.starts_with("ObjectCreated:")
    }
}

/// One event for each rule that the change fits.
pub(crate) fn events_for(
    region: &str,
    rules: &[NotificationRule],
    row: &ObjectRow,
    change: &Change,
) -> Vec<NewEvent> {
    let kind = format!("s3:{}", change.name);
    let woken = rules.iter().filter(|rule| rule.matches(&kind, &row.key));
    woken
        .map(|rule| match rule.form {
            ChangeForm::EventBridge => event_bridge::event(region, rule, row, change),
            ChangeForm::Records => NewEvent {
                id: EventId::generate(),
                target: rule.target.clone(),
                source: format!("s3:{}", row.bucket),
                kind: kind.clone(),
                subject: row.key.clone(),
                payload: payload(region, rule, row, change),
                accepted: change.time,
                cause: change.cause,
                replay_of: None,
                delivery: Delivery {
                    qualifier: rule.qualifier.clone(),
                    ..Delivery::default()
                },
            },
        })
        .collect()
}

#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(rename = "Records")]
    records: [Record<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    event_version: &'a str,
    event_source: &'a str,
    aws_region: &'a str,
    event_time: String,
    event_name: &'a str,
    user_identity: Identity<'a>,
    request_parameters: RequestParameters<'a>,
    response_elements: ResponseElements,
    s3: S3<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Identity<'a> {
    principal_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestParameters<'a> {
    #[serde(rename = "sourceIPAddress")]
    source_ip_address: &'a str,
}

#[derive(Serialize)]
struct ResponseElements {
    #[serde(rename = "x-amz-request-id")]
    request_id: String,
    #[serde(rename = "x-amz-id-2")]
    id_2: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct S3<'a> {
    #[serde(rename = "s3SchemaVersion")]
    schema_version: &'a str,
    configuration_id: &'a str,
    bucket: BucketPart<'a>,
    object: ObjectPart<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BucketPart<'a> {
    name: &'a str,
    owner_identity: Identity<'a>,
    arn: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectPart<'a> {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e_tag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_id: Option<&'a str>,
    sequencer: String,
}

fn payload(region: &str, rule: &NotificationRule, row: &ObjectRow, change: &Change) -> Bytes {
    let principal = change.principal.key();
    let exists = change.exists();
    let record = Record {
        event_version: "2.1",
        event_source: "aws:s3",
        aws_region: region,
        event_time: change.time.rfc3339(),
        event_name: change.name,
        user_identity: Identity {
            principal_id: &principal,
        },
        request_parameters: RequestParameters {
            source_ip_address: "127.0.0.1",
        },
        response_elements: ResponseElements {
            request_id: hex::encode_upper(&change.request.as_bytes()[..8]),
            id_2: hex::encode(change.request.as_bytes()),
        },
        s3: S3 {
            schema_version: "1.0",
            configuration_id: &rule.id,
            bucket: BucketPart {
                name: row.bucket.as_str(),
                owner_identity: Identity {
                    principal_id: "root",
                },
                arn: format!("arn:aws:s3:::{}", row.bucket),
            },
            object: ObjectPart {
                key: url_encoded(&row.key),
                size: exists.then_some(row.size),
                e_tag: exists.then_some(row.etag.as_str()),
                version_id: row.version.as_deref(),
                sequencer: format!("{:016X}", row.sequence),
            },
        },
    };
    // Strings and numbers under fixed names: there is nothing in it that JSON cannot say.
    serde_json::to_vec(&Envelope { records: [record] })
        .unwrap_or_default()
        .into()
}

/// As AWS writes keys in events: form encoding, with `/` left as it is.
fn url_encoded(key: &str) -> String {
    let mut encoded = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            _ => {
                encoded.push('%');
                encoded.push_str(&hex::encode_upper([byte]));
            }
        }
    }
    encoded
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use model::Target;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    pub(super) fn rule(id: &str, pattern: &str, prefix: &str, suffix: &str) -> NotificationRule {
        NotificationRule {
            id: id.to_owned(),
            events: vec![pattern.to_owned().try_into().unwrap()],
            prefix: prefix.to_owned(),
            suffix: suffix.to_owned(),
            target: Target::Function {
                name: "thumbnail".parse().unwrap(),
            },
            qualifier: None,
            form: Default::default(),
        }
    }

    pub(super) fn row(key: &str) -> ObjectRow {
        ObjectRow {
            bucket: "photos".parse().unwrap(),
            key: key.to_owned(),
            data: "0".repeat(32),
            size: 1234,
            etag: "d41d8cd98f00b204e9800998ecf8427e".to_owned(),
            version: None,
            sequence: 0x2A,
            modified: Timestamp(0),
            headers: BTreeMap::new(),
            metadata: BTreeMap::new(),
        }
    }

    pub(super) fn change(name: &'static str) -> Change {
        Change {
            name,
            principal: Principal::Root,
            cause: None,
            time: Timestamp(1_500),
            request: uuid::Uuid::from_u128(0x0123_4567_89AB_CDEF_0123_4567_89AB_CDEF),
        }
    }

    fn parsed(event: &NewEvent) -> serde_json::Value {
        serde_json::from_slice(&event.payload).unwrap()
    }

    #[test]
    fn a_put_raises_the_event_that_aws_documents() {
        let rules = [rule("to-thumbnail", "s3:ObjectCreated:*", "in/", ".jpg")];
        let events = events_for(
            "us-east-1",
            &rules,
            &row("in/a b.jpg"),
            &change("ObjectCreated:Put"),
        );
        let [event] = events.as_slice() else {
            panic!("{events:?}")
        };
        assert_eq!(event.source, "s3:photos");
        assert_eq!(event.kind, "s3:ObjectCreated:Put");
        assert_eq!(event.subject, "in/a b.jpg");
        let expected = json!({"Records": [{
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": "us-east-1",
            "eventTime": "1970-01-01T00:00:01.500Z",
            "eventName": "ObjectCreated:Put",
            "userIdentity": {"principalId": "root"},
            "requestParameters": {"sourceIPAddress": "127.0.0.1"},
            "responseElements": {
                "x-amz-request-id": "0123456789ABCDEF",
                "x-amz-id-2": "0123456789abcdef0123456789abcdef",
            },
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "to-thumbnail",
                "bucket": {
                    "name": "photos",
                    "ownerIdentity": {"principalId": "root"},
                    "arn": "arn:aws:s3:::photos",
                },
                "object": {
                    "key": "in/a+b.jpg",
                    "size": 1234,
                    "eTag": "d41d8cd98f00b204e9800998ecf8427e",
                    "sequencer": "000000000000002A",
                },
            },
        }]});
        assert_eq!(parsed(event), expected);
    }

    #[test]
    fn a_removal_says_neither_size_nor_etag() {
        let rules = [rule("r", "s3:ObjectRemoved:Delete", "", "")];
        let events = events_for(
            "us-east-1",
            &rules,
            &row("a"),
            &change("ObjectRemoved:Delete"),
        );
        let object = &parsed(&events[0])["Records"][0]["s3"]["object"];
        assert_eq!(
            object,
            &json!({"key": "a", "sequencer": "000000000000002A"})
        );
    }

    #[test]
    fn versions_are_told_and_a_marker_is_an_event_of_its_own() {
        let rules = [
            rule("all", "s3:ObjectRemoved:*", "", ""),
            rule("marker", "s3:ObjectRemoved:DeleteMarkerCreated", "", ""),
            rule("gone", "s3:ObjectRemoved:Delete", "", ""),
        ];
        let version = "v1".to_owned();
        let row = ObjectRow {
            version: Some(version),
            ..row("a")
        };
        let made = change("ObjectRemoved:DeleteMarkerCreated");
        let events = events_for("us-east-1", &rules, &row, &made);
        assert_eq!(events.len(), 2);
        for event in &events {
            let record = &parsed(event)["Records"][0];
            assert_eq!(record["eventName"], "ObjectRemoved:DeleteMarkerCreated");
            assert_eq!(
                record["s3"]["object"],
                json!({"key": "a", "versionId": "v1", "sequencer": "000000000000002A"})
            );
        }
    }

    #[test]
    fn each_rule_that_fits_wakes_its_target_and_the_others_none() {
        let rules = [
            rule("one", "s3:ObjectCreated:*", "", ""),
            rule("two", "s3:ObjectCreated:Put", "a", ""),
            rule("other-prefix", "s3:ObjectCreated:*", "b", ""),
            rule("other-event", "s3:ObjectRemoved:*", "", ""),
        ];
        let events = events_for("us-east-1", &rules, &row("a"), &change("ObjectCreated:Put"));
        let ids: Vec<_> = events
            .iter()
            .map(|event| parsed(event)["Records"][0]["s3"]["configurationId"].clone())
            .collect();
        assert_eq!(ids, ["one", "two"]);
        assert_ne!(events[0].id, events[1].id);
    }

    #[test]
    fn keys_are_written_as_aws_writes_them() {
        assert_eq!(url_encoded("a/b-c_d.e*f"), "a/b-c_d.e*f");
        assert_eq!(
            url_encoded("my photo (1)+é.jpg"),
            "my+photo+%281%29%2B%C3%A9.jpg"
        );
    }

    proptest! {
        /// What `decodeURIComponent(key.replace(/\+/g, " "))` gives is the key.
        #[test]
        fn an_encoded_key_decodes_to_itself(key in "\\PC{0,40}") {
            let encoded = url_encoded(&key);
            prop_assert!(encoded.is_ascii() && !encoded.contains(' '));
            let mut bytes = Vec::new();
            let mut rest = encoded.as_bytes();
            while let Some((&first, after)) = rest.split_first() {
                rest = after;
                match first {
                    b'+' => bytes.push(b' '),
                    b'%' => {
                        bytes.extend(hex::decode(&rest[..2]).unwrap());
                        rest = &rest[2..];
                    }
                    other => bytes.push(other),
                }
            }
            prop_assert_eq!(String::from_utf8(bytes).unwrap(), key);
        }
    }
}
