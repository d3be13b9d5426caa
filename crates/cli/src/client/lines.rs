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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::stream;

    fn lines(chunks: Vec<Vec<u8>>) -> Lines {
        let chunks = chunks.into_iter().map(Ok::<_, std::io::Error>);
        let body = reqwest::Body::wrap_stream(stream::iter(chunks));
        Lines::of(http::Response::new(body).into(), "GET test")
    }

    #[tokio::test]
    async fn lines_are_put_together_from_chunks_and_heartbeats_are_passed_over() {
        let chunks = ["[1", ",2]\n\n[3]", "\n", "\n[4]"];
        let mut lines = lines(chunks.map(|chunk| chunk.as_bytes().to_vec()).to_vec());
        let mut read: Vec<Vec<u32>> = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            read.push(line);
        }
        assert_eq!(read, [vec![1, 2], vec![3], vec![4]]);
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused() {
        let mut lines = lines(vec![vec![b' '; MAX_LINE], vec![b' '; MAX_LINE]]);
        let error = lines.next::<u32>().await.unwrap_err().to_string();
        assert!(error.contains("longer than"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_json_is_told() {
        let mut lines = lines(vec![b"nonsense\n".to_vec()]);
        assert!(lines.next::<u32>().await.is_err());
    }
}
