//! Dead letters for queues: the event as it was, with the error in attributes of the message.

use super::{End, caused};
use crate::retry::Why;
use model::{
    AttributeValue, Delivery, Destinations, Ending, MessageAttribute, NewEvent, Target, legal_char,
};
use std::collections::BTreeMap;

/// Most characters of an error that a function's dead letter says (AWS's bound is 1 KB).
const MAX_ERROR: usize = 1_000;

type Attributes = BTreeMap<String, MessageAttribute>;

fn put(attributes: &mut Attributes, name: &str, data_type: &str, value: String) {
    // An attribute of a message cannot be empty.
    if value.is_empty() {
        return;
    }
    let attribute = MessageAttribute {
        data_type: data_type.to_owned(),
        value: AttributeValue::Text(value),
    };
    attributes.insert(name.to_owned(), attribute);
}

/// The beginning of an error, of characters that a message may hold.
fn shown(error: &str) -> String {
    let chars = error.chars().take(MAX_ERROR);
    chars.map(|c| if legal_char(c) { c } else { ' ' }).collect()
}

/// For the function's own dead-letter queue
/// (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html#invocation-dlq>).
pub(super) fn of_function(end: End<'_>, destinations: &Destinations) -> Option<NewEvent> {
    let (why, error) = end.failed?;
    let name = destinations.dead_letter.clone()?;
    let mut attributes = Attributes::new();
    let id = end.event.accepted.id.to_string();
    put(&mut attributes, "RequestID", "String", id);
    // As AWS says it: 200 for an error of the function, 429 for what never reached it.
    let code = match (why, end.attempts()) {
        (Why::Age, 0) => "429",
        _ => "200",
    };
    put(&mut attributes, "ErrorCode", "Number", code.to_owned());
    put(&mut attributes, "ErrorMessage", "String", shown(error));
    let delivery = Delivery {
        attributes,
        may_leave_out: true,
        ..Delivery::default()
    };
    Some(caused(end, Target::Queue { name }, delivery))
}

/// For the dead-letter queue of the rule or schedule that made the event
/// (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html>).
pub(super) fn of_maker(end: End<'_>) -> Option<NewEvent> {
    let (why, error) = end.failed?;
    let letters = end.event.accepted.delivery.dead_letter.as_ref()?;
    let mut attributes = letters.attributes.clone();
    let code = match (why, &end.judged.response) {
        (Why::Hopeless, _) => "NO_RESOURCE",
        (_, Some(Ending::TimedOut { .. })) => "TIMEOUT",
        (Why::Age, _) if end.attempts() == 0 => "THROTTLING",
        _ => "ERROR_FROM_TARGET",
    };
    put(&mut attributes, "ERROR_CODE", "String", code.to_owned());
    put(&mut attributes, "ERROR_MESSAGE", "String", shown(error));
    let retries = end.attempts().saturating_sub(1).to_string();
    put(&mut attributes, "RETRY_ATTEMPTS", "Number", retries);
    let exhausted = match why {
        Why::Attempts => "MaximumRetryAttempts",
        Why::Age => "MaximumEventAgeInSeconds",
        Why::Hopeless => "",
    };
    put(
        &mut attributes,
        "EXHAUSTED_RETRY_CONDITION",
        "String",
        exhausted.to_owned(),
    );
    let delivery = Delivery {
        attributes,
        may_leave_out: true,
        ..Delivery::default()
    };
    let queue = Target::Queue {
        name: letters.queue.clone(),
    };
    Some(caused(end, queue, delivery))
}
