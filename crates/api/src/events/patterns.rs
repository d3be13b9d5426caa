//! TestEventPattern.

use super::Asked;
use super::error::{Error, Result};
use pattern::Pattern;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Test {
    event_pattern: String,
    event: String,
}

/// Whether an event fits a pattern.
pub(super) fn test(asked: &Asked) -> Result<Value> {
    let test: Test = asked.read()?;
    let pattern = Pattern::parse(&test.event_pattern).map_err(engine::Error::Pattern)?;
    let event: Value = serde_json::from_str(&test.event).map_err(|error| {
        Error::validation(format!("Parameter Event is not valid. Reason: {error}"))
    })?;
    if !event.is_object() {
        let message = "Parameter Event is not valid. Reason: Event is not an object";
        return Err(Error::validation(message));
    }
    Ok(json!({"Result": pattern.matches(&event)}))
}
