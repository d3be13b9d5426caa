//! The envelope in which an event stands on a bus
//! (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html>).

use crate::arn::ACCOUNT;
use bytes::Bytes;
use model::{MAX_ASYNC_PAYLOAD, Timestamp};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Longest `source`, in bytes.
pub(crate) const MAX_SOURCE: usize = 256;
/// Longest `detail-type`, in bytes.
pub(crate) const MAX_KIND: usize = 128;

/// What the envelope says.
pub(crate) struct Envelope<'a> {
    pub(crate) id: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) source: &'a str,
    pub(crate) time: Timestamp,
    pub(crate) region: &'a str,
    pub(crate) resources: &'a [String],
    pub(crate) detail: &'a RawValue,
    /// Attributes of a CloudEvent that AWS's envelope has no place for.
    pub(crate) cloudevent: Option<&'a Value>,
}

#[derive(Serialize)]
struct Written<'a> {
    version: &'a str,
    id: &'a str,
    #[serde(rename = "detail-type")]
    kind: &'a str,
    source: &'a str,
    account: &'a str,
    time: String,
    region: &'a str,
    resources: &'a [String],
    detail: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    cloudevent: Option<&'a Value>,
}

impl Envelope<'_> {
    /// As JSON; `detail` is as it was given.
    ///
    /// # Errors
    /// Says so if it is more than 1 MiB.
    pub(crate) fn bytes(&self) -> Result<Bytes, String> {
        let written = Written {
            version: "0",
            id: self.id,
            kind: self.kind,
            source: self.source,
            account: ACCOUNT,
            time: self.time.rfc3339_seconds(),
            region: self.region,
            resources: self.resources,
            detail: self.detail,
            cloudevent: self.cloudevent,
        };
        let bytes = serde_json::to_vec(&written).map_err(|error| error.to_string())?;
        if bytes.len() > MAX_ASYNC_PAYLOAD {
            return Err(format!(
                "the event has {} bytes in its envelope, more than {MAX_ASYNC_PAYLOAD}",
                bytes.len()
            ));
        }
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_is_as_documented_and_bounded() {
        let resources = ["arn:x".to_owned()];
        let bytes = |detail: String| {
            let envelope = Envelope {
                id: "i",
                kind: "placed",
                source: "shop",
                time: Timestamp(1_500),
                region: "eu-west-1",
                resources: &resources,
                detail: &RawValue::from_string(detail).unwrap(),
                cloudevent: None,
            };
            envelope.bytes()
        };
        let expected = concat!(
            r#"{"version":"0","id":"i","detail-type":"placed","source":"shop","account":"000000000000","#,
            r#""time":"1970-01-01T00:00:01Z","region":"eu-west-1","resources":["arn:x"],"#,
            r#""detail":{"n": 1.10}}"#
        );
        assert_eq!(bytes(r#"{"n": 1.10}"#.to_owned()).unwrap(), expected);
        assert!(bytes(format!("\"{}\"", "x".repeat(MAX_ASYNC_PAYLOAD))).is_err());
    }
}
