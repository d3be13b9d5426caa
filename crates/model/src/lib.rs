//! The words of rouse: functions, services, events, invocations, outcomes.
//!
//! No I/O, no async, no clocks: everything here is data and the rules that data must obey.

mod alias_move;
mod bucket;
mod bus;
mod chain;
mod content_digest;
mod credential;
mod delivery;
mod deployment;
mod digest;
mod driver;
mod egress;
mod environment;
mod error;
mod event;
mod event_invoke;
mod function;
mod identity;
mod image;
mod instance;
mod invocation;
mod limits;
mod log;
mod mapping;
mod name;
mod network;
mod pressure;
mod push;
mod queue;
mod replay;
mod repository;
mod retry;
mod scaling;
mod schedule;
mod secret;
mod service;
#[cfg(feature = "simulation")]
pub mod simulation;
mod snapshot;
mod timestamp;
mod upstream;
mod version;
mod webhook;

pub use alias_move::{AliasMove, MAX_ALIAS_MOVES, Routing, step_back};
pub use bucket::{BucketSpec, ChangeForm, EventPattern, NotificationRule};
pub use bus::{
    Bus, MAX_BUSES, MAX_DEPTH, MAX_RULE_TARGETS, MAX_RULES, MAX_TAGS, Rule, RuleTarget, Transformer,
};
pub use chain::Chain;
pub use content_digest::{Algorithm, ContentDigest};
pub use credential::{Credential, Principal};
pub use delivery::{DeadLetter, Delivery, Destinations};
pub use deployment::{Change, ChangeKind, DeclaredRule, Deployment, DeploymentReport};
pub use digest::Digest;
pub use driver::Driver;
pub use egress::{Destination, Egress, Host, MAX_DESTINATIONS};
pub use environment::environment_bytes;
pub use error::{Invalid, Kind};
pub use event::{Event, EventFilter, EventId, EventState, NewEvent, Target};
pub use event_invoke::EventInvoke;
pub use function::{Code, Contract, Fresh, Function, FunctionSpec, RuntimeName};
pub use image::{CONTRACT_LABEL, ImageConfig, ImageRecord};
pub use instance::{InstanceId, InstanceState, InstanceStatus, Owner};
pub use invocation::{
    Ending, HttpRequest, HttpResponse, Invocation, Outcome, RequestId, Run, StartKind, Timing,
};
pub use limits::{
    Limits, MAX_ASYNC_PAYLOAD, MAX_ENVIRONMENT, MAX_LOG_LINE, MAX_PAYLOAD, MAX_QUEUE,
};
pub use log::{LogLine, Stream};
pub use mapping::{Mapping, MappingSpec};
pub use name::{
    BucketName, BusName, FunctionName, RuleName, ScheduleGroupName, ScheduleName, ServiceName,
    UpstreamName, WebhookName,
};
pub use network::{NetworkName, Networks};
pub use pressure::Pressure;
pub use push::{MAX_PUSH_FAILURE, Push};
pub use queue::{
    AttributeValue, DEDUPLICATION, MAX_BATCH, MAX_IN_FLIGHT, MAX_MESSAGE, Message,
    MessageAttribute, MessageId, MoveState, MoveTask, NewMessage, Queue, QueueAttributes,
    QueueCounts, QueueName, QueueSpec, ReceiptHandle, Redrive, RedriveAllow, legal_char,
    legal_token, sequence_number,
};
pub use replay::{EventQuery, Replay, ReplayId, ReplayOrder, ReplayState};
pub use repository::{ManifestReference, RepositoryName, Tag};
pub use retry::{Jitter, RetryPolicy};
pub use scaling::Scaling;
pub use schedule::{
    Advance, AfterCompletion, BusEntry, CatchUp, Due, Expression, MAX_CATCH_UP, MAX_SCHEDULE_INPUT,
    Schedule, ScheduleGroup, ScheduleKey, ScheduleSpec, Timetable, Zone,
};
pub use secret::{
    MAX_SECRET, MAX_SECRETS, SecretKind, SecretMount, SecretName, SecretRecord, SecretUse,
};
pub use service::{
    Condition, Dependency, HealthCheck, ReplicaStatus, Restart, Service, ServiceSpec,
    ServiceStatus, VolumeMount,
};
pub use snapshot::Snapshot;
pub use timestamp::Timestamp;
pub use upstream::{MAX_UPSTREAM_PASSWORD, MAX_UPSTREAMS, Upstream, is_loopback, outside};
pub use version::{
    Alias, AliasName, FunctionVersion, MAX_ALIASES, MAX_VERSIONS, Qualifier, Share, kept_labels,
};
pub use webhook::{MAX_WEBHOOKS, Secret, Webhook};
