//! Changes of objects as S3 tells EventBridge
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html>).

use super::Change;
use crate::ObjectRow;
use bytes::Bytes;
use model::{EventId, NewEvent, NotificationRule};
use serde_json::json;

/// The source of all of these events.
const SOURCE: &str = "aws.s3";
/// The account in every event of this server.
const ACCOUNT: &str = "000000000000";

/// The operation of S3's API that made the change.
fn reason(change: &str) -> &'static str {
    match change {
        "ObjectCreated:Post" => "POST Object",
        "ObjectCreated:Copy" => "CopyObject",
        "ObjectCreated:CompleteMultipartUpload" => "CompleteMultipartUpload",
        "ObjectRemoved:Delete" | "ObjectRemoved:DeleteMarkerCreated" => "DeleteObject",
        _ => "PutObject",
    }
}

/// The event for a rule that the change fits.
pub(super) fn event(
    region: &str,
    rule: &NotificationRule,
    row: &ObjectRow,
    change: &Change,
) -> NewEvent {
    let created = change.exists();
    let kind = if created {
        "Object Created"
    } else {
        "Object Deleted"
    };
    let id = EventId::generate();
    let request = hex::encode_upper(&change.request.as_bytes()[..8]);
    let mut object = json!({
        "key": row.key,
        "sequencer": format!("{:016X}", row.sequence),
    });
    if created {
        object["size"] = row.size.into();
        object["etag"] = row.etag.as_str().into();
    }
    if let Some(version) = &row.version {
        object["version-id"] = version.as_str().into();
    }
    let mut detail = json!({
        "version": "0",
        "bucket": {"name": row.bucket},
        "object": object,
        "request-id": request,
        "requester": change.principal.key(),
        "source-ip-address": "127.0.0.1",
        "reason": reason(change.name),
    });
    if !created {
        detail["deletion-type"] = match change.name {
            "ObjectRemoved:DeleteMarkerCreated" => "Delete Marker Created",
            _ => "Permanently Deleted",
        }
        .into();
    }
    let payload = json!({
        "version": "0",
        "id": id,
        "detail-type": kind,
        "source": SOURCE,
        "account": ACCOUNT,
        "time": change.time.rfc3339_seconds(),
        "region": region,
        "resources": [format!("arn:aws:s3:::{}", row.bucket)],
        "detail": detail,
    });
    NewEvent {
        id,
        target: rule.target.clone(),
        source: SOURCE.to_owned(),
        kind: kind.to_owned(),
        subject: row.key.clone(),
        payload: Bytes::from(payload.to_string()),
        accepted: change.time,
        cause: change.cause,
        replay_of: None,
        delivery: Default::default(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::{change, row, rule};
    use super::*;
    use serde_json::Value;

    fn told(name: &'static str) -> (NewEvent, Value) {
        let rule = rule("r", "s3:ObjectCreated:*", "", "");
        let event = event("eu-west-1", &rule, &row("in/a b.jpg"), &change(name));
        let payload = serde_json::from_slice(&event.payload).unwrap();
        (event, payload)
    }

    #[test]
    fn a_new_object_reads_as_aws_documents_it() {
        let (event, payload) = told("ObjectCreated:Copy");
        let expected = json!({
            "version": "0",
            "id": event.id,
            "detail-type": "Object Created",
            "source": "aws.s3",
            "account": "000000000000",
            "time": "1970-01-01T00:00:01Z",
            "region": "eu-west-1",
            "resources": ["arn:aws:s3:::photos"],
            "detail": {
                "version": "0",
                "bucket": {"name": "photos"},
                "object": {
                    "key": "in/a b.jpg",
                    "size": 1234,
                    "etag": "d41d8cd98f00b204e9800998ecf8427e",
                    "sequencer": "000000000000002A",
                },
                "request-id": "0123456789ABCDEF",
                "requester": "root",
                "source-ip-address": "127.0.0.1",
                "reason": "CopyObject",
            },
        });
        assert_eq!(payload, expected);
        assert_eq!(
            (event.source.as_str(), event.kind.as_str()),
            ("aws.s3", "Object Created")
        );
    }

    #[test]
    fn a_removed_object_has_no_size_and_says_how_it_went() {
        let (_, payload) = told("ObjectRemoved:Delete");
        assert_eq!(payload["detail-type"], "Object Deleted");
        assert_eq!(payload["detail"]["deletion-type"], "Permanently Deleted");
        assert_eq!(payload["detail"]["reason"], "DeleteObject");
        assert!(payload["detail"]["object"].get("size").is_none());
    }

    #[test]
    fn a_delete_marker_is_a_deletion_of_its_own_type() {
        let rule = rule("r", "s3:ObjectRemoved:*", "", "");
        let row = ObjectRow {
            version: Some("v1".to_owned()),
            ..row("a")
        };
        let made = change("ObjectRemoved:DeleteMarkerCreated");
        let event = event("eu-west-1", &rule, &row, &made);
        let payload: Value = serde_json::from_slice(&event.payload).unwrap();
        assert_eq!(payload["detail-type"], "Object Deleted");
        assert_eq!(payload["detail"]["deletion-type"], "Delete Marker Created");
        assert_eq!(payload["detail"]["reason"], "DeleteObject");
        assert_eq!(payload["detail"]["object"]["version-id"], "v1");
    }
}
