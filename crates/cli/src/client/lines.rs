//! NDJSON answers that come line by line.

use super::root_cause;
use crate::error::{Error, Result};
use reqwest::Response;
use serde::de::DeserializeOwned;

/// Longest line that is taken in: 256 KiB.
const MAX_LINE: usize = 256 * 1024;

/// The lines of an answer.
pub(crate) struct Lines {
    response: Response,
    request: &'static str,
    buffer: Vec<u8>,
    /// Bytes of `buffer` in which no line end was found.
    searched: usize,
}

impl Lines {
    /// Of an answer to `request`, which names it in errors.
    pub(crate) fn of(response: Response, request: &'static str) -> Self {
        Self {
            response,
            request,
            buffer: Vec::new(),
            searched: 0,
        }
    }

    /// The next line's value; `None` at the end.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        loop {
            if let Some(line) = self.take_line() {
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return self.parse(&line).map(Some);
            }
            if self.buffer.len() > MAX_LINE {
                return Err(self.broken(format!("a line is longer than {MAX_LINE} bytes")));
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) if self.buffer.trim_ascii().is_empty() => return Ok(None),
                Ok(None) => {
                    let line = std::mem::take(&mut self.buffer);
                    return self.parse(&line).map(Some);
                }
                Err(error) => return Err(self.broken(root_cause(&error))),
            }
        }
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let rest = self.buffer.get(self.searched..)?;
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.buffer.drain(..=self.searched + end).collect();
        self.searched = 0;
        Some(line)
    }

    fn parse<T: DeserializeOwned>(&self, line: &[u8]) -> Result<T> {
        serde_json::from_slice(line).map_err(|error| self.broken(error.to_string()))
    }

    fn broken(&self, reason: String) -> Error {
        Error::Answer {
            request: self.request.to_owned(),
            reason,
        }
    }
}
