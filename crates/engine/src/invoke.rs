//! Calls that wait for their answer.

use crate::attempt::{Attempted, Job};
use crate::carried::Carried;
use crate::pool::unavailable;
use crate::{Engine, Error, Result};
use bytes::Bytes;
use futures::FutureExt as _;
use model::{FunctionName, HttpRequest, MAX_PAYLOAD, Outcome, Qualifier, RequestId};
use std::panic::AssertUnwindSafe;

/// A call.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// The body: 6 MiB at most.
    pub payload: Bytes,
    /// Set when it came through an HTTP route.
    pub http: Option<Box<HttpRequest>>,
    /// Decoded client context.
    pub client_context: Option<String>,
    /// Trace id, if the caller had one.
    pub trace_id: Option<String>,
    /// Which version is meant; without, what the function's calls go to now.
    pub qualifier: Option<Qualifier>,
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
            chain: None,
            client_context: call.client_context,
            trace_id: call.trace_id,
            qualifier: call.qualifier,
        };
        let corridor = self.corridor.clone();
        let name = name.clone();
        let call = async move {
            let attempted = corridor.attempt(&name, job).await;
            corridor.dispatcher.slot_freed();
            let Attempted { outcome, run } = attempted?;
            corridor.state.record_run(run);
            Ok(outcome)
        };
        // A panic ends the call, not the connection that it came by; the instance is given up with it.
        let call = AssertUnwindSafe(call).catch_unwind();
        let ended = Carried::new(self.corridor.attempts.track_future(call)).await;
        ended.unwrap_or_else(|_| Ok(unavailable("the call broke inside the server".to_owned())))
    }
}
