//! `logs`: what a function or a service wrote, as lines of JSON, and on request what it writes from
//! now on.

use super::error::{Error, Result};
use super::owner::Owner;
use super::query::{Query, within};
use crate::doors::Doors;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::Stream;
use http::header::CONTENT_TYPE;
use model::{FunctionName, InstanceId, LogLine, RequestId, ServiceName, Timestamp};
use serde::Deserialize;
use std::convert::Infallible;
use std::time::Duration;
use storage::LogQuery;
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// After so long without a line an empty one is sent, so that both sides see that the other is there.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The query.
#[derive(Debug, Deserialize)]
pub(super) struct Filter {
    /// `function:NAME` or `service:NAME`.
    key: String,
    /// Milliseconds since the epoch.
    since: Option<i64>,
    /// Only lines of this call.
    request: Option<String>,
    /// The last so many lines: 1 to 10 000; 1 000 without it.
    tail: Option<u64>,
    /// Whether to go on with what is written from now on.
    #[serde(default)]
    follow: bool,
}

impl Filter {
    fn checked(&self) -> Result<LogQuery> {
        match self.key.split_once(':') {
            Some(("function", name)) => name.parse::<FunctionName>().map(drop)?,
            Some(("service", name)) => name.parse::<ServiceName>().map(drop)?,
            _ => {
                return Err(Error::invalid("key must be function:NAME or service:NAME"));
            }
        }
        let tail = within("tail", self.tail, 1000, 1, 10_000)?;
        Ok(LogQuery {
            key: self.key.clone(),
            since: self.since.map(Timestamp),
            request: self.request.clone().map(RequestId),
            tail: usize::try_from(tail).unwrap_or(10_000),
        })
    }
}

