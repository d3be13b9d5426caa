//! The query protocol's parameters, read into the shape of the JSON protocol
//! (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-xml.html>).
//!
//! `Attribute.1.Name=A&Attribute.1.Value=B` is `{"Attributes": {"A": "B"}}`, and so on: each list and
//! map has a singular with numbers here.

use super::error::{Error, Result};
use http::request::Parts;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Most parameters of one request.
const MAX_PARAMETERS: usize = 2_000;
/// Most parts of one parameter's name.
const MAX_DEPTH: usize = 8;

/// Lists: their singular, and their name in JSON.
const LISTS: [(&str, &str); 9] = [
    ("AttributeName", "AttributeNames"),
    ("MessageAttributeName", "MessageAttributeNames"),
    ("MessageSystemAttributeName", "MessageSystemAttributeNames"),
    ("SendMessageBatchRequestEntry", "Entries"),
    ("DeleteMessageBatchRequestEntry", "Entries"),
    ("ChangeMessageVisibilityBatchRequestEntry", "Entries"),
    ("TagKey", "TagKeys"),
    ("AWSAccountId", "AWSAccountIds"),
    ("ActionName", "Actions"),
];

/// Maps: their singular, their name in JSON, and what a key is called.
const MAPS: [(&str, &str, &str); 4] = [
    ("Attribute", "Attributes", "Name"),
    ("MessageAttribute", "MessageAttributes", "Name"),
    ("MessageSystemAttribute", "MessageSystemAttributes", "Name"),
    ("Tag", "Tags", "Key"),
];

/// A parameter by the parts of its name.
#[derive(Debug, Default)]
struct Tree {
    value: Option<String>,
    children: BTreeMap<String, Tree>,
}

impl Tree {
    fn insert(&mut self, name: &str, value: String) -> Result<()> {
        let mut at = self;
        for (depth, part) in name.split('.').enumerate() {
            if depth == MAX_DEPTH {
                return Err(Error::malformed("a parameter's name has too many parts"));
            }
            at = at.children.entry(part.to_owned()).or_default();
        }
        at.value = Some(value);
        Ok(())
    }

    /// The numbered children in their order.
    fn numbered(&self) -> Vec<&Tree> {
        let mut found: Vec<(u32, &Tree)> = self
            .children
            .iter()
            .filter_map(|(number, tree)| Some((number.parse().ok()?, tree)))
            .collect();
        found.sort_by_key(|(number, _)| *number);
        found.into_iter().map(|(_, tree)| tree).collect()
    }

    fn to_json(&self) -> Value {
        if let Some(value) = &self.value {
            return Value::String(value.clone());
        }
        let mut object = Map::new();
        for (name, tree) in &self.children {
            if let Some((_, plural)) = LISTS.iter().find(|(single, _)| single == name) {
                let list = tree.numbered().into_iter().map(Self::to_json).collect();
                object.insert((*plural).to_owned(), Value::Array(list));
            } else if let Some((_, plural, key)) = MAPS.iter().find(|(single, ..)| single == name) {
                let pairs = tree.numbered().into_iter().filter_map(|pair| {
                    let key = pair.children.get(*key)?.value.clone()?;
                    let value = pair
                        .children
                        .get("Value")
                        .map_or(Value::Null, Self::to_json);
                    Some((key, value))
                });
                object.insert((*plural).to_owned(), Value::Object(pairs.collect()));
            } else {
                object.insert(name.clone(), tree.to_json());
            }
        }
        Value::Object(object)
    }
}

/// The action and its input. The queue may be named by the path instead of a parameter.
pub(super) fn read(parts: &Parts, body: &[u8]) -> Result<(String, Value)> {
    let body = std::str::from_utf8(body).map_err(|_| Error::malformed("the form is not ASCII"))?;
    let query = parts.uri.query().unwrap_or("");
    let mut tree = Tree::default();
    for (count, pair) in query
        .split('&')
        .chain(body.split('&'))
        .filter(|pair| !pair.is_empty())
        .enumerate()
    {
        if count == MAX_PARAMETERS {
            return Err(Error::malformed(format!(
                "there are more than {MAX_PARAMETERS} parameters"
            )));
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        tree.insert(&decoded(name)?, decoded(value)?)?;
    }
    let action = tree.children.remove("Action").and_then(|tree| tree.value);
    let action = action.ok_or_else(|| Error::missing("Action"))?;
    let mut input = tree.to_json();
    let path = parts.uri.path();
    if let Some(object) = input.as_object_mut() {
        if path.len() > 1 && !object.contains_key("QueueUrl") {
            object.insert(
                "QueueUrl".to_owned(),
                format!("http://localhost{path}").into(),
            );
        }
        // CreateQueue alone has a small letter there.
        if action == "CreateQueue"
            && let Some(tags) = object.remove("Tags")
        {
            object.insert("tags".to_owned(), tags);
        }
    }
    Ok((action, input))
}

/// As forms are encoded: `+` is a blank.
fn decoded(text: &str) -> Result<String> {
    let text = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&text).decode_utf8();
    let decoded = decoded.map_err(|_| Error::malformed("a parameter is not UTF-8"))?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::Request;
    use proptest::prelude::*;
    use serde_json::json;

    fn parsed(uri: &str, body: &str) -> Result<(String, Value)> {
        let parts = Request::post(uri).body(()).unwrap().into_parts().0;
        read(&parts, body.as_bytes())
    }

    #[test]
    fn numbered_parameters_are_lists_and_maps() {
        let body = "Action=SendMessageBatch&SendMessageBatchRequestEntry.2.Id=b\
                    &SendMessageBatchRequestEntry.1.Id=a&SendMessageBatchRequestEntry.1.MessageBody=x+%26\
                    &SendMessageBatchRequestEntry.1.MessageAttribute.1.Name=n\
                    &SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.StringValue=v\
                    &SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.DataType=String";
        let (action, input) = parsed("/000000000000/q", body).unwrap();
        assert_eq!(action, "SendMessageBatch");
        let first = json!({"Id": "a", "MessageBody": "x &", "MessageAttributes": {
            "n": {"StringValue": "v", "DataType": "String"}}});
        let expected =
            json!({"QueueUrl": "http://localhost/000000000000/q", "Entries": [first, {"Id": "b"}]});
        assert_eq!(input, expected);
    }

    #[test]
    fn a_query_is_as_good_as_a_form() {
        let (action, input) = parsed("/?Action=CreateQueue&QueueName=q&Tag.1.Key=k&Tag.1.Value=v&Attribute.1.Name=A&Attribute.1.Value=1", "").unwrap();
        assert_eq!(action, "CreateQueue");
        assert_eq!(
            input,
            json!({"QueueName": "q", "tags": {"k": "v"}, "Attributes": {"A": "1"}})
        );
        assert!(parsed("/", "QueueName=q").is_err());
    }

    proptest! {
        #[test]
        fn no_form_breaks_the_reader(body in "(Action=A&)?[A-Za-z0-9.=&%+]{0,80}") {
            let _ = parsed("/", &body);
        }
    }
}
