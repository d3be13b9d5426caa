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
    Chain, Ending, Event, Kind, MessageId, NewEvent, NewMessage, QueueName, RequestId, Run,
    Timestamp,
};
use state::{Settlement, Verdict};

/// The message of an event, with the event's identity and its place in a chain.
fn message(event: &NewEvent, depth: u32, fifo: bool) -> Result<NewMessage, String> {
    let body = String::from_utf8(event.payload.to_vec());
    let message = NewMessage {
        id: MessageId(event.id.0),
        body: body.map_err(|_| "its payload is not UTF-8".to_owned())?,
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

fn refused(name: &QueueName, error: &str) -> String {
    format!("the queue \"{name}\" did not take it: {error}")
}

/// After the settlement of an event that is for a queue: who waits is woken, and an event that the
/// queue does not take is a dead letter.
///
/// # Errors
/// Of the store; the event is tried again when its lease ends.
pub(crate) async fn settled(
    corridor: &Corridor,
    name: &QueueName,
    event: &Event,
    settled: state::Result<bool>,
) -> state::Result<bool> {
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
