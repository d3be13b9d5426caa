//! Invocations: one call or event for one function, and how it ended.

use crate::{Event, EventId, InstanceId, Timestamp};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A request's identity, a UUID version 4 in text; in every log line of the call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub String);

impl RequestId {
    /// A new one.
    pub fn generate() -> Self {
        Self(crate::identity::random().to_string())
    }

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The HTTP side of a call that came through a function's HTTP route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// Method.
    pub method: http::Method,
    /// Path and query below the function's route, beginning with `/`.
    pub path_and_query: String,
    /// Hop-by-hop headers and credentials removed.
    pub headers: http::HeaderMap,
}

/// What one instance is asked to do.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Its identity.
    pub request_id: RequestId,
    /// The body: 6 MiB at most.
    pub payload: Bytes,
    /// Set when it came through an HTTP route.
    pub http: Option<Box<HttpRequest>>,
    /// Set when an event woke it; the `http` contract then sends a CloudEvent in binary mode.
    pub event: Option<Box<Event>>,
    /// Base64-decoded `X-Amz-Client-Context`: JSON.
    pub client_context: Option<String>,
    /// `X-Amzn-Trace-Id` in AWS's form `Root=…;Parent=…;Sampled=…`.
    pub trace_id: String,
    /// `arn:aws:lambda:us-east-1:000000000000:function:NAME`.
    pub function_arn: String,
    /// Milliseconds that the call may take.
    pub timeout: u64,
}

/// What a function of the `http` contract answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// Hop-by-hop headers removed.
    pub headers: http::HeaderMap,
}

/// How a call ended. Only [`Ending::Succeeded`] settles an event; all the others are the function's
/// own outcome, not an error of the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The function answered.
    Succeeded {
        /// The body: 6 MiB at most.
        payload: Bytes,
        /// Set by the `http` contract. For an event, a status that is not 2xx is [`Ending::Failed`].
        http: Option<Box<HttpResponse>>,
    },
    /// The function reported an error of its own.
    Failed {
        /// Such as `TypeError`.
        error_type: String,
        /// What it said, cut at 64 KiB.
        message: String,
        /// The whole error as the function gave it (JSON with errorType, errorMessage, stackTrace).
        payload: Bytes,
    },
    /// Its initialisation failed (init error, or exit before the first `next`).
    InitFailed {
        /// Such as `Runtime.ImportModuleError`.
        error_type: String,
        /// What it said.
        message: String,
    },
    /// It did not answer in time and was killed.
    TimedOut {
        /// The bound in milliseconds.
        after: u64,
    },
    /// Its process ended without an answer.
    Crashed {
        /// Such as `exit status 1` or `signal 11 (SIGSEGV)`.
        how: String,
    },
    /// The kernel killed it at its memory limit.
    OutOfMemory {
        /// The limit in bytes.
        limit: u64,
    },
    /// It answered more than 6 MiB.
    ResponseTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// No instance could be made or reached: the platform's fault, and always worth a retry.
    Unavailable {
        /// What was tried and what went wrong.
        reason: String,
    },
}

impl Ending {
    /// Whether the call did what was asked.
    pub fn succeeded(&self) -> bool {
        matches!(self, Self::Succeeded { .. })
    }