/// `GET logs`: NDJSON of [`LogLine`].
pub(super) async fn read(
    _: Owner,
    State(doors): State<Doors>,
    Query(filter): Query<Filter>,
) -> Result<Response> {
    let query = filter.checked()?;
    let storage = doors.engine.storage();
    // Subscribed before the past is read: a line between the two is seen twice rather than never.
    let receiver = filter.follow.then(|| storage.follow_logs(&query.key));
    let past = storage.read_logs(query.clone()).await?;
    let text: String = past.iter().map(written).collect();
    let body = match receiver {
        None => Body::from(text),
        Some(receiver) => Body::from_stream(follow(text, Live::new(receiver, query, past))),
    };
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// What was written before, then what is written from now on, with heartbeats.
fn follow(past: String, live: Live) -> impl Stream<Item = std::result::Result<Bytes, Infallible>> {
    let first = futures::stream::once(async move { Ok(Bytes::from(past)) });
    let rest = futures::stream::unfold(live, |mut live| async move {
        let text = match tokio::time::timeout(HEARTBEAT, live.next()).await {
            Ok(Some(line)) => written(&line),
            Ok(None) => return None,
            Err(_) => "\n".to_owned(),
        };
        Some((Ok(Bytes::from(text)), live))
    });
    futures::StreamExt::chain(first, rest)
}

/// The lines from now on that fit a query and were not in the past that was read.
struct Live {
    receiver: Receiver<LogLine>,
    query: LogQuery,
    /// Lines that were read, and may come once more.
    past: Vec<LogLine>,
    /// When the past was read: later lines were not in it.
    read: Timestamp,
}

impl Live {
    fn new(receiver: Receiver<LogLine>, query: LogQuery, past: Vec<LogLine>) -> Self {
        let read = Timestamp::now();
        Self {
            receiver,
            query,
            past,
            read,
        }
    }

    /// The next line; `None` when the server closes.
    async fn next(&mut self) -> Option<LogLine> {
        loop {
            match self.receiver.recv().await {
                Ok(line) if self.wants(&line) => return Some(line),
                Ok(_) => {}
                Err(RecvError::Lagged(count)) => return Some(missed(count)),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn wants(&mut self, line: &LogLine) -> bool {
        if line.time > self.read {
            self.past = Vec::new();
        } else if let Some(seen) = self.past.iter().position(|old| old == line) {
            self.past.swap_remove(seen);
            return false;
        }
        let other_call = |wanted: &RequestId| line.request.as_ref() != Some(wanted);
        let too_early = |since: Timestamp| line.time < since;
        !self.query.request.as_ref().is_some_and(other_call)
            && !self.query.since.is_some_and(too_early)
    }
}

fn missed(count: u64) -> LogLine {
    LogLine {
        version: None,
        time: Timestamp::now(),
        instance: InstanceId(String::new()),
        request: None,
        stream: model::Stream::Platform,
        text: format!("{count} lines are left out here: they came faster than they were read"),
    }
}

fn written(line: &LogLine) -> String {
    let mut text = serde_json::json!(line).to_string();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::StreamExt as _;
    use tokio::sync::broadcast;

    fn line(time: i64, text: &str) -> LogLine {
        LogLine {
            version: None,
            time: Timestamp(time),
            instance: InstanceId("i".into()),
            request: Some(RequestId("r".into())),
            stream: model::Stream::Stdout,
            text: text.into(),
        }
    }

    fn query(request: Option<&str>) -> LogQuery {
        LogQuery {
            key: "function:f".into(),
            since: None,
            request: request.map(|id| RequestId(id.into())),
            tail: 10,
        }
    }

    #[tokio::test]
    async fn a_line_that_was_read_is_not_sent_again() {
        let (sender, receiver) = broadcast::channel(8);
        let twice = line(1, "same");
        let mut live = Live::new(receiver, query(None), vec![twice.clone()]);
        sender.send(twice.clone()).unwrap();
        sender.send(twice.clone()).unwrap();
        sender.send(line(i64::MAX, "new")).unwrap();
        drop(sender);
        assert_eq!(
            live.next().await.unwrap(),
            twice,
            "written twice, read once"
        );
        assert_eq!(live.next().await.unwrap().text, "new");
        assert!(live.next().await.is_none());
    }

    #[tokio::test]
    async fn only_the_lines_of_one_call_are_followed() {
        let (sender, receiver) = broadcast::channel(8);
        let mut live = Live::new(receiver, query(Some("other")), Vec::new());
        sender.send(line(1, "no")).unwrap();
        let mut wanted = line(2, "yes");
        wanted.request = Some(RequestId("other".into()));
        sender.send(wanted).unwrap();
        assert_eq!(live.next().await.unwrap().text, "yes");
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_what_it_missed() {
        let (sender, receiver) = broadcast::channel(2);
        let mut live = Live::new(receiver, query(None), Vec::new());
        for number in 0..5 {
            sender.send(line(number, "x")).unwrap();
        }
        let told = live.next().await.unwrap();
        assert_eq!(told.stream, model::Stream::Platform);
        assert!(told.text.starts_with("3 lines"), "{}", told.text);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_filled_with_empty_lines() {
        let (sender, receiver) = broadcast::channel(2);
        let live = Live::new(receiver, query(None), Vec::new());
        let mut stream = Box::pin(follow("past\n".into(), live));
        assert_eq!(stream.next().await.unwrap().unwrap(), "past\n");
        assert_eq!(stream.next().await.unwrap().unwrap(), "\n");
        sender.send(line(i64::MAX, "x")).unwrap();
        let text = stream.next().await.unwrap().unwrap();
        let read: LogLine = serde_json::from_slice(&text).unwrap();
        assert_eq!(read.text, "x");
    }

    #[test]
    fn a_key_must_name_a_function_or_a_service() {
        let filter = |key: &str| Filter {
            key: key.into(),
            since: None,
            request: None,
            tail: None,
            follow: false,
        };
        assert!(filter("function:f").checked().is_ok());
        for bad in ["f", "function:../../etc", "service:A", "bucket:b", ""] {
            assert!(filter(bad).checked().is_err(), "{bad}");
        }
    }
}
