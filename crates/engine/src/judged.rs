//! One attempt at a leased event, and what becomes of the event by it.

use crate::attempt::{Attempted, Job};
use crate::engine::Corridor;
use crate::retry::{self, Decision, Tried, Why};
use crate::{Error, Result, chance, delivery, destination, queues, routing, webhook};
use model::{
    Delivery, Ending, Event, FunctionName, NewEvent, Qualifier, RequestId, RetryPolicy, Run,
    Target, Timestamp,
};
use std::time::Duration;

/// What becomes of an event that was leased.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) decision: Decision,
    pub(crate) run: Option<Run>,
    /// Events that are accepted with the settlement.
    pub(crate) effects: Vec<NewEvent>,
    /// How the attempt ended, if there was one that can have an answer.
    pub(crate) response: Option<Ending>,
}

impl Judged {
    pub(crate) fn of(decision: Decision, run: Option<Run>) -> Self {
        Self {
            decision,
            run,
            effects: Vec::new(),
            response: None,
        }
    }

    /// What no attempt could ever help.
    pub(crate) fn buried(error: String) -> Self {
        let why = Why::Hopeless;
        Self::of(Decision::Bury { error, why }, None)
    }
}

/// Attempts an event and decides what becomes of it.
pub(crate) async fn attempt(corridor: &Corridor, event: Event) -> Judged {
    if event.depth > corridor.max_depth {
        let error = format!(
            "it is event {} of a chain in which each was caused by the one before, and the server \
             cuts chains after {}: is this a loop? (`rouse serve --max-depth`)",
            u64::from(event.depth) + 1,
            corridor.max_depth
        );
        return Judged::buried(error);
    }
    let target = event.accepted.target.clone();
    let course = Course::of(&event);
    let qualifier = course.wanted.qualifier.clone();
    let before = policy(corridor, &target, qualifier.as_ref());
    if let Some(policy) = before.clone()
        && let policy = course.wanted.policy(policy)
        && let last = event.last_error.as_deref()
        && let Some(decision) = retry::overdue(&policy, course.tried().age, last)
    {
        return Judged::of(decision, None);
    }
    let attempted = match &target {
        Target::Queue { name } => return queues::enqueue(name, &event),
        Target::Bus { name } => return routing::route(corridor, name, event).await,
        Target::Service { name, path } => delivery::deliver(corridor, name, path, event).await,
        Target::Webhook { name } => webhook::deliver(corridor, name, event).await,
        Target::Bucket { name } => destination::bucket::deliver(corridor, name, event).await,
        Target::Function { name } => function(corridor, name, event).await,
    };
    // The policy of now, or of then if the function was deleted meanwhile.
    let policy = policy(corridor, &target, qualifier.as_ref())
        .or(before)
        .unwrap_or_default();
    judge(
        corridor,
        attempted,
        &target,
        &course,
        &course.wanted.policy(policy),
    )
}

/// Where a leased event is in its life.
pub(crate) struct Course {
    attempt: u32,
    postponed: u32,
    accepted: Timestamp,
    pub(crate) wanted: Delivery,
}

impl Course {
    pub(crate) fn of(event: &Event) -> Self {
        let earlier = u64::from(event.attempts) + 1;
        let postponed = event.epoch.saturating_sub(earlier);
        Self {
            attempt: event.attempts + 1,
            postponed: u32::try_from(postponed).unwrap_or(u32::MAX),
            accepted: event.accepted.accepted,
            wanted: event.accepted.delivery.clone(),
        }
    }

    pub(crate) fn tried(&self) -> Tried {
        Tried {
            attempt: self.attempt,
            postponed: self.postponed,
            age: Duration::from_millis(Timestamp::now().since(self.accepted)),
        }
    }
}

/// How a target's events are retried. `None` for what takes them at once or not at all, and for what
/// is not there.
fn policy(
    corridor: &Corridor,
    target: &Target,
    qualifier: Option<&Qualifier>,
) -> Option<RetryPolicy> {
    match target {
        Target::Function { name } => {
            let function = corridor.functions.find(name)?;
            let own = corridor.functions.event_invoke(name, qualifier);
            let retry = &function.spec.retry;
            Some(own.map_or_else(|| retry.clone(), |own| own.over(retry)))
        }
        Target::Service { .. } | Target::Webhook { .. } | Target::Bucket { .. } => {
            Some(retry::service_policy())
        }
        Target::Queue { .. } | Target::Bus { .. } => None,
    }
}

/// Decides from how an attempt ended.
fn judge(
    corridor: &Corridor,
    attempted: Result<Attempted>,
    target: &Target,
    course: &Course,
    policy: &RetryPolicy,
) -> Judged {
    let random = chance::fraction();
    // The server ends and broke the call off: nothing is decided, the next start goes on.
    let broken_off = || {
        let decision = Decision::Postpone {
            after: Duration::ZERO,
            reason: Error::Draining.to_string(),
        };
        Judged::of(decision, None)
    };
    match attempted {
        Ok(Attempted { outcome, .. }) if is_broken_off(corridor, &outcome.ending) => broken_off(),
        Ok(Attempted { outcome, run }) => {
            let decision = retry::next(policy, &outcome.ending, course.tried(), random);
            // What reached nobody is told by the event, not as an attempt.
            let reached = !matches!(outcome.ending, Ending::Unavailable { .. });
            Judged {
                response: Some(outcome.ending),
                ..Judged::of(decision, reached.then_some(run))
            }
        }
        Err(error) if error.kind() == model::Kind::NotFound => {
            Judged::buried(format!("its target {target} does not exist any more"))
        }
        Err(Error::Draining) => broken_off(),
        Err(error) => {
            let decision = retry::unspent(policy, course.tried(), error.to_string(), random);
            Judged::of(decision, None)
        }
    }
}

fn is_broken_off(corridor: &Corridor, ending: &Ending) -> bool {
    corridor.node.kill.is_cancelled() && matches!(ending, Ending::Unavailable { .. })
}

async fn function(corridor: &Corridor, name: &FunctionName, event: Event) -> Result<Attempted> {
    let qualifier = event.accepted.delivery.qualifier.clone();
    let job = Job {
        request_id: RequestId::generate(),
        payload: event.accepted.payload.clone(),
        http: None,
        event: Some(Box::new(event)),
        chain: None,
        client_context: None,
        trace_id: None,
        qualifier,
    };
    corridor.attempt(name, job).await
}
