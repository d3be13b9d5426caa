//! One attempt: an instance, a call, and the record of both. Waiting calls and events share it.

use crate::engine::Corridor;
use crate::pool::{Grant, Lease, Refused, unavailable};
use crate::{Error, Result};
use bytes::Bytes;
use model::{
    Chain, Event, EventId, FunctionName, HttpRequest, Invocation, Outcome, Qualifier, RequestId,
    Run, Target, Timestamp,
};
use state::crash;
use std::time::Duration;
use tokio::time::Instant;

/// How long a call may wait for an instance, beyond the time that one call may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What is asked of a function.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) request_id: RequestId,
    pub(crate) payload: Bytes,
    pub(crate) http: Option<Box<HttpRequest>>,
    pub(crate) event: Option<Box<Event>>,
    /// Where it stands in a chain, if it is for messages of a queue.
    pub(crate) chain: Option<Chain>,
    pub(crate) client_context: Option<String>,
    pub(crate) trace_id: Option<String>,
    /// Which version is meant; without, what the function's calls go to now.
    pub(crate) qualifier: Option<Qualifier>,
}

/// What an attempt left.
#[derive(Debug)]
pub(crate) struct Attempted {
    pub(crate) outcome: Outcome,
    pub(crate) run: Run,
}

impl Corridor {
    /// Gets an instance, calls it, gives it back.
    ///
    /// # Errors
    /// When there was no attempt: `NotFound`, `Throttled`, `Waited`, `Draining`.
    pub(crate) async fn attempt(&self, name: &FunctionName, job: Job) -> Result<Attempted> {
        let started = Timestamp::now();
        let asked = Instant::now();
        let (granted, timeout) = self.grant(name, job.qualifier.as_ref(), asked).await?;
        let queued = micros(asked.elapsed());
        let request_id = job.request_id.clone();
        let event = job.event.as_deref().map(|event| event.accepted.id);
        let attempt = job.event.as_deref().map_or(1, |event| event.attempts + 1);
        crash::point("instance-ready");
        let mut outcome = match granted {
            Ok(lease) => self.call(lease, name, timeout, job).await,
            Err(failed) => failed,
        };
        crash::point("call-ended");
        outcome.timing.queued = queued;
        let target = Target::Function { name: name.clone() };
        let run = record(
            &outcome,
            Record {
                request_id,
                target: target.key(),
                event,
                attempt,
                started,
            },
        );
        Ok(Attempted { outcome, run })
    }

    /// An instance, or the outcome of the start that failed for this call. Asks again if the
    /// function is changed meanwhile. Also gives the milliseconds that the call may take.
    async fn grant(
        &self,
        name: &FunctionName,
        qualifier: Option<&Qualifier>,
        asked: Instant,
    ) -> Result<(std::result::Result<Lease, Outcome>, u64)> {
        loop {
            if self.node.kill.is_cancelled() {
                return Err(Error::Draining);
            }
            let pool = self.pool_for(name, qualifier).await?;
            let timeout = pool.function().spec.limits.timeout;
            let patience = Duration::from_millis(timeout) + PATIENCE;
            let left = patience.saturating_sub(asked.elapsed());
            match pool.acquire(left).await {
                Ok(Grant::Ready(lease)) => return Ok((Ok(lease), timeout)),
                Ok(Grant::Failed(failure)) => {
                    let outcome = Outcome {
                        ending: failure.ending,
                        cold: true,
                        version: pool.version(),
                        log_tail: failure.log_tail,
                        ..unavailable(String::new())
                    };
                    return Ok((Err(outcome), timeout));
                }
                Ok(Grant::Moved) => {}
                Err(Refused::Off) => {
                    return Err(Error::Off {
                        name: name.to_string(),
                    });
                }
                Err(Refused::Full(waiting)) => {
                    return Err(Error::Throttled {
                        name: name.to_string(),
                        waiting,
                    });
                }
                Err(Refused::Late) => {
                    return Err(Error::Waited {
                        name: name.to_string(),
                        seconds: asked.elapsed().as_secs(),
                    });
                }
            }
        }
    }

    async fn call(&self, mut lease: Lease, name: &FunctionName, timeout: u64, job: Job) -> Outcome {
        let of_event = |event: &Event| Chain {
            cause: Some(event.accepted.id),
            depth: event.depth,
        };
        let chain = job.event.as_deref().map(of_event).or(job.chain);
        // A plain call alone in its instance is nobody's cause.
        let told = lease.id().filter(|_| chain.is_some() || lease.is_shared());
        let _working = told.map(|instance| self.working.begin(instance, chain));
        let invocation = Invocation {
            request_id: job.request_id,
            payload: job.payload,
            http: job.http,
            event: job.event,
            client_context: job.client_context,
            trace_id: job.trace_id.unwrap_or_else(new_trace_id),
            function_arn: self.invoked_arn(name, job.qualifier.as_ref()),
            timeout,
        };
        let cold = lease.cold();
        tokio::select! {
            biased;
            outcome = lease.call(invocation) => outcome,
            () = self.node.kill.cancelled() => Outcome {
                cold,
                ..unavailable("the server was shut down during the call".to_owned())
            },
        }
    }
}

impl Corridor {
    /// The ARN that a function is called by, with the qualifier that the call said.
    fn invoked_arn(&self, name: &FunctionName, qualifier: Option<&Qualifier>) -> String {
        let region = self.buses.region();
        let arn = format!("arn:aws:lambda:{region}:000000000000:function:{name}");
        match qualifier {
            Some(qualifier) => format!("{arn}:{qualifier}"),
            None => arn,
        }
    }
}

/// What of a run is known besides its outcome.
pub(crate) struct Record {
    pub(crate) request_id: RequestId,
    pub(crate) target: String,
    pub(crate) event: Option<EventId>,
    pub(crate) attempt: u32,
    pub(crate) started: Timestamp,
}

/// Puts the record of an attempt together.
pub(crate) fn record(outcome: &Outcome, record: Record) -> Run {
    Run {
        request_id: record.request_id,
        target: record.target,
        event: record.event,
        attempt: record.attempt,
        started: record.started,
        timing: outcome.timing,
        cold: outcome.cold,
        start_kind: outcome.start_kind,
        version: outcome.version,
        instance: outcome.instance.clone(),
        ending: outcome.ending.word().to_owned(),
        error: outcome.ending.error(),
        memory_peak: outcome.memory_peak,
    }
}

/// Whole microseconds, saturating.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// In AWS X-Ray's form: version 1, seconds of the epoch in hex, 24 and 16 random hex digits.
fn new_trace_id() -> String {
    let seconds = Timestamp::now().0 / 1000;
    let (high, low): (u32, u64) = rand::random();
    let parent: u64 = rand::random();
    format!("Root=1-{seconds:08x}-{high:08x}{low:016x};Parent={parent:016x};Sampled=0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_has_xrays_form() {
        let id = new_trace_id();
        let parts: Vec<_> = id.split(';').collect();
        let root: Vec<_> = parts[0].split('-').map(str::len).collect();
        assert_eq!(root, ["Root=1".len(), 8, 24], "{id}");
        assert_eq!(parts[1].len(), "Parent=".len() + 16, "{id}");
        assert_eq!(parts[2], "Sampled=0", "{id}");
    }
}
