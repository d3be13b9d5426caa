//! The corridor: what stands between a door and an instance.
//!
//! A waiting call enters at `attempt`; an event is leased by `dispatch` and goes the same way from
//! there: `attempt` asks `pool` for an instance, calls it, and gives the outcome to `retry` (events)
//! or to the caller. `scaler::plan` and `retry::next` are pure; others carry out what they say.

mod admission;
mod aliases;
mod answer;
mod attempt;
mod blocking;
mod bucket;
mod buses;
mod cancellations;
mod carried;
mod catalog;
mod chance;
mod credentials;
mod declared;
mod delivery;
mod deploy;
mod destination;
mod dispatch;
mod engine;
mod error;
mod event_invoke;
mod events;
mod exchange;
mod follow;
mod functions;
mod images;
mod invoke;
mod judged;
mod line;
mod mapping;
mod metrics;
mod node;
mod outbound;
mod overtaken;
mod places;
mod pool;
mod pressure;
mod preview;
mod prototype;
mod purge;
mod queues;
mod reclaim;
mod registry;
mod release;
mod replays;
mod retry;
mod routing;
mod rules;
mod scaler;
mod schedule;
mod secrets;
mod service;
mod share;
mod trial;
mod turn;
mod upstream;
mod upstreams;
mod versions;
mod webhook;
mod webhooks;
mod working;

pub use aliases::AliasChange;
pub use answer::{Answer, answer, is_json};
pub use buses::rule_arn;
pub use cancellations::Cancelled;
pub use catalog::Put;
pub use engine::{Engine, Options};
pub use error::{Error, Result};
pub use follow::ImageRelease;
pub use invoke::Call;
pub use metrics::{EventMetrics, QueueMetrics};
pub use rules::PutRule;
pub use runtime::{Door, Inbound};
pub use secrets::{KeyError, SecretKeys};
pub use state::{
    Accepted, Changed, Deleted, Lineage, Once, PutAlias, Receive, Received, Retention,
    ScheduleFilter, crash,
};
pub use versions::{Publish, Resolved};