    /// One word for records: `succeeded`, `failed`, `init_failed`, `timed_out`, `crashed`,
    /// `out_of_memory`, `response_too_large` or `unavailable`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Succeeded { .. } => "succeeded",
            Self::Failed { .. } => "failed",
            Self::InitFailed { .. } => "init_failed",
            Self::TimedOut { .. } => "timed_out",
            Self::Crashed { .. } => "crashed",
            Self::OutOfMemory { .. } => "out_of_memory",
            Self::ResponseTooLarge { .. } => "response_too_large",
            Self::Unavailable { .. } => "unavailable",
        }
    }

    /// The error's type as the Lambda API writes it; `None` after success.
    pub fn error_type(&self) -> Option<&str> {
        match self {
            Self::Succeeded { .. } => None,
            Self::Failed { error_type, .. } | Self::InitFailed { error_type, .. } => {
                Some(error_type)
            }
            Self::TimedOut { .. } => Some("Sandbox.Timedout"),
            Self::Crashed { .. } => Some("Runtime.ExitError"),
            Self::OutOfMemory { .. } => Some("Runtime.OutOfMemory"),
            Self::ResponseTooLarge { .. } => Some("Function.ResponseSizeTooLarge"),
            Self::Unavailable { .. } => Some("Sandbox.Unavailable"),
        }
    }

    /// One line that says what went wrong; `None` after success.
    pub fn error(&self) -> Option<String> {
        match self {
            Self::Succeeded { .. } => None,
            Self::Failed {
                error_type,
                message,
                ..
            }
            | Self::InitFailed {
                error_type,
                message,
            } => Some(format!("{error_type}: {message}")),
            Self::TimedOut { after } => Some(format!("timed out after {after} ms and was killed")),
            Self::Crashed { how } => Some(format!("ended without an answer: {how}")),
            Self::OutOfMemory { limit } => Some(format!(
                "killed at its memory limit of {} MiB",
                limit / (1024 * 1024)
            )),
            Self::ResponseTooLarge { limit } => Some(format!("answered more than {limit} bytes")),
            Self::Unavailable { reason } => Some(format!("no instance: {reason}")),
        }
    }
}

/// Where a call's time went, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timing {
    /// Waiting for an instance, its start included.
    pub queued: u64,
    /// Making the sandbox, before the call if it was made ahead; 0 when warm.
    pub start: u64,
    /// From the sandbox's start to the function being ready; 0 when warm.
    pub init: u64,
    /// From handing over the request to having the whole answer.
    pub run: u64,
}

/// How an instance came to be, the fastest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartKind {
    /// It waited in its sandbox, runtime and modules loaded, and was given its code.
    Stem,
    /// It was forked from a zygote that had loaded them.
    Fork,
    /// Its program was executed in a sandbox that was ready.
    Armed,
    /// Everything was made for it.
    Cold,
}

impl StartKind {
    /// As it is written in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stem => "stem",
            Self::Fork => "fork",
            Self::Armed => "armed",
            Self::Cold => "cold",
        }
    }
}

/// A call that ended, and everything worth knowing of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// Where its time went.
    pub timing: Timing,
    /// Whether its instance was new: started for it or, with `fresh: always`, never used before.
    pub cold: bool,
    /// How that instance came to be; `None` when warm, or when there was none.
    pub start_kind: Option<StartKind>,
    /// Which version of the function ran; `None` for `$LATEST`, or when there was no instance.
    pub version: Option<u64>,
    /// Which instance ran it; `None` if there was none.
    pub instance: Option<InstanceId>,
    /// The most memory its instance has used, in bytes; 0 if not known.
    pub memory_peak: u64,
    /// The last 4 KiB of what it logged.
    pub log_tail: Bytes,
}

/// The record of one attempt, kept for `rouse events show` and the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The call's identity; in its log lines too.
    pub request_id: RequestId,
    /// What ran: a [`crate::Target::key`].
    pub target: String,
    /// The event that it served; `None` for a waiting call.
    pub event: Option<EventId>,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// When it began to wait for an instance.
    pub started: Timestamp,
    /// Where its time went.
    pub timing: Timing,
    /// [`Outcome::cold`].
    pub cold: bool,
    /// [`Outcome::start_kind`]; records from before it was kept have none.
    #[serde(default)]
    pub start_kind: Option<StartKind>,
    /// Which version of the function ran; `None` for `$LATEST` and for what is no function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Which instance ran it.
    pub instance: Option<InstanceId>,
    /// [`Ending::word`].
    pub ending: String,
    /// [`Ending::error`].
    pub error: Option<String>,
    /// The most memory its instance has used, in bytes.
    pub memory_peak: u64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_start_kind_is_written_as_it_is_shown() {
        use StartKind::{Armed, Cold, Fork, Stem};
        for kind in [Stem, Fork, Armed, Cold] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn a_record_from_before_start_kinds_is_read() {
        let old = r#"{"request_id":"r","target":"function:f","event":null,"attempt":1,"started":0,
            "timing":{"queued":0,"start":0,"init":0,"run":0},"cold":true,"instance":null,
            "ending":"succeeded","error":null,"memory_peak":0}"#;
        assert_eq!(serde_json::from_str::<Run>(old).unwrap().start_kind, None);
    }
}
