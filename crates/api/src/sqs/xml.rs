//! Answers of the query protocol: XML, written from the shape of the JSON protocol.

use model::RequestId;
use serde_json::Value;

const NAMESPACE: &str = "http://queue.amazonaws.com/doc/2012-11-05/";

/// The answer of an operation.
pub(super) fn answer(action: &str, answer: &Value, id: &RequestId) -> String {
    let mut out = format!("<?xml version=\"1.0\"?><{action}Response xmlns=\"{NAMESPACE}\">");
    if answer
        .as_object()
        .is_some_and(|members| !members.is_empty())
    {
        out.push_str(&format!("<{action}Result>"));
        members(&mut out, action, answer);
        out.push_str(&format!("</{action}Result>"));
    }
    out.push_str(&format!(
        "<ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></{action}Response>"
    ));
    out
}

/// An error.
pub(super) fn error(fault: &str, code: &str, message: &str, id: &RequestId) -> String {
    let mut out = format!("<?xml version=\"1.0\"?><ErrorResponse xmlns=\"{NAMESPACE}\"><Error>");
    element(&mut out, "Type", fault);
    element(&mut out, "Code", code);
    element(&mut out, "Message", message);
    out.push_str("<Detail/></Error>");
    element(&mut out, "RequestId", id.as_str());
    out.push_str("</ErrorResponse>");
    out
}

/// What one entry of a list is called.
fn single(action: &str, plural: &str) -> String {
    match plural {
        "QueueUrls" | "queueUrls" => "QueueUrl".to_owned(),
        "Messages" => "Message".to_owned(),
        "Failed" => "BatchResultErrorEntry".to_owned(),
        "Successful" | "Results" => format!("{action}ResultEntry"),
        other => other.to_owned(),
    }
}

/// What one pair of a map is called, and its key.
fn pair(plural: &str) -> Option<(&'static str, &'static str)> {
    match plural {
        "Attributes" => Some(("Attribute", "Name")),
        "MessageAttributes" => Some(("MessageAttribute", "Name")),
        "Tags" => Some(("Tag", "Key")),
        _ => None,
    }
}

fn members(out: &mut String, action: &str, value: &Value) {
    let Some(object) = value.as_object() else {
        return;
    };
    for (name, value) in object {
        match value {
            Value::Array(entries) => {
                for entry in entries {
                    member(out, action, &single(action, name), entry);
                }
            }
            Value::Object(pairs) if pair(name).is_some() => {
                let (single, key) = pair(name).unwrap_or_default();
                for (named, value) in pairs {
                    out.push_str(&format!("<{single}>"));
                    element(out, key, named);
                    member(out, action, "Value", value);
                    out.push_str(&format!("</{single}>"));
                }
            }
            other => member(out, action, name, other),
        }
    }
}

fn member(out: &mut String, action: &str, name: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::Object(_) => {
            out.push_str(&format!("<{name}>"));
            members(out, action, value);
            out.push_str(&format!("</{name}>"));
        }
        Value::String(text) => element(out, name, text),
        other => element(out, name, &other.to_string()),
    }
}

fn element(out: &mut String, name: &str, text: &str) {
    out.push_str(&format!("<{name}>"));
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // As they are, a reader would make line feeds of them.
            '\r' => out.push_str("&#xD;"),
            other => out.push(other),
        }
    }
    out.push_str(&format!("</{name}>"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_and_maps_are_flat() {
        let id = RequestId("id".into());
        let shape = json!({"Messages": [{"Body": "a<b\r", "Attributes": {"SentTimestamp": "1"}}]});
        let xml = answer("ReceiveMessage", &shape, &id);
        let inner = "<ReceiveMessageResult><Message><Attributes/>";
        assert!(!xml.contains(inner));
        assert!(xml.contains("<Message><Attribute><Name>SentTimestamp</Name><Value>1</Value></Attribute><Body>a&lt;b&#xD;</Body></Message>"), "{xml}");
        let empty = answer("DeleteQueue", &json!({}), &id);
        assert!(!empty.contains("Result>"), "{empty}");
        let batch = json!({"Failed": [{"Id": "a", "SenderFault": true}]});
        let xml = answer("DeleteMessageBatch", &batch, &id);
        assert!(xml.contains("<BatchResultErrorEntry><Id>a</Id><SenderFault>true</SenderFault></BatchResultErrorEntry>"), "{xml}");
    }
}
