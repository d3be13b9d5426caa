//! Every door: server, auth, and one folder for each protocol.
//!
//! A request with an AWS signature goes to the door of its credential scope (`s3`, `lambda`, `sqs`,
//! `events`, `scheduler`); others
//! go by path: `/_rouse/…` (control, bearer token), `/svc/NAME/…` and `/fn/NAME/…` (HTTP routes of
//! services and functions), `/v2/…` (the registry), or by host: `NAME.svc.localhost` is a service. Only `/_rouse/health`
//! answers anonymously.

mod arn;
mod auth;
mod body;
mod control;
mod delivery;
mod doors;
mod envelope;
mod error;
mod events;
mod exception;
mod idempotency;
mod lambda;
mod oci;
mod route;
mod s3;
mod scheduler;
mod server;
mod sqs;
mod whole;

pub use auth::RootCredential;
pub use error::{Error, Result};
pub use server::{Origin, Server, ServerOptions};
