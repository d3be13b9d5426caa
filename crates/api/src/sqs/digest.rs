//! The digests that SDKs compare with their own: of a body and of attributes
//! (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html>).

use md5::{Digest as _, Md5};
use model::{AttributeValue, MessageAttribute};
use sha2::Sha256;

/// Hex MD5 of a body.
pub(super) fn of_body(body: &str) -> String {
    hex::encode(Md5::digest(body))
}

/// Hex SHA-256 of a body: what a FIFO queue takes for a deduplication id.
pub(super) fn for_deduplication(body: &str) -> String {
    hex::encode(Sha256::digest(body))
}

/// Hex MD5 of attributes, sorted by name: each name, type and value with its length before it, and
/// before the value 1 for text and 2 for bytes. `None` without attributes.
pub(super) fn of_attributes<'a>(
    attributes: impl IntoIterator<Item = (&'a String, &'a MessageAttribute)>,
) -> Option<String> {
    let mut md5 = Md5::new();
    let mut any = false;
    let measured = |md5: &mut Md5, bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        md5.update(length.to_be_bytes());
        md5.update(bytes);
    };
    for (name, attribute) in attributes {
        any = true;
        measured(&mut md5, name.as_bytes());
        measured(&mut md5, attribute.data_type.as_bytes());
        match &attribute.value {
            AttributeValue::Text(text) => {
                md5.update([1]);
                measured(&mut md5, text.as_bytes());
            }
            AttributeValue::Binary(bytes) => {
                md5.update([2]);
                measured(&mut md5, bytes);
            }
        }
    }
    any.then(|| hex::encode(md5.finalize()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_digest_of_attributes_is_of_names_types_and_values() {
        let attribute = MessageAttribute {
            data_type: "String".into(),
            value: AttributeValue::Text("v".into()),
        };
        let attributes = BTreeMap::from([("k".to_owned(), attribute)]);
        let expected = b"\0\0\0\x01k\0\0\0\x06String\x01\0\0\0\x01v";
        let expected = hex::encode(Md5::digest(expected));
        assert_eq!(of_attributes(&attributes).unwrap(), expected);
        assert_eq!(of_attributes(&BTreeMap::new()), None);
    }
}
