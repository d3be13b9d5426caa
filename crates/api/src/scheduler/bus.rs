//! A target's `EventBridgeParameters`: under what names a tick's event stands on a bus
//! (<https://docs.aws.amazon.com/scheduler/latest/APIReference/API_EventBridgeParameters.html>).

use super::error::{Error, Result};
use model::{BusEntry, Target};
use serde_json::{Map, Value, json};

const NAME: &str = "EventBridgeParameters";

/// Takes the parameters out of a target. They are for a bus alone, and a bus needs none.
pub(super) fn entry(declared: &mut Map<String, Value>, woken: &Target) -> Result<Option<BusEntry>> {
    if !matches!(woken, Target::Bus { .. }) {
        // What is for another target stays, and is refused with its like.
        return Ok(None);
    }
    let Some(given) = declared.remove(NAME).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let text = |name: &str, most: usize| {
        let field = format!(
            "target.eventBridgeParameters.{}{}",
            name[..1].to_ascii_lowercase(),
            &name[1..]
        );
        match given.get(name) {
            Some(Value::String(text)) if text.len() > most => Err(Error::too_long(&field, most)),
            Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
            _ => Err(Error::missing(&field)),
        }
    };
    let entry = BusEntry {
        source: text("Source", 256)?,
        kind: text("DetailType", 128)?,
    };
    if entry.source.starts_with("aws.") {
        // That of AWS's own events, which cannot be put.
        let pattern =
            "(?=[/\\.\\-_A-Za-z0-9]+)((?!aws\\.).*)|(\\$(\\.[\\w_-]+(\\[(\\d+|\\*)\\])*)*)";
        let field = "target.eventBridgeParameters.source";
        return Err(Error::pattern(field, &entry.source, pattern));
    }
    Ok(Some(entry))
}

/// Puts them back, to be given as they came.
pub(super) fn keep(declared: &mut Map<String, Value>, entry: Option<&BusEntry>) {
    if let Some(BusEntry { source, kind }) = entry {
        let given = json!({"Source": source, "DetailType": kind});
        declared.insert(NAME.to_owned(), given);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::arn;

    fn read(arn: &str, parameters: Value) -> Result<Option<BusEntry>> {
        let target = arn::target_of(arn).unwrap();
        let mut declared = Map::from_iter([(NAME.to_owned(), parameters)]);
        entry(&mut declared, &target)
    }

    #[test]
    fn they_are_for_a_bus_and_checked() {
        let bus = "arn:aws:events:r:000000000000:event-bus/default";
        let given = json!({"Source": "shop", "DetailType": "nightly"});
        let entry = read(bus, given.clone()).unwrap().unwrap();
        assert_eq!(
            (entry.source.as_str(), entry.kind.as_str()),
            ("shop", "nightly")
        );
        let mut declared = Map::new();
        keep(&mut declared, Some(&entry));
        assert_eq!(declared[NAME], given);
        assert_eq!(read(bus, Value::Null).unwrap(), None);
        let function = "arn:aws:lambda:r:000000000000:function:f";
        assert_eq!(read(function, given).unwrap(), None);
        for refused in [
            json!({"Source": "shop"}),
            json!({"Source": "", "DetailType": "nightly"}),
            json!({"Source": "aws.ec2", "DetailType": "nightly"}),
            json!({"Source": "shop", "DetailType": "x".repeat(129)}),
        ] {
            assert!(read(bus, refused.clone()).is_err(), "{refused}");
        }
    }
}
