//! Calls that wait for their answer.

use crate::{Engine, Result};
use bytes::Bytes;
use model::{FunctionName, HttpRequest, Outcome, RequestId};

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
    /// # Errors
    /// `NotFound`, `Throttled`, `Draining`, `Refused` (payload over 6 MiB). What the function itself
    /// does wrong is in the outcome.
    pub async fn invoke(&self, name: &FunctionName, call: Call) -> Result<Outcome> {
        let _ = (name, call);
        todo!()
    }
}
