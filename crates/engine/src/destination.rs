//! What the end of an event leaves: a record for each destination of its function, in AWS's form
//! (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html>), and the event
//! itself for dead-letter queues. Each is a new event that is accepted with the settlement.

pub(crate) mod bucket;
mod letter;
mod record;

use crate::engine::Corridor;
use crate::judged::Judged;
use crate::retry::{Decision, Why};
use model::{Delivery, Destinations, Event, EventId, NewEvent, Target, Timestamp};

/// The account in every event and ARN of this server.
const ACCOUNT: &str = "000000000000";
/// The source of records, as AWS has it.
const SOURCE: &str = "lambda";

/// How an event ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End<'a> {
    event: &'a Event,
    judged: &'a Judged,
    /// Why it is a dead letter, and the words for it; `None` if it succeeded.
    failed: Option<(Why, &'a str)>,
    at: Timestamp,
}

impl<'a> End<'a> {
    /// `None` while the event has not ended.
    fn of(event: &'a Event, judged: &'a Judged) -> Option<Self> {
        let failed = match &judged.decision {
            Decision::Ack | Decision::Enqueue { .. } => None,
            Decision::Bury { error, why } => Some((*why, error.as_str())),
            Decision::Retry { .. } | Decision::Postpone { .. } => return None,
        };
        Some(Self {
            event,
            judged,
            failed,
            at: Timestamp::now(),
        })
    }

    /// The version that made the last attempt, as the Lambda API writes it; without one, the qualifier
    /// of the event.
    fn version(&self) -> String {
        let ran = self.judged.run.as_ref().and_then(|run| run.version);
        let asked = || {
            self.event
                .accepted
                .delivery
                .qualifier
                .as_ref()
                .map(ToString::to_string)
        };
        let version = ran.map(|number| number.to_string()).or_else(asked);
        version.unwrap_or_else(|| "$LATEST".to_owned())
    }

    /// Attempts that reached the target.
    fn attempts(&self) -> u32 {
        self.event.attempts + u32::from(self.judged.run.is_some())
    }
}

/// The events that are accepted with the end of `event`; none while it has not ended. A chain that was
/// cut for its depth leaves none: they would only be deeper.
pub(crate) fn effects(corridor: &Corridor, event: &Event, judged: &Judged) -> Vec<NewEvent> {
    let Some(end) = End::of(event, judged) else {
        return Vec::new();
    };
    if event.depth > corridor.max_depth {
        return Vec::new();
    }
    let region = corridor.buses.region();
    let mut effects = Vec::new();
    if let Target::Function { name } = &event.accepted.target
        && let Some(function) = corridor.functions.find(name)
    {
        let qualifier = event.accepted.delivery.qualifier.as_ref();
        let own = corridor.functions.event_invoke(name, qualifier);
        let destinations = &function.spec.destinations;
        let destinations = own.map_or_else(|| destinations.clone(), |own| own.told(destinations));
        effects.extend(record::event(end, name, &destinations, region));
        effects.extend(letter::of_function(end, &destinations));
    }
    effects.extend(letter::of_maker(end));
    effects
}

/// Which destination is told of this end.
fn told(destinations: &Destinations, failed: bool) -> Option<&Target> {
    match failed {
        false => destinations.on_success.as_ref(),
        true => destinations.on_failure.as_ref(),
    }
}

/// A new event that the end of another caused.
fn caused(end: End<'_>, target: Target, delivery: Delivery) -> NewEvent {
    let cause = &end.event.accepted;
    NewEvent {
        id: EventId::generate(),
        target,
        source: cause.source.clone(),
        kind: cause.kind.clone(),
        subject: cause.subject.clone(),
        payload: cause.payload.clone(),
        accepted: end.at,
        cause: Some(cause.id),
        replay_of: None,
        delivery,
    }
}

#[cfg(test)]
mod tests;
