//! Logs: NDJSON segments for each function and service, bounded, followed live.

use crate::{Result, Storage};
use model::{LogLine, RequestId, Timestamp};

/// Which lines to read.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// [`model::Owner::log_key`].
    pub key: String,
    /// Only written at this time or later.
    pub since: Option<Timestamp>,
    /// Only of this call.
    pub request: Option<RequestId>,
    /// The last so many lines: 1 to 10 000.
    pub tail: usize,
}

impl Storage {
    /// Keeps lines, without fsync and without waiting for the disk. Each key keeps four segments of
    /// 8 MiB, the oldest is dropped; if the disk is slower than the writers, lines are dropped and
    /// a line says how many.
    pub fn append_logs(&self, key: &str, lines: Vec<LogLine>) {
        let _ = (key, lines);
        todo!()
    }

    /// Lines that fit, oldest first.
    ///
    /// # Errors
    /// Of the file system.
    pub async fn read_logs(&self, query: LogQuery) -> Result<Vec<LogLine>> {
        let _ = query;
        todo!()
    }

    /// The lines of a key from now on. A reader that is 1 000 lines behind loses the oldest.
    pub fn follow_logs(&self, key: &str) -> tokio::sync::broadcast::Receiver<LogLine> {
        let _ = key;
        todo!()
    }
}
