//! Log lines.

use crate::{InstanceId, RequestId, Timestamp};
use serde::{Deserialize, Serialize};

/// Where a line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Written by the platform: START, END, REPORT, and what was cut.
    Platform,
}

/// One line of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was read.
    pub time: Timestamp,
    /// Which instance wrote it.
    pub instance: InstanceId,
    /// Which published version of its function; `None` for what was declared last, and for services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// During which call; `None` outside one.
    pub request: Option<RequestId>,
    /// Where it was written.
    pub stream: Stream,
    /// The line without its end; not UTF-8 is replaced; 16 KiB at most. Hostile: escape before showing.
    pub text: String,
}
