//! Calls that wait for their answer.

use crate::attempt::{Attempted, Job};
use crate::pool::unavailable;
use crate::{Engine, Error, Result};
use bytes::Bytes;
use model::{FunctionName, HttpRequest, MAX_PAYLOAD, Outcome, RequestId};

/// A call.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// The body: 6 MiB at most.
    pub payload: Bytes,
    /// Set when it came through an HTTP route.
    pub http: Option<HttpRequest>,
    /// Decoded client context.
    pub client_context: Option<String>,
    /// Trace id, if the caller had one.
    pub trace_id: Option<String>,
    /// Request id, if the door made one already.
    pub request_id: Option<RequestId>,
}

impl Engine {
    /// Calls a function and waits. The call goes on if the caller goes away.
    ///
    /// A call waits for an instance at most the function's timeout and 30 s.
    ///
    /// # Errors
    /// `NotFound`, `Throttled`, `Waited`, `Draining`, `Refused` (payload over 6 MiB). What the function itself
    /// does wrong is in the outcome.
    pub async fn invoke(&self, name: &FunctionName, call: Call) -> Result<Outcome> {
        if self.corridor.draining.is_cancelled() {
            return Err(Error::Draining);
        }
        if call.payload.len() > MAX_PAYLOAD {
            return Err(Error::Refused(format!(
                "the payload is {} bytes, more than {MAX_PAYLOAD}",
                call.payload.len()
            )));
        }
        let job = Job {
            request_id: call.request_id.unwrap_or_else(RequestId::generate),
            payload: call.payload,
            http: call.http,
            event: None,
            client_context: call.client_context,
            trace_id: call.trace_id,
        };
        let corridor = self.corridor.clone();
        let name = name.clone();
        let attempt = self.corridor.attempts.spawn(async move {
            let attempted = corridor.attempt(&name, job).await;
            corridor.dispatcher.slot_freed();
            let Attempted { outcome, run } = attempted?;
            corridor.state.record_run(run);
            Ok(outcome)
        });
        match attempt.await {
            Ok(result) => result,
            // The task is never aborted, so it panicked; the instance was given up with it.
            Err(_) => Ok(unavailable("the call broke inside the server".to_owned())),
        }
    }
}
