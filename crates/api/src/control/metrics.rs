//! `metrics`: how many events and messages are where, in Prometheus' text format
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>).

use super::error::Result;
use super::owner::Owner;
use crate::doors::Doors;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use engine::{EventMetrics, QueueMetrics};
use http::header::CONTENT_TYPE;
use model::Timestamp;
use std::fmt::Write as _;

/// Targets and queues that are told of at most, each; those with the most waiting events first. How many
/// are left out is a metric.
const MOST: usize = 1_000;

/// `GET metrics`.
pub(super) async fn read(_: Owner, State(doors): State<Doors>) -> Result<Response> {
    let mut events: Vec<_> = doors.engine.event_metrics().await?.into_iter().collect();
    events.sort_by_key(|(_, one)| std::cmp::Reverse(one.counts.waiting));
    let left_out = events.len().saturating_sub(MOST);
    events.truncate(MOST);
    events.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let (queues, more) = doors.engine.queue_metrics(MOST).await?;
    let queues: Vec<_> = queues
        .into_iter()
        .map(|(name, one)| (name.to_string(), one))
        .collect();
    let now = Timestamp::now();
    let mut text = String::new();
    write(&mut text, "target", EVENTS, &events, now);
    write(&mut text, "queue", QUEUES, &queues, now);
    let family = Family {
        name: "rouse_metrics_left_out",
        kind: "gauge",
        help: "Targets that are not told of, since there are too many; of queues, 1 if there are such.",
    };
    family.begin(&mut text);
    let _ = writeln!(text, "rouse_metrics_left_out{{kind=\"target\"}} {left_out}");
    let _ = writeln!(
        text,
        "rouse_metrics_left_out{{kind=\"queue\"}} {}",
        u8::from(more)
    );
    Ok((
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response())
}

/// One metric.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
}

impl Family {
    fn begin(&self, text: &mut String) {
        let Self { name, kind, help } = self;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One line for each that has a value.
    fn write<T>(
        &self,
        text: &mut String,
        label: &str,
        all: &[(String, T)],
        value: impl Fn(&T) -> Option<f64>,
    ) {
        self.begin(text);
        for (key, one) in all {
            if let Some(value) = value(one) {
                let _ = writeln!(
                    text,
                    "{}{{{label}=\"{}\"}} {value}",
                    self.name,
                    escaped(key)
                );
            }
        }
    }
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    let kind = "gauge";
    Family { name, kind, help }
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    let kind = "counter";
    Family { name, kind, help }
}

/// A label's value: backslash, quote and line end are escaped.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[allow(clippy::cast_precision_loss)] // as every number of this format
fn number(count: u64) -> Option<f64> {
    Some(count as f64)
}

/// Seconds since then.
fn age(then: Option<Timestamp>, now: Timestamp) -> Option<f64> {
    number(now.since(then?)).map(|millis| millis / 1_000.0)
}

/// What a metric says of one target or queue, now.
type Reading<T> = fn(&T, Timestamp) -> Option<f64>;

/// The metrics of each target.
const EVENTS: &[(Family, Reading<EventMetrics>)] = &[
    (
        gauge(
            "rouse_events_waiting",
            "Events that wait for their next attempt.",
        ),
        |one, _| number(one.counts.waiting),
    ),
    (
        gauge("rouse_events_leased", "Events that are being attempted."),
        |one, _| number(one.counts.leased),
    ),
    (
        gauge(
            "rouse_events_oldest_waiting_age_seconds",
            "Time since the oldest waiting event was accepted.",
        ),
        |one, now| age(one.oldest, now),
    ),
    (
        counter("rouse_events_accepted_total", "Events accepted."),
        |one, _| number(one.totals.accepted),
    ),
    (
        counter("rouse_events_succeeded_total", "Events that ended well."),
        |one, _| number(one.totals.succeeded),
    ),
    (
        counter(
            "rouse_events_dead_total",
            "Events that became dead letters.",
        ),
        |one, _| number(one.totals.dead),
    ),
    (
        counter("rouse_events_expired_total", "Events that grew too old."),
        |one, _| number(one.totals.expired),
    ),
    (
        counter(
            "rouse_events_cancelled_total",
            "Events whose target was deleted.",
        ),
        |one, _| number(one.totals.cancelled),
    ),
];

/// The metrics of each queue.
const QUEUES: &[(Family, Reading<QueueMetrics>)] = &[
    (
        gauge(
            "rouse_queue_messages_visible",
            "Messages that can be received.",
        ),
        |one, _| number(one.counts.visible),
    ),
    (
        gauge(
            "rouse_queue_messages_in_flight",
            "Messages that were received and are hidden.",
        ),
        |one, _| number(one.counts.in_flight),
    ),
    (
        gauge(
            "rouse_queue_messages_delayed",
            "Messages that were sent with a delay.",
        ),
        |one, _| number(one.counts.delayed),
    ),
    (
        gauge(
            "rouse_queue_oldest_message_age_seconds",
            "Time since the oldest message was sent.",
        ),
        |one, now| age(one.oldest, now),
    ),
    (
        counter("rouse_queue_messages_sent_total", "Messages sent."),
        |one, _| number(one.totals.sent),
    ),
    (
        counter(
            "rouse_queue_messages_received_total",
            "Messages received, again each time.",
        ),
        |one, _| number(one.totals.received),
    ),
    (
        counter(
            "rouse_queue_messages_deleted_total",
            "Messages deleted by who received them.",
        ),
        |one, _| number(one.totals.deleted),
    ),
];

fn write<T>(
    text: &mut String,
    label: &str,
    metrics: &[(Family, Reading<T>)],
    all: &[(String, T)],
    now: Timestamp,
) {
    for (family, reading) in metrics {
        family.write(text, label, all, |one| reading(one, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_as_the_format_says() {
        let mut one = EventMetrics::default();
        one.counts.waiting = 3;
        one.totals.accepted = 5;
        one.oldest = Some(Timestamp(1_000));
        let all = [
            ("function:f".to_owned(), one),
            ("service:s/\"\n".to_owned(), EventMetrics::default()),
        ];
        let mut text = String::new();
        write(&mut text, "target", EVENTS, &all, Timestamp(3_500));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "# HELP rouse_events_waiting Events that wait for their next attempt.",
                "# TYPE rouse_events_waiting gauge",
                "rouse_events_waiting{target=\"function:f\"} 3",
                "rouse_events_waiting{target=\"service:s/\\\"\\n\"} 0",
            ]
        );
        assert!(
            lines.contains(&"rouse_events_oldest_waiting_age_seconds{target=\"function:f\"} 2.5")
        );
        assert!(lines.contains(&"rouse_events_accepted_total{target=\"function:f\"} 5"));
        let ages = lines
            .iter()
            .filter(|line| line.starts_with("rouse_events_oldest_waiting_age"));
        assert_eq!(ages.count(), 1, "nothing waits, so there is no age");
    }
}
