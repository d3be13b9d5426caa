//! The clock: sleeps until the next tick, and makes events of those that are due.
//!
//! All that counts is in the store, so it does not matter when it looks, how often, or whether it died
//! in between.

use crate::Result;
use crate::engine::Corridor;
use model::{EventId, NewEvent, Schedule, Timestamp};
use state::{State, Ticked, crash};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The wall clock is looked at so often while something is scheduled: sleep goes by a clock that takes
/// no notice when the wall clock is set, or the machine was suspended.
const LOOK: Duration = Duration::from_secs(10);
/// How long it waits after the store failed.
const PAUSE: Duration = Duration::from_secs(1);
/// The type of the event of a tick.
const TICK: &str = "schedule:Tick";
/// The type of the event that somebody asked for by hand.
pub(super) const RUN: &str = "schedule:Run";

/// What the clock shares with those who change schedules.
pub(crate) struct Scheduler {
    /// Some schedule may be due earlier than it was.
    changed: Notify,
    /// What ARNs show.
    region: Arc<str>,
}

impl Scheduler {
    pub(crate) fn new(region: String) -> Self {
        Self {
            changed: Notify::new(),
            region: region.into(),
        }
    }

    /// Wakes the clock.
    pub(super) fn changed(&self) {
        self.changed.notify_one();
    }

    /// The event of a tick.
    pub(super) fn event(
        &self,
        schedule: &Schedule,
        tick: Timestamp,
        now: Timestamp,
        kind: &str,
    ) -> NewEvent {
        event(&self.region, schedule, tick, now, kind)
    }

    /// Advances all schedules that are due; gives when the next one is.
    async fn round(&self, state: &State, now: Timestamp) -> Result<Option<Timestamp>> {
        loop {
            let next = state.next_schedule().await?;
            if next.is_none_or(|due| due > now) {
                return Ok(next);
            }
            let region = self.region.clone();
            let make = move |schedule: &Schedule, tick| event(&region, schedule, tick, now, TICK);
            let ticked = state.tick_schedules(now, make).await?;
            crash::point("ticked");
            report(&ticked);
        }
    }
}

fn event(
    region: &str,
    schedule: &Schedule,
    tick: Timestamp,
    now: Timestamp,
    kind: &str,
) -> NewEvent {
    let id = EventId::generate();
    let spec = &schedule.spec;
    let (source, kind) = match &spec.entry {
        Some(entry) => (entry.source.clone(), entry.kind.as_str()),
        None => (spec.key.source(), kind),
    };
    let mut delivery = spec.delivery.clone();
    if let Some(letters) = &mut delivery.dead_letter {
        letters.say("SCHEDULE_ARN", &spec.key.arn(region));
        letters.say("SCHEDULED_TIME", &tick.rfc3339());
        letters.say("EXECUTION_ID", &id.to_string());
    }
    NewEvent {
        id,
        target: spec.target.clone(),
        source,
        kind: kind.to_owned(),
        subject: tick.rfc3339(),
        payload: spec.payload(region, tick, id),
        accepted: now,
        cause: None,
        replay_of: None,
        delivery,
    }
}

fn report(ticked: &Ticked) {
    for schedule in &ticked.dropped {
        tracing::info!(%schedule, "ticks were missed and are not made up for");
    }
    for (schedule, reason) in &ticked.broken {
        tracing::error!(
            schedule,
            reason,
            "cannot be read and has no tick any more; delete it and make it again"
        );
    }
}

/// Runs until the engine drains.
pub(crate) async fn run(corridor: Arc<Corridor>) {
    let scheduler = &corridor.scheduler;
    loop {
        let sleep = match scheduler.round(&corridor.state, Timestamp::now()).await {
            Ok(next) => next.map(|due| {
                let left = due.since(Timestamp::now());
                Duration::from_millis(left).min(LOOK)
            }),
            Err(error) => {
                tracing::warn!(%error, "schedules could not be advanced; trying again");
                Some(PAUSE)
            }
        };
        let timer = async {
            match sleep {
                Some(sleep) => tokio::time::sleep(sleep).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = corridor.draining.cancelled() => return,
            () = scheduler.changed.notified() => {}
            () = timer => {}
        }
    }
}

#[cfg(test)]
mod tests;
