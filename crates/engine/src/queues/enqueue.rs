//! Events for queues: the message is put in and the event is settled in one transaction, so a message
//! is neither lost nor doubled, whenever the server dies.

use crate::attempt::{Record, record};
use crate::engine::Corridor;
use crate::pool::unavailable;
use crate::retry::{self, Decision};
use bytes::Bytes;
use model::{
    Ending, Event, Kind, MessageId, NewEvent, NewMessage, QueueName, RequestId, Run, Timestamp,
};
use state::{Settlement, Verdict};
use std::collections::BTreeMap;

/// The message of an event, with the event's identity.
fn message(event: &NewEvent) -> Result<NewMessage, String> {
    let body = String::from_utf8(event.payload.to_vec());
    let message = NewMessage {
        id: MessageId(event.id.0),
        body: body.map_err(|_| "its payload is not UTF-8".to_owned())?,
        attributes: BTreeMap::new(),
        trace: None,
        sender: event.source.clone(),
        group: None,
        deduplication: None,
        digest: None,
        delay: None,
        sent: Timestamp::now(),
    };
    message.check(false).map_err(|error| error.to_string())?;
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

/// Delivers a leased event to its queue. Gives `false` if the lease was lost.
///
/// # Errors
/// Of the store; the event is tried again when its lease ends.
pub(crate) async fn settle(
    corridor: &Corridor,
    name: &QueueName,
    event: &Event,
) -> state::Result<bool> {
    let settlement = |verdict, run| Settlement {
        id: event.accepted.id,
        epoch: event.epoch,
        verdict,
        run,
        at: Timestamp::now(),
    };
    let bury = |error: String| {
        let error = format!("the queue \"{name}\" did not take it: {error}");
        settlement(Verdict::Bury { error }, None)
    };
    let message = match message(&event.accepted) {
        Ok(message) => Box::new(message),
        Err(error) => return corridor.state.settle_event(bury(error)).await,
    };
    let queue = name.clone();
    let deliver = settlement(Verdict::Deliver { queue, message }, Some(delivered(event)));
    match corridor.state.settle_event(deliver).await {
        Ok(held) => {
            corridor.bells.ring(name, 1);
            Ok(held)
        }
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Conflict) => {
            corridor.state.settle_event(bury(error.to_string())).await
        }
        Err(error) => {
            let postponed = u32::try_from(event.epoch).unwrap_or(u32::MAX);
            let decision = retry::postpone(postponed, error.to_string(), rand::random());
            let Decision::Postpone { after, reason } = decision else {
                return Err(error);
            };
            let not_before = Timestamp::now().after(after);
            let again = settlement(Verdict::Postpone { not_before, reason }, None);
            corridor.state.settle_event(again).await
        }
    }
}
