//! The Lambda door, the control API and the HTTP routes of a whole server, whose instances are fake:
//! driven by boto3, the AWS CLI and a plain HTTP client.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod control;
mod house;
mod lambda;
mod route;
