//! Events for queues: the message is put in and the event is settled in one transaction, so a message
//! is neither lost nor doubled, whenever the server dies.

use crate::attempt::{Record, record};
use crate::destination;
use crate::engine::Corridor;
use crate::judged::Judged;
use crate::pool::unavailable;
use crate::retry::Decision;
use bytes::Bytes;
use model::{
    AttributeValue, Chain, Ending, Event, Kind, MessageId, NewEvent, NewMessage, QueueName,
    RequestId, Run, Timestamp, legal_char,
};
use state::{Settlement, Verdict};

/// Most bytes of an attribute that goes with a note in place of a payload: all that rouse says fit into the smallest
/// bound that a queue can have.
const MAX_SHORT: usize = 200;

/// The message of an event, with the event's identity and its place in a chain. What no message may hold becomes
/// U+FFFD: JSON stays what it is.
fn message(event: &NewEvent, depth: u32, fifo: bool) -> Result<NewMessage, String> {
    let body = String::from_utf8_lossy(&event.payload);
    let body = body
        .chars()
        .map(|c| if legal_char(c) { c } else { '\u{fffd}' });
    let message = NewMessage {
        id: MessageId(event.id.0),
        body: body.collect(),
        attributes: event.delivery.attributes.clone(),
        trace: None,
        sender: event.source.clone(),
        group: event.delivery.group.clone().filter(|_| fifo),
        // Its own, so that nothing but itself is taken for a repetition of it.
        deduplication: fifo.then(|| event.id.to_string()),
        digest: None,
        delay: None,
        sent: Timestamp::now(),
        chain: Chain {
            cause: Some(event.id),
            depth,
        },
    };
    message.check(fifo).map_err(|error| error.to_string())?;
    Ok(message)
}

fn delivered(event: &Event) -> Run {
    let mut outcome = unavailable(String::new());
    outcome.ending = Ending::Succeeded {
        payload: Bytes::new(),
        http: None,
    };
    let about = Record {
        request_id: RequestId::generate(),
        target: event.accepted.target.key(),
        event: Some(event.accepted.id),
        attempt: event.attempts + 1,
        started: Timestamp::now(),
    };
    record(&outcome, about)
}

/// The message of a leased event, and the record of its delivery.
pub(crate) fn enqueue(name: &QueueName, event: &Event) -> Judged {
    match message(
        &event.accepted,
        event.depth.saturating_add(1),
        name.is_fifo(),
    ) {
        Ok(message) => {
            let (queue, message) = (name.clone(), Box::new(message));
            Judged::of(Decision::Enqueue { queue, message }, Some(delivered(event)))
        }
        Err(error) => Judged::buried(refused(name, &error)),
    }
}

/// What the queue is given when it did not take all of it, if the event is one that may be left out.
fn note(event: &NewEvent, depth: u32, name: &QueueName) -> Option<NewMessage> {
    if !event.delivery.may_leave_out {
        return None;
    }
    let size = event.payload.len();
    let note = format!("{size} bytes, with which the message would exceed the queue's bound");
    let mut short = event.clone();
    short.payload = serde_json::json!({"rouse": {"leftOut": note}})
        .to_string()
        .into();
    for attribute in short.delivery.attributes.values_mut() {
        if let AttributeValue::Text(text) = &mut attribute.value {
            text.truncate(text.floor_char_boundary(MAX_SHORT));
        }
    }
    message(&short, depth, name.is_fifo()).ok()
}

fn refused(name: &QueueName, error: &str) -> String {
    format!("the queue \"{name}\" did not take it: {error}")
}

/// After the settlement of an event that is for a queue: who waits is woken, a record or dead letter that is too large
/// for the queue is given to it without its payload, and any other event that the queue does not take is a dead letter.
///
/// # Errors
/// Of the store; the event is tried again when its lease ends.
pub(crate) async fn settled(
    corridor: &Corridor,
    name: &QueueName,
    event: &Event,
    settled: state::Result<bool>,
) -> state::Result<bool> {
    let settled = match (
        settled,
        note(&event.accepted, event.depth.saturating_add(1), name),
    ) {
        (Err(error), Some(note)) if error.kind() == Kind::Conflict => {
            let settlement = Settlement {
                id: event.accepted.id,
                epoch: event.epoch,
                verdict: Verdict::Deliver {
                    queue: name.clone(),
                    message: Box::new(note),
                },
                run: Some(delivered(event)),
                at: Timestamp::now(),
            };
            corridor.state.settle_with(settlement, Vec::new()).await
        }
        (settled, _) => settled,
    };
    let error = match settled {
        Ok(held) => {
            corridor.bells.ring(name, usize::from(held));
            return Ok(held);
        }
        Err(error) => error,
    };
    if !matches!(error.kind(), Kind::NotFound | Kind::Conflict) {
        return Err(error);
    }
    let error = refused(name, &error.to_string());
    let left = destination::effects(corridor, event, &Judged::buried(error.clone()));
    let settlement = Settlement {
        id: event.accepted.id,
        epoch: event.epoch,
        verdict: Verdict::Bury { error },
        run: None,
        at: Timestamp::now(),
    };
    corridor.state.settle_with(settlement, left).await
}
