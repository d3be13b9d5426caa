//! `labels`: a mapping, or a list of `NAME=value`.

use super::fields::Fields;
use super::node::{Node, Value};
use super::place::Result;
use std::collections::BTreeMap;

/// What is written, by name; a name without a value has the empty text.
pub(super) fn parse_labels(node: Option<&Node>) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    let Some(node) = node else {
        return Ok(labels);
    };
    let mut put = |name: &str, value: &str, node: &Node| match labels
        .insert(name.to_owned(), value.to_owned())
    {
        None => Ok(()),
        Some(_) => Err(node.error(format!("labels: {:?} is set twice", name))),
    };
    if let Value::List(entries) = &node.value {
        for entry in entries {
            let text = entry.text("labels")?;
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            put(name, value, entry)?;
        }
        return Ok(labels);
    }
    for (key, value) in node.map("labels")? {
        let text = match value.value {
            Value::Null => "",
            _ => value.text(&key.text)?,
        };
        put(&key.text, text, value)?;
    }
    Ok(labels)
}

/// `labels` of a function, which are checked and, as a function has no place for them, not kept: it is said so.
pub(super) fn parse_unkept(
    context: &super::Context,
    what: &str,
    fields: &mut Fields<'_>,
) -> Result<()> {
    let Some(node) = fields.take("labels") else {
        return Ok(());
    };
    if !parse_labels(Some(node))?.is_empty() {
        let place = &node.place;
        context.note(format!(
            "{place}: {what}: labels of functions are not kept; x-rouse.description is"
        ));
    }
    Ok(())
}
